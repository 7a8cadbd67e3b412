"""All servers of one tree: where they are, and how they are brought up and down together."""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from local.installation import Progress, SetupError, install_packages, this_family
from local.testservers import golang
from local.testservers.ferretdb import FerretDB
from local.testservers.mariadb import MariaDB
from local.testservers.postgresql import PostgreSQL
from local.testservers.rabbitmq import RabbitMQ
from local.testservers.server import Server, ServerError
from local.testservers.smtp import Smtp
from local.testservers.versitygw import VersityGateway

ROOT: Final = Path(__file__).parents[2]
KINDS: Final[tuple[type[Server], ...]] = (RabbitMQ, MariaDB, PostgreSQL, FerretDB, VersityGateway, Smtp)


@dataclass(frozen=True)
class Started:
    """What came of starting a server."""

    server: Server
    #: Why it could not be started.
    error: str | None
    install_seconds: float
    start_seconds: float


class Fleet:
    """The servers of one state directory.

    Args:
        folder: that directory; None for the one of this tree.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()
        programs = cache_folder()
        self.servers = [kind(self.folder / kind.name, programs) for kind in KINDS]

    def up(self, *, say: Callable[[str], None]) -> list[Started]:
        """Install what is missing and start what does not run, all at once.

        Args:
            say: told what is going on.
        """
        with self._locked():
            began = time.monotonic()
            refusal = _install(self.servers, say)
            packages_seconds = time.monotonic() - began
            with ThreadPoolExecutor(len(self.servers)) as pool:
                return list(pool.map(lambda server: _start(server, refusal, packages_seconds, say), self.servers))

    def down(self) -> list[Server]:
        """Stop what runs, remove all data, and return which servers ran."""
        with self._locked():
            running = [server for server in self.servers if server.process.found is not None]
            with ThreadPoolExecutor(len(self.servers)) as pool:
                list(pool.map(Server.stop, self.servers))
        return running

    def urls(self) -> dict[str, str]:
        """How the servers that run are reached: names and values."""
        return {
            name: value
            for server in self.servers
            if server.process.found is not None
            for name, value in server.urls().items()
        }

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        if self.folder.stat().st_uid != os.geteuid():
            raise ServerError(f"{self.folder} belongs to somebody else.")
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def default_folder() -> Path:
    """Where the servers of this tree live.

    Not below the tree or the home directory: PostgreSQL runs as an account of its own, which may not enter there.
    """
    mark = hashlib.sha256(f"{os.geteuid()} {ROOT}".encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"video2mp3-services-{mark}"


def cache_folder() -> Path:
    """Where compiled programs are kept, for every tree of this user (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "video2mp3" / "programs"


def _install(servers: Iterable[Server], say: Callable[[str], None]) -> str | None:
    """Install the packages of what is missing; return why that is not possible."""
    missing = [package for server in servers if not server.is_installed() for package in server.packages]
    # The gateway holds no data, so each of its tests starts one; Debian has it where people's PATH may not look.
    if shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") is None:
        missing.append("nginx-light")
    # What tests of the page look through.
    if shutil.which("chromium") is None:
        missing.append("chromium")
    if sys.platform == "linux" and shutil.which("bwrap") is None:
        missing.append("bubblewrap")
    if not missing:
        return None
    say(f"installing {' '.join(missing)}")
    progress = Progress("Installing servers", sys.stderr)
    try:
        install_packages(missing, this_family(), progress)
    except SetupError as error:
        return str(error)
    finally:
        progress.close()
    return None


def _start(server: Server, refusal: str | None, packages_seconds: float, say: Callable[[str], None]) -> Started:
    began = time.monotonic()
    install_seconds = 0.0
    try:
        if not server.is_installed():
            if server.packages:
                raise ServerError(refusal or f"{' '.join(server.packages)} did not bring its programs.")
            say(f"compiling {server.name}: minutes, the first time")
            with golang.alone(server.programs, server.name):
                if not server.is_installed():
                    server.build()
            install_seconds = time.monotonic() - began
        elif server.packages:
            install_seconds = packages_seconds
        starting = time.monotonic()
        server.start()
        say(f"{server.name} is up")
        return Started(server, None, install_seconds, time.monotonic() - starting)
    except ServerError as error:
        say(f"{server.name} is not up")
        return Started(server, str(error), install_seconds, 0.0)
