"""Waveforms: what is kept of samples, however they come, and how those of several runs become one."""

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.convert import waveform
from functions.convert.mpeg import BITRATES_KBPS, Header
from functions.convert.waveform import Peaks, joined, window_samples, windows_per_frame
from tests.support.waveform import read

RATES_HZ = {44100: 3, 48000: 3, 32000: 3, 22050: 2, 24000: 2, 16000: 2, 11025: 0, 12000: 0, 8000: 0}


def head(rate_hz: int) -> Header:
    """The header of a first frame."""
    version = RATES_HZ[rate_hz]
    return Header(version, rate_hz, BITRATES_KBPS[version][0], False, 0, False, 0)


def fed(peaks: Peaks, pieces: Sequence[bytes], *, head: Header, begins_after: int = 0) -> Peaks:
    """Let a run's samples come in pieces, and its first frame after so many of them."""
    for number, piece in enumerate((*pieces, b"")):
        if number == begins_after:
            peaks.begin(head)
        ours, theirs = os.pipe()
        os.write(theirs, piece)
        os.close(theirs)
        left = len(piece)
        while left:
            left -= peaks.read(ours)
        if number == len(pieces):
            assert peaks.read(ours) == 0
        os.close(ours)
    if begins_after > len(pieces):
        peaks.begin(head)
    return peaks


def drawn(samples: "array[int]", *, rate_hz: int = 44100, begins: int = 0) -> "Part":
    """A run of samples."""
    pieces = [samples[at : at + 8192].tobytes() for at in range(0, len(samples), 8192)]
    return Part(begins, fed(Peaks(), pieces, head=head(rate_hz)))


@dataclass(frozen=True)
class Part:
    """A run that has ended."""

    begins: int
    peaks: Peaks | None


def pairs(peaks: Peaks) -> list[tuple[int, int]]:
    """Lowest and highest of each window."""
    signed = array("b", bytes(peaks.pairs))
    return list(zip(signed[::2], signed[1::2], strict=True))


def heard(sample: int) -> int:
    """Of 16 bits the upper 8; the faintest noise is silence."""
    return 0 if sample >> 8 == -1 else sample >> 8


def expected(samples: "array[int]", *, rate_hz: int) -> list[tuple[int, int]]:
    """What there should be, looked at one sample after the other."""
    step = window_samples(rate_hz)
    windows: Iterator[array[int]] = (samples[at : at + step] for at in range(0, len(samples), step))
    return [(heard(min(window)), heard(max(window))) for window in windows]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_windows(rate_hz: int) -> None:
    """There are about a hundred in a second, and a whole number of them in each frame."""
    in_frame = 576 if rate_hz < 32_000 else 1152
    assert windows_per_frame(rate_hz) * window_samples(rate_hz) == in_frame
    assert 80 <= rate_hz / window_samples(rate_hz) <= 125


def test_known_samples() -> None:
    """Of each window the lowest and the highest sample, and the last one is shorter."""
    first, second, third = (array("h", bytes(2 * 384)) for _ in range(3))
    first[5], first[6] = 32767, -32768
    third[100], third[101] = 5 * 256, 10 * 256 - 1
    last = array("h", [-2 * 256, -1])
    peaks = drawn(first + second + third + last).peaks
    assert peaks is not None
    assert pairs(peaks) == [(-128, 127), (0, 0), (0, 9), (-2, 0)]


@given(
    samples=st.lists(st.integers(-32768, 32767), max_size=40).map(lambda some: array("h", some * 40)),
    rate_hz=st.sampled_from(sorted(RATES_HZ)),
    cuts=st.lists(st.integers(1, 3200), max_size=5),
    begins_after=st.integers(0, 7),
)
def test_pieces_of_any_size(samples: "array[int]", rate_hz: int, cuts: list[int], begins_after: int) -> None:
    """However the samples are cut, and whenever the first frame comes, be it behind them."""
    data = samples.tobytes()
    ends = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[begin:end] for begin, end in pairwise(ends)]
    peaks = Peaks()
    fed(peaks, pieces, head=head(rate_hz), begins_after=min(begins_after, len(pieces) + 1))
    assert pairs(peaks) == expected(samples, rate_hz=rate_hz)


def test_there_is_no_end_to_them_but_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more windows than are kept none is, and there is no waveform; of as many all are."""
    monkeypatch.setattr(waveform, "MOST_WINDOWS", 9)
    sound = array("h", [25600, -25600] * 1728)
    assert fed(Peaks(9), [sound.tobytes()], head=head(44100)).pairs
    more = fed(Peaks(8), [sound.tobytes()] * 2, head=head(44100))
    assert (more.too_many, len(more.pairs)) == (True, 0)
    assert joined([Part(0, more)], 44100, len(sound) * 2) is None
    halves = [drawn(sound), drawn(sound, begins=2)]
    assert joined(halves, 44100, len(sound) + 2 * 1152) is None


def frames(*loudness: int, rate_hz: int = 44100) -> "array[int]":
    """A frame of each loudness."""
    in_frame = window_samples(rate_hz) * windows_per_frame(rate_hz)
    return array("h", chain.from_iterable([256 * one, -256 * one] * (in_frame // 2) for one in loudness))


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_runs_side_by_side(rate_hz: int) -> None:
    """Each run's windows count up to where the next one's begin, and in each frame they are of that frame's sound."""
    recording = (1, 2, 3, 4, 5, 6, 7)
    whole = frames(*recording, rate_hz=rate_hz) + array("h", [99 * 256] * 5)
    runs = [
        drawn(frames(*recording[:4], rate_hz=rate_hz), rate_hz=rate_hz),
        drawn(frames(*recording[2:5], rate_hz=rate_hz)[:-7], rate_hz=rate_hz, begins=2),
        drawn(frames(*recording[4:], rate_hz=rate_hz) + whole[-5:], rate_hz=rate_hz, begins=4),
    ]
    made = joined(runs, rate_hz, len(whole))
    assert made is not None
    told = read(made)
    assert (told.rate_hz, told.window_samples) == (rate_hz, window_samples(rate_hz))
    each = windows_per_frame(rate_hz)
    assert told.heights() == [one for one in recording for _ in range(each)] + [99]
    assert joined([drawn(whole, rate_hz=rate_hz)], rate_hz, len(whole)) == made


def test_runs_that_begin_with_the_recording() -> None:
    """Short recordings: a run that begins where the one before it begins takes its place."""
    runs = [drawn(frames(1)), drawn(frames(1, 2, 3)), drawn(frames(3, 4), begins=2)]
    made = joined(runs, 44100, 4 * 1152)
    assert made is not None
    assert read(made).heights() == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3


@pytest.mark.parametrize("missing", ["in the middle", "at the end", "all", "too much"])
def test_what_is_missing_is_not_made_up(missing: str) -> None:
    """There is no waveform of which anything is missing, or that is longer than the recording."""
    first, last = drawn(frames(1, 2)), drawn(frames(3, 4), begins=2)
    assert joined([first, last], 44100, 4 * 1152) is not None
    samples = 4 * 1152
    if missing == "in the middle":
        first = drawn(frames(1, 2)[:-400])
    elif missing == "at the end":
        last = drawn(frames(3, 4)[:-400], begins=2)
    elif missing == "all":
        last = Part(2, None)
    else:
        samples -= 1152
    assert joined([first, last], 44100, samples) is None
    assert (joined([first, last], 44100, samples, changes=1) is None) == (missing != "too much")
