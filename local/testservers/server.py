"""What every server has in common: a folder, ports, a password, and the way from nothing to ready."""

import json
import secrets
import shutil
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final

from local.testservers.process import Process

HOST: Final = "127.0.0.1"
_READY_SECONDS: Final = 90.0


class ServerError(Exception):
    """A server could not be installed or started; the text says why, for a person."""


class Server(ABC):
    """One server in a folder of its own.

    Args:
        folder: where all that it writes lies.
        programs: where programs are kept that had to be compiled.
    """

    name: ClassVar[str]
    #: Debian packages that bring it.
    packages: ClassVar[tuple[str, ...]] = ()
    #: Ports by what they are for, and the numbers that are taken if they are free.
    ports: ClassVar[Mapping[str, int]]

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        self.process = Process(folder, self.name)

    def is_installed(self) -> bool:
        """Whether its programs are there."""
        return True

    def build(self) -> None:
        """Compile what no package brings.

        Raises:
            ServerError: that is not possible.
        """
        raise ServerError(f"{self.name} comes in a package.")

    @abstractmethod
    def version(self) -> str:
        """What the server says its version is."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what it needs before its first start, in its empty folder."""

    @abstractmethod
    def launch(self) -> None:
        """Start its process."""

    @abstractmethod
    def check(self) -> None:
        """Do what a client does first; any exception means that it is not ready."""

    @abstractmethod
    def urls(self) -> dict[str, str]:
        """How it is reached: names of settings and their values."""

    def start(self) -> None:
        """Start it unless it runs, on what is there of an earlier start.

        Raises:
            ServerError: it does not become ready.
        """
        if self.is_ready():
            return
        done = self.folder / "prepared"
        try:
            if not done.exists():
                self.process.kill()
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(mode=0o700, parents=True)
                self.prepare()
            self.process.kill()
            self.launch()
            self._wait()
            done.touch()
        except (OSError, ValueError) as error:
            raise ServerError(f"{self.name}: {error}") from error

    def is_ready(self) -> bool:
        """Whether it runs and answers."""
        if self.process.found is None:
            return False
        with suppress(Exception):
            self.check()
            return True
        return False

    def stop(self) -> None:
        """Stop it and remove all that it wrote."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self) -> None:
        """End it as a power cut would; `start` brings it back with what it had kept."""
        self.process.kill()

    @cached_property
    def password(self) -> str:
        """Of its one user, made for this folder."""
        return str(self._kept("password", secrets.token_urlsafe))

    def port(self, purpose: str) -> int:
        """The port that this folder's server has for a purpose."""
        return int(str(self._kept(f"port-{purpose}", lambda: _free(self.ports[purpose]))))

    def _kept(self, name: str, make: Callable[[], object]) -> object:
        path = self.folder / f"{name}.json"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(json.dumps(make()))
        return json.loads(path.read_text())

    def _wait(self) -> None:
        ends = time.monotonic() + _READY_SECONDS
        while True:
            try:
                self.check()
                return
            # Each client library has its own words for "nobody there yet".
            except Exception as error:
                if self.process.found is None:
                    raise ServerError(f"{self.name} ended:\n{self.process.last_words()}") from error
                if time.monotonic() > ends:
                    raise ServerError(f"{self.name} does not answer: {error}\n{self.process.last_words()}") from error
            time.sleep(0.05)


def _free(preferred: int) -> int:
    """The preferred port, or any other if somebody has it."""
    for wanted in (preferred, 0):
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, wanted))
            return int(probe.getsockname()[1])
    raise ServerError("there is no free port")
