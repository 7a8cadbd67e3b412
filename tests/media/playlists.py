"""Uploads that ask ffmpeg to open something else: another file on the disk, or an address on the network."""

import struct
from functools import partial
from pathlib import Path

from tests.media.boxes import box, edit
from tests.media.encode import AAC, H264, encode, picture, sound
from tests.media.sample import EITHER, FAILED, REFUSED, SUCCEEDED, Sample, holding, sample

UNSUPPORTED = "415"
#: An ID3v2.4 header and one padded frame. ffmpeg skips it before it probes, so what follows decides.
ID3 = b"ID3\x04\x00\x00\x00\x00\x00\x14" + b"TIT2\x00\x00\x00\x0a\x00\x00" + b"\x03" + bytes(9)
#: Neither text nor NUL, so string searches in probes go on past it.
BINARY = b"\x89\xf0\xff\xfe\x01\x02\x03\n"
#: A box and an EBML header as MP4 and Matroska begin.
FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")
EBML = b"\x1a\x45\xdf\xa3\x8b\x42\x82\x88matroska"
PCM_RATE_HZ = 8000


def hls(target: str) -> bytes:
    """Return an HLS playlist (RFC 8216) of one segment."""
    lines = (
        "#EXTM3U",
        "#EXT-X-VERSION:6",
        "#EXT-X-TARGETDURATION:10",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXTINF:10.0,",
        target,
        "#EXT-X-ENDLIST",
        "",
    )
    return "\n".join(lines).encode()


def hls_key(target: str) -> bytes:
    """Return an HLS playlist whose key and initialization segment are at `target`."""
    uris = f'#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXT-X-MAP:URI="{target}"\n#EXTINF'.encode()
    return hls(target).replace(b"#EXTINF", uris, 1)


def ffconcat(target: str) -> bytes:
    """Return a script of ffmpeg's concat demuxer."""
    return f"ffconcat version 1.0\nfile '{target}'\n".encode()


def dash(target: str) -> bytes:
    """Return a DASH manifest (ISO/IEC 23009-1) with one audio representation."""
    return (
        '<?xml version="1.0"?>\n'
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT2S"'
        ' profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="audio/mp4">'
        f'<Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>\n"
    ).encode()


def sdp(address: str) -> bytes:
    """Return a session description (RFC 8866) that makes a player wait for RTP from `address`."""
    return (
        f"v=0\no=- 0 0 IN IP4 {address}\ns=film\nc=IN IP4 {address}\nt=0 0\n"
        "m=audio 5004 RTP/AVP 0\na=rtpmap:0 PCMU/8000\n"
    ).encode()


def gab2(path: Path, script: bytes) -> None:
    """Write an AVI with two seconds of PCM and a subtitle chunk, type GAB2, that holds `script`.

    ffmpeg's AVI demuxer probes such a chunk as a file of its own.
    """
    silence = bytes(2 * 2 * PCM_RATE_HZ)
    header = struct.pack("<10I", 0, 0, 0, 0x10, 0, 0, 2, 0, 0, 0) + bytes(16)
    audio = _stream(b"auds", scale=1, rate=PCM_RATE_HZ, length=2 * PCM_RATE_HZ, sample_bytes=2)
    audio += _chunk(b"strf", struct.pack("<HHIIHHH", 1, 1, PCM_RATE_HZ, 2 * PCM_RATE_HZ, 2, 16, 0))
    text = _stream(b"txts", scale=1, rate=1, length=1, sample_bytes=0) + _chunk(b"strf", b"")
    streams = _list(b"strl", audio) + _list(b"strl", text)
    subtitle = b"GAB2\0" + struct.pack("<HI", 2, 0) + struct.pack("<HI", 4, len(script)) + script
    movie = _list(b"movi", _chunk(b"01tx", subtitle) + _chunk(b"00wb", silence))
    body = b"AVI " + _list(b"hdrl", _chunk(b"avih", header) + streams) + movie
    path.write_bytes(_chunk(b"RIFF", body))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _list(kind: bytes, body: bytes) -> bytes:
    return _chunk(b"LIST", kind + body)


def _stream(kind: bytes, *, scale: int, rate: int, length: int, sample_bytes: int) -> bytes:
    fields = struct.pack("<4sIIIIIIIIIII", bytes(4), 0, 0, 0, scale, rate, 0, length, 0, 0, sample_bytes, 0)
    return _chunk(b"strh", kind + fields + bytes(4))


def alias(target: str) -> bytes:
    """Return a Macintosh alias record of an absolute path, the data reference that ffmpeg can follow."""
    path = target.encode()
    path += bytes(len(path) % 2)
    record = bytes(10) + b"\x01/" + bytes(26) + bytes(12) + b"\x01x" + bytes(62) + bytes(16)
    record += struct.pack(">HH", 1, 1) + bytes(16)
    return box(b"alis", bytes(4) + record + struct.pack(">HH", 2, len(path)) + path + b"\xff\xff\0\0")


