"""The finished MP3: read back in-process before anybody may have it, and its tags put in order."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from mutagen import MutagenError
from mutagen.id3 import ID3
from mutagen.mp3 import MP3

#: The ID3v2.4 frames that are kept: title, artist, album, date.
KEPT_TAGS: Final = ("TIT2", "TPE1", "TALB", "TDRC")
#: A tag longer than this is somebody's joke; players cut it anyway.
_LONGEST_TAG: Final = 1000


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


def keep_tags(tag: bytes) -> bytes:
    """Of an ID3v2 tag leave what people know, and nothing of what containers and muxers add.

    One that cannot be read is dropped whole: it is not worth a failed conversion.
    """
    try:
        given = ID3(BytesIO(tag))
    except MutagenError:
        return b""
    kept = ID3()
    for name in KEPT_TAGS:
        for frame in given.getall(name)[:1]:
            # A control character in a name is for no player's eyes.
            text = "".join(char if char.isprintable() else " " for char in str(frame))[:_LONGEST_TAG].strip()
            if text:
                frame.encoding = 3
                frame.text = [text]
                kept.add(frame)
    written = BytesIO()
    if kept:
        kept.save(written, v2_version=4, padding=lambda _info: 0)
    return written.getvalue()
