"""One recording, encoded by one ffmpeg or by several at once: the same MP3 and waveform, byte for byte."""

from pathlib import Path
from typing import Final

import pytest

from functions.common.options import Options
from functions.convert.encoding import encode
from functions.convert.processors import Processors
from functions.convert.result import examine
from functions.convert.watch import Bounds
from tests.media.encode import encode as ffmpeg

SECONDS: Final = 90
#: A chord that moves from side to side, then the same on both, a pause, and noise.
SOUND: Final = (
    "aevalsrc=exprs='"
    "if(lt(t,30),0.3*sin(2*PI*220*t)*(0.5+0.5*sin(t)),if(lt(t,60),0.2*sin(2*PI*330*t),if(lt(t,70),0,random(0)-0.5)))"
    "|if(lt(t,30),0.3*sin(2*PI*554*t)*(0.5+0.5*cos(t)),if(lt(t,60),0.2*sin(2*PI*330*t),if(lt(t,70),0,random(1)-0.5)))"
    f"':s=44100:d={SECONDS}"
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute and a half of stereo."""
    return ffmpeg(tmp_path_factory.mktemp("recording") / "a.m4a", "-f", "lavfi", "-i", SOUND, "-c:a", "aac")


def made(source: Path, folder: Path, options: Options, processors: int) -> tuple[bytes, bytes]:
    """The MP3 and the waveform that the convert function makes with so many processors."""
    folder.mkdir()
    (folder / "source").symlink_to(source)
    waveform = encode(
        folder / "source",
        folder / "result.mp3",
        options,
        bounds=Bounds(None, None),
        processors=Processors(processors),
        stop=lambda: False,
        progress=lambda _percent: None,
    ).waveform
    assert waveform is not None
    return (folder / "result.mp3").read_bytes(), waveform.read_bytes()


@pytest.mark.parametrize("options", [Options(), Options(bitrate=128), Options(quality=9, channels=1)], ids=repr)
def test_the_same_bytes(options: Options, recording: Path, tmp_path: Path) -> None:
    """However many processors there are, the MP3 is the same, and so is its waveform."""
    whole = made(recording, tmp_path / "1", options, 1)
    for processors in (2, 3, 4):
        folder = tmp_path / str(processors)
        assert made(recording, folder, options, processors) == whole
        assert len(list(folder.glob("result.[0-9]*"))) == processors


@pytest.mark.parametrize("change_seconds", [0.1, 9, 72], ids="{} s".format)
def test_a_change_of_format_on_the_way(change_seconds: float, recording: Path, tmp_path: Path) -> None:
    """Where a broadcast goes from stereo to mono, be it before the first frame, less than a frame of sound is lost."""
    stereo = ffmpeg(tmp_path / "stereo.ac3", "-i", recording, "-t", str(change_seconds), "-b:a", "192k")
    mono = ffmpeg(tmp_path / "mono.ac3", "-ss", str(change_seconds), "-i", recording, "-ac", "1", "-b:a", "192k")
    source = tmp_path / "changing.ac3"
    source.write_bytes(stereo.read_bytes() + mono.read_bytes())
    whole = made(source, tmp_path / "1", Options(), 1)
    length = examine(tmp_path / "1" / "result.mp3")
    assert length is not None
    assert length.duration_seconds == pytest.approx(SECONDS, abs=0.06)
    for processors in (2, 4):
        folder = tmp_path / str(processors)
        assert made(source, folder, Options(), processors) == whole
        # All have begun by the time that the first of them is so far.
        assert change_seconds < SECONDS / 2 or len(list(folder.glob("result.[0-9]*"))) == processors
