"""`video2mp3 serve`: everything in one process, or one function under gunicorn."""

import logging
import os
import sys
import webbrowser
from pathlib import Path
from select import select
from typing import Final

from functions.common import logs
from functions.common.config import NEEDS, load
from functions.common.errors import SettingError, Unavailable
from local.cli.stopping import stop_signals
from local.server import alone
from local.server.state import InUseError, default_directory, locked, settings, settings_here


def serve_all(*, port: int, state: Path | None) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        SettingError: a setting is wrong, the state directory is in use, or the port is taken.
    """
    from local.server.run import LocalServer

    directory = (state or default_directory()).absolute()
    stop = stop_signals()
    try:
        with locked(directory):
            chosen = settings(directory)
            logs.setup(load(chosen).log_format)
            with LocalServer(chosen, directory, port=port, opened=_tell) as server:
                sys.stderr.write(f"video2mp3 serves on {server.url}  (state in {directory}; Ctrl-C ends it)\n")
                _tell(server.owner_address)
                page = directory / "open.html"
                _open(server.owner_address, page)
                os.read(stop, 1)
                page.unlink(missing_ok=True)
        # A thread that still waits for a client who does not read must not hold up the end.
        logging.shutdown()
        os._exit(0)
    except InUseError as error:
        raise SettingError(str(error)) from error
    except OSError as error:
        raise SettingError(f"the port {port} or {directory} cannot be used: {error.strerror}") from error


def _tell(address: str) -> None:
    sys.stderr.write(f"As this machine's owner, once: {address}\n")


def _open(address: str, page: Path) -> None:
    """Open a browser for whoever sits at this machine's screen."""
    has_screen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not (sys.stderr.isatty() and has_screen):
        return
    # By a file that nobody else reads: everybody sees the words that a browser is started with.
    page.unlink(missing_ok=True)
    with os.fdopen(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">\n')
    webbrowser.open(page.as_uri())


def serve_services(*, port: int, state: Path | None, reload: bool, idle_seconds: float | None) -> None:
    """Serve every function as a process of its own, on real servers, until SIGINT or SIGTERM.

    Args:
        port: where the gateway listens.
        state: the state directory, which holds the secrets.
        reload: whether a function is started again when its files change.
        idle_seconds: see Services.

    Raises:
        SettingError: a server is not known, or something does not start.
    """
    from functions.common.database import migrate
    from local.server.services import Services

    directory = (state or default_directory()).absolute()
    stop = stop_signals()
    chosen = settings(directory, env={**_servers(), **os.environ})
    logs.setup(load(chosen).log_format)
    try:
        migrate(chosen["DATABASE_URL"])
        with Services(
            chosen,
            port=port,
            reload=reload,
            idle_seconds=idle_seconds,
            stopped=lambda: bool(select([stop], [], [], 0)[0]),
        ) as services:
            sys.stderr.write(f"video2mp3 serves on {services.url}  (secrets in {directory}; Ctrl-C ends it)\n")
            os.read(stop, 1)
    except Unavailable as error:
        raise SettingError(f"the database cannot be reached ({error.__cause__})") from error
    except OSError as error:
        raise SettingError(f"the port {port} or {directory} cannot be used: {error.strerror}") from error
    logging.shutdown()
    os._exit(0)


def _servers() -> dict[str, str]:
    """Settings that name the servers of `local/services up`, as far as the environment leaves them out.

    Raises:
        SettingError: one that is needed does not run.
    """
    found: dict[str, str] = {}
    if any(not os.environ.get(name) for name in _SERVERS):
        try:
            from local.testservers.fleet import Fleet
        except ModuleNotFoundError:
            # Only the environment for development has what they need.
            pass
        else:
            found = Fleet().urls()
    chosen = {name: value for name, value in found.items() if name.startswith("AWS_")}
    for name, server in _SERVERS.items():
        if not os.environ.get(name):
            if server not in found:
                raise SettingError(f"{name} is missing: start servers with local/services up, or name your own")
            chosen[name] = found[server] + _MORE.get(name, "")
    return chosen


_KEYS: Final = frozenset({"TOKEN_PRIVATE_KEY", "TOKEN_JWKS", "LINK_KEY"})
#: Settings, and the names under which `local/services env` prints their values.
_SERVERS: Final = {
    "DATABASE_URL": "MYSQL_URL",
    "BLOBS_URL": "MONGODB_URL",
    "BROKER_URL": "AMQP_URL",
    "MAIL_URL": "SMTP_URL",
}
#: FerretDB cannot read back files of more than 70 MB in chunks of the usual size.
_MORE: Final = {"BLOBS_URL": "?chunk_size_bytes=131072"}


def serve_one(function: str, *, port: int, state: Path | None, reload: bool = False) -> None:
    """Become gunicorn serving one function.

    Raises:
        SettingError: there is no such function, or a setting is missing.
    """
    if function not in NEEDS:
        raise SettingError(f"there is no function {function!r}; there are {', '.join(NEEDS)}")
    chosen = {"PUBLIC_URL": "http://localhost:8080"} if "KUBERNETES_SERVICE_HOST" not in os.environ else {}
    chosen |= settings_here(state)
    for name in _KEYS - set(NEEDS[function]):
        # A process that does not need a key does not have it.
        chosen.pop(name, None)
    if "BROKER_URL" in NEEDS[function] and not chosen.get("K_SINK") and chosen.get("BROKER_URL") == "memory:":
        raise SettingError(f"{function} alone needs to know where events go: set BROKER_URL or K_SINK")
    load(chosen, function=function)
    chosen = {"HOST": "127.0.0.1", **chosen}
    gunicorn = alone.command(function, reload=reload)
    os.execve(gunicorn[0], gunicorn, alone.settings(function, chosen, port=port))  # noqa: S606 - no shell is wanted
