"""The waveform beside an MP3: of the sound that is heard, as long as that, and the same however it was made."""

import fcntl
import math
import os
import subprocess
import time
import wave
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from mutagen.mp3 import MP3

from functions.common.options import Options
from functions.convert import encoding, process, runs, sandbox, waveform
from functions.convert.mpeg import Splitter
from functions.convert.process import Command, Ended, Stopped
from functions.convert.processors import Processors
from functions.convert.runs import GrowingRun
from functions.convert.sandbox import Limits
from functions.convert.watch import Bounds
from tests.media.encode import encode as ffmpeg
from tests.media.encode import sound
from tests.support.waveform import Waveform, read

#: Begin and end of each burst, in seconds, how high it is, and on which channels.
BURSTS: Final = ((0.5, 0.8, 12_000, (0, 1)), (1.7, 1.75, 30_000, (1,)), (2.4, 2.9, 3_000, (0,)))
SECONDS: Final = 3.4


def recording(path: Path, rate_hz: int = 44100, channels: int = 2) -> Path:
    """Silence with bursts of a high sine, as a WAV."""
    samples = array("h", bytes(2 * channels * round(SECONDS * rate_hz)))
    radians = 1.3 * min(1, 44_100 / rate_hz)
    for begin, end, height, on in BURSTS:
        for at in range(round(begin * rate_hz), round(end * rate_hz)):
            for channel in {min(one, channels - 1) for one in on}:
                samples[at * channels + channel] = round(height * math.sin(at * radians))
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


def samples_of(path: Path) -> tuple["array[int]", int]:
    """The samples of a WAV, and of how many channels they are."""
    with wave.open(str(path)) as file:
        return array("h", file.readframes(file.getnframes())), file.getnchannels()


def drawn(source: Path, options: Options | None = None, **how: Any) -> tuple[bytes | None, Path]:
    """The waveform and the MP3 that are made of a recording; `how` as of encode."""
    result = source.with_name("result.mp3")
    given = {
        "bounds": Bounds(None, None),
        "processors": Processors(1),
        "stop": lambda: False,
        "progress": lambda _percent: None,
    }
    made = encoding.encode(source, result, options or Options(), **{**given, **how})
    return None if made.waveform is None else made.waveform.read_bytes(), result


def told(source: Path, options: Options | None = None, **how: Any) -> Waveform:
    """The waveform that a player reads; it is as long as the MP3."""
    data, result = drawn(source, options, **how)
    assert data is not None
    found = read(data)
    info: Any = MP3(result).info
    assert info.sample_rate == found.rate_hz
    assert 0 <= found.seconds - info.length < found.window_samples / found.rate_hz
    return found


def looked_at(samples: "array[int]", channels: int, step: int) -> list[tuple[int, int]]:
    """Lowest and highest of each window of the channels' mean, of 8 bits."""
    mixed = [round(sum(samples[at : at + channels]) / channels) for at in range(0, len(samples), channels)]
    windows = [mixed[at : at + step] for at in range(0, len(mixed), step)]
    return [(cut_off(min(window)), cut_off(max(window))) for window in windows]


def cut_off(sample: int) -> int:
    """Of 16 bits the upper 8; noise in the lower ones is silence."""
    return 0 if sample >> 8 == -1 else sample >> 8


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_bursts_show_where_they_sound(rate_hz: int, channels: int, tmp_path: Path) -> None:
    """Each to the window, as high as the mean of the channels; between them there is nothing."""
    source = recording(tmp_path / "source", rate_hz, channels)
    found = told(source)
    samples, _ = samples_of(source)
    assert found.rate_hz == rate_hz
    assert found.pairs == looked_at(samples, channels, found.window_samples)
    heights = found.heights()
    for begin, end, height, on in BURSTS:
        first, last = (int(at * rate_hz / found.window_samples) for at in (begin, end))
        mean = height / channels * min(channels, len(on))
        assert max(heights[first : last + 1]) == pytest.approx(mean / 256, abs=3)
        assert heights[first - 1] == heights[last + 1] == 0


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
@pytest.mark.parametrize("rate_hz", [44_100, 96_000, 192_000])
def test_sound_that_is_no_mp3s(rate_hz: int, channels: int, tmp_path: Path) -> None:
    """What has to be mixed down, or brought to another rate, is drawn as it is encoded."""
    found = told(recording(tmp_path / "source", rate_hz, channels))
    heights = found.heights()
    for begin, end, _height, _on in BURSTS[:2]:
        first, last = (int(at * found.rate_hz / found.window_samples) for at in (begin, end))
        assert max(heights[first : last + 1]) > 10
        assert heights[first - 3] == heights[last + 3] == 0


