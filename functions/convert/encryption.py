"""Telling a copy-protected MP4 from a damaged one: ffmpeg reports both alike."""

from pathlib import Path
from typing import BinaryIO, Final

_MOST_BOXES: Final = 10_000
_LARGEST_HEADER: Final = 64 * 1024 * 1024


def is_encrypted(source: Path) -> bool:
    """Whether the movie header names a protected audio sample entry (ISO/IEC 14496-12, section 8.12)."""
    with source.open("rb") as stream:
        header = _movie_header(stream)
    return b"enca" in header or b"drms" in header


def _movie_header(stream: BinaryIO) -> bytes:
    """The bytes of the top-level `moov` box, or none."""
    position = 0
    for _ in range(_MOST_BOXES):
        stream.seek(position)
        head = stream.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if len(head) < 8 or size < 8:
            return b""
        if head[4:8] == b"moov":
            stream.seek(position)
            return stream.read(min(size, _LARGEST_HEADER))
        position += size
    return b""
