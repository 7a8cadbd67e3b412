"""Where one run takes over from another: by what both made, not by where they should be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from functions.convert.joining import PROOF, WARM_UP, Apart, join
from functions.convert.mpeg import Splitter

_HEADER: Final = bytes.fromhex("fffb9064")
_SIZE: Final = 417


def frame(number: int, *, channels: int = 0b11) -> bytes:
    """A frame that is unlike others, and sounds on some channels."""
    side = 0
    for channel in (0, 1, 0, 1):
        # Of the 59 bits that a granule's channel has here the first twelve say how many bits its sound takes.
        side = side << 59 | (channels >> channel & 1) << 47
    return _HEADER + side.to_bytes(32) + number.to_bytes(4) + bytes(_SIZE - 40)


@dataclass
class FakeRun:
    """A run of given frames."""

    first_frame: int
    made: Sequence[bytes]
    recording_samples: int | None = None
    read: int = 0
    closed: list[bool] = field(default_factory=list)

    def frames(self) -> Iterator[list[bytes]]:
        """The frames."""
        for one in self.made:
            self.read += 1
            yield [one]

    def samples(self) -> int | None:
        """What was given."""
        return self.recording_samples

    def close(self) -> None:
        """Note it."""
        self.closed.append(True)


ALL: Final = [frame(number) for number in range(1000)]
FIRST: Final = 490
BEGINS: Final = FIRST - WARM_UP


def joined(runs: Sequence[FakeRun], target: Path, *, quality: int | None = 2) -> tuple[FakeRun, list[bytes]]:
    """The run that the MP3 ends with, and its frames without the Info frame."""
    last = join(runs, target / "a.mp3", tag=b"", quality=quality)
    return last, Splitter().feed((target / "a.mp3").read_bytes())[1:]


def other(*numbers: int) -> list[bytes]:
    """The second run's frames, of which some are others than the first one's."""
    made = ALL[BEGINS:]
    for number in numbers:
        made[number - BEGINS] = frame(100_000 + number)
    return made


def test_runs_that_agree(tmp_path: Path) -> None:
    """The second takes over with its first frame, and the first is let go of there."""
    first, second = FakeRun(0, ALL), FakeRun(FIRST, other(), 5)
    assert joined([first, second], tmp_path) == (second, ALL)
    assert (first.read, first.closed, second.closed) == (FIRST, [True], [])


@pytest.mark.parametrize("differs", [BEGINS, FIRST - PROOF - 1, FIRST - PROOF, FIRST - 1, FIRST, FIRST + 10])
def test_runs_that_agree_late(differs: int, tmp_path: Path) -> None:
    """While they differ, and for as long as it takes to be sure, the first one's frames are right."""
    first, second = FakeRun(0, ALL), FakeRun(FIRST, other(differs), 5)
    last, frames = joined([first, second], tmp_path)
    assert last is second
    if differs < FIRST:
        assert frames == ALL
        assert first.read == max(FIRST, differs + 1 + PROOF)
    else:
        # They agreed for long enough before, so what the second one makes from there on is believed.
        assert frames == [*ALL[:differs], frame(100_000 + differs), *ALL[differs + 1 :]]


def test_runs_that_never_agree(tmp_path: Path) -> None:
    """If the first one went to the recording's end, it is the MP3."""
    first, second = FakeRun(0, ALL, 7), FakeRun(FIRST, other(*range(BEGINS, 1000)), 7)
    assert joined([first, second], tmp_path) == (first, ALL)


def test_a_run_that_ends_too_early(tmp_path: Path) -> None:
    """If it did not, nobody knows what comes next, and the caller is told which one has to be longer."""
    runs = [FakeRun(0, ALL[: FIRST + 10]), FakeRun(FIRST, other(FIRST - 1), 7)]
    with pytest.raises(Apart) as caught:
        joined(runs, tmp_path)
    assert caught.value.index == 0


@pytest.mark.parametrize("made", [[], ALL[BEGINS : FIRST - 10]])
def test_a_part_that_is_not_there(made: list[bytes], tmp_path: Path) -> None:
    """A run behind the end, or one that broke off before it could take over, is left out."""
    first, second = FakeRun(0, ALL, 7), FakeRun(FIRST, made)
    assert joined([first, second], tmp_path) == (first, ALL)


def test_a_join_that_is_late_by_a_whole_run(tmp_path: Path) -> None:
    """The third run is compared where the joining is, not where the run begins."""
    third = FakeRun(FIRST + 49, ALL[FIRST + 49 - WARM_UP :], 5)
    runs = [FakeRun(0, ALL), FakeRun(FIRST, other(FIRST - 1), 5), third]
    assert joined(runs, tmp_path) == (third, ALL)


def test_silence_proves_nothing(tmp_path: Path) -> None:
    """At a constant bit rate a channel that has sounded must sound again before the next run may follow."""
    # Both channels, then one alone from before the second run's beginning to long after its first frame.
    made = [frame(number, channels=0b01 if BEGINS - 10 <= number < FIRST + 200 else 0b11) for number in range(1000)]
    first, second = FakeRun(0, made), FakeRun(FIRST, made[BEGINS:], 5)
    assert joined([first, second], tmp_path, quality=None) == (second, made)
    assert first.read == FIRST + 201
    first, second = FakeRun(0, made), FakeRun(FIRST, made[BEGINS:], 5)
    assert joined([first, second], tmp_path, quality=2) == (second, made)
    assert first.read == FIRST


def test_a_channel_that_never_sounded(tmp_path: Path) -> None:
    """Of two channels that are alike one is silent from the beginning, which both encoders know."""
    made = [frame(number, channels=0b01) for number in range(1000)]
    first, second = FakeRun(0, made), FakeRun(FIRST, made[BEGINS:], 5)
    assert joined([first, second], tmp_path, quality=None) == (second, made)
    assert first.read == FIRST