def test_silence_is_nothing(tmp_path: Path) -> None:
    """Digital silence has a waveform, of zeros."""
    source = ffmpeg(tmp_path / "source.wav", "-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo", "-t", "2")
    assert set(told(source).pairs) == {(0, 0)}


def test_of_the_part_that_is_heard(tmp_path: Path) -> None:
    """Between start and end, at the rate and of the channels that the MP3 has."""
    source = recording(tmp_path / "source")
    samples, channels = samples_of(source)
    part = samples[channels * 22050 : channels * 2 * 44100]
    found = told(source, Options(start=0.5, end=2.0))
    assert found.pairs == looked_at(part, channels, 384)
    mono = told(source, Options(start=0.5, end=2.0, channels=1, sample_rate=22050)).heights()
    for begin, end, height in ((0.0, 0.3, 12_000), (1.2, 1.25, 15_000)):
        first, last = int(begin * 22050 / 192), int(end * 22050 / 192)
        assert max(mono[first : last + 1]) == pytest.approx(height / 256, rel=0.25)


def test_of_the_level_that_is_heard(tmp_path: Path) -> None:
    """What loudness makes of it: the last MP3 counts, whose own samples peak as high."""
    quiet = "aevalsrc=exprs='0.02*sin(2*PI*440*t)*(1+0.4*sin(3*t))|0.01*sin(2*PI*660*t)':s=44100:d=6"
    source = ffmpeg(tmp_path / "source.wav", "-f", "lavfi", "-i", quiet)
    assert max(told(source).heights()) == pytest.approx(0.019 * 128, abs=1.5)
    found = told(source, Options(loudness=-16.0))
    command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "result.mp3"), "-f", "s16le", "pipe:1"]
    samples = array("h", subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    mixed = [(left + right) / 2 for left, right in zip(samples[::2], samples[1::2], strict=True)]
    assert max(found.heights()) == pytest.approx(max(mixed) / 256, rel=0.1)
    assert max(found.heights()) > 20


def test_a_copy_has_none(tmp_path: Path) -> None:
    """Nothing of it is decoded, so nothing is known of its samples."""
    source = ffmpeg(tmp_path / "source.mkv", "-i", recording(tmp_path / "a.wav"), "-c:a", "libmp3lame")
    assert drawn(source)[0] is None
    assert drawn(source, Options(bitrate=96))[0] is not None


def test_nothing_is_lost_where_the_sound_changes(tmp_path: Path) -> None:
    """A broadcast that goes from mono to stereo and back, at another rate: all of it is there and drawn."""
    mono = ffmpeg(tmp_path / "mono.ts", *sound(3.3), "-c:a", "aac")
    other = ("-f", "lavfi", "-i", "aevalsrc='sin(900*t)|sin(2000*t)':d=3.3:s=44100")
    stereo = ffmpeg(tmp_path / "stereo.ts", *other, "-c:a", "aac")
    source = tmp_path / "source.ts"
    source.write_bytes((mono.read_bytes() + stereo.read_bytes()) * 2)
    found = told(source)
    assert found.seconds == pytest.approx(13.3, abs=0.05)
    assert found.rate_hz == 48000
    heights = found.heights()
    assert max(heights[:400]) < 30 < min(heights[430:810])


def test_one_that_was_killed_leaves_none(tmp_path: Path) -> None:
    """Where ffmpeg was ended from outside there is neither MP3 nor waveform."""
    sine = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100:duration=900", "-c:a", "flac")
    source = ffmpeg(tmp_path / "source.flac", *sine)

    def kill(_percent: int) -> None:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # told once more by another run, while those of before are ending
                if child.name() == "ffmpeg":
                    child.kill()

    with pytest.raises(Stopped):
        drawn(source, progress=kill)
    assert not list(tmp_path.glob("*.dat"))


def test_a_run_that_is_closed_waits_for_its_samples(tmp_path: Path) -> None:
    """Its windows come up to where those of the next run begin, however late they come behind its frames."""
    frames = drawn(recording(tmp_path / "a", 32_000, 1), Options(bitrate=64))[1].with_suffix(".0").read_bytes()
    count = len(Splitter().feed(frames * 2))
    samples = b"\x40" * (2 * 1152 * count)
    source = tmp_path / "source"
    source.write_bytes(frames * 2 + samples)
    first = f"head -c {2 * len(frames)} {source}; sleep 0.5"
    script = f"{first}; tail -c +{2 * len(frames) + 1} {source} >&${{0#pipe:}}; sleep 30"
    run = GrowingRun(Command(source, ("bash", "-c", script), aside=True), tmp_path / "frames")
    run.work(Limits(None), stop=lambda: None, made=lambda run, _frames: run.close() if run.made == count else None)
    assert run.made == count > 98
    assert run.ended == Ended(-9, "enough")
    assert run.peaks is not None
    assert len(run.peaks) >= 3 * (count - 98)
    assert set(run.peaks.pairs) == {0x40}


@pytest.fixture
def no_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sandbox around ffmpeg."""
    monkeypatch.setattr(sandbox, "_walls", lambda: ())


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform where pipes hold little."""
    monkeypatch.setattr(process, "_WIDE_PIPE_BYTES", 4096)


@pytest.fixture
def many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has so many files open that the pipe's number is beyond what ffmpeg may open."""
    monkeypatch.setattr(os, "pipe", lambda: tuple(map(_high, _PIPE())))


_PIPE: Final = os.pipe


def _high(descriptor: int) -> int:
    high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 200)
    os.close(descriptor)
    return high


