"""Every function in a process of its own, on real servers: the cluster's shape on one machine.

The gateway is in this process, as nginx is in the cluster; behind it one gunicorn per function, the broker's ingress
and its dispatcher. A process that ends is started again.
"""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import requests

from functions.common.config import NEEDS, OPTIONAL, load
from functions.common.errors import SettingError
from local.server import alone
from local.server.activator import Activator
from local.server.gateway import Gateway, Internal, WSGIApp
from local.server.listener import Listener
from local.server.page import create_page
from local.server.proxy import Proxy
from local.server.rates import Rates

_HOST: Final = "127.0.0.1"
_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 6.0
#: Waits before a process that ended is started again, the last of them for ever.
_WAITS_SECONDS: Final = (0.2, 1.0, 5.0)
#: A process that lived so long has no history.
_LASTING_SECONDS: Final = 60.0
#: Which function's event the one before it brings about.
_NEXT: Final = {"upload": "convert", "convert": "notify"}
_log = logging.getLogger("services")


@dataclass
class _Program:
    """A process that is kept alive."""

    name: str
    command: list[str]
    env: dict[str, str]
    port: int | None
    process: "subprocess.Popen[bytes] | None" = None
    began: float = 0.0
    ends: int = 0
    #: When it is to be started again.
    due: float = 0.0
    #: Says when it has to run; None where it always has to.
    activator: Activator | None = None

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}"


