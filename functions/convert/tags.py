"""What the recording knew about itself, as the ID3 tag of the MP3.

ffmpeg reads the tags of every container and tells them in its log; chapters, and what the log does not tell as it is,
ffprobe is asked for. The listener gets of them what players show, cleaned, as ID3v2.3, which every player reads
(id3.org/id3v2.3.0, id3.org/id3v2-chapters-1.0), with the cover as it is.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from mutagen.id3 import APIC, CHAP, COMM, CTOC, ID3, TALB, TDRC, TIT2, TPE1, TRCK, CTOCFlags, Encoding, PictureType

from functions.common.options import Options
from functions.convert.asking import answer
from functions.convert.cover import Cover, read_cover
from functions.convert.ffmpeg import known_command
from functions.convert.report import Report

#: By ffmpeg's names for them.
_FRAMES: Final[Mapping[str, Any]] = {"title": TIT2, "artist": TPE1, "album": TALB, "date": TDRC, "track": TRCK}
#: A hundred times what anybody has to say; a stranger's may be as long as their file.
_MOST_BYTES: Final = 4 * 1024 * 1024
#: What is longer is somebody's joke; players cut it anyway.
_LONGEST_TEXT: Final = 1000
_LONGEST_COMMENT: Final = 10_000
#: A table of contents counts its chapters in one byte.
_MOST_CHAPTERS: Final = 255
#: ID3's word for no place in the file.
_NO_OFFSET: Final = 0xFFFFFFFF


@dataclass(frozen=True)
class Chapter:
    """A chapter of the recording."""

    begin_seconds: float
    end_seconds: float
    title: str


@dataclass(frozen=True)
class Tag:
    """The ID3v2 tag of an MP3."""

    #: Empty if there is nothing to tell.
    data: bytes = b""
    #: What was there and could not come along: "tags", "chapters", "cover".
    omitted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What a recording says of itself."""

    #: By ffmpeg's names, in small letters.
    texts: Mapping[str, str]
    chapters: Sequence[Chapter]


def read_tag(source: Path, options: Options, report: Report, *, stop: Callable[[], bool]) -> Tag:
    """Make the MP3's tag; nobody is asked where the encoder's log tells all.

    Args:
        source: the file, in the private folder that ffmpeg works in.
        options: what is wanted of which track, and which part is heard.
        report: what the encoder said.
        stop: asked several times a second.

    Raises:
        Stopped: `stop` said so.
        Unavailable: a program of ffmpeg's could not be started.
    """
    wanted = options.tags is not False or options.chapters is not False
    known = read_known(source, options, stop=stop) if wanted and report.has_more else Known(report.texts, [])
    pictured = report.cover is not None and options.cover is not False
    cover = read_cover(source, report.cover or 0, stop=stop) if pictured else None
    tag = id3_tag(known, cover, options)
    return replace(tag, omitted=(*tag.omitted, "cover")) if pictured and cover is None else tag


def read_known(source: Path, options: Options, *, stop: Callable[[], bool]) -> Known | None:
    """Ask ffprobe; None for what cannot be read or is too much. Arguments and errors are those of read_tag."""
    said = answer(known_command(source, options), most_bytes=_MOST_BYTES, stop=stop)
    try:
        return _known(json.loads(said or b""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _known(said: Any) -> Known:
    # Ogg keeps its tags on the stream, others on the file; the file's win.
    places = [*said.get("streams", []), said.get("format", {})]
    texts = {name.lower(): text for place in places for name, text in place.get("tags", {}).items()}
    chapters = [
        Chapter(float(found["start_time"]), float(found["end_time"]), found.get("tags", {}).get("title", ""))
        for found in said.get("chapters", [])
    ]
    return Known(texts, chapters)


def id3_tag(known: Known | None, cover: Cover | None, options: Options) -> Tag:
    """Write the MP3's tag.

    Args:
        known: what the recording says of itself; None if that cannot be read, and is not worth a failed conversion.
        cover: its picture, if it is to have one.
        options: what of it is wanted, and which part is heard.
    """
    wanted = tuple(name for name in ("tags", "chapters") if getattr(options, name) is not False)
    tag, omitted = ID3(), () if known else wanted
    if known and "tags" in wanted:
        _add(tag, _texts(known.texts))
    heard = _heard(known.chapters, options) if known and "chapters" in wanted else []
    if len(heard) > _MOST_CHAPTERS:
        omitted = ("chapters",)
    elif heard:
        _add(tag, _chapters(heard))
    if cover:
        tag.add(APIC(encoding=Encoding.LATIN1, mime=cover.type, type=PictureType.COVER_FRONT, data=cover.data))
    return Tag(_written(tag), omitted)


def _add(tag: ID3, frames: Iterable[Any]) -> None:
    for frame in frames:
        tag.add(frame)


def _written(tag: ID3) -> bytes:
    if not tag:
        return b""
    tag.update_to_v23()
    written = BytesIO()
    tag.save(written, v2_version=3, padding=lambda _info: 0)
    return written.getvalue()


def _texts(texts: Mapping[str, str]) -> Iterator[Any]:
    for name, kind in _FRAMES.items():
        frame = kind(encoding=Encoding.UTF16, text=[_line(texts.get(name, ""))])
        # A date that is none becomes nothing here.
        if str(frame):
            yield frame
    lines = "\n".join(_line(line, _LONGEST_COMMENT) for line in texts.get("comment", "").splitlines())
    if comment := lines.strip()[:_LONGEST_COMMENT]:
        yield COMM(encoding=Encoding.UTF16, lang="XXX", desc="", text=[comment])


def _heard(chapters: Sequence[Chapter], options: Options) -> list[tuple[int, int, str]]:
    """The chapters between start and end, in order: beginnings and ends in ms of the MP3, titles."""
    start, end = options.start or 0.0, options.end
    heard = []
    for chapter in sorted(chapters, key=lambda chapter: (chapter.begin_seconds, chapter.end_seconds)):
        last = chapter.end_seconds if end is None else min(end, chapter.end_seconds)
        begin_ms, end_ms = (max(0, round(1000 * (second - start))) for second in (chapter.begin_seconds, last))
        if begin_ms < end_ms < _NO_OFFSET:
            heard.append((begin_ms, end_ms, _line(chapter.title)))
    return heard


def _chapters(heard: Sequence[tuple[int, int, str]]) -> Iterator[Any]:
    """The chapters, behind the table of contents that names them."""
    names = [f"ch{number}" for number in range(len(heard))]
    flags = CTOCFlags.TOP_LEVEL | CTOCFlags.ORDERED
    yield CTOC(element_id="toc", flags=flags, child_element_ids=names, sub_frames=[])
    for name, (begin_ms, end_ms, title) in zip(names, heard, strict=True):
        yield CHAP(
            element_id=name,
            start_time=begin_ms,
            end_time=end_ms,
            start_offset=_NO_OFFSET,
            end_offset=_NO_OFFSET,
            sub_frames=[TIT2(encoding=Encoding.UTF16, text=[title])] if title else [],
        )


def _line(text: str, longest: int = _LONGEST_TEXT) -> str:
    """One line without what is for no player's eyes, such as control characters."""
    return "".join(char if char.isprintable() else " " for char in text)[:longest].strip()
