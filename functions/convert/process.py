"""Running a program of ffmpeg's so that nothing outlives its limits, and reading what it says and writes."""

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from functions.common.errors import Unavailable
from functions.convert.sandbox import Limits, confined

_LINE_BYTES: Final = 4096
_LOOK_SECONDS: Final = 0.2
#: What comes in a pause, several times over.
_PIPE_BYTES: Final = 256 * 1024
_PAUSE_SECONDS: Final = 0.05
#: ffmpeg 5.1 ends with 69 on some files whose whole audio it converted, so the result decides.
PARTLY_FAILED: Final = 69
#: How the words of those begin that start it (functions.convert.sandbox); a file's own words never stand in front.
_STARTERS: Final = ("prlimit: ", "setpriv: ", "bwrap: ")


@dataclass(frozen=True)
class Command:
    """A program with its arguments (functions.convert.ffmpeg makes them), and the one file that it reads."""

    source: Path
    arguments: tuple[str, ...]


class Stopped(Exception):
    """The work was stopped from outside; nothing is known of the source."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    #: Negative for a signal; where a sandbox stood between, 128 and the signal, as shells say it.
    exit_code: int
    #: What `stop` answered, if that ended it; "timed_out" for the wall clock.
    stopped: str | None
    #: False if a limit could not be set or a wall not be built, so that it was not even started.
    started: bool = True

    @property
    def is_whole(self) -> bool:
        """Whether the program came to its own end, and to that of the recording."""
        return self.stopped is None and self.exit_code in (0, PARTLY_FAILED)

    def raise_if_interrupted(self) -> None:
        """Tell whoever stops work, and a machine that allows no more, from a recording that is bad.

        Raises:
            Stopped: `stop` answered "stopped".
            Unavailable: it could not be started.
        """
        if self.stopped == "stopped":
            raise Stopped
        if not self.started:
            raise Unavailable("ffmpeg cannot be started under its limits here.")


def run(
    command: Command,
    *,
    limits: Limits,
    stop: Callable[[], str | None],
    out: Callable[[bytes], None],
    said: Callable[[str], None],
) -> Ended:
    """Run a command to its end, in the private folder of its source; call from the thread that outlives it.

    Args:
        command: what is run.
        limits: what it may use.
        stop: asked several times a second; a text ends the process group at once.
        out: given standard output, piece by piece.
        said: given each line of standard error, from another thread.
    """
    folder = command.source.parent
    process = subprocess.Popen(
        confined(command.arguments, command.source, limits),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=_environment(folder),
        start_new_session=True,
        pipesize=_PIPE_BYTES,
    )
    started = True

    def line(text: str) -> None:
        nonlocal started
        started = started and not text.startswith(_STARTERS)
        said(text)

    reader = threading.Thread(target=_drain, args=(process.stderr, line), daemon=True)
    reader.start()
    try:
        stopped = _follow(process, limits.deadline, stop, out)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join()
        _close(process)
    return Ended(process.returncode, stopped, started)


def _follow(
    process: subprocess.Popen[bytes],
    deadline: float | None,
    stop: Callable[[], str | None],
    out: Callable[[bytes], None],
) -> str | None:
    """Read standard output until the process ends or has to; return why it has to."""
    stdout = process.stdout
    assert stdout is not None  # noqa: S101 - it is a pipe
    os.set_blocking(stdout.fileno(), False)
    began = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            if selector.select(_LOOK_SECONDS):
                chunk = stdout.read(_PIPE_BYTES)
                if chunk == b"":
                    process.wait(None if deadline is None else max(1.0, deadline - time.monotonic()))
                    return None
                if chunk:
                    out(chunk)
                    # Waking up for every piece costs a percent; short recordings have no time to wait.
                    time.sleep(min(_PAUSE_SECONDS, (time.monotonic() - began) / 20))
            reason = stop()
            if reason is not None:
                return reason
            if deadline is not None and time.monotonic() > deadline:
                return "timed_out"


class Lines:
    """Puts pieces of text together to lines.

    Args:
        line: given each.
    """

    def __init__(self, line: Callable[[str], None]) -> None:
        self._line = line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_LINE_BYTES:]
        for text in lines:
            self._line(text.decode(errors="replace"))


def _drain(stream: IO[bytes] | None, said: Callable[[str], None]) -> None:
    """Pass on each line; one that is longer than any of ffmpeg's own is a stranger's words, and is dropped."""
    whole = True
    while stream is not None and (chunk := stream.readline(_LINE_BYTES)):
        ends = chunk.endswith(b"\n")
        if whole and ends:
            said(chunk.decode(errors="replace").rstrip())
        whole = ends


def _close(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _environment(folder: Path) -> Mapping[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder)}
