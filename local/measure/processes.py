"""Processes that are measured: started with a clean environment, asked over a bare socket, ended by their group."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
_LOOK_SECONDS: Final = 0.002
_PATIENCE_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 600.0


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def head(method: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The lines that begin a request whose connection ends with its answer (RFC 9112)."""
    given = {"Host": "localhost", "Connection": "close", **(headers or {})}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "", ""]
    return "\r\n".join(lines).encode()


def send(port: int, parts: Iterable[bytes]) -> Answer:
    """Send a request over a connection of its own; the client's work is the same few calls, whoever answers.

    Raises:
        OSError: nobody listens, or the connection broke.
    """
    with socket.create_connection((HOST, port), timeout=_ANSWER_SECONDS) as connection:
        for part in parts:
            connection.sendall(part)
        received = bytearray()
        while chunk := connection.recv(65536):
            received += chunk
    return parsed(bytes(received))


def parsed(received: bytes) -> Answer:
    """Read the status and body of all that came over a connection.

    Raises:
        ConnectionError: it is no answer.
    """
    first, _, body = received.partition(b"\r\n\r\n")
    words = first.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise ConnectionError(f"no HTTP answer: {received[:100]!r}")
    return Answer(int(words[1]), body)


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a program needs of this process's environment, and nothing that would change how it works."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, **(more or {})}


def without_walls(folder: Path) -> dict[str, str]:
    """An environment in which bubblewrap builds nothing.

    The kernel counts nowhere what a process took whose namespace ends with it. The walls themselves take a few
    milliseconds (docs/media.md).

    Args:
        folder: where the program comes that is found in bubblewrap's place; made here.
    """
    folder.mkdir()
    program = folder / "bwrap"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:{clean_environment()['PATH']}"}


class Server:
    """A program that listens, in a process group of its own.

    Args:
        command: its argv.
        port: where it will listen.
        log: takes what it says.
        env: its environment, besides `clean_environment`.
        folder: where it is started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        log: Path,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.port = port
        self._log = log
        with log.open("wb") as file:
            self._began = time.perf_counter()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=clean_environment(env),
                cwd=folder,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the whole group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait(self, path: str = "/healthz") -> None:
        """Ask until it answers 200, every two milliseconds while nobody listens.

        Raises:
            RuntimeError: it ended, answered otherwise, or took too long.
        """
        request = head("GET", path)
        while self.age() < _PATIENCE_SECONDS:
            with suppress(ConnectionError):
                status = send(self.port, [request]).status
                if status == 200:
                    return
                raise RuntimeError(f"{path} answered {status}:\n{self.log()}")
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended:\n{self.log()}")
            time.sleep(_LOOK_SECONDS)
        raise RuntimeError(f"the server never answered:\n{self.log()}")

    def expect(self, status: int, parts: Iterable[bytes]) -> bytes:
        """Send a request and return the body of its answer.

        Raises:
            RuntimeError: the status is another.
        """
        answer = send(self.port, parts)
        if answer.status != status:
            raise RuntimeError(f"answered {answer.status}, not {status}: {answer.body[:500]!r}\n{self.log()}")
        return answer.body

    def age(self) -> float:
        """Seconds since just before the process was started."""
        return time.perf_counter() - self._began

    def log(self) -> str:
        """The end of what it said."""
        return self._log.read_text(errors="replace")[-4000:]

    def peak_bytes(self) -> int | None:
        """The most memory it ever held (proc(5), VmHWM); None where the system does not tell."""
        with suppress(OSError):
            return _held_bytes(self._process.pid, "VmHWM")
        return None

    def worker_bytes(self, name: str) -> int:
        """What its one child, a server's worker, holds (`VmRSS`) or held at most (`VmHWM`), by proc(5).

        Raises:
            OSError: the system does not tell.
        """
        [worker] = self.children()
        held = _held_bytes(worker, name)
        if held is None:
            raise OSError(f"the worker has no {name}")
        return held

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def children(self) -> list[int]:
        """Its child processes.

        Raises:
            OSError: the system does not tell.
        """
        return [int(word) for word in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def cpu_seconds(self) -> float | None:
        """CPU time of it and of its children that ended; None where the system does not tell."""
        with suppress(OSError):
            return ticks(Path(f"/proc/{self._process.pid}/stat").read_text()) / os.sysconf("SC_CLK_TCK")
        return None


def _held_bytes(pid: int, name: str) -> int | None:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def ticks(stat: str) -> int:
    """utime, stime, cutime and cstime of a line of /proc/PID/stat (proc(5)), in clock ticks."""
    # The name in parentheses may hold spaces and parentheses; the fields behind it begin with the third.
    fields = stat.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])
