"""`video2mp3 dead-letters`: events that could not be delivered, as recover keeps them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from functions.common.errors import ServiceError, SettingError

if TYPE_CHECKING:
    from functions.recover.dead_letters import DeadLetters, Letter

app = typer.Typer(no_args_is_help=True, help="Events that could not be delivered (DATABASE_URL, BROKER_URL).")

State = Annotated[Path | None, typer.Option("--state", help="Folder that keeps state between runs.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Which ones, as `list` names them.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]
_MOST = 10_000


@app.command("list")
def list_(limit: Annotated[int, typer.Option(min=1, max=_MOST)] = 50, state: State = None) -> None:
    """List them, the newest first."""
    from local.cli.progress import printable

    with _dead_letters(state) as letters:
        for letter in letters.newest(limit):
            received = datetime.fromtimestamp(letter.received / 1e6, UTC).isoformat(timespec="seconds")
            event_type, event_id = (printable(str(letter.event.get(name))) for name in ("type", "id"))
            typer.echo(f"{letter.id}  {received}  {letter.error_code or '-':>4}  {event_type}  {event_id}")


@app.command()
def show(letter_id: Annotated[str, typer.Argument(metavar="ID")], state: State = None) -> None:
    """Print one of them whole, as JSON."""
    with _dead_letters(state) as letters:
        letter = letters.get(letter_id)
        whole = {
            "id": letter.id,
            "job_id": letter.job_id,
            "received": datetime.fromtimestamp(letter.received / 1e6, UTC).isoformat(),
            "error_code": letter.error_code,
            "error_dest": letter.error_dest,
            "event": letter.event,
        }
        typer.echo(json.dumps(whole, indent=2))


@app.command()
def replay(ids: Ids = None, all_: All = False, state: State = None) -> None:
    """Publish the events again, and reopen the jobs that failed for want of them."""
    with _dead_letters(state) as letters:
        _each(letters, ids, all_, lambda letter: letters.replay(letter).value)


@app.command()
def drop(ids: Ids = None, all_: All = False, state: State = None) -> None:
    """Forget them."""

    def forget(letter: "Letter") -> str:
        letters.drop(letter)
        return "dropped"

    with _dead_letters(state) as letters:
        _each(letters, ids, all_, forget)


def _each(letters: "DeadLetters", ids: list[str] | None, all_: bool, do: "Callable[[Letter], str]") -> None:
    if bool(ids) == all_:
        typer.echo("Name dead letters by their ids, or all of them with --all.", err=True)
        raise typer.Exit(2)
    failed = False
    for letter_id in ids or letters.ids():
        try:
            typer.echo(f"{letter_id}: {do(letters.get(letter_id))}")
        except ServiceError as error:
            failed = True
            typer.echo(f"{letter_id}: {error.detail}", err=True)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _dead_letters(state: Path | None) -> "Iterator[DeadLetters]":
    from functions.common.backends import Backends
    from functions.common.config import load
    from functions.recover.dead_letters import DeadLetters
    from local.server.state import settings_here

    try:
        config = load(settings_here(state))
        made = Backends(config)
        # The broker of a one-process run is in that process.
        publisher = None if config.broker_url.startswith("memory:") else made.publisher
        try:
            yield DeadLetters(made.database, jobs=made.jobs, publisher=publisher)
        finally:
            made.close()
    except (ServiceError, SettingError) as error:
        _fail(error.detail if isinstance(error, ServiceError) else str(error))


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)
