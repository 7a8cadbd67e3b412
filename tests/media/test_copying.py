"""A recording whose sound is an MP3 already: its frames are taken over, and what is heard is the same."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from mutagen.mp3 import MP3

from functions.common.options import Options
from functions.convert.copying import Part, Skips, is_copyable, part_of
from functions.convert.encoding import encode
from functions.convert.mpeg import NotMpeg, Splitter, main_data
from functions.convert.process import Stopped
from functions.convert.processors import Processors
from functions.convert.watch import Bounds
from tests.media.encode import encode as ffmpeg

SOUND: Final = "aevalsrc=exprs='0.3*sin(600*t)*(1+0.5*sin(7*t))+0.1*random(0)|0.2*sin(900*t)+0.1*random(1)':s={}:d={}"
CONTAINERS: Final = {
    "mp3": ("-f", "mp3"),
    "mp4": ("-f", "mp4"),
    "mkv": ("-f", "matroska"),
    "avi": ("-f", "avi"),
    "flv": ("-f", "flv"),
    "ts": ("-f", "mpegts"),
}
STRENGTHS: Final = {"128k": ("-b:a", "128k"), "V4": ("-q:a", "4"), "no reservoir": ("-b:a", "96k", "-reservoir", "0")}


def recording(path: Path, *arguments: str, rate_hz: int = 44_100, seconds: float = 8.0) -> Path:
    """Some seconds of sound as MP3, in a container."""
    return ffmpeg(path, "-f", "lavfi", "-i", SOUND.format(rate_hz, seconds), "-c:a", "libmp3lame", *arguments)


def converted(source: Path, options: Options) -> Path:
    """The MP3 that is made of it."""
    result = source.with_name("result.mp3")
    encode(
        source,
        result,
        options,
        bounds=Bounds(None, None),
        processors=Processors(1),
        stop=lambda: False,
        progress=lambda _percent: None,
    )
    return result


def is_copied(result: Path) -> bool:
    """Whether it was copied, and not encoded."""
    return result.with_suffix(".copy").exists()


def decoded(path: Path) -> bytes:
    """What ffmpeg makes of it: 16-bit samples of two channels."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-map", "0:a:0", "-f", "s16le", "-ac", "2", "pipe:1"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_samples(container: str, strength: str, tmp_path: Path) -> None:
    """From every container, whatever it knows of the encoder's delay, all of it or a part."""
    source = recording(tmp_path / "source", *STRENGTHS[strength], *CONTAINERS[container])
    whole = decoded(source)
    result = converted(source, Options())
    assert is_copied(result)
    assert decoded(result) == whole
    part = converted(source, Options(start=2.5, end=6.25))
    assert decoded(part) == whole[4 * round(2.5 * 44_100) : 4 * round(6.25 * 44_100)]


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 32_000, 48_000])
def test_other_rates(rate_hz: int, tmp_path: Path) -> None:
    """The lower rates have shorter frames; nothing else is different."""
    source = recording(tmp_path / "source", "-b:a", "64k", "-f", "matroska", rate_hz=rate_hz)
    whole = decoded(source)
    assert decoded(converted(source, Options())) == whole
    result = converted(source, Options(start=3.0))
    assert is_copied(result)
    assert decoded(result) == whole[4 * 3 * rate_hz :]


def test_the_header_is_right(tmp_path: Path) -> None:
    """An encoder's delay that the recording knows is told on; of a constant bit rate it is said that it is one."""
    source = recording(tmp_path / "source", "-b:a", "128k", "-f", "mp4")
    result = converted(source, Options())
    info: Any = MP3(result).info
    data = result.read_bytes()
    at = data.index(b"Info")
    assert int.from_bytes(data[at + 141 : at + 144]) >> 12 == 576
    assert info.length == pytest.approx(len(decoded(source)) / 4 / 44_100, abs=0.001)
    assert info.bitrate == 128_000
    assert b"Xing" in converted(recording(tmp_path / "other", "-q:a", "4", "-f", "mp4"), Options()).read_bytes()[:200]


def test_tags_are_kept(tmp_path: Path) -> None:
    """The title is that of the recording."""
    source = recording(tmp_path / "source", "-b:a", "128k", "-metadata", "title=Blue", "-f", "matroska")
    tags: Any = MP3(converted(source, Options())).tags
    assert str(tags["TIT2"]) == "Blue"


