"""What the recording knew about itself, as the ID3 tag of the MP3.

ffprobe reads the tags and chapters of every container; the listener gets of them what players show, cleaned, as
ID3v2.3, which every player reads (id3.org/id3v2.3.0, id3.org/id3v2-chapters-1.0).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from mutagen.id3 import CHAP, COMM, CTOC, ID3, TALB, TDRC, TIT2, TPE1, TRCK, CTOCFlags

from functions.common.options import Options
from functions.convert.ffmpeg import known_command
from functions.convert.process import run
from functions.convert.sandbox import Limits

#: By ffmpeg's names for them.
_FRAMES: Final[Mapping[str, Any]] = {"title": TIT2, "artist": TPE1, "album": TALB, "date": TDRC, "track": TRCK}
#: A hundred times what anybody has to say; a stranger's may be as long as their file.
_MOST_BYTES: Final = 4 * 1024 * 1024
#: What is longer is somebody's joke; players cut it anyway.
_LONGEST_TEXT: Final = 1000
_LONGEST_COMMENT: Final = 10_000
#: A table of contents counts its chapters in one byte.
_MOST_CHAPTERS: Final = 255
_UTF_16: Final = 1
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
    #: What was there and could not come along: "tags", "chapters".
    omitted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Known:
    """What a recording says of itself."""

    #: By ffmpeg's names, in small letters.
    texts: Mapping[str, str]
    chapters: Sequence[Chapter]


def read_known(source: Path, options: Options, *, limits: Limits, stop: Callable[[], str | None]) -> Known | None:
    """Ask ffprobe; None for what cannot be read or is too much: it is not worth a failed conversion.

    Args:
        source: the file, in the private folder that ffmpeg works in.
        options: which track.
        limits: what ffprobe may use.
        stop: asked several times a second; a text ends it.
    """
    said = bytearray()
    run(
        known_command(source, options),
        limits=limits,
        stop=lambda: "enough" if len(said) > _MOST_BYTES else stop(),
        out=said.extend,
        said=lambda _text: None,
    )
    try:
        return _known(json.loads(said))
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


def id3_tag(known: Known | None, options: Options) -> Tag:
    """Make the MP3's tag.

    Args:
        known: what the recording says of itself; None if that cannot be read.
        options: what of it is wanted, and which part is heard.
    """
    wanted = tuple(name for name in ("tags", "chapters") if getattr(options, name) is not False)
    if known is None:
        return Tag(omitted=wanted)
    tag, omitted = ID3(), []
    if "tags" in wanted:
        for frame in _texts(known.texts):
            tag.add(frame)
    if "chapters" in wanted:
        heard = _heard(known.chapters, options)
        if len(heard) > _MOST_CHAPTERS:
            omitted.append("chapters")
        elif heard:
            for frame in _chapters(heard):
                tag.add(frame)
    return Tag(_written(tag), tuple(omitted))


def _written(tag: ID3) -> bytes:
    if not tag:
        return b""
    tag.update_to_v23()
    written = BytesIO()
    tag.save(written, v2_version=3, padding=lambda _info: 0)
    return written.getvalue()


def _texts(texts: Mapping[str, str]) -> Iterator[Any]:
    for name, kind in _FRAMES.items():
        frame = kind(encoding=_UTF_16, text=[_line(texts.get(name, ""))])
        # A date that is none becomes nothing here.
        if str(frame):
            yield frame
    lines = "\n".join(_line(line, _LONGEST_COMMENT) for line in texts.get("comment", "").splitlines())
    if comment := lines.strip()[:_LONGEST_COMMENT]:
        yield COMM(encoding=_UTF_16, lang="XXX", desc="", text=[comment])


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
            sub_frames=[TIT2(encoding=_UTF_16, text=[title])] if title else [],
        )


def _line(text: str, longest: int = _LONGEST_TEXT) -> str:
    """One line without what is for no player's eyes, such as control characters."""
    return "".join(char if char.isprintable() else " " for char in text)[:longest].strip()
