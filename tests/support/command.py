"""`video2mp3` as tests run it: forked of a process that has loaded it, which takes a tenth of an exec's time.

Where a test is about the start itself, about what a start imports, or about a process's memory, it runs COMMAND.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Final, TypeAlias

COMMAND: Final = str(Path(sys.executable).with_name("video2mp3"))
_TEMPLATE: Final = Path(__file__).with_name("template.py")
_LOCALE: Final = ("LANG", "LC_ALL", "TZ")
#: What Python reads of the environment when it starts, and never again.
_READ_ONCE: Final = {name: value for name, value in os.environ.items() if name in _LOCALE}


class Process:
    """A running command in a session of its own, with what subprocess.Popen has for it.

    Args:
        pid: the id of the process and of its group.
        ended: where its exit code comes.
    """

    def __init__(self, pid: int, ended: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Its exit code, minus a signal's number where one ended it; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ended; its exit code.

        Args:
            timeout: seconds to wait at most.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        with self._lock:
            if self.returncode is None:
                self._ended.settimeout(timeout)
                try:
                    self.returncode = _number(self._ended)
                except (TimeoutError, BlockingIOError):
                    raise subprocess.TimeoutExpired(COMMAND, timeout or 0) from None
                self._ended.close()
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


Started: TypeAlias = "subprocess.Popen[bytes] | Process"


class _Template:
    """The process that forks."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_TEMPLATE)],
                env=_READ_ONCE,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                # It ends with us; a Ctrl-C is for us alone.
                start_new_session=True,
            )
        atexit.register(self._close)

    def fork(self, arguments: Sequence[str], env: Mapping[str, str], streams: Sequence[int]) -> Process:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asked = {"arguments": [COMMAND, *arguments], "env": dict(env), "cwd": str(Path.cwd())}
        with theirs:
            socket.send_fds(self._requests, [json.dumps(asked).encode()], [*streams, theirs.fileno()])
        return Process(_number(ours), ours)

    def _close(self) -> None:
        self._requests.close()
        self._process.wait()


#: One per process that runs tests.
_template: Final = cache(_Template)
_first: Final = threading.Lock()


def start(arguments: Sequence[str], *, env: Mapping[str, str], output: IO[bytes]) -> Started:
    """Start the command.

    Args:
        arguments: its words.
        env: its whole environment.
        output: where both of its outputs go.
    """
    return _start(arguments, env, output, output)


def run(*arguments: str, env: Mapping[str, str], seconds: float = 60) -> "subprocess.CompletedProcess[str]":
    """Run the command to its end, without input.

    Args:
        arguments: its words.
        env: its whole environment.
        seconds: how long it may take.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = _start(arguments, env, output, errors)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        return subprocess.CompletedProcess([COMMAND, *arguments], code, _text(output), _text(errors))


def _start(arguments: Sequence[str], env: Mapping[str, str], output: IO[bytes], errors: IO[bytes]) -> Started:
    if not hasattr(os, "pidfd_open"):  # the process that forks needs Linux
        return subprocess.Popen(
            [COMMAND, *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
    once = {name: value for name, value in env.items() if name in _LOCALE or name.startswith("PYTHON")}
    assert once.items() <= _READ_ONCE.items(), "this is read when Python starts: run COMMAND"
    with _first:
        template = _template()
    with Path(os.devnull).open("rb") as nothing:
        return template.fork(arguments, env, [stream.fileno() for stream in (nothing, output, errors)])


def _number(ended: socket.socket) -> int:
    told = ended.recv(32)
    assert told, "the process that forks is gone"
    return int(told)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
