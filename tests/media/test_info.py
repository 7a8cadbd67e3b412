"""The Info frame, as others read it: mutagen, ffprobe, and ffmpeg when it decodes."""

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from mutagen.mp3 import MP3, BitrateMode

from functions.common.options import Options
from functions.convert.encoding import encode
from functions.convert.mpeg import Splitter
from functions.convert.processors import Processors
from functions.convert.watch import Bounds
from tests.media.encode import encode as ffmpeg

OPTIONS: Final = (Options(), Options(quality=9), Options(bitrate=64), Options(bitrate=320, channels=1))
RATES_HZ: Final = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
#: Where the last frame is filled in every way: the encoder's delay and the decoder's share it with the sound.
LENGTHS: Final = tuple(1_152 * 20 + more for more in (-1, 0, 1, 47, 48, 575, 576, 577, 623, 624))


def recording(folder: Path, rate_hz: int, samples: int) -> Path:
    """A recording of so many samples, exactly."""
    tone = f"aevalsrc=exprs=0.3*sin(600*t)*(1+0.5*sin(7*t))|0.2*sin(900*t):s={rate_hz}"
    return ffmpeg(folder / "a.wav", "-f", "lavfi", "-i", tone, "-af", f"atrim=end_sample={samples}", "-f", "wav")


def converted(source: Path, options: Options) -> Path:
    """The MP3 of a recording."""
    encode(
        source,
        source.with_name("result.mp3"),
        options,
        bounds=Bounds(None, None),
        processors=Processors(2),
        stop=lambda: False,
        progress=lambda _percent: None,
    )
    return source.with_name("result.mp3")


def decoded_samples(path: Path) -> int:
    """How many samples of one channel ffmpeg decodes."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "s16le", "-ac", "1", "pipe:1"]
    return len(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) // 2


@pytest.mark.parametrize(
    ("rate_hz", "samples"), [(rate_hz, 25_000) for rate_hz in RATES_HZ] + [(44_100, samples) for samples in LENGTHS]
)
def test_gapless(rate_hz: int, samples: int, tmp_path: Path) -> None:
    """What is decoded of the MP3 is as long as the recording, to the sample."""
    result = converted(recording(tmp_path, rate_hz, samples), Options())
    assert decoded_samples(result) == samples
    info: Any = MP3(result).info
    assert round(info.length * rate_hz) == samples


@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_what_others_read(options: Options, tmp_path: Path) -> None:
    """Length, method, frames, bytes, delay and checksums are what the file has."""
    result = converted(recording(tmp_path, 44_100, 300_000), options)
    data = result.read_bytes()
    frames = Splitter().feed(data)
    # mutagen's own classes carry no types.
    audio: Any = MP3(result)
    info = audio.info
    assert info.length == pytest.approx(300_000 / 44_100, abs=0.001)
    assert info.bitrate_mode == (BitrateMode.VBR if options.bitrate is None else BitrateMode.CBR)
    assert info.encoder_info.startswith("LAME 3.100")
    assert info.channels == (options.channels or 2)
    command = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(result)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert float(told) == pytest.approx(info.length, abs=0.05)
    fields = Fields(frames[0])
    assert fields.frames == len(frames) - 1
    assert fields.size_bytes == fields.music_bytes == len(b"".join(frames))
    assert (fields.delay, fields.delay + 300_000 + fields.padding) == (576, 1152 * (len(frames) - 1))
    assert fields.music_crc == crc16(b"".join(frames[1:]))
    assert fields.own_crc == crc16(frames[0][: fields.at + 154])
    ends = [sum(len(frame) for frame in frames[: 1 + entry * (len(frames) - 1) // 100]) for entry in range(100)]
    assert list(fields.toc) == [256 * end // fields.size_bytes for end in ends]


class Fields:
    """The fields of an Info frame.

    Args:
        frame: the frame.
    """

    def __init__(self, frame: bytes) -> None:
        at = max(frame.find(b"Info"), frame.find(b"Xing"))
        self.at = at
        self.frames = int.from_bytes(frame[at + 8 : at + 12])
        self.size_bytes = int.from_bytes(frame[at + 12 : at + 16])
        self.toc = frame[at + 16 : at + 116]
        self.delay, self.padding = divmod(int.from_bytes(frame[at + 141 : at + 144]), 4096)
        self.music_bytes = int.from_bytes(frame[at + 148 : at + 152])
        self.music_crc = int.from_bytes(frame[at + 152 : at + 154])
        self.own_crc = int.from_bytes(frame[at + 154 : at + 156])


def crc16(data: bytes) -> int:
    """CRC-16/ARC, bit by bit."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def test_a_long_one(tmp_path: Path) -> None:
    """Of two hours the table of contents is still right, and players seek by it."""
    source = ffmpeg(tmp_path / "a.wav", "-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "7200", "-f", "wav")
    frames = Splitter().feed(converted(source, Options(quality=9)).read_bytes())
    fields = Fields(frames[0])
    assert fields.frames == len(frames) - 1 == 100_002
    assert list(fields.toc) == pytest.approx([256 * entry / 100 for entry in range(100)], abs=2)