def url(target: str) -> bytes:
    """Return a data reference to a URL (ISO/IEC 14496-12, 8.7.2), flagged as outside of this file."""
    return box(b"url ", bytes(4) + target.encode() + b"\0")


def referring(path: Path, reference: bytes) -> None:
    """Write a QuickTime clip whose tracks all keep their samples where the data reference says."""
    path_of_references = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
    encode(path, *picture(), *sound(), *H264, *AAC, "-f", "mov")
    entries = struct.pack(">II", 0, 1) + reference
    path.write_bytes(edit(path.read_bytes(), path_of_references, lambda _: entries))


def reference_movie(target: str) -> bytes:
    """Return a QuickTime reference movie, a moov that holds nothing but a URL."""
    reference = box(b"rdrf", bytes(4) + b"url " + struct.pack(">I", len(target) + 1) + target.encode() + b"\0")
    return FTYP + box(b"moov", box(b"rmra", box(b"rmda", reference)))


def _texts(where: str, target: str) -> tuple[Sample, ...]:
    texts = {"hls": hls(target), "hls_key": hls_key(target), "ffconcat": ffconcat(target), "dash": dash(target)}
    bom = holding(f"hls_bom_{where}.mp4", b"\xef\xbb\xbf" + hls(target), REFUSED, reason=UNSUPPORTED)
    return (*(holding(f"{k}_{where}.mp4", v, REFUSED, reason=UNSUPPORTED) for k, v in texts.items()), bom)


def _disguised(where: str, target: str) -> tuple[Sample, ...]:
    texts = {
        # Probed as the playlist that they are: only the list of allowed formats stops them.
        f"id3_hls_{where}.mp3": ID3 + hls(target),
        f"id3_ffconcat_{where}.mp3": ID3 + ffconcat(target),
        f"id3_dash_{where}.mp3": ID3 + dash(target),
        # Probed as the manifest that it is, though ffmpeg 5.1 then chokes on what is in front of it.
        f"binary_dash_{where}.mp4": BINARY + dash(target),
        # Probed as something else or as nothing.
        f"binary_hls_{where}.mp4": BINARY + hls(target),
        f"binary_ffconcat_{where}.mp4": BINARY + ffconcat(target),
        f"ftyp_hls_{where}.mp4": FTYP + hls(target),
        f"ftyp_dash_{where}.mp4": FTYP + dash(target),
        f"ebml_hls_{where}.mkv": EBML + hls(target),
        f"ebml_ffconcat_{where}.mkv": EBML + ffconcat(target),
        f"reference_movie_{where}.mov": reference_movie(target),
    }
    return tuple(holding(name, content, FAILED) for name, content in texts.items())


def _embedded(where: str, target: str) -> tuple[Sample, ...]:
    scripts = {"hls": hls(target), "ffconcat": ffconcat(target), "dash": dash(target)}
    return (
        *(
            sample(f"gab2_{kind}_{where}.avi", partial(gab2, script=script), SUCCEEDED, seconds=2.0)
            for kind, script in scripts.items()
        ),
        # Not followed unless `-enable_drefs` is given: the track has no samples that could be read.
        sample(f"dref_alias_{where}.mov", partial(referring, reference=alias(target)), FAILED),
        # ffmpeg ignores the URL and reads this file; another version may refuse.
        sample(f"dref_url_{where}.mov", partial(referring, reference=url(target)), EITHER),
    )


def playlists(victim: Path, canary_url: str) -> tuple[Sample, ...]:
    """Return uploads of which none may open the file `victim` or send a request to `canary_url`.

    Args:
        victim: A media file of somebody else; its sound must never come out.
        canary_url: Address of a server that must see no connection, `http://127.0.0.1:PORT/...`.

    Returns:
        Samples: `*_beside` say the file's bare name, `*_path` its path, `*_file` a file URL, `*_http` the canary.
    """
    # ffconcat trusts plain names only, of files beside the upload; the others trust any path.
    targets = {
        "beside": victim.name,
        "path": str(victim),
        "file": f"file://{victim}",
        "http": canary_url,
    }
    samples = [
        s
        for where, target in targets.items()
        for s in (*_texts(where, target), *_disguised(where, target), *_embedded(where, target))
    ]
    description = sdp("127.0.0.1")
    return (
        *samples,
        holding("sdp.mp4", description, REFUSED, reason=UNSUPPORTED),
        holding("binary_sdp.mp4", BINARY + description, FAILED),
        holding("id3_sdp.mp3", ID3 + description, FAILED),
    )
