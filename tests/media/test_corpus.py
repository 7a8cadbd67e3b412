"""The corpus itself: samples are what their names and notes say."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.media.boxes import boxes
from tests.media.corpus import NAMES, SAMPLES, TAGS, Sample, clip, playlists, tagged
from tests.media.damage import FILM_BYTES, HOLE_BYTES
from tests.media.sample import EITHER, FAILED, REFUSED, SUCCEEDED

REASONS: dict[str, set[str | None]] = {
    SUCCEEDED: {None},
    EITHER: {None},
    FAILED: {"no_audio", "unreadable", "truncated", "too_long", "encrypted", None},
    REFUSED: {"415", "422"},
}
BLOCK_BYTES = 512
#: Names that no file can have, for what they mean or hold.
NO_FILES = {"", ".", "..", *(n for n in NAMES if "/" in n or "\0" in n)}


def named(name: str) -> Sample:
    """Return the sample of this name."""
    return next(s for s in SAMPLES if s.name == name)


def probe(path: Path, entries: str) -> dict[str, object]:
    """Return what ffprobe says about a file that this test wrote."""
    command = ["ffprobe", "-loglevel", "error", "-of", "json", "-show_entries", entries, f"file:{path}"]
    answer: dict[str, object] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer


def test_every_sample_has_a_name_of_its_own(tmp_path: Path) -> None:
    """No two samples share a name, playlists included."""
    names = [s.name for s in (*SAMPLES, *playlists(tmp_path / "victim.ts", "http://127.0.0.1:9/"))]
    assert len(names) == len(set(names))


def test_every_expectation_is_complete(tmp_path: Path) -> None:
    """A reason fits its state, and what succeeds says how long it is."""
    for s in (*SAMPLES, *playlists(tmp_path / "victim.ts", "http://127.0.0.1:9/")):
        assert s.reason in REASONS[s.state], s.name
        assert (s.seconds is not None) == (s.state == SUCCEEDED), s.name


@pytest.mark.parametrize(
    ("name", "least_bytes"),
    [("sparse_film.mp4", FILM_BYTES), ("sparse.mp4", HOLE_BYTES), ("sparse_box.mp4", HOLE_BYTES)],
)
def test_holes_take_no_room(name: str, least_bytes: int, tmp_path: Path) -> None:
    """The sparse files are hundreds of megabytes and more long, and next to nothing on the disk."""
    status = os.stat(named(name).make(tmp_path))  # noqa: PTH116
    assert status.st_size >= least_bytes
    assert status.st_blocks * BLOCK_BYTES < 2**20


def test_moov_stands_where_the_name_says(tmp_path: Path) -> None:
    """One MP4 carries moov behind its samples, one in front of them, one not at all."""

    def kinds(name: str) -> list[bytes]:
        return [kind for kind, _ in boxes(named(name).make(tmp_path).read_bytes())]

    last, first, missing = kinds("moov_last.mp4"), kinds("faststart.mp4"), kinds("moov_missing.mp4")
    assert last.index(b"moov") > last.index(b"mdat")
    assert first.index(b"moov") < first.index(b"mdat")
    assert b"moov" not in missing


def test_many_tracks_are_many(tmp_path: Path) -> None:
    """The sample of 300 tracks has 300."""
    path = named("tracks_300.mp4").make(tmp_path)
    assert probe(path, "format=nb_streams")["format"] == {"nb_streams": 300}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ogg"])
def test_tags_are_written(suffix: str, tmp_path: Path) -> None:
    """A tagged clip carries all four tags, on the stream where the container is Ogg."""
    answer = json.dumps(probe(tagged(tmp_path / f"tagged{suffix}"), "format_tags:stream_tags"))
    for value in TAGS.values():
        assert json.dumps(value) in answer


@pytest.mark.parametrize("name", [n for n in NAMES if n not in NO_FILES and len(n.encode()) <= 255])
def test_a_clip_takes_any_name_a_disk_takes(name: str, tmp_path: Path) -> None:
    """Options, protocols and patterns in a file name mean nothing to the encoder of clips."""
    assert clip(tmp_path / name, seconds=0.2).stat().st_size > 0
