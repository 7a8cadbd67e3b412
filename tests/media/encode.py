"""Small clips made by ffmpeg in a fraction of a second; used by the corpus and by every test that uploads."""

import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType

#: 64x64 pictures, five a second: enough to be a video, nothing to wait for.
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "5")
AAC = ("-c:a", "aac", "-b:a", "64k")

#: What `tagged` writes; keys are ffmpeg's names of the tags.
TAGS = MappingProxyType(
    {"title": "Blue & <i>Green</i>", "artist": "Zoë Example", "album": "Test Pictures", "date": "2021"}
)


def picture(seconds: float = 2.0, *, rate: int = 5) -> tuple[str, ...]:
    """Return the input arguments of a moving 64x64 test picture."""
    return ("-f", "lavfi", "-i", f"testsrc=size=64x64:rate={rate}:duration={seconds}")


def sound(seconds: float = 2.0, *, frequency_hz: int = 440, sample_rate_hz: int = 48000) -> tuple[str, ...]:
    """Return the input arguments of a mono sine."""
    sine = f"sine=frequency={frequency_hz}:sample_rate={sample_rate_hz}:duration={seconds}"
    return ("-f", "lavfi", "-i", sine)


def encode(path: Path, *arguments: str | Path) -> Path:
    """Run ffmpeg with `arguments` and the output `path`, whatever characters that has, and return the path.

    Raises:
        subprocess.CalledProcessError: ffmpeg refuses.
    """
    exact = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact")
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", *map(str, arguments), *exact]
    subprocess.run([*command, "-y", f"file:{path}"], check=True, stdin=subprocess.DEVNULL)
    return path


def quarter_of_an_hour(path: Path) -> Path:
    """Write an MP4 of 15 minutes of sound, of which one is encoded and the others are its copies."""
    minute = encode(path.with_name("minute.m4a"), *sound(60), *AAC)
    return encode(path, "-stream_loop", "14", "-i", minute, "-c", "copy", "-f", "mp4")


def still(path: Path, *, size: str = "640x480") -> Path:
    """A picture of noise, of a size that no buffer of ffmpeg's holds; the suffix chooses what it is."""
    noise = f"nullsrc=s={size},geq=random(1)*255:128:128"
    return encode(path, "-f", "lavfi", "-i", noise, "-frames:v", "1", "-update", "1", "-q:v", "2")


def clip(
    path: Path,
    *,
    seconds: float = 2.0,
    frequency_hz: int = 440,
    channels: int = 1,
    sample_rate_hz: int = 48000,
    muxer: str = "mp4",
    more: Sequence[str] = (),
) -> Path:
    """Write a small video with H.264 pictures and an AAC sine, whatever the suffix of the path says.

    Args:
        path: Where to write; any name a file system takes.
        seconds: Length of pictures and sound.
        frequency_hz: Pitch of the sine.
        channels: Channels of the sound, all alike.
        sample_rate_hz: Samples a second.
        muxer: ffmpeg's name of the container.
        more: Further output arguments.

    Returns:
        The path.
    """
    tone = sound(seconds, frequency_hz=frequency_hz, sample_rate_hz=sample_rate_hz)
    layout = ("-ac", str(channels), "-ar", str(sample_rate_hz))
    return encode(path, *picture(seconds), *tone, *H264, *AAC, *layout, *more, "-f", muxer)


def tagged(path: Path) -> Path:
    """Write a two second clip that carries TAGS; `.mp4`, `.mkv` and `.ogg` choose the container.

    Tags sit on the whole file in MP4 and Matroska, and on the Vorbis stream in Ogg.
    """
    tags = [part for key, value in TAGS.items() for part in ("-metadata", f"{key}={value}")]
    if path.suffix == ".ogg":
        on_stream = [part if part != "-metadata" else "-metadata:s:a:0" for part in tags]
        return encode(path, *sound(), "-c:a", "libvorbis", *on_stream, "-f", "ogg")
    return clip(path, muxer={".mp4": "mp4", ".mkv": "matroska"}[path.suffix], more=tags)


@cache
def clip_bytes(seconds: float = 2.0, muxer: str = "mp4", more: tuple[str, ...] = ()) -> bytes:
    """Return the content of a clip, encoded once for all who ask for the same."""
    with tempfile.TemporaryDirectory() as folder:
        return clip(Path(folder, "clip"), seconds=seconds, muxer=muxer, more=more).read_bytes()


def decoded_seconds(path: Path) -> float:
    """Length of what a player would play of an MP3: decoded, without the encoder's delay and padding."""
    rate_hz = 8000
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{path}"]
    command += ["-ac", "1", "-ar", str(rate_hz), "-f", "u8", "-"]
    return len(subprocess.run(command, check=True, capture_output=True).stdout) / rate_hz