@pytest.mark.parametrize("options", [Options(bitrate=64), Options(quality=9), Options(channels=1)], ids=repr)
def test_an_option_that_asks_for_another_sound(options: Options, tmp_path: Path) -> None:
    """Whoever wants it smaller, or in mono, gets that."""
    result = converted(recording(tmp_path / "source", "-b:a", "128k", "-f", "mp4"), options)
    assert not is_copyable(options)
    assert not is_copied(result)
    info: Any = MP3(result).info
    assert info.length == pytest.approx(8, abs=0.1)


def test_a_copy_that_is_stopped_is_not_encoded(tmp_path: Path) -> None:
    """What ends the copying ends the conversion; no encoder begins."""
    source = recording(tmp_path / "source", "-b:a", "128k", "-f", "mpegts")
    looks: list[bool] = []

    def stop() -> bool:
        # Once the copy is being made, and never before.
        looks.append((tmp_path / "result.copy").exists())
        return looks[-1]

    with pytest.raises(Stopped):
        encode(
            source,
            tmp_path / "result.mp3",
            Options(),
            bounds=Bounds(None, None),
            processors=Processors(1),
            stop=stop,
            progress=lambda _percent: None,
        )
    assert (tmp_path / "result.0").stat().st_mtime_ns <= (tmp_path / "result.copy").stat().st_mtime_ns


#: Nothing but frames.
BARE: Final = ("-b:a", "128k", "-id3v2_version", "0", "-write_xing", "0", "-f", "mp3")


def rate_changes(path: Path) -> None:
    """Two MP3s of different sample rates, one behind the other."""
    first = recording(path.with_name("first"), *BARE).read_bytes()
    second = recording(path.with_name("second"), *BARE, rate_hz=48_000)
    path.write_bytes(first + second.read_bytes())


def begins_in_the_middle(path: Path) -> None:
    """An MP3 without its beginning, on which the sound of its first frame depends."""
    frames = Splitter().feed(recording(path, *BARE).read_bytes())
    begin = max(range(50, 200), key=lambda number: main_data(frames[number])[0])
    assert main_data(frames[begin])[0] > 0
    path.write_bytes(b"".join(frames[begin:]))


def noise_between(path: Path) -> None:
    """An MP3 with something else in it."""
    frames = Splitter().feed(recording(path, *BARE).read_bytes())
    path.write_bytes(b"".join(frames[:100]) + bytes(1000) + b"something else" + b"".join(frames[100:]))


@pytest.mark.parametrize("make", [rate_changes, begins_in_the_middle, noise_between])
def test_what_cannot_be_copied_is_encoded(make: Callable[[Path], None], tmp_path: Path) -> None:
    """An odd MP3 becomes a good one."""
    make(tmp_path / "source")
    result = converted(tmp_path / "source", Options())
    info: Any = MP3(result).info
    assert info.encoder_info.startswith("LAME")
    assert info.length > 5
    assert len(decoded(result)) // 4 == round(info.length * info.sample_rate)


@pytest.mark.parametrize(
    ("skips", "options", "part"),
    [
        # As LAME and most others write it: 1105 samples in front, of which the decoder's 529 are not counted.
        (Skips(1105, 623), Options(), Part(silent=0, first=0, after=100, delay=576, samples=113_472)),
        # A container that knows nothing: a frame of silence, so that nothing of the first one is left out.
        (Skips(0, 0), Options(), Part(silent=1, first=0, after=100, delay=623, samples=115_200)),
        (Skips(529, 0), Options(), Part(silent=0, first=0, after=100, delay=0, samples=114_671)),
        (Skips(528, 0), Options(), Part(silent=1, first=0, after=100, delay=1151, samples=114_672)),
        # More is left out at the end than a frame has.
        (Skips(1105, 1152), Options(), Part(silent=0, first=0, after=99, delay=576, samples=112_943)),
        # From a second on: as many frames before it as the delay can tell.
        (Skips(1105, 0), Options(start=1.0), Part(silent=0, first=36, after=100, delay=3_204, samples=69_995)),
        (Skips(1105, 0), Options(end=1.0), Part(silent=0, first=0, after=40, delay=576, samples=44_100)),
        (Skips(1105, 0), Options(end=9.0), Part(silent=0, first=0, after=100, delay=576, samples=114_095)),
    ],
)
def test_parts(skips: Skips, options: Options, part: Part) -> None:
    """Of a hundred frames at 44.1 kHz."""
    assert part_of(100, skips, options, rate_hz=44_100) == part


def test_nothing_between() -> None:
    """Behind the end there is nothing."""
    with pytest.raises(NotMpeg):
        part_of(100, Skips(0, 0), Options(start=3.0), rate_hz=44_100)
