"""What is held of a finished MP3: its length, and each reason for which there is none."""

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from mutagen.id3 import ID3

from functions.common.errors import Unavailable
from functions.common.job import REASONS
from functions.common.options import Options
from functions.convert.checking import Failed
from functions.convert.encoding import encode
from functions.convert.process import Stopped
from functions.convert.processors import Processors
from functions.convert.result import examine
from functions.convert.watch import Bounds
from tests.media.encode import AAC, H264, clip, picture, sound
from tests.media.encode import encode as ffmpeg

UNBOUND: Final = Bounds(deadline=None, audio_seconds=None)


@pytest.fixture
def mp3(tmp_path: Path) -> Path:
    """Two seconds of sound as an MP3 with a tag."""
    arguments = (*sound(), "-c:a", "libmp3lame", "-metadata", "title=Blue")
    return ffmpeg(tmp_path / "sound.mp3", *arguments, "-f", "mp3")


def test_examine(mp3: Path) -> None:
    """A good MP3 tells its length and rate."""
    found = examine(mp3)
    assert found is not None
    assert found.duration_seconds == pytest.approx(2, abs=0.1)
    assert found.sample_rate_hz == 48_000


WRITERS: Final[dict[str, Callable[[Path], object]]] = {
    "nothing": lambda path: path.write_bytes(b""),
    "one byte": lambda path: path.write_bytes(b"\xff"),
    "text": lambda path: path.write_bytes(b"no MP3 at all " * 1000),
    "zeros": lambda path: path.write_bytes(bytes(100_000)),
    "tags alone": lambda path: (path.write_bytes(b""), ID3().save(path)),
    "layer 2": lambda path: ffmpeg(path, *sound(), "-c:a", "mp2", "-f", "mp2"),
    "wave": lambda path: ffmpeg(path, *sound(), "-f", "wav"),
    "mp4": lambda path: clip(path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_no_mp3(kind: str, tmp_path: Path) -> None:
    """Whatever is no MPEG layer III with frames is none, and not an error."""
    path = tmp_path / "result.mp3"
    WRITERS[kind](path)
    assert examine(path) is None


def test_examine_what_is_not_there(tmp_path: Path) -> None:
    """A result that was never written is none."""
    assert examine(tmp_path / "missing.mp3") is None


# The publish rule, through the one way that leads to it.


def convert(
    source: Path, options: Options | None = None, bounds: Bounds = UNBOUND, target: Path | None = None
) -> float:
    """Convert a file as the function does; the length that is published."""
    target = target or source.with_name("result.mp3")
    return encode(
        source,
        target,
        options or Options(),
        bounds=bounds,
        processors=Processors(2),
        stop=lambda: False,
        progress=lambda _: None,
    ).duration_seconds


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        (Options(), 2.0),
        (Options(bitrate=64, channels=2), 2.0),
        (Options(start=0.5), 1.5),
        (Options(end=0.75), 0.75),
        (Options(start=0.5, end=1.5), 1.0),
        (Options(end=100.0), 2.0),
    ],
    ids=repr,
)
def test_a_good_result(options: Options, seconds: float, tmp_path: Path) -> None:
    """A result of the length that was asked for is published, and the length that is told is the file's."""
    told = convert(clip(tmp_path / "source"), options)
    found = examine(tmp_path / "result.mp3")
    assert found is not None
    assert told == pytest.approx(seconds, abs=0.06)
    assert found.duration_seconds == pytest.approx(told, abs=0.1)


def cut(path: Path) -> None:
    """Ten seconds of which a third is missing at the end."""
    whole = clip(path.with_name("whole"), seconds=10, more=("-movflags", "+faststart")).read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])


FAILURES: Final[dict[str, tuple[Callable[[Path], object], Options, Bounds, str]]] = {
    "no audio": (lambda path: ffmpeg(path, *picture(), *H264, "-f", "mp4"), Options(), UNBOUND, "no_audio"),
    "garbage": (lambda path: path.write_bytes(bytes(range(256)) * 100), Options(), UNBOUND, "unreadable"),
    "empty": (lambda path: path.write_bytes(b""), Options(), UNBOUND, "unreadable"),
    "cut": (cut, Options(), UNBOUND, "truncated"),
    "nothing between": (lambda path: clip(path), Options(start=100.0), UNBOUND, "empty_range"),
    "too long": (lambda path: clip(path), Options(), Bounds(None, 1.0), "too_long"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_each_reason(failure: str, tmp_path: Path) -> None:
    """What cannot be published fails for a reason that people are told."""
    make, options, bounds, reason = FAILURES[failure]
    make(tmp_path / "source")
    with pytest.raises(Failed) as caught:
        convert(tmp_path / "source", options, bounds)
    assert (caught.value.reason, reason in REASONS) == (reason, True)


def test_encrypted(tmp_path: Path) -> None:
    """A protected file is not called damaged."""
    key = "00112233445566778899aabbccddeeff"
    scheme = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key)
    source = ffmpeg(tmp_path / "source", *sound(), *AAC, *scheme, "-f", "mp4")
    with pytest.raises(Failed) as caught:
        convert(source)
    assert caught.value.reason == "encrypted"


def test_a_part_of_a_cut_file(tmp_path: Path) -> None:
    """A part that lies before the break is all there."""
    cut(tmp_path / "source")
    assert convert(tmp_path / "source", Options(end=3.0)) == pytest.approx(3.0, abs=0.06)


def silence(path: Path, seconds: int) -> Path:
    """Hours of silence that take no room: a WAV header and a hole."""
    size = seconds * 96_000
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1, 48_000, 96_000, 2, 16, b"data", size
    )
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
    return path


def test_time_is_up(tmp_path: Path) -> None:
    """A conversion that takes longer than it may is ended for that reason."""
    source = silence(tmp_path / "source", 4 * 3600)
    with pytest.raises(Failed) as caught:
        convert(source, bounds=Bounds(deadline=time.monotonic() + 0.3, audio_seconds=None))
    assert caught.value.reason == "timed_out"


def test_stopped(tmp_path: Path) -> None:
    """A conversion that is stopped from outside has no reason of its own."""
    with pytest.raises(Stopped):
        encode(
            silence(tmp_path / "source", 4 * 3600),
            tmp_path / "result.mp3",
            Options(),
            bounds=UNBOUND,
            processors=Processors(2),
            stop=lambda: True,
            progress=lambda _: None,
        )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_no_room_for_the_result(tmp_path: Path) -> None:
    """A full disk is this machine's trouble and may pass: the job must not fail for good, as if its file were bad."""
    target = tmp_path / "result.mp3"
    target.symlink_to("/dev/full")
    with pytest.raises(Unavailable):
        convert(clip(tmp_path / "source"), target=target)


def test_progress(tmp_path: Path) -> None:
    """What is told of a run never goes back and stays below the end, which is the row's to tell."""
    told: list[int] = []
    source = silence(tmp_path / "source", 300)
    encode(
        source,
        tmp_path / "result.mp3",
        Options(),
        bounds=UNBOUND,
        processors=Processors(2),
        stop=lambda: False,
        progress=told.append,
    )
    assert told == sorted(told)
    assert told
    assert 0 <= min(told) <= max(told) <= 99
