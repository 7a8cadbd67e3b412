"""Runs of frames that are encoded apart and joined are, byte for byte, what one encoder makes of the whole."""

import math
import random
import wave
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from functions.common.options import BITRATES_KBPS, Options
from functions.convert.ffmpeg import quality
from functions.convert.joining import STEP, StoredRun, join
from functions.convert.mpeg import samples_per_frame
from functions.convert.runs import GrowingRun, Settings, encode_run
from functions.convert.sandbox import Limits

RATES_HZ: Final = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
EXAMPLES: Final = 200
#: Frames before which every cut lies; encoding as many takes about as long as starting ffmpeg.
LONGEST: Final = 3 * STEP


@dataclass(frozen=True)
class Piece:
    """A piece of sound."""

    kind: str
    frames: int
    #: A few samples more or less than whole frames.
    more: int
    #: The channels that it is on, as bits.
    channels: int
    volume: int


@dataclass(frozen=True)
class Example:
    """A recording, how it is converted, and where it is cut."""

    rate_hz: int
    channels: int
    pieces: tuple[Piece, ...]
    #: Frames that the further runs begin with.
    cuts: tuple[int, ...]
    #: Samples beside each cut at which something clicks.
    clicks: tuple[int, ...]
    options: Options


PIECES: Final = st.builds(
    Piece,
    kind=st.sampled_from(("silence", "noise", "tone", "hum")),
    frames=st.integers(20, 64),
    more=st.integers(-2, 2),
    channels=st.integers(1, 63),
    volume=st.sampled_from((3, 300, 3_000, 30_000)),
)
EXAMPLE: Final = st.builds(
    Example,
    rate_hz=st.sampled_from(RATES_HZ),
    channels=st.sampled_from((1, 2, 2, 6)),
    pieces=st.lists(PIECES, min_size=3, max_size=5).map(tuple),
    cuts=st.lists(st.integers(1, LONGEST // STEP), min_size=1, max_size=2, unique=True).map(
        lambda cuts: tuple(STEP * cut for cut in sorted(cuts))
    ),
    clicks=st.lists(st.integers(-1200, 1200), max_size=2).map(tuple),
    options=st.one_of(
        st.builds(Options, bitrate=st.sampled_from(BITRATES_KBPS), channels=st.sampled_from((None, 1))),
        st.builds(Options, quality=st.integers(0, 9), channels=st.sampled_from((None, 1))),
    ),
)


@cache
def second(kind: str, rate_hz: int, volume: int) -> "array[int]":
    """A second of a sound."""
    if kind == "noise":
        chance = random.Random(rate_hz)  # noqa: S311 - noise
        return array("h", (chance.randrange(-volume, volume + 1) for _ in range(rate_hz)))
    turn = 2 * math.pi * {"tone": 440, "hum": 50}.get(kind, 0) / rate_hz
    return array("h", (round(volume * math.sin(turn * sample)) for sample in range(rate_hz)))


def record(example: Example, path: Path) -> None:
    """Make the recording."""
    in_frame, channels = samples_per_frame(example.rate_hz), example.channels
    sound = array("h")
    for piece in example.pieces:
        length = piece.frames * in_frame + piece.more
        one = second(piece.kind, example.rate_hz, piece.volume)
        one = (one * (length // len(one) + 1))[:length]
        part = array("h", bytes(2 * length * channels))
        for channel in range(channels):
            if piece.channels >> channel & 1:
                part[channel::channels] = one
        sound += part
    for cut in example.cuts:
        for click in example.clicks:
            at = (cut * in_frame + click) * channels
            if 0 <= at < len(sound):
                sound[at] = 32767
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, example.rate_hz, 0, "NONE", ""))
        file.writeframes(sound.tobytes())


def encoded(source: Path, first_frame: int, example: Example) -> GrowingRun:
    """The run from a frame to the end."""
    target = source.with_suffix(f".{first_frame}")
    return encode_run(source, target, first_frame, None, Settings(example.options, example.rate_hz), Limits(None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for every example in turn."""
    return tmp_path_factory.mktemp("joins")


#: The second cut lies in what the first one's run warms up with.
CLOSE: Final = Example(8000, 1, (Piece("silence", 95, 1, 1, 3),), (49, 98), (), Options(bitrate=64))


@example(CLOSE)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(example=EXAMPLE)
def test_joined_runs_are_the_whole(folder: Path, example: Example) -> None:
    """Whatever sounds, however it is converted, and wherever it is cut."""
    source = folder / "source.wav"
    record(example, source)
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda first: encoded(source, first, example), (0, *example.cuts)))
    scale = quality(example.options)
    join(runs[:1], folder / "whole.mp3", tag=b"", quality=scale)
    last = join(runs, folder / "joined.mp3", tag=b"", quality=scale)
    event("joined" if last is not runs[0] else "not joined")
    assert (folder / "joined.mp3").read_bytes() == (folder / "whole.mp3").read_bytes()


def test_runs_that_travel(folder: Path) -> None:
    """Each run may be made elsewhere: its bytes, and how long the recording is, are all that joining needs."""
    # The recording goes on for long where the second run has enough.
    pieces = tuple(Piece("noise", 120, 0, 1 + number, 3_000) for number in range(20))
    example = Example(32_000, 2, pieces, (147, 245), (), Options(bitrate=96))
    source = folder / "source.wav"
    record(example, source)
    stored = []
    for first, frames in ((0, 147), (147, 98), (245, None)):
        settings_ = Settings(example.options, example.rate_hz)
        made = encode_run(source, folder / "made", first, frames, settings_, Limits(None))
        path = folder / f"stored-{first}"
        path.write_bytes((folder / "made").read_bytes())
        stored.append(StoredRun(path, first, made.samples()))
    assert [run.recording_samples for run in stored] == [None, None, 20 * 120 * 1152]
    whole = encoded(source, 0, example)
    join([whole], folder / "whole.mp3", tag=b"", quality=None)
    assert join(stored, folder / "joined.mp3", tag=b"", quality=None) is stored[-1]
    assert (folder / "joined.mp3").read_bytes() == (folder / "whole.mp3").read_bytes()
