"""`video2mp3 serve`: everything in one process, or one function under gunicorn."""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Final

from functions.common import logs
from functions.common.config import NEEDS, load
from functions.common.errors import SettingError
from local.server.state import InUseError, default_directory, locked, settings

_ROOT: Final = Path(__file__).parents[2]


def serve_all(*, port: int, state: Path | None) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        SettingError: a setting is wrong, the state directory is in use, or the port is taken.
    """
    from local.server.run import LocalServer

    directory = (state or default_directory()).absolute()
    stop = _stop_signals()
    try:
        with locked(directory):
            chosen = settings(directory)
            logs.setup(load(chosen).log_format)
            with LocalServer(chosen, directory, port=port) as server:
                sys.stderr.write(f"video2mp3 serves on {server.url}  (state in {directory}; Ctrl-C ends it)\n")
                os.read(stop, 1)
        # A thread that still waits for a client who does not read must not hold up the end.
        logging.shutdown()
        os._exit(0)
    except InUseError as error:
        raise SettingError(str(error)) from error
    except OSError as error:
        raise SettingError(f"the port {port} or {directory} cannot be used: {error.strerror}") from error


def _stop_signals() -> int:
    """A descriptor that has something to read once SIGINT or SIGTERM came.

    An event that a handler sets would not do: the kernel may give the signal to any thread, and the main thread, whose
    part the handlers are, would sleep on.
    """
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return readable


def serve_one(function: str, *, port: int, state: Path | None) -> None:
    """Become gunicorn serving one function.

    Raises:
        SettingError: there is no such function, or a setting is missing.
    """
    if function not in NEEDS:
        raise SettingError(f"there is no function {function!r}; there are {', '.join(NEEDS)}")
    chosen = dict(os.environ)
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        chosen = {"PUBLIC_URL": "http://localhost:8080", **settings((state or default_directory()).absolute())}
    if "BROKER_URL" in NEEDS[function] and not chosen.get("K_SINK") and chosen.get("BROKER_URL") == "memory:":
        raise SettingError(f"{function} alone needs to know where events go: set BROKER_URL or K_SINK")
    load(chosen, function=function)
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    chosen |= {"FUNCTION_TARGET": function, "PORT": str(port)}
    chosen.setdefault("HOST", "127.0.0.1")
    os.chdir(_ROOT)
    os.execve(gunicorn, [gunicorn, "-c", str(_ROOT / "functions/gunicorn.conf.py")], chosen)  # noqa: S606 - no shell is wanted
