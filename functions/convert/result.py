"""The finished MP3, read back in-process before anybody may have it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutagen import MutagenError
from mutagen.mp3 import MP3


@dataclass(frozen=True)
class Mp3:
    """What the MP3 says of itself."""

    #: By its frames, with the encoder's delay and padding.
    duration_seconds: float
    sample_rate_hz: int


def examine(path: Path) -> Mp3 | None:
    """Read an MP3's first frame and Xing/Info header; None if it holds no audio."""
    try:
        info: Any = MP3(path).info
    except MutagenError:
        return None
    if info is None or info.layer != 3 or info.sketchy or info.length <= 0:
        return None
    return Mp3(duration_seconds=info.length, sample_rate_hz=info.sample_rate)
