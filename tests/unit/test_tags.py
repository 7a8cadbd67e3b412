"""What the listener gets of what a recording says of itself."""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest
from mutagen.id3 import ID3

from functions.common.options import Options
from functions.convert.report import Report
from functions.convert.runs import Settings, encoding
from functions.convert.sandbox import Limits
from functions.convert.tags import Chapter, Known, Tag, id3_tag, read_known, read_tag
from tests.media.encode import AAC, encode, sound

#: Three chapters of two seconds each.
CHAPTERS: Final = [Chapter(0, 2, "One"), Chapter(2, 4, "Two"), Chapter(4, 6, "Three")]


def made(known: Known, options: Options | None = None) -> Any:
    """The tag, None for no tag at all."""
    tag = id3_tag(known, None, options or Options())
    return ID3(BytesIO(tag.data)) if tag.data else None


def texts(**known: str) -> dict[str, str]:
    """What becomes of texts."""
    return {name: str(frame) for name, frame in (made(Known(known, [])) or {}).items()}


def chapters(known: Sequence[Chapter], options: Options | None = None) -> list[tuple[str, int, int]]:
    """What becomes of chapters, in the order of the table of contents: titles, beginnings and ends in ms."""
    tag = made(Known({}, known), options)
    if tag is None:
        return []
    [contents] = tag.getall("CTOC")
    by_name = {found.element_id: found for found in tag.getall("CHAP")}
    in_order = [by_name.pop(name) for name in contents.child_element_ids]
    assert not by_name
    return [
        ("".join(map(str, found.sub_frames.getall("TIT2"))), found.start_time, found.end_time) for found in in_order
    ]


def test_what_people_know_stays() -> None:
    """Title, artist, album, date, track number and comment; whatever else there was goes."""
    known = {
        "title": "Blue",
        "artist": "Zoë Example",
        "album": "日本語 \U0001f3ac",
        "date": "2021-03-04",
        "track": "3/12",
        "comment": "Two\nlines",
        "major_brand": "isom",
        "encoder": "Lavf",
    }
    assert texts(**known) == {
        "TIT2": "Blue",
        "TPE1": "Zoë Example",
        "TALB": "日本語 \U0001f3ac",
        "TDRC": "2021-03-04",
        "TRCK": "3/12",
        "COMM::XXX": "Two\nlines",
    }
    assert made(Known(known, []), Options(tags=False)) is None


def test_the_version() -> None:
    """It is ID3v2.3, with that version's frames for the date."""
    tag = id3_tag(Known({"date": "2021-03-04"}, []), None, Options()).data
    assert (tag[:4], b"TYER" in tag, b"TDAT" in tag, b"TDRC" in tag) == (b"ID3\x03", True, True, False)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("a\x1b[31m\nb\0c\u202ed", "a [31m b c d"),
        ("  spaces  ", "spaces"),
        ("x" * 5000, "x" * 1000),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
def test_words_of_tags(given: str, text: str) -> None:
    """A tag is one printable line of bounded length."""
    assert texts(title=given) == {"TIT2": text}


@pytest.mark.parametrize(
    ("given", "text"), [("x" * 20_000, "x" * 10_000), ("a\x1b\n\u202eb", "a\nb"), ("a\n\nb\n", "a\n\nb")]
)
def test_words_of_comments(given: str, text: str) -> None:
    """A comment may have several lines."""
    assert texts(comment=given) == {"COMM::XXX": text}


@pytest.mark.parametrize("date", ["", "sometime", "-"])
def test_dates_that_are_none(date: str) -> None:
    """What is no date is left out, and does no harm to the rest."""
    assert texts(title="Blue", date=date) == {"TIT2": "Blue"}


def test_nothing_to_keep() -> None:
    """Where no tag is worth keeping there is none at all."""
    assert texts(title=" \t ", comment="\n\n", encoder="Lavf") == {}


def test_chapters_stay_in_order() -> None:
    """They are told by a table of contents, in the order of their beginnings."""
    whole = [("One", 0, 2000), ("Two", 2000, 4000), ("Three", 4000, 6000)]
    assert chapters(CHAPTERS[::-1]) == whole
    assert chapters(CHAPTERS, Options(chapters=False)) == []
    assert chapters(CHAPTERS, Options(tags=False)) == whole


@pytest.mark.parametrize(
    ("options", "heard"),
    [
        (Options(start=3), [("Two", 0, 1000), ("Three", 1000, 3000)]),
        (Options(end=3), [("One", 0, 2000), ("Two", 2000, 3000)]),
        (Options(start=2, end=4), [("Two", 0, 2000)]),
        (Options(start=1, end=5.5), [("One", 0, 1000), ("Two", 1000, 3000), ("Three", 3000, 4500)]),
        (Options(start=6), []),
    ],
)
def test_chapters_of_a_part(options: Options, heard: list[tuple[str, int, int]]) -> None:
    """They begin and end where they are heard."""
    assert chapters(CHAPTERS, options) == heard


