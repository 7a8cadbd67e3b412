"""Loudness: what ffmpeg's own scanner says of the MP3s, and that nothing else of them changes."""

import math
import os
import re
import shutil
import subprocess
import time
from array import array
from collections.abc import Callable
from operator import mul
from pathlib import Path
from typing import Any, Final

import pytest
from mutagen.mp3 import MP3

from functions.common.errors import Unavailable
from functions.common.options import Options
from functions.convert.encoding import Made, encode
from functions.convert.level import Level
from functions.convert.loudness import Aim, Measured, measure
from functions.convert.process import Stopped
from functions.convert.processors import Processors
from functions.convert.sandbox import Limits
from functions.convert.watch import Bounds
from tests.media.encode import clip
from tests.media.encode import encode as ffmpeg

WORDS: Final = (
    "Peter Piper picked a peck of pickled peppers. Where is the peck of pickled peppers that Peter Piper picked. "
    "Round the rugged rocks the ragged rascal ran, and nobody ever asked him why."
)
#: Four chords of plucked strings, a bass drum on each beat, some hiss; the channels differ.
CHORDS: Final = "+".join(f"sin({hz}*{{tune}}*2*PI*t*(1+0.19*floor(mod(t,8)/2)))" for hz in (220, 277, 330))
MUSIC: Final = "|".join(
    f"0.2*exp(-3*mod(t,0.5))*({CHORDS.format(tune=tune)})+0.5*exp(-12*mod(t,0.5))*sin(2*PI*55*t)+0.01*random({seed})"
    for seed, tune in enumerate((1, 1.003))
)


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody who says a few sentences; peaks are high beside what is between them."""
    return ffmpeg(tmp_path_factory.mktemp("speech") / "speech.wav", "-f", "lavfi", "-i", f"flite=text='{WORDS}'")


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few bars for two hands, as an AAC."""
    played = f"aevalsrc='{MUSIC}':s=44100:d=12"
    return ffmpeg(tmp_path_factory.mktemp("music") / "music.m4a", "-f", "lavfi", "-i", played, "-c:a", "aac")


def make(source: Path, target: Path, options: Options, **how: Any) -> Made:
    """Make an MP3; `how` as of encode."""
    given = {
        "bounds": Bounds(None, None),
        "processors": Processors(1),
        "stop": lambda: False,
        "progress": lambda _percent: None,
    }
    return encode(source, target, options, **{**given, **how})


