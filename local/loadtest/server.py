"""A server of the burst's own, whose processes, rows, blobs and mails it can look at."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import requests

from functions.common.config import NEEDS
from local.loadtest.processes import Families, OneTree, Usage
from local.loadtest.rows import Rows
from local.loadtest.snapshot import Snapshot
from local.measure.processes import free_port
from local.server.state import WORK, blobs_url, database_url, settings

_ROOT: Final = Path(__file__).parents[2]
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 20.0
#: Addresses that a burst must not take from whoever starts it: its data are its own.
_OURS: Final = frozenset(name for names in NEEDS.values() for name in names) | {"K_SINK", "WAKE_URL"}
#: A mailbox file: the job's id begins its name, the number of equal Message-IDs ends it.
_MAIL: Final = re.compile(r"([0-9a-f-]{36})\.(\d+)\.(\w+)-[0-9a-f]{8}\.(\d+)\.eml")
_WAITED: Final = re.compile(r"(\w+): \w+ \S+ waited ([\d.]+) s for its start")


class NoServer(Exception):
    """The server does not start."""


@dataclass(frozen=True)
class Mail:
    """A mail that came."""

    job_id: str
    run: int
    outcome: str
    #: Seconds since 1970.
    at: float


class OwnServer:
    """`video2mp3 serve`, everything in one process or a process per function, on data of its own.

    Args:
        folder: an empty folder for its state and its log.
        given: addresses of what it keeps elsewhere; empty for one process that keeps all in its folder.
        services: a process per function.
        idle_seconds: with `services`, how long a function runs on after its last request; None for ever.
    """

    def __init__(
        self, folder: Path, given: Mapping[str, str], *, services: bool = False, idle_seconds: float | None = None
    ) -> None:
        self.folder, self.state, self.log_path = folder, folder / "state", folder / "server.log"
        self.services, self.idle_seconds = services, idle_seconds
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.mail_folder = self.state / "mail"
        own = {
            "DATABASE_URL": database_url(self.state),
            "BLOBS_URL": blobs_url(self.state),
            "MAIL_URL": f"file://{self.mail_folder}",
            **given,
        }
        self._env = {name: value for name, value in os.environ.items() if name not in _OURS} | own
        #: As functions.common.config reads them.
        self.settings = {"PUBLIC_URL": self.url, **settings(self.state, env=self._env)}
        self._tree = OneTree()
        self._families = Families(_name_by_pid)
        self._process: subprocess.Popen[bytes] | None = None
        self._usage: dict[str, Usage] = {}
        self._root: psutil.Process | None = None
        self._log_begins = 0

    @property
    def rows(self) -> Rows:
        """What its database holds."""
        return Rows(self.settings["DATABASE_URL"])

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            NoServer: it does not.
        """
        command = [sys.executable, "-P", "-m", "local.loadtest.reaper"]
        command += [str(Path(sys.executable).with_name("video2mp3")), "serve", "--port", str(self.port)]
        command += ["--state", str(self.state), *(["--services"] if self.services else [])]
        if self.idle_seconds is not None:
            command += ["--scale-to-zero", str(self.idle_seconds)]
        with self.log_path.open("ab") as log:
            # A session of its own: Ctrl-C is for us, and a busy Linux shares its cores out among sessions.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._env,
                cwd=_ROOT,
                start_new_session=True,
            )
        ends = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends:
                self.kill()
                raise NoServer(f"the server does not start:\n{self.log()[-2000:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with suppress(requests.RequestException):
            # By address: a name would be tried as IPv6 first.
            return requests.get(f"http://127.0.0.1:{self.port}/healthz", timeout=5).ok
        return False

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it and all that it started at once, as a power cut would."""
        if self._process is None:
            return
        with suppress(psutil.Error):
            # Gunicorn's workers and the programs of --services are in sessions of their own.
            for process in psutil.Process(self._process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def log(self) -> str:
        """What it has said so far."""
        return self.log_path.read_text(errors="replace")

    def root(self) -> psutil.Process:
        """Its first process, a child of the reaper.

        Raises:
            psutil.Error: it does not run.
        """
        if self._process is None:
            raise psutil.NoSuchProcess(0)
        if self._root is None or not self._root.is_running():
            reaper = psutil.Process(self._process.pid)
            self._root = next((child for child in reaper.children() if "serve" in child.cmdline()), None)
        if self._root is None:
            raise psutil.NoSuchProcess(self._process.pid)
        return self._root

    def programs(self) -> dict[str, psutil.Process]:
        """With `services`, the process of each function, of ingress and dispatcher, by its name."""
        found = {}
        with suppress(psutil.Error):
            for child in self.root().children():
                with suppress(psutil.Error):
                    name = name_of(child)
                    if name is not None:
                        found[name] = child
        return found

    def usage(self, there: Snapshot) -> dict[str, Usage]:
        """What each function runs on and has used so far; while nothing runs, what it had used by then."""
        try:
            root = there.find(self.root().pid)
        except psutil.Error:
            root = None
        # One that is being killed may have lost its reaper already, and init's orphans are not ours.
        if root is not None and self._process is not None and root.parent == self._process.pid:
            self._usage = (self._families if self.services else self._tree).look(root, there)
        else:
            for usage in self._usage.values():
                usage.instances, usage.memory_bytes = 0, 0
        return self._usage

    def mails(self) -> list[Mail]:
        """All that came."""
        found = []
        for entry in os.scandir(self.mail_folder) if self.mail_folder.exists() else ():
            if match := _MAIL.fullmatch(entry.name):
                found.append(Mail(match[1], int(match[2]), match[3], entry.stat().st_mtime))
        return found

    def strange_mails(self) -> list[str]:
        """Files in the mailbox that are no mail about a job."""
        names = [entry.name for entry in os.scandir(self.mail_folder)] if self.mail_folder.exists() else []
        return [name for name in names if not _MAIL.fullmatch(name)]

    def leftovers(self) -> list[str]:
        """Work in progress that nobody works on any more, and encoders that still run."""
        found = [f"{WORK}/{path.name}" for path in (self.state / WORK).glob("*")]
        with suppress(psutil.Error):
            running = Counter(process.name() for process in self.root().children(recursive=True))
            found += [f"{count} {name} still run" for name, count in running.items() if name in ("ffmpeg", "ffprobe")]
        return found

    def begin(self) -> None:
        """Forget what was waited for until now."""
        self._log_begins = len(self.log())

    def waits_for_starts(self) -> dict[str, list[float]]:
        """How long requests waited for a function to start, in seconds, by function."""
        found: dict[str, list[float]] = {}
        for name, waited in _WAITED.findall(self.log()[self._log_begins :]):
            found.setdefault(name, []).append(float(waited))
        return found


def name_of(process: psutil.Process) -> str | None:
    """What a direct child of `serve --services` is: a function, the ingress or the dispatcher."""
    words = process.cmdline()
    if "--name" in words:
        return words[words.index("--name") + 1].removeprefix("video2mp3-")
    return words[words.index("broker") + 1] if "broker" in words else None


def _name_by_pid(pid: int) -> str | None:
    with suppress(psutil.Error):
        return name_of(psutil.Process(pid))
    return None
