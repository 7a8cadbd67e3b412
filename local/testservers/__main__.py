"""`local/services up|down|env|secrets`."""

import json
import secrets
import shlex
import tempfile
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.table import Table

from local.server.state import settings
from local.testservers.fleet import Fleet
from local.testservers.server import ServerError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Real servers for development and tests: plain processes on loopback, with data that goes with them.",
)
_errors = Console(stderr=True)


@app.command()
def up() -> None:
    """Install what is missing, start what does not run; what has to be compiled is compiled once."""
    fleet = Fleet()
    began = fleet.up(say=lambda text: _errors.print(text, style="dim", markup=False))
    table = Table("server", "version", "port", "install s", "start s")
    for started in began:
        if started.error is None:
            ports = ", ".join(str(started.server.port(purpose)) for purpose in started.server.ports)
            row = (started.server.version(), ports, f"{started.install_seconds:.0f}", f"{started.start_seconds:.1f}")
        else:
            row = ("not up", "", f"{started.install_seconds:.0f}", "")
        table.add_row(started.server.name, *row)
    Console().print(table)
    failed = [started for started in began if started.error is not None]
    for started in failed:
        _errors.print(f"{started.server.name}: {started.error}", markup=False)
    if failed:
        raise typer.Exit(1)


@app.command()
def down() -> None:
    """Stop what `up` started, and remove its data."""
    for server in Fleet().down():
        _errors.print(f"{server.name} is down", style="dim", markup=False)


@app.command()
def env() -> None:
    """Print how the running servers are reached, for `eval "$(local/services env)"`."""
    urls = Fleet().urls()
    if not urls:
        _fail("No server runs; start them with local/services up.")
    for name, value in urls.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command("secrets")
def print_secrets() -> None:
    """Print fresh secrets for local/compose.yaml, as `local/.env` has to hold them."""
    with tempfile.TemporaryDirectory() as folder:
        made = settings(Path(folder), env={})
    for name in ("RABBITMQ", "MYSQL", "MONGODB", "MINIO"):
        typer.echo(f"{name}_PASSWORD={secrets.token_hex(24)}")
    typer.echo(f"LINK_KEY={made['LINK_KEY']}")
    typer.echo(f"TOKEN_JWKS='{made['TOKEN_JWKS']}'")
    # In double quotes, as JSON has them, \\n stands for the end of a line there.
    typer.echo(f"TOKEN_PRIVATE_KEY={json.dumps(made['TOKEN_PRIVATE_KEY'])}")


def _fail(text: str) -> NoReturn:
    _errors.print(text, markup=False)
    raise typer.Exit(1)


if __name__ == "__main__":
    try:
        app()
    except ServerError as error:
        _errors.print(str(error), markup=False)
        raise SystemExit(1) from error
