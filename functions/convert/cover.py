"""The recording's cover picture: copied and measured, never decoded."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from functions.convert.asking import answer
from functions.convert.ffmpeg import cover_command

#: Shops sell albums with covers of up to 10 MB; most have less than one.
_MOST_BYTES: Final = 10 * 1024 * 1024
#: What a player has to decode: a few bytes can be a picture of gigabytes.
_MOST_PIXELS: Final = 4096 * 4096
#: The size of a picture stands in front; what cameras and editors write before it is no longer.
_HEAD_BYTES: Final = 256 * 1024
#: How the pictures begin that every player shows (ID3v2.3, 4.15: "image/png" or "image/jpeg").
_TYPES: Final = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"))


@dataclass(frozen=True)
class Cover:
    """A picture, as it is."""

    data: bytes
    #: Its media type.
    type: str


def read_cover(source: Path, stream: int, *, stop: Callable[[], bool]) -> Cover | None:
    """Read a picture; None for what no player should be given.

    Args:
        source: the file, in the private folder that ffmpeg works in.
        stream: index of the stream that is the picture.
        stop: asked several times a second.

    Raises:
        Stopped: `stop` said so.
        Unavailable: ffmpeg could not be started.
    """
    data = answer(cover_command(source, stream), most_bytes=_MOST_BYTES, stop=stop) or b""
    type_ = next((type_ for begins, type_ in _TYPES if data.startswith(begins)), None)
    return Cover(data, type_) if type_ and 0 < _pixels(data) <= _MOST_PIXELS else None


def _pixels(data: bytes) -> int:
    """Width times height, 0 if they cannot be told."""
    import imagesize

    try:
        width, height = imagesize.get(BytesIO(data[:_HEAD_BYTES]))
    except Exception:  # noqa: BLE001 - it promises nothing for what is no picture
        return 0
    return max(0, int(width)) * max(0, int(height))