@pytest.mark.parametrize("place", ["no_walls", "narrow", "many_files"])
def test_wherever_ffmpeg_runs(place: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The same in a sandbox and without one, however little pipes hold, and whatever numbers they have."""
    source = recording(tmp_path / "source")
    usual, mp3 = drawn(source)
    frames = mp3.read_bytes()
    request.getfixturevalue(place)
    assert drawn(source)[0] == usual
    assert mp3.read_bytes() == frames


def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that do not come to the end."""
    look = waveform.Peaks._look

    def lossy(self: waveform.Peaks, end: int, *, last: bool) -> None:
        look(self, end, last=last)
        del self.pairs[600:]

    # Whether they come before the first frame or behind it.
    monkeypatch.setattr(waveform.Peaks, "_look", lossy)


def _too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that is longer than waveforms may be."""
    monkeypatch.setattr(runs, "Peaks", lambda: waveform.Peaks(300))


def _no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for another file."""

    def full(_path: Path, _data: bytes) -> int:
        raise OSError(28, "no room")

    monkeypatch.setattr(Path, "write_bytes", full)


@pytest.mark.parametrize("trouble", [_forgotten, _too_long, _no_room])
def test_no_mp3_is_held_back_for_it(
    trouble: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever goes wrong with the waveform alone, the MP3 is what it would have been."""
    source = recording(tmp_path / "source")
    mp3 = drawn(source)[1].read_bytes()
    trouble(monkeypatch)
    data, result = drawn(source, processors=Processors(1))
    assert (data, result.read_bytes()) == (None, mp3)


def test_ffmpeg_hardly_ever_waits(tmp_path: Path) -> None:
    """Who reads is not so slow that the encoder stands still: ten minutes of samples are read while they are made."""
    sine = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000:duration=600", "-c:a", "flac")
    source = ffmpeg(tmp_path / "source.flac", *sine)
    began = time.monotonic()
    assert told(source).seconds == pytest.approx(600, abs=0.1)
    assert time.monotonic() - began < 60