@pytest.mark.parametrize(
    "known",
    [
        [Chapter(2, 1, "backwards")],
        [Chapter(5, 5, "empty")],
        [Chapter(0, 10**9, "without end")],
    ],
    ids=["backwards", "empty", "without end"],
)
def test_chapters_that_are_none(known: list[Chapter]) -> None:
    """They are left out without a word."""
    assert chapters(known) == []
    assert id3_tag(Known({}, known), None, Options()).omitted == ()


def test_too_many_chapters() -> None:
    """There are none then, and the job can say so; of a part only those count that are heard."""
    known = Known({"title": "Blue"}, [Chapter(number, number + 1, "") for number in range(256)])
    tag = id3_tag(known, None, Options())
    assert (list(ID3(BytesIO(tag.data))), tag.omitted) == (["TIT2"], ("chapters",))
    assert id3_tag(known, None, Options(chapters=False)).omitted == ()
    assert len(chapters(known.chapters, Options(start=1))) == 255


def test_what_is_not_known() -> None:
    """Where nothing can be read, the job can say what was wanted of it."""
    assert id3_tag(None, None, Options()) == Tag(b"", ("tags", "chapters"))
    assert id3_tag(None, None, Options(tags=False)) == Tag(b"", ("chapters",))


def test_titles_of_chapters() -> None:
    """They are cleaned like all words, and a chapter needs none."""
    assert chapters([Chapter(0, 1, "a\x1bb\u202e"), Chapter(1, 2, "")]) == [("a b", 0, 1000), ("", 1000, 2000)]


def stand_in(folder: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording of which ffprobe says this."""
    program = folder / "ffprobe"
    (folder / "said").write_text(said)
    program.write_text(f"#!/bin/sh\nexec cat {folder}/said\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr("functions.convert.sandbox._walls", tuple)
    (folder / "source").touch()
    return folder / "source"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "no JSON",
        "[]",
        "[" * 100_000,
        json.dumps({"format": {"tags": []}}),
        json.dumps({"chapters": [{"start_time": "N/A", "end_time": "1"}]}),
        json.dumps({"chapters": [{}]}),
        json.dumps({"format": {"tags": {"title": "x" * 5_000_000}}}),
    ],
    ids=lambda said: said[:30],
)
def test_what_cannot_be_read(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no failure."""
    source = stand_in(tmp_path, said, monkeypatch)
    assert read_known(source, Options(), stop=lambda: False) is None


def heard(source: Path) -> Report:
    """What an encoder's log tells of a recording."""
    run = encoding(source, source.with_suffix(".frames"), 0, None, Settings(Options()))
    run.work(Limits(None), stop=lambda: None, made=lambda _run, _frames: None)
    return run.report


@pytest.mark.parametrize(
    ("title", "is_told"),
    [
        ("Zoë \U0001f3ac: <i>; # = \\", True),
        ("tab\tand \x7f", True),
        ("\u202e" * 84, True),
        ("What?", False),
        ("a\x1bb", False),
        ("two\nlines", False),
        ("\u202e" * 85, False),
        ("xy" + "\u202e" * 85, False),
    ],
)
@pytest.mark.parametrize("place", ["file.mp4", "file.mkv", "file.flac", "track.ogg"])
def test_the_log_tells_what_ffprobe_tells(place: str, title: str, is_told: bool, tmp_path: Path) -> None:
    """What the log does not tell as it is, ffprobe is asked for; all else costs no further process."""
    tag = "-metadata" if place.startswith("file") else "-metadata:s:a:0"
    source = encode(tmp_path / place, *sound(), tag, f"title={title}", tag, "artist=Zoë Example")
    report = heard(source)
    assert report.has_more is not is_told
    known = read_known(source, Options(), stop=lambda: False)
    assert known is not None
    assert known.texts["title"] == title
    assert read_tag(source, Options(), report, stop=lambda: False) == id3_tag(known, None, Options())
    if is_told:
        assert {name: known.texts[name] for name in ("title", "artist")} == report.texts


def test_nobody_is_asked_for_what_is_not_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tags and chapters there is nothing to ask for."""
    source = stand_in(tmp_path, json.dumps({"format": {"tags": {"title": "Blue"}}}), monkeypatch)
    report = Report()
    report.has_more = True
    assert read_tag(source, Options(), report, stop=lambda: False).data
    (tmp_path / "ffprobe").write_text("no program")
    assert read_tag(source, Options(tags=False, chapters=False), report, stop=lambda: False) == Tag()


def test_the_files_words_go_before_the_tracks(tmp_path: Path) -> None:
    """The track's own are heard where the file has none; names are the same in capitals."""
    own = ("-metadata:s:a:0", "title=the track", "-metadata:s:a:0", "ARTIST=the track")
    source = encode(tmp_path / "a.mkv", *sound(), *AAC, "-metadata", "TITLE=the file", *own)
    known = read_known(source, Options(), stop=lambda: False)
    assert known is not None
    assert (known.texts["title"], known.texts["artist"]) == ("the file", "the track")
    assert heard(source).texts == {"title": "the file", "artist": "the track"}
