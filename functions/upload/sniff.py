"""Telling by its first bytes what surely is no media; everything else is ffmpeg's to judge."""

from typing import Final

from functions.common.errors import NotMedia

#: How many first bytes a look needs.
LOOK_BYTES: Final = 512

#: Signatures by what they are called, as IANA and libmagic list them.
_SIGNATURES: Final = {
    "an archive": (
        b"PK\x03\x04",
        b"PK\x05\x06",
        b"\x1f\x8b",
        b"7z\xbc\xaf\x27\x1c",
        b"Rar!\x1a\x07",
        b"BZh",
        b"\xfd7zXZ\x00",
    ),
    "a picture": (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*"),
    "a document": (b"%PDF-", b"{\\rtf", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    "a program": (b"\x7fELF", b"MZ\x90\x00"),
}
#: Beginnings of text that parsers take seriously even where binary follows.
_TEXTS: Final = (
    b"#extm3u",
    b"ffconcat",
    b"<!doctype",
    b"<html",
    b"<?xml",
    b"<mpd",
    b"<svg",
    b"v=0\r\n",
    b"v=0\n",
    b"[playlist]",
)
_CONTROLS: Final = frozenset(range(0x20)) - frozenset(b"\t\n\f\r\x1b") | {0x7F}


def refuse_other_than_media(first: bytes) -> None:
    """Make sure that a file may be media.

    Args:
        first: its first LOOK_BYTES bytes or more, or all of them.

    Raises:
        NotMedia: it surely is none.
    """
    kind = not_media(first[:LOOK_BYTES])
    if kind is not None:
        raise NotMedia(f"This is {kind}, not a video or audio file.")


def not_media(first: bytes) -> str | None:
    """Name what the file is if that is surely no media, else None.

    Args:
        first: its first LOOK_BYTES bytes, or all of them.
    """
    for name, signatures in _SIGNATURES.items():
        if first.startswith(signatures):
            return name
    if first.startswith(b"RIFF") and first[8:12] == b"WEBP":
        return "a picture"
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:16].lower().startswith(_TEXTS) or _is_text(first):
        return "text"
    return None


def _is_text(first: bytes) -> bool:
    if not _CONTROLS.isdisjoint(first):
        return False
    try:
        first.decode()
    except UnicodeDecodeError as error:
        # The look may end in the middle of a character.
        return error.start > 0 and error.start >= len(first) - 3
    return True
