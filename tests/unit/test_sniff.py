"""What the first bytes tell: surely no media is named, everything that ffmpeg could read is let through."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.upload.sniff import LOOK_BYTES, not_media
from tests.media.encode import AAC, H264, encode, picture, sound

BINARY: Final = bytes(range(256)) * 4

ARCHIVES: Final = [
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"BZh",
    b"\xfd7zXZ\0",
]
PICTURES: Final = [
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"),
    b"RIFF\x24\0\0\0WEBP",
]
DOCUMENTS: Final = [b"%PDF-", b"{\\rtf", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"]
PROGRAMS: Final = [b"\x7fELF", b"MZ\x90\0"]
SIGNATURES: Final = [
    (signature, name)
    for name, signatures in (
        ("an archive", ARCHIVES),
        ("a picture", PICTURES),
        ("a document", DOCUMENTS),
        ("a program", PROGRAMS),
    )
    for signature in signatures
]


@pytest.mark.parametrize(("signature", "name"), SIGNATURES, ids=[repr(signature) for signature, _ in SIGNATURES])
def test_signatures(signature: bytes, name: str) -> None:
    """Each signature is told by its name, with whatever follows, and only at the very beginning."""
    assert not_media(signature + BINARY) == name
    assert not_media(signature) in (name, "text")
    assert not_media(b"\0" + signature + BINARY) is None


@pytest.mark.parametrize("signature", [signature for signature, _ in SIGNATURES], ids=repr)
def test_a_signature_that_is_not_whole(signature: bytes) -> None:
    """Half a signature is none."""
    assert not_media(signature[:-1] + b"\xfe\0\0\0") is None


TEXTS: Final = [
    b"hello",
    b"x",
    b"\n",
    b"a,b\n1,2\n",
    b'{"a": 1}',
    b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n/etc/passwd\n",
    b"#extm3u\n",
    b"\xef\xbb\xbf#EXTM3U\n",
    b"\xef\xbb\xbf#EXTM3U\n" + BINARY,
    b" \r\n\t#EXTM3U\n",
    b"#EXTM3U\n" + BINARY,
    b"ffconcat version 1.0\nfile /etc/passwd\n",
    b"ffconcat" + BINARY,
    b"file '/etc/passwd'\n",
    b"<!DOCTYPE html><html>",
    b"<HTML>" + BINARY,
    b"\n\n  <html>" + BINARY,
    b'<?xml version="1.0"?><MPD/>',
    b"<MPD>" + BINARY,
    b"<svg/>",
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
    b"v=0\n" + BINARY,
    b"[playlist]\nFile1=/etc/passwd\n",
    b"1\n00:00:00,000 --> 00:00:01,000\nHello\n",
    "Grüße aus Köln, 日本語 \U0001f3ac\n".encode(),
    b"\x1b[31mred\x1b[0m\n",
    b"#!/bin/sh\nffmpeg\n",
    b"-----BEGIN PRIVATE KEY-----\n",
]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_texts(text: bytes) -> None:
    """Text is refused, whatever it says, and so is what parsers take for a playlist or a page by its beginning."""
    assert not_media(text[:LOOK_BYTES]) == "text"


@pytest.mark.parametrize("character", ["ä", "日", "\U0001f3ac"])
@pytest.mark.parametrize("shift", range(4))
def test_text_that_is_cut_inside_a_character(character: str, shift: int) -> None:
    """The look may end in the middle of a character, and what it sees is text all the same."""
    assert not_media(("x" * shift + character * 600).encode()[:LOOK_BYTES]) == "text"


@pytest.mark.parametrize("first", [b"\xff", b"\xff\xfb\x90", b"abc\xffdef" + b"x" * 100, b"abc\0", b"\x01", b"a\x7f"])
def test_what_may_be_media(first: bytes) -> None:
    """A few bytes that are no text are for ffmpeg to judge."""
    assert not_media(first) is None


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=800))
def test_any_text(text: str) -> None:
    """Any text in UTF-8 is text, or a document, program or archive by name, but never let through."""
    assert not_media(text.encode()[:LOOK_BYTES]) is not None


@given(st.binary(min_size=1, max_size=LOOK_BYTES))
def test_any_bytes(first: bytes) -> None:
    """Any bytes are named or let through, and a control character that no text has is never text."""
    assert not_media(first) in {None, "an archive", "a picture", "a document", "a program", "text"}


VIDEO: Final = (*picture(0.4), *sound(0.4))
TONE: Final = sound(0.4)
#: Suffix, muxer, and arguments of a small file of each kind.
MEDIA: Final = {
    "mp4": ("mp4", (*VIDEO, *H264, *AAC)),
    "fragmented mp4": ("mp4", (*VIDEO, *H264, *AAC, "-movflags", "empty_moov+frag_keyframe")),
    "mov": ("mov", (*VIDEO, *H264, *AAC)),
    "3gp": ("3gp", (*VIDEO, *H264, *AAC)),
    "mkv": ("matroska", (*VIDEO, *H264, *AAC)),
    "webm": ("webm", (*TONE, "-c:a", "libopus")),
    "avi": ("avi", (*VIDEO, "-c:v", "mpeg4", "-c:a", "libmp3lame")),
    "flv": ("flv", (*VIDEO, *H264, *AAC)),
    "ts": ("mpegts", (*VIDEO, *H264, *AAC)),
    "mpg": ("mpeg", (*picture(0.4, rate=25), *TONE, "-c:v", "mpeg2video", "-c:a", "mp2")),
    "ogg": ("ogg", (*TONE, "-c:a", "libvorbis")),
    "opus": ("ogg", (*TONE, "-c:a", "libopus")),
    "wav": ("wav", TONE),
    "w64": ("w64", TONE),
    "aiff": ("aiff", TONE),
    "au": ("au", TONE),
    "caf": ("caf", TONE),
    "mp3": ("mp3", (*TONE, "-c:a", "libmp3lame", "-metadata", "title=Text in front of everything")),
    "mp3 without tags": ("mp3", (*TONE, "-c:a", "libmp3lame", "-id3v2_version", "0", "-write_xing", "0")),
    "mp2": ("mp2", (*TONE, "-c:a", "mp2")),
    "flac": ("flac", TONE),
    "asf": ("asf", (*VIDEO, "-c:v", "wmv2", "-c:a", "wmav2")),
    "mxf": ("mxf", (*picture(0.4, rate=25), *TONE, "-c:v", "mpeg2video", "-c:a", "pcm_s16le")),
    "aac": ("adts", (*TONE, "-c:a", "aac")),
    "ac3": ("ac3", (*TONE, "-c:a", "ac3")),
    "tta": ("tta", TONE),
    "wv": ("wv", (*TONE, "-c:a", "wavpack")),
}


@pytest.mark.parametrize("kind", MEDIA)
def test_media(kind: str, tmp_path: Path) -> None:
    """The first bytes of every container that is converted are let through."""
    muxer, arguments = MEDIA[kind]
    path = encode(tmp_path / "sample", *arguments, "-f", muxer)
    with path.open("rb") as stream:
        first = stream.read(LOOK_BYTES)
    assert len(first) == LOOK_BYTES
    assert not_media(first) is None


@pytest.mark.parametrize(
    "first",
    [
        # Frame type 7 (12.2 kbit/s) after the magic of RFC 4867, section 5.
        b"#!AMR\n" + b"\x3c" + bytes(range(31)),
        b"#!AMR-WB\n" + b"\x44" + bytes(range(60)),
        # What a recorder writes that was switched off at once.
        b"\0\0\0\x1cftypisom\0\0\x02\0isomiso2mp41",
        b"OggS\0\x02" + bytes(20),
    ],
    ids=["amr", "amr-wb", "only ftyp", "only a page"],
)
def test_media_that_no_encoder_here_makes(first: bytes) -> None:
    """Speech recordings and stubs are let through, too."""
    assert not_media(first) is None
