"""The `video2mp3` command: arguments, messages and exit codes; the work is done by its neighbours.

Exit codes: 0 all went well, 1 something did not, 2 wrong usage, 130 interrupted.
"""

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from functions.common.errors import Invalid, ServiceError, SettingError
from local.cli.burst import app as burst_app
from local.cli.dead_letters import app as dead_letters_app
from local.cli.flags import with_option_flags
from local.cli.status import status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from functions.auth.accounts import Accounts
    from local.cli.client import Client

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
broker_app = typer.Typer(no_args_is_help=True, help="The broker without Kubernetes, on RabbitMQ (BROKER_URL).")
app.add_typer(broker_app, name="broker")
accounts_app = typer.Typer(no_args_is_help=True, help="Accounts of the server on this machine.")
app.add_typer(accounts_app, name="accounts")
app.add_typer(dead_letters_app, name="dead-letters")
app.add_typer(burst_app, name="burst")
app.command()(status)

State = Annotated[Path | None, typer.Option("--state", help="Folder that keeps state between runs.")]
Server = Annotated[str | None, typer.Option("--server", help="Address of a server; without it, all happens here.")]
Email = Annotated[str | None, typer.Option("--email", envvar="VIDEO2MP3_EMAIL", help="Login at the server.")]


@app.command()
@with_option_flags
def convert(
    *,
    files: Annotated[list[Path], typer.Argument(help="Videos, or audio files.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the MP3s.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite MP3s that exist.")] = False,
    server: Server = None,
    email: Email = None,
    options: dict[str, str],
) -> None:
    """Make an MP3 of each video, beside it or in a folder."""
    from functions.common.options import parse
    from local.cli.convert import convert as convert_all
    from local.cli.convert import own_server
    from local.cli.outputs import plan
    from local.cli.progress import Bars, console

    try:
        parse(options)
    except Invalid as error:
        _usage(error.detail)
    if output is not None and not output.is_dir():
        _usage(f"{output} is no folder.")
    tasks = plan(files, output)
    bars = Bars(console())
    at_once = min(len(tasks), (os.cpu_count() or 1) + 1)
    if server is not None:
        failed = convert_all(
            tasks, client=_client(server, email, uploads=True), options=options, force=force, bars=bars, at_once=at_once
        )
    else:
        with own_server(files, tasks[0].target.parent) as client:
            failed = convert_all(tasks, client=client, options=options, force=force, bars=bars, at_once=at_once)
    if len(tasks) > 1:
        bars.console.print(f"{len(tasks) - failed} of {len(tasks)} converted")
    raise typer.Exit(1 if failed else 0)


@app.command()
def serve(
    function: Annotated[str | None, typer.Argument(help="Only this function, under gunicorn.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
    state: State = None,
    services: Annotated[bool, typer.Option("--services", help="A process per function, on real servers.")] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Start a function again when its files change.")] = False,
    scale_to_zero: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="With --services: start functions when they are asked, stop them so long after.",
        ),
    ] = None,
) -> None:
    """Serve everything from one process on http://localhost:8080, or one function alone."""
    from local.cli.serve import serve_all, serve_one, serve_services

    if scale_to_zero is not None and not services:
        _usage("--scale-to-zero is for --services.")
    if (services and function is not None) or (reload and not (services or function)):
        _usage("--services is for all functions, --reload for --services or one function.")
    try:
        if services:
            serve_services(port=port, state=state, reload=reload, idle_seconds=scale_to_zero)
        elif function is None:
            serve_all(port=port, state=state)
        else:
            serve_one(function, port=port, state=state, reload=reload)
    except SettingError as error:
        _fail(str(error))


@app.command()
def migrate(
    database_url: Annotated[str, typer.Option("--database", envvar="DATABASE_URL", help="An SQLAlchemy URL.")],
) -> None:
    """Bring a database server's schema to what this program needs; run it before each upgrade."""
    from functions.common.database import migrate as migrate_database

    try:
        found, made = migrate_database(database_url)
    except ServiceError as error:
        _fail(f"{error.detail} ({error.__cause__})" if error.__cause__ else error.detail)
    typer.echo(f"The schema is {made} already." if found == made else f"The schema was {found or 'empty'}, now {made}.")


@broker_app.command("ingress")
def broker_ingress(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104 - a container's face
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8080,
) -> None:
    """Take events by HTTP and hand them to RabbitMQ."""
    from local.cli.broker import serve_ingress

    try:
        serve_ingress(host=host, port=port)
    except SettingError as error:
        _fail(str(error))


