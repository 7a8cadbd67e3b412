"""Uploads whose headers and tables say what is not so: durations, sizes, offsets, timestamps."""

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.media.boxes import edit, overwrite, overwrite_after
from tests.media.encode import AAC, H264, clip_bytes, encode, picture, sound
from tests.media.sample import EITHER, FAILED, SUCCEEDED, Sample, sample

HUGE = 2**31 - 1
TRACK = (b"moov", b"trak")
TABLES = (*TRACK, b"mdia", b"minf", b"stbl")
EDITS = (*TRACK, b"edts", b"elst")
FLV_HEADER_BYTES = 13

Change = Callable[[bytes], bytes]


def put(offset: int, layout: str, *values: float) -> Change:
    """Return a change that packs `values` over a box's body at `offset`."""
    return partial(overwrite, offset=offset, layout=layout, values=values)


def lying(path: Path, *, boxes: tuple[bytes, ...], change: Change) -> None:
    """Write a two second clip with the boxes at the path `boxes` changed in every track."""
    path.write_bytes(edit(clip_bytes(), boxes, change))


def every_entry(header_bytes: int, value: int) -> Change:
    """Return a change that sets each 32-bit entry behind the header of a table."""

    def change(body: bytes) -> bytes:
        count = (len(body) - header_bytes) // 4
        return body[:header_bytes] + struct.pack(">I", value) * count

    return change


def lying_matroska(path: Path, seconds: float) -> None:
    """Write a Matroska clip whose segment claims to last `seconds`."""
    matroska = clip_bytes(muxer="matroska")
    path.write_bytes(overwrite_after(matroska, b"\x44\x89\x88", ">d", values=(seconds * 1000,)))


def lying_tag(path: Path) -> None:
    """Write a Matroska clip whose DURATION tags, two of its tracks', claim nine hours more."""
    path.write_bytes(clip_bytes(muxer="matroska").replace(b"00:00:02.0", b"09:00:02.0"))


def speaking_tag(path: Path) -> None:
    """Write a Matroska clip with a tag whose name has several lines, as ffmpeg and those who start it write them."""
    name = "\n".join(
        ("x", "bwrap: no", "prlimit: no", "  Duration: 09:00:00.00, a", "  Stream #0:9: Audio: mp3 (enca / 0x0)", "y")
    )
    stands_for = "X" * len(name)
    matroska = clip_bytes(muxer="matroska", more=("-metadata", f"{stands_for}=z"))
    path.write_bytes(matroska.replace(stands_for.encode(), name.encode()))


def lying_flash(path: Path) -> None:
    """Write an FLV whose onMetaData claims ten hours."""
    path.write_bytes(overwrite_after(clip_bytes(muxer="flv"), b"duration\0", ">d", values=(36000.0,)))


def lying_avi(path: Path, stream: bytes, length: int) -> None:
    """Write an AVI whose header of the video (`vids`) or audio (`auds`) stream claims a length."""
    encode(path, *picture(), *sound(), "-c:v", "mpeg4", "-c:a", "libmp3lame", "-f", "avi")
    data = path.read_bytes()
    body = data.index(b"strh8\0\0\0" + stream) + 8
    path.write_bytes(overwrite(data, body + 32, "<I", values=(length,)))


def twice(path: Path, muxer: str) -> None:
    """Write a clip with the same bytes once more behind it: clocks jump back to the start half way."""
    once = clip_bytes(muxer=muxer)
    path.write_bytes(once + (once[FLV_HEADER_BYTES:] if muxer == "flv" else once))


def stumbling(path: Path) -> None:
    """Write an FLV in which every fifth tag carries the timestamp zero."""
    data = bytearray(encode(path, *picture(), *sound(), *H264, *AAC, "-f", "flv").read_bytes())
    offset, index = FLV_HEADER_BYTES, 0
    while offset < len(data):
        size = int.from_bytes(data[offset + 1 : offset + 4], "big")
        if index % 5 == 4:
            data[offset + 4 : offset + 8] = bytes(4)
        offset += 11 + size + 4
        index += 1
    path.write_bytes(data)


def _mp4(name: str, boxes: tuple[bytes, ...], change: Change, state: str, reason: str | None = None) -> Sample:
    build = partial(lying, boxes=boxes, change=change)
    return sample(name, build, state, reason=reason, seconds=2.0 if state == SUCCEEDED else None)