def judged(path: Path) -> tuple[float, float]:
    """Loudness in LUFS and the highest true peak in dBTP, by ffmpeg's scanner of EBU R128."""
    command = ["ffmpeg", "-hide_banner", "-nostats", "-i", str(path), "-af", "ebur128=peak=true", "-f", "null", "-"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    lufs, peak = (re.findall(rf"^    {name}: +(-?[\d.]+|-inf) ", said, re.MULTILINE)[-1] for name in ("I", "Peak"))
    return float(lufs), float(peak)


def samples(path: Path, *, filters: str = "anull") -> "array[float]":
    """Everything that a player plays."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-af", filters, "-f", "f32le", "pipe:1"]
    return array("f", subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.parametrize(
    "options",
    [
        Options(loudness=-16.0),
        Options(loudness=-23.0, bitrate=128, channels=1),
        Options(loudness=-16.0, bitrate=64),
        Options(loudness=-14.0, quality=9),
    ],
    ids=["V2", "128k mono, quiet", "64k", "V9, loud"],
)
@pytest.mark.parametrize("kind", ["speech", "music"])
def test_as_loud_as_asked_for(request: pytest.FixtureRequest, tmp_path: Path, kind: str, options: Options) -> None:
    """The MP3 is within half a loudness unit, and no peak is above -1 dBTP."""
    source = request.getfixturevalue(kind)
    make(source, tmp_path / "made.mp3", options)
    loud, peak = judged(tmp_path / "made.mp3")
    assert loud == pytest.approx(options.loudness, abs=0.5)
    assert peak < -1


def test_every_sample_stays_where_it_is(music: Path, tmp_path: Path) -> None:
    """However much was limited: the sound is as long as before, and in step with it."""
    made = tmp_path / "made.mp3"
    make(music, made, Options(loudness=-13.0, quality=0))
    before, after = samples(music), samples(made)
    assert len(after) == len(before)

    def likeness(shift: int) -> float:
        return math.fsum(map(mul, before[40_000:80_000], after[40_000 + shift : 80_000 + shift]))

    assert max((0, *range(-8, 9, 2), -441, -440, 440, 441), key=likeness) == 0


@pytest.mark.parametrize("rate_hz", [8000, 11025, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_filters_keep_time(tmp_path: Path, rate_hz: int, channels: int) -> None:
    """What the limiter looks ahead is not left out or added, at any rate."""
    click = f"aevalsrc='{'|'.join(['if(eq(n,1000),0.5,0)'] * channels)}':s={rate_hz}:d=0.7"
    source = ffmpeg(tmp_path / "click.wav", "-f", "lavfi", "-i", click, "-c:a", "pcm_f32le")
    filtered = samples(source, filters=Level(12.0, -3.0, rate_hz).filters())
    assert len(filtered) == len(samples(source))
    peak = max(range(len(filtered)), key=lambda index: abs(filtered[index]))
    assert peak // channels == 1000
    assert 0.5 < abs(filtered[peak]) < 10 ** (-3 / 20)


def test_the_same_bytes_of_two_encoders(music: Path, tmp_path: Path) -> None:
    """A limiter too begins with the recording, wherever its encoder does."""
    long = ffmpeg(tmp_path / "long.m4a", "-stream_loop", "3", "-i", music, "-c", "copy")
    for processors in (1, 2):
        make(long, tmp_path / f"{processors}.mp3", Options(loudness=-14.0), processors=Processors(processors))
    assert (tmp_path / "2.1").stat().st_size > 0
    assert (tmp_path / "1.mp3").read_bytes() == (tmp_path / "2.mp3").read_bytes()


@pytest.mark.parametrize("loudness", [-16.0, -30.0])
def test_silence_stays_silence(tmp_path: Path, loudness: float) -> None:
    """There is nothing to make louder."""
    silence = ffmpeg(tmp_path / "silence.wav", "-f", "lavfi", "-i", "anullsrc=r=44100:cl=stereo:d=3")
    make(silence, tmp_path / "made.mp3", Options(loudness=loudness))
    make(silence, tmp_path / "plain.mp3", Options())
    assert (tmp_path / "made.mp3").read_bytes() == (tmp_path / "plain.mp3").read_bytes()


def test_a_part_is_measured_by_itself(tmp_path: Path) -> None:
    """How loud the rest is makes no difference."""
    steps = ffmpeg(
        tmp_path / "steps.wav", "-f", "lavfi", "-i", "aevalsrc='if(lt(t,5),0.5,0.05)*sin(2000*t)':s=44100:d=10"
    )
    make(steps, tmp_path / "made.mp3", Options(loudness=-20.0, start=5.0))
    assert judged(tmp_path / "made.mp3")[0] == pytest.approx(-20.0, abs=0.5)


@pytest.mark.parametrize(
    ("layout", "rate_hz", "channels"),
    [("5.1", 48000, 2), ("mono", 192000, 1), ("quad", 96000, 2), ("stereo", 44100, 2)],
)
def test_what_an_mp3_cannot_hold_is_measured_all_the_same(
    tmp_path: Path, layout: str, rate_hz: int, channels: int
) -> None:
    """Surround is mixed down and high rates become lower ones, as without the option."""
    said = f"sine=440:r={rate_hz}:d=5,volume=-20dB,aformat=channel_layouts={layout}"
    source = ffmpeg(tmp_path / "a.wav", "-f", "lavfi", "-i", said)
    made = make(source, tmp_path / "a.mp3", Options(loudness=-16.0))
    assert made.duration_seconds == pytest.approx(5, abs=0.1)
    assert judged(tmp_path / "a.mp3")[0] == pytest.approx(-16, abs=0.5)
    info: Any = MP3(tmp_path / "a.mp3").info
    assert (info.channels, info.sample_rate) == (channels, min(48000, rate_hz))


@pytest.mark.parametrize("codec", ["aac", "ac3", "flac", "pcm_f32le"])
def test_two_channels_become_their_mean(codec: str, tmp_path: Path) -> None:
    """Mono of two channels that say the same is as loud as either, whether its decoder gives integers or floats."""
    said = "aevalsrc='0.5*sin(2764*t)|0.5*sin(2764*t)':s=44100:d=4"
    source = ffmpeg(tmp_path / "source.mkv", "-f", "lavfi", "-i", said, "-c:a", codec, "-b:a", "192k")
    make(source, tmp_path / "made.mp3", Options(channels=1))
    assert judged(tmp_path / "made.mp3")[1] == pytest.approx(-6.0, abs=0.3)


def test_an_mp3_is_encoded_again(music: Path, tmp_path: Path) -> None:
    """Its frames can't stay as they are, and its tags can."""
    source = ffmpeg(tmp_path / "source.mp3", "-i", music, "-metadata", "title=Blue")
    make(source, tmp_path / "made.mp3", Options(loudness=-20.0))
    assert judged(tmp_path / "made.mp3")[0] == pytest.approx(-20.0, abs=0.5)
    tags: Any = MP3(tmp_path / "made.mp3").tags
    assert str(tags["TIT2"]) == "Blue"


def test_progress_goes_one_way(music: Path, tmp_path: Path) -> None:
    """However often the MP3 is made, and never to the end before the end."""
    told: list[int] = []
    make(music, tmp_path / "made.mp3", Options(loudness=-13.0, bitrate=64), progress=told.append)
    assert told == sorted(told)
    assert (told[0] < 20, 60 < told[-1] < 100) == (True, True)


@pytest.mark.parametrize("percent", [0, 25, 55], ids=["measuring", "encoding", "measuring the MP3"])
def test_it_can_be_stopped(music: Path, tmp_path: Path, percent: int) -> None:
    """At every point of the way, and no further step begins."""
    told = [0]
    with pytest.raises(Stopped):
        make(
            music,
            tmp_path / "made.mp3",
            Options(loudness=-20.0),
            progress=told.append,
            stop=lambda: told[-1] >= percent,
        )
    assert percent <= told[-1] <= percent + 35


def test_what_is_too_long_is_not_measured_to_its_end(tmp_path: Path) -> None:
    """It fails as without the option."""
    source = clip(tmp_path / "clip.mp4", seconds=20.0)
    limits = Limits(time.monotonic() + 60)
    assert measured(source, most_seconds=5.0, limits=limits) is None
    assert measured(source, most_seconds=30.0, limits=limits) is not None


@pytest.mark.parametrize("ended", ["kill -TERM $$", "exit 1", "echo; exit 0"])
@pytest.mark.parametrize("what", ["wav", "mp3"], ids=["the recording", "the MP3"])
def test_what_was_not_measured_is_not_published(
    music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, ended: str
) -> None:
    """An ffmpeg that somebody ends says nothing of the recording: the job can be tried again."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/ffmpeg"
    real = shutil.which("ffmpeg")
    program.write_text(f'#!/bin/sh\ncase "$*" in *.{what}*ebur128*) {ended};; esac\nexec {real} "$@"\n')
    program.chmod(0o755)
    source = ffmpeg(tmp_path / "source.wav", "-i", music, "-t", "2")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("functions.convert.sandbox._walls", tuple)
    with pytest.raises(Unavailable):
        make(source, tmp_path / "made.mp3", Options(loudness=-20.0))


def measured(path: Path, *, most_seconds: float | None = None, limits: Limits | None = None) -> Measured | None:
    """How loud it is."""
    return measure(
        path,
        Options(),
        most_seconds=most_seconds,
        limits=limits or Limits(None),
        stop=lambda: False,
        progress=lambda _percent: None,
    )


def test_measuring(tmp_path: Path) -> None:
    """A sine of -20 dBFS in one channel is -23 LUFS (EBU Tech 3341); what is no sound is none."""
    tone = "aevalsrc='0.1*sin(2*PI*1000*t)':s=48000:d=5"
    source = ffmpeg(tmp_path / "tone.wav", "-f", "lavfi", "-i", tone)
    found = measured(source)
    assert found is not None
    assert found.lufs == pytest.approx(-23.0, abs=0.1)
    assert found.peak_dbtp == pytest.approx(-20.0, abs=0.1)
    assert found.rate_hz == 48_000
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)) * 64)
    assert measured(tmp_path / "noise.bin") is None


def learnt(recording: Measured, heard: Callable[[Level], Measured], lufs: float = -16.0) -> list[Level]:
    """The levels that are tried until one is right, where an MP3 sounds as `heard` says."""
    aim = Aim(lufs, recording, Options())
    tried = [aim.level]
    while not aim.is_met(heard(aim.level)):
        tried.append(aim.level)
        assert len(tried) < 20
    return tried


def test_without_limiting_once_is_enough() -> None:
    """Where no peak comes near the ceiling there is no limiter."""
    [level] = learnt(Measured(-20.0, -6.1, 44_100), lambda level: Measured(-20 + level.gain_db, -2.1, 44_100))
    assert level == Level(4.0, None, 44_100)


def test_what_a_limiter_takes_is_given_again() -> None:
    """It takes more of every further decibel, and a few times are enough all the same."""
    tried = learnt(
        Measured(-24.0, -6.0, 44_100), lambda level: Measured(-24 + 0.6 * level.gain_db, -1.5, 44_100), lufs=-16.0
    )
    assert len(tried) == 3
    assert tried[-1].gain_db == pytest.approx(8 / 0.6, abs=0.5)


def test_peaks_that_encoding_makes_higher_are_limited_lower() -> None:
    """The ceiling goes down by what the MP3 has too much."""
    tried = learnt(Measured(-16.0, -2.0, 44_100), lambda level: Measured(-16.0, (level.ceiling_dbtp or -1) + 1, 44_100))
    assert [level.ceiling_dbtp for level in tried] == [None, pytest.approx(-3.4)]
