"""Asking a short-lived program of ffmpeg's what a recording says of itself."""

import time
from collections.abc import Callable
from typing import Final

from functions.convert.process import Command, run
from functions.convert.sandbox import Limits

#: Looking at headers takes no longer.
_SECONDS: Final = 20.0
#: A line for each of a thousand tracks, many times over.
_MOST_BYTES: Final = 1024 * 1024


def answer(command: Command, *, stop: Callable[[], bool], most_bytes: int = _MOST_BYTES) -> bytes | None:
    """Return what a program writes to standard output; None if that takes too long or is too much.

    Args:
        command: what is run.
        stop: asked several times a second.
        most_bytes: more is too much.

    Raises:
        Stopped: `stop` said so.
        Unavailable: the program could not be started.
    """
    said = bytearray()

    def why_enough() -> str | None:
        return "too much" if len(said) > most_bytes else "stopped" if stop() else None

    limits = Limits(time.monotonic() + _SECONDS)
    ended = run(command, limits=limits, stop=why_enough, out=said.extend, said=lambda _text: None)
    ended.raise_if_interrupted()
    return None if ended.stopped or len(said) > most_bytes else bytes(said)


def lines(command: Command, *, stop: Callable[[], bool]) -> list[str]:
    """Return the lines that a program writes, none if that takes too long; arguments and errors as of answer."""
    return (answer(command, stop=stop) or b"").decode(errors="replace").splitlines()
