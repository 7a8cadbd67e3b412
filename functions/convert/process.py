"""Running a program of ffmpeg's so that nothing outlives its limits, and reading what it says and writes."""

import fcntl
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from functions.common.errors import Unavailable
from functions.convert.sandbox import Limits, confined

_LINE_BYTES: Final = 4096
_LOOK_SECONDS: Final = 0.2
#: What comes in a pause, several times over; that much an unprivileged user may have (pipe(7)).
_WIDE_PIPE_BYTES: Final = 1024 * 1024
#: What a pipe holds at least where nobody may say so.
_NARROW_PIPE_BYTES: Final = 16 * 1024
#: Room for larger pieces is had from the system anew, page by page, for each.
_READ_BYTES: Final = 64 * 1024
_PAUSE_SECONDS: Final = 0.2
#: How full a pipe should be found: whoever writes must not wait, and how fast it writes changes.
_WISHED_SHARE: Final = 0.5
#: ffmpeg 5.1 ends with 69 on some files whose whole audio it converted, so the result decides.
PARTLY_FAILED: Final = 69
#: How the words of those begin that start it (functions.convert.sandbox), which come first; later lines a file may have
#: made up, by a tag whose name is one.
_STARTERS: Final = ("prlimit: ", "setpriv: ", "bwrap: ")


@dataclass(frozen=True)
class Command:
    """A program with its arguments (functions.convert.ffmpeg makes them), and the one file that it reads."""

    source: Path
    arguments: tuple[str, ...]
    #: Whether it has a second output, to a pipe; its name has yet to follow the arguments.
    aside: bool = False


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


@dataclass(frozen=True)
class _Pipe:
    """A pipe that a program writes to."""

    descriptor: int
    #: How much it holds, about.
    room_bytes: int
    #: Reads some of what has come; how many bytes, 0 at the end. Raises BlockingIOError where there is nothing.
    read: Callable[[int], int]


def run(
    command: Command,
    *,
    limits: Limits,
    stop: Callable[[], str | None],
    out: Callable[[bytes], None],
    said: Callable[[str], None],
    aside: Callable[[int], int] | None = None,
    pauses: "Pauses | None" = None,
) -> Ended:
    """Run a command to its end, in the private folder of its source; call from the thread that outlives it.

    Args:
        command: what is run.
        limits: what it may use.
        stop: asked several times a second; a text ends the process group at once.
        out: given standard output, piece by piece.
        said: given each line of standard error, from another thread.
        aside: for a command that has a second output: reads some of what has come by the descriptor that it is given;
            how many bytes, 0 at the end. Raises BlockingIOError where there is nothing right now.
        pauses: taken between looks at the pipes; ended where `stop` may have something to say.
    """
    folder, arguments = command.source.parent, command.arguments
    with ExitStack() as opened, ExitStack() as theirs:
        pipe, stdout = _wide_pipe(_reading(out), opened, theirs)
        pipes, handed_on = [pipe], list[int]()
        if aside is not None:
            pipe, name = _wide_pipe(aside, opened, theirs)
            pipes.append(pipe)
            arguments, handed_on = (*arguments, f"pipe:{name}"), [name]
        process = subprocess.Popen(
            confined(arguments, command.source, limits),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment(folder),
            start_new_session=True,
            pass_fds=handed_on,
        )
        theirs.close()
        return _attend(process, pipes, limits, stop, said, pauses or Pauses())


class Pauses:
    """Pauses between looks at what a program writes: waking up for every piece would cost a percent.

    Args:
        most_seconds: how long one may be right now.
    """

    def __init__(self, most_seconds: Callable[[], float] = lambda: _PAUSE_SECONDS) -> None:
        self._most_seconds = most_seconds
        self._seconds = _PAUSE_SECONDS
        self._over = threading.Event()

    def take(self, fullest: float) -> None:
        """Pause for a while, but so that the program need not wait for us.

        Args:
            fullest: share of the fullest pipe that was found full, more than 0.
        """
        self._seconds = min(_PAUSE_SECONDS, self._seconds * _WISHED_SHARE / fullest)
        self._over.wait(min(self._seconds, self._most_seconds()))

    def end(self) -> None:
        """Take none any more; the one that is being taken ends, too."""
        self._over.set()


def _attend(
    process: subprocess.Popen[bytes],
    pipes: Sequence[_Pipe],
    limits: Limits,
    stop: Callable[[], str | None],
    said: Callable[[str], None],
    pauses: Pauses,
) -> Ended:
    """Read what a process writes and says until it ends or has to, and end it."""
    first = ""

    def line(text: str) -> None:
        nonlocal first
        first = first or text
        said(text)

    def drain() -> None:
        _drain(process.stderr, line)
        # Whoever falls silent is at its end.
        pauses.end()

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    try:
        stopped = _follow(process, pipes, limits.deadline, stop, pauses)
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join()
        if process.stderr is not None:
            process.stderr.close()
    return Ended(process.returncode, stopped, not first.startswith(_STARTERS))


def _wide_pipe(read: Callable[[int], int], ours: ExitStack, theirs: ExitStack) -> tuple[_Pipe, int]:
    """Make a pipe that holds much, where that is allowed; its end to write to comes beside it."""
    end, write = os.pipe()
    ours.callback(os.close, end)
    theirs.callback(os.close, write)
    room_bytes = _NARROW_PIPE_BYTES
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):
            # Beyond what all pipes of a user may hold it stays as it is.
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _WIDE_PIPE_BYTES)
        room_bytes = fcntl.fcntl(end, fcntl.F_GETPIPE_SZ)
    return _Pipe(end, room_bytes, read), write


def _reading(out: Callable[[bytes], None]) -> Callable[[int], int]:
    def read(descriptor: int) -> int:
        chunk = os.read(descriptor, _READ_BYTES)
        if chunk:
            out(chunk)
        return len(chunk)

    return read


def _follow(
    process: subprocess.Popen[bytes],
    pipes: Sequence[_Pipe],
    deadline: float | None,
    stop: Callable[[], str | None],
    pauses: Pauses,
) -> str | None:
    """Read from pipes until the process ends or has to; return why it has to."""
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            os.set_blocking(pipe.descriptor, False)
            selector.register(pipe.descriptor, selectors.EVENT_READ, pipe)
        while True:
            fullest = 0.0
            for key, _ in selector.select(_LOOK_SECONDS):
                size_bytes, ended = _empty(key.data)
                fullest = max(fullest, size_bytes / key.data.room_bytes)
                if ended:
                    selector.unregister(key.fd)
            if not selector.get_map():
                process.wait(None if deadline is None else max(1.0, deadline - time.monotonic()))
                return None
            if fullest:
                pauses.take(fullest)
            reason = stop()
            if reason is not None:
                return reason
            if deadline is not None and time.monotonic() > deadline:
                return "timed_out"


def _empty(pipe: _Pipe) -> tuple[int, bool]:
    """Read what a pipe holds; how many bytes, and whether that was the end."""
    size_bytes = 0
    with suppress(BlockingIOError):
        while size_bytes < pipe.room_bytes:
            piece_bytes = pipe.read(pipe.descriptor)
            if not piece_bytes:
                return size_bytes, True
            size_bytes += piece_bytes
    return size_bytes, False


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


def _environment(folder: Path) -> Mapping[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder)}