LIES: tuple[Sample, ...] = (
    # The container lies and the audio stream does not.
    _mp4("lie_mvhd_68_years.mp4", (b"moov", b"mvhd"), put(12, ">II", 1, HUGE), SUCCEEDED),
    _mp4("lie_mvhd_zero.mp4", (b"moov", b"mvhd"), put(12, ">II", 0, 0), SUCCEEDED),
    _mp4("lie_tkhd.mp4", (*TRACK, b"tkhd"), put(20, ">I", HUGE), SUCCEEDED),
    # stts adds up to two seconds, and ffmpeg believes the lesser of both.
    _mp4("lie_mdhd_long.mp4", (*TRACK, b"mdia", b"mdhd"), put(16, ">I", HUGE), SUCCEEDED),
    _mp4("lie_mdhd_short.mp4", (*TRACK, b"mdia", b"mdhd"), put(16, ">I", 10), SUCCEEDED),
    _mp4("lie_edit_long.mp4", EDITS, put(8, ">I", HUGE), SUCCEEDED),
    _mp4("lie_edit_count.mp4", EDITS, put(4, ">I", HUGE), SUCCEEDED),
    sample("lie_segment_ten_hours.mkv", partial(lying_matroska, seconds=36000), SUCCEEDED, seconds=2.0),
    sample("lie_segment_nan.mkv", partial(lying_matroska, seconds=float("nan")), SUCCEEDED, seconds=2.0),
    sample("lie_metadata_ten_hours.flv", lying_flash, SUCCEEDED, seconds=2.0),
    sample("lie_video_length.avi", partial(lying_avi, stream=b"vids", length=HUGE), SUCCEEDED, seconds=2.0),
    # An edit list that shows half of the film is a cut somebody made: one second is what plays.
    sample("edit_list_half.mp4", partial(lying, boxes=EDITS, change=put(8, ">I", 1000)), SUCCEEDED, seconds=1.0),
    # The audio stream itself declares more than comes: told apart from a damaged file by nobody.
    sample("lie_audio_length.avi", partial(lying_avi, stream=b"auds", length=2000), FAILED, reason="truncated"),
    # ffprobe shows no duration for a Matroska stream; whether the track's own tag counts as its declared
    # duration is for the product to say: succeeded in two seconds, or truncated.
    sample("lie_tag_nine_hours.mkv", lying_tag, EITHER),
    sample("lie_log_lines.mkv", speaking_tag, SUCCEEDED, seconds=2.0),
    # Tables. ffmpeg either stops at them or reads no sample where the header promised two seconds, which is
    # both no_audio and truncated; other versions may draw the line elsewhere.
    _mp4("lie_mdhd_timescale.mp4", (*TRACK, b"mdia", b"mdhd"), put(12, ">I", 0), EITHER),
    _mp4("lie_stts_count.mp4", (*TABLES, b"stts"), put(8, ">I", HUGE), EITHER),
    _mp4("lie_stts_delta.mp4", (*TABLES, b"stts"), put(12, ">I", 1024000), FAILED),
    _mp4("lie_stts_entries.mp4", (*TABLES, b"stts"), put(4, ">I", HUGE), EITHER),
    _mp4("lie_stsz_count.mp4", (*TABLES, b"stsz"), put(8, ">I", HUGE), FAILED),
    _mp4("lie_stsz_sizes.mp4", (*TABLES, b"stsz"), every_entry(12, HUGE), FAILED),
    _mp4("lie_stsz_constant.mp4", (*TABLES, b"stsz"), put(4, ">II", HUGE, HUGE), FAILED),
    _mp4("lie_stco_beyond_end.mp4", (*TABLES, b"stco"), every_entry(8, HUGE), FAILED),
    _mp4("lie_stco_count.mp4", (*TABLES, b"stco"), put(4, ">I", HUGE), EITHER),
    _mp4("lie_stsc.mp4", (*TABLES, b"stsc"), put(12, ">I", HUGE), FAILED),
    # Timestamps that go back. All audio is there twice, and all of it is decoded; only MP4 ignores what is
    # behind its tables.
    sample("backwards.ts", partial(twice, muxer="mpegts"), SUCCEEDED, seconds=4.05),
    sample("backwards.flv", partial(twice, muxer="flv"), SUCCEEDED, seconds=4.05),
    sample("backwards.mkv", partial(twice, muxer="matroska"), SUCCEEDED, seconds=4.05),
    sample("twice.mp4", partial(twice, muxer="mp4"), SUCCEEDED, seconds=2.0),
    sample("stumbling.flv", stumbling, SUCCEEDED, seconds=2.0),
)
