"""Frames of MPEG layer III: headers by the tables of the standard, and streams that come in pieces."""

import subprocess
from dataclasses import replace
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.convert.mpeg import BITRATES_KBPS, Frames, Header, NotMpeg, Splitter, header, samples_per_frame, sounding
from tests.media.encode import sound

#: The first bytes of frames that LAME wrote, and what they say.
HEADERS: Final = {
    "fffb9064": Header(3, 44_100, 128, padded=False, mode=1, protected=False, flags=4),
    "fffb9264": Header(3, 44_100, 128, padded=True, mode=1, protected=False, flags=4),
    "fffbe4c4": Header(3, 48_000, 320, padded=False, mode=3, protected=False, flags=4),
    "fff380c4": Header(2, 22_050, 64, padded=False, mode=3, protected=False, flags=4),
    "ffe318c4": Header(0, 8_000, 8, padded=False, mode=3, protected=False, flags=4),
    "fffa9064": Header(3, 44_100, 128, padded=False, mode=1, protected=True, flags=4),
}
SIZES: Final = {
    "fffb9064": (417, 32),
    "fffb9264": (418, 32),
    "fffbe4c4": (960, 17),
    "fff380c4": (208, 9),
    "ffe318c4": (72, 9),
    "fffa9064": (417, 32),
}
#: No header of layer III: nothing, layers I and II, a reserved version, free format, reserved bit rate and sample rate.
NONE: Final = ("", "ff", "fffb90", "00000000", "fffd9064", "ffff9064", "ffeb9064", "fffb0064", "fffbf064", "fffb9c64")


@pytest.mark.parametrize("given_bytes", HEADERS)
def test_headers(given_bytes: str) -> None:
    """Every field is read, and the length of the frame and of its side information follows."""
    found = header(bytes.fromhex(given_bytes) + bytes(10))
    assert found == HEADERS[given_bytes]
    assert (found.size_bytes, found.side_bytes) == SIZES[given_bytes]


@pytest.mark.parametrize("data", NONE)
def test_what_is_no_header(data: str) -> None:
    """Anything else is none."""
    with pytest.raises(NotMpeg):
        header(bytes.fromhex(data))


def test_a_header_is_written_as_it_is_read() -> None:
    """Whatever the fields, the bytes say the same."""
    for version, rates_hz in ((3, (44_100, 48_000, 32_000)), (2, (22_050, 24_000, 16_000)), (0, (11_025, 8_000))):
        for rate_hz in rates_hz:
            for bitrate_kbps in BITRATES_KBPS[version]:
                head = Header(version, rate_hz, bitrate_kbps, padded=True, mode=3, protected=False, flags=4)
                assert header(head.first_bytes) == head
                assert header(replace(head, mode=0, padded=False).first_bytes).channels == 2


@pytest.mark.parametrize(("rate_hz", "samples"), [(48_000, 1152), (32_000, 1152), (24_000, 576), (8_000, 576)])
def test_samples_per_frame(rate_hz: int, samples: int) -> None:
    """The lower rates have half as many."""
    assert samples_per_frame(rate_hz) == samples


@pytest.fixture(scope="module")
def stream() -> bytes:
    """What ffmpeg makes of two seconds of sound."""
    command = ["ffmpeg", "-v", "error", *sound(), "-c:a", "libmp3lame", "-q:a", "4"]
    command += ["-id3v2_version", "0", "-write_xing", "0", "-f", "mp3", "pipe:1"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


@given(cuts=st.lists(st.integers(0, 60_000), max_size=20))
def test_pieces_of_any_size(stream: bytes, cuts: list[int]) -> None:
    """However a stream is cut, the frames are the same, and nothing is left over."""
    splitter, frames = Splitter(), []
    for begin, end in pairwise([0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]):
        frames += splitter.feed(stream[begin:end])
    assert frames == Splitter().feed(stream)
    assert b"".join(frames) == stream


def test_every_frame_is_one(stream: bytes) -> None:
    """Two seconds at 48 kHz are 84 frames, and one or two for the encoder's delay."""
    frames = Splitter().feed(stream)
    assert 84 <= len(frames) <= 86
    assert all(len(frame) == header(frame).size_bytes for frame in frames)


def test_something_between_frames(stream: bytes) -> None:
    """What is no frame is told, not skipped."""
    first, second, *_ = Splitter().feed(stream)
    with pytest.raises(NotMpeg):
        Splitter().feed(first + b"something else" + second)


CHANNELS: Final = {
    "both": ("0.3*sin(500*t)|0.3*sin(900*t)", "stereo", 0b11),
    "left": ("0.3*sin(500*t)|0", "stereo", 0b01),
    "right": ("0|0.3*sin(500*t)", "stereo", 0b10),
    "one of two that are alike": ("0.3*sin(500*t)|0.3*sin(500*t)", "stereo", 0b01),
    "mono": ("0.3*sin(500*t)", "mono", 0b01),
    "none": ("0|0", "stereo", 0),
    "no mono": ("0", "mono", 0),
}


@pytest.mark.parametrize("rate_hz", [44_100, 22_050, 8_000])
@pytest.mark.parametrize("which", CHANNELS)
def test_sounding(which: str, rate_hz: int) -> None:
    """A channel sounds if any of its granules is given bits; of two that are alike the difference is silent."""
    expression, layout, bits = CHANNELS[which]
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"aevalsrc={expression}:c={layout}:s={rate_hz}:d=1"]
    command += ["-c:a", "libmp3lame", "-b:a", "64k", "-reservoir", "0", "-id3v2_version", "0"]
    command += ["-write_xing", "0", "-f", "mp3", "pipe:1"]
    frames = Splitter().feed(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    assert {sounding(frame) for frame in frames[4:-4]} == {bits}


@pytest.mark.parametrize("lengths", [[], [0, 0], [5], [1, 0, 3, 2], [7, 7]], ids=str)
def test_frames_one_or_many_at_a_time(lengths: list[int]) -> None:
    """However they come in, each is had once, in order."""
    count = iter(range(100))
    pieces = [[b"%d" % next(count) for _ in range(length)] for length in lengths]
    whole = [frame for piece in pieces for frame in piece]
    frames = Frames(pieces)
    had = [frame for piece in frames.take(2) for frame in piece]
    frames.skip(1)
    assert had == whole[:2]
    assert [frame for piece in frames.take(0) for frame in piece] == []
    assert frames.next() == (whole[3] if len(whole) > 3 else None)
    assert [frame for piece in frames.take() for frame in piece] == whole[4:]
    assert frames.next() is None