class Services:
    """Runs the functions that these settings allow, each as `video2mp3 serve FUNCTION` serves it.

    Args:
        settings: as functions.common.config reads them; BROKER_URL is RabbitMQ's.
        port: where the gateway listens on 127.0.0.1; 0 for any free port.
        reload: whether a function is started again when its files change.
        idle_seconds: how long a function runs on after its last request, to be started by the next one; None to keep
            all of them running.
        stopped: whether a start that is under way is to be given up.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        *,
        port: int,
        reload: bool = False,
        idle_seconds: float | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        config = load(settings)
        if not config.broker_url.startswith(("amqp:", "amqps:")):
            raise SettingError("BROKER_URL must be RabbitMQ's, since each function is a process of its own")
        self._listener, self._internal = Listener(_HOST, port), Listener(_HOST, 0)
        #: Where the gateway is.
        self.url = f"http://localhost:{self._listener.port}"
        self._stopping = threading.Event()
        self._stopped = stopped
        ingress = _Program("ingress", [], _only(settings, "BROKER_URL"), _free_port())
        ingress.command = [*_COMMAND, "broker", "ingress", "--host", _HOST, "--port", str(ingress.port)]
        given = {"PUBLIC_URL": self.url, **settings, "BROKER_URL": ingress.url, "HOST": _HOST}
        functions = {}
        for name in NEEDS:
            if name in OPTIONAL and not settings.get("BRIDGE_AMQP_URL"):
                continue
            load(given, function=name)
            taken = _free_port()
            told = alone.settings(name, _only(given, *NEEDS[name]), port=taken)
            program = _Program(name, alone.command(name, reload=reload), told, taken)
            if idle_seconds is not None:
                answers = partial(_answers, program)
                program.activator = Activator(name, program.url, idle_seconds=idle_seconds, answers=answers)
                if name in _NEXT:
                    program.env["WAKE_URL"] = given.get("WAKE_URL", self._address(_NEXT[name]))
            functions[name] = program
        settings_ = _only(settings, "BROKER_URL", "BRIDGE_AMQP_URL")
        dispatcher = _Program("dispatcher", [*_COMMAND, "broker", "dispatcher"], settings_, None)
        dispatcher.command += ["--parallelism", f"convert={config.convert_slots}"]
        for name, program in functions.items():
            dispatcher.command += ["--service", f"{name}={self._address(name) if program.activator else program.url}"]
        self._programs = [ingress, *functions.values(), dispatcher]
        apps: dict[str, WSGIApp] = {
            name: program.activator or Proxy(program.url) for name, program in functions.items()
        }
        rates = Rates(requests_per_minute=config.requests_per_minute, logins_per_minute=config.logins_per_minute)
        self._listener.app = Gateway(apps, create_page(), rates)
        self._internal.app = Internal(apps)
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def __enter__(self) -> Self:
        """Start everything and wait until it answers.

        Raises:
            SettingError: something does not start.
        """
        self._keeper.start()
        for listener in (self._listener, self._internal):
            threading.Thread(target=listener.serve_forever, args=(0.1,), daemon=True).start()
        ends = time.monotonic() + _READY_SECONDS
        for program in (program for program in self._programs if not program.activator):
            while not _answers(program) and not self._stopped():
                if time.monotonic() > ends or program.ends >= len(_WAITS_SECONDS):
                    self.__exit__(None, None, None)
                    raise SettingError(f"{program.name} does not start; its log tells why")
                time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give running work back and end, within a few seconds whatever still runs."""
        self._stopping.set()
        for listener in (self._listener, self._internal):
            listener.shutdown()
            listener.server_close()
        self._keeper.join()
        running = [program.process for program in self._programs if program.process is not None]
        for process in running:
            # To gunicorn this means at once, to the broker's programs what SIGTERM means.
            process.send_signal(signal.SIGINT)
        ends = time.monotonic() + _STOP_SECONDS
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, ends - time.monotonic()))
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _address(self, function: str) -> str:
        return f"http://{_HOST}:{self._internal.port}/{function}"

    def _keep(self) -> None:
        # From one thread that lives as long as they do, since they die with the thread that started them.
        while not self._stopping.is_set():
            now = time.monotonic()
            for program in self._programs:
                if program.activator is not None and not program.activator.wanted():
                    _rest(program)
                elif program.process is None or program.process.poll() is not None:
                    self._revive(program, now)
            self._stopping.wait(0.1)

    def _revive(self, program: _Program, now: float) -> None:
        if program.process is not None and not program.due:
            lasted = now - program.began
            program.ends = 1 if lasted > _LASTING_SECONDS else program.ends + 1
            wait = _WAITS_SECONDS[min(program.ends, len(_WAITS_SECONDS)) - 1]
            program.due = now + wait
            _log.warning("%s ended (%s); starting it again in %g s", program.name, program.process.returncode, wait)
            # Its workers may outlive a master that was killed.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(program.process.pid, signal.SIGKILL)
        if now >= program.due:
            program.due = 0.0
            program.began = now
            try:
                program.process = subprocess.Popen(
                    [*_guard(), *program.command], env=program.env, stdin=subprocess.DEVNULL, start_new_session=True
                )
            except OSError:
                # The others end with this thread, so it has to live.
                program.due = now + _WAITS_SECONDS[-1]
                _log.exception("%s cannot be started right now", program.name)


def _rest(program: _Program) -> None:
    """Ask a function that nobody needs to end, and forget it once it has."""
    if program.process is not None and program.process.poll() is None:
        program.process.terminate()
    else:
        program.process = None


#: Settings that are kept from whoever does not need them: addresses with passwords, and keys.
_NEEDED: Final = frozenset(name for names in NEEDS.values() for name in names) - {"PUBLIC_URL"}


def _only(settings: Mapping[str, str], *names: str) -> dict[str, str]:
    """What a program is told."""
    told = {name: value for name, value in settings.items() if name not in _NEEDED or name in names}
    if "BLOBS_URL" not in names:
        told = {name: value for name, value in told.items() if not name.startswith("AWS_")}
    return told


_COMMAND: Final = [str(Path(sys.executable).with_name("video2mp3"))]


def _guard() -> list[str]:
    """What has a process end with this one, however this one ends, where the platform has it."""
    return ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []


def _answers(program: _Program) -> bool:
    if program.process is None or program.process.poll() is not None:
        return False
    if program.port is None:
        return True
    with suppress(requests.RequestException), requests.Session() as session:
        # No proxy stands between.
        session.trust_env = False
        return session.get(f"{program.url}/healthz", timeout=5).ok
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