@broker_app.command("dispatcher")
def broker_dispatcher(
    service: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="Where a function is; else http://NAME:8080.")
    ] = None,
    parallelism: Annotated[
        list[str] | None, typer.Option(metavar="NAME=NUMBER", help="Events that a function gets at once, at most.")
    ] = None,
) -> None:
    """Deliver what RabbitMQ holds to the functions, as the triggers say, and ping recover on its schedule."""
    from local.cli.broker import serve_dispatcher

    try:
        serve_dispatcher(services=service or [], parallelism=parallelism or [])
    except SettingError as error:
        _fail(str(error))


@accounts_app.command("add")
def accounts_add(
    email: Annotated[str, typer.Argument(help="The address to log in with.")], state: State = None
) -> None:
    """Make an account; the password is asked for, or read from VIDEO2MP3_PASSWORD."""
    from functions.auth.service import register

    with _accounts(state) as accounts:
        account = register(email, _password(confirm=True), accounts=accounts, open_=True)
    typer.echo(f"{account.email} can log in now.")


@accounts_app.command("password")
def accounts_password(
    email: Annotated[str, typer.Argument(help="The address of the account.")], state: State = None
) -> None:
    """Give an account another password; it is asked for, or read from VIDEO2MP3_PASSWORD."""
    from functions.auth.service import set_password

    with _accounts(state) as accounts:
        account = set_password(email, _password(confirm=True), accounts=accounts)
    typer.echo(f"{account.email} can log in with it now.")


@accounts_app.command("import")
def accounts_import(
    source: Annotated[
        str,
        typer.Option(
            "--from",
            envvar="VIDEO2MP3_IMPORT_FROM",
            help="Its database, mysql://user:password@host/auth; better by the variable, which no process list shows.",
        ),
    ],
    state: State = None,
) -> None:
    """Take over the accounts of an older system, from its table `user`; those that exist here stay as they are."""
    from local.cli.importing import NotReadable, import_accounts

    with _accounts(state) as accounts:
        try:
            count = import_accounts(source, accounts=accounts, tell=lambda line: typer.echo(line, err=True))
        except NotReadable as error:
            _fail(str(error))
    typer.echo(f"{count.made} accounts made, {count.existed} existed already, {count.wrong} could not be taken over")
    raise typer.Exit(1 if count.wrong else 0)


@app.command()
def jobs(
    server: Annotated[str, typer.Option("--server", help="Address of the server.")] = "http://localhost:8080",
    email: Email = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    cancel: Annotated[str | None, typer.Option(metavar="ID")] = None,
    retry: Annotated[str | None, typer.Option(metavar="ID")] = None,
    delete: Annotated[str | None, typer.Option(metavar="ID")] = None,
) -> None:
    """List your jobs at a server, or act on one."""
    from local.cli.client import ApiError
    from local.cli.progress import printable

    try:
        client = _client(server, email)
        for action, job_id in (("cancel", cancel), ("retry", retry), ("delete", delete)):
            if job_id is not None:
                client.act(job_id, action)
        for job in client.jobs(limit=limit):
            done = f"{job['percent']} %" if job["state"] == "converting" else job["reason"] or ""
            typer.echo(f"{job['id']}  {job['state']:10}  {done:14}  {printable(job['filename'])}")
    except ApiError as error:
        _fail(str(error))


def run() -> None:
    """Run the command; the entry point of the distribution."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def _accounts(state: Path | None) -> "Iterator[Accounts]":
    """The accounts of the server on this machine; what goes wrong with them ends the command."""
    from functions.auth.accounts import Accounts
    from functions.common.config import load
    from functions.common.database import Database
    from local.server.state import settings_here

    try:
        database = Database(load(settings_here(state)).database_url)
        try:
            yield Accounts(database)
        finally:
            database.close()
    except ServiceError as error:
        _fail(error.detail)
    except SettingError as error:
        _fail(str(error))


def _client(server: str, email: str | None, *, uploads: bool = False) -> "Client":
    from local.cli.client import ApiError, Client

    token = os.environ.get("VIDEO2MP3_TOKEN", "")
    client = Client(server, token)
    if uploads:
        client.wake()
    if not token:
        try:
            client.login(email or typer.prompt("E-mail", err=True), _password(confirm=False))
        except ApiError as error:
            _fail(str(error))
    return client


def _password(*, confirm: bool) -> str:
    """The password, never from the command line, where every process could read it."""
    return os.environ.get("VIDEO2MP3_PASSWORD") or typer.prompt(
        "Password", hide_input=True, confirmation_prompt=confirm, err=True
    )


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def _usage(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
