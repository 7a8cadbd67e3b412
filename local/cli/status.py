"""`video2mp3 status`: what waits, and what stands still."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from functions.common.errors import ServiceError, SettingError

if TYPE_CHECKING:
    from functions.recover.backlog import Backlog


def status(
    state: Annotated[Path | None, typer.Option("--state", help="Folder that keeps state between runs.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Tell what waits and what stands still, by the database (DATABASE_URL)."""
    from functions.common.config import load
    from functions.common.database import Database
    from functions.recover.backlog import look
    from local.server.state import settings_here

    try:
        database = Database(load(settings_here(state)).database_url)
        try:
            backlog = look(database)
        finally:
            database.close()
    except (ServiceError, SettingError) as error:
        typer.echo(error.detail if isinstance(error, ServiceError) else str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(json.dumps(asdict(backlog)) if as_json else _sentences(backlog))


def _sentences(backlog: "Backlog") -> str:
    lines = [
        (backlog.queued, f"jobs queued{_waiting(backlog.oldest_queued_seconds)}"),
        (backlog.converting, "jobs being converted"),
        (backlog.dead_leases, "of them without a worker: each is taken up again by its next delivery or by recover"),
        (backlog.unsent_mails, f"mails unsent{_waiting(backlog.oldest_unsent_seconds)}"),
        (backlog.dead_letters, "dead letters: see video2mp3 dead-letters list"),
    ]
    return "\n".join(f"{count:7}  {text}" for count, text in lines)


def _waiting(seconds: float | None) -> str:
    return "" if seconds is None else f", the oldest for {seconds:.0f} s"
