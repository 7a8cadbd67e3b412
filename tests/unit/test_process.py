"""Following a program: no pause between looks lasts longer than there is nothing to do."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Final

import pytest

from functions.convert import process, runs
from functions.convert.process import Command, Ended, Pauses, run
from functions.convert.runs import GrowingRun
from functions.convert.sandbox import Limits
from tests.media.encode import encode, sound

#: What a pause must never take, and by when each of these has ended if none does.
LONG_SECONDS: Final = 120.0
SOON_SECONDS: Final = 30.0


@pytest.fixture(autouse=True)
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that would be noticed."""
    monkeypatch.setattr(process, "_PAUSE_SECONDS", LONG_SECONDS)


def soon() -> Limits:
    """Whatever lasts longer times out."""
    return Limits(time.monotonic() + SOON_SECONDS)


@pytest.mark.parametrize(("full_per_second", "seconds"), [(1, 0.2), (5, 0.1), (50, 0.01)])
def test_a_pipe_is_found_half_full(full_per_second: int, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """However fast a program fills it, unless that takes longer than a pause may."""
    monkeypatch.setattr(process, "_PAUSE_SECONDS", 0.2)
    pauses, taken = Pauses(), [0.1]
    monkeypatch.setattr(pauses, "_over", SimpleNamespace(wait=taken.append))
    for _ in range(10):
        pauses.take(min(1.0, full_per_second * taken[-1]))
    assert taken[-2:] == pytest.approx([seconds, seconds])


def test_a_program_that_ends(tmp_path: Path) -> None:
    """Its end ends the pause."""
    command = Command(tmp_path / "source", ("bash", "-c", "echo one; sleep 0.2; echo two"))
    command.source.touch()
    words: list[bytes] = []
    ended = run(command, limits=soon(), stop=lambda: None, out=words.append, said=lambda _line: None)
    assert (ended, b"".join(words)) == (Ended(0, None), b"one\ntwo\n")


def test_whoever_ends_pauses(tmp_path: Path) -> None:
    """A pause that is ended from outside is followed by a look."""
    command = Command(tmp_path / "source", ("bash", "-c", "echo; sleep 60"))
    command.source.touch()
    reasons: list[str] = []

    def pausing() -> float:
        reasons.append("enough")
        pauses.end()
        return LONG_SECONDS

    def stop() -> str | None:
        return next(iter(reasons), None)

    pauses = Pauses(pausing)
    ended = run(command, limits=soon(), stop=stop, out=lambda _data: None, said=lambda _line: None, pauses=pauses)
    assert ended == Ended(-9, "enough")


def test_a_run_whose_end_is_near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is to take over finds its frames soon."""
    monkeypatch.setattr(runs, "_LEAST_PAUSE_SECONDS", 0.001)
    frames = encode(tmp_path / "source.mp3", *sound(), "-f", "mp3", "-write_xing", "0", "-id3v2_version", "0")
    script = f"cat {frames}; sleep 0.2; cat {frames}; sleep 60"
    made = GrowingRun(Command(frames, ("bash", "-c", script)), tmp_path / "frames")
    made.until = 1
    count: list[int] = []

    def hear(run: GrowingRun, frames: int) -> None:
        count.append(frames)
        if len(count) == 2:
            run.close()

    made.work(soon(), stop=lambda: None, made=hear)
    assert made.ended == Ended(-9, "enough")
    assert count[0] == count[1]
