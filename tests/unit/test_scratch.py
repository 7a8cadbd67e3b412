"""Folders to work in: each its own, gone afterwards, whatever became of the process."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from functions.convert.scratch import scratch

_HOLDS = """
import sys
from functions.convert.scratch import scratch
with scratch(sys.argv[1]) as folder:
    (folder / "result.mp3").write_bytes(b"half of it")
    print(folder, flush=True)
    sys.stdin.read()
"""


@contextmanager
def held(where: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """A process that works in a folder of its own, and the folder."""
    command = [sys.executable, "-c", _HOLDS, str(where)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_it_is_empty_and_gone_afterwards(tmp_path: Path) -> None:
    """In a place that need not exist."""
    place = tmp_path / "a/b"
    with scratch(str(place)) as folder:
        assert folder.parent == place
        assert list(folder.iterdir()) == []
        (folder / "source").write_bytes(b"x")
    assert list(place.iterdir()) == []


def test_it_is_gone_when_the_work_fails(tmp_path: Path) -> None:
    """Whatever lies in it."""
    with pytest.raises(FileNotFoundError), scratch(str(tmp_path)) as folder:
        (folder / "source").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    """The next one to begin removes it, and nothing of whoever still works or has nothing to do with us."""
    (tmp_path / "holidays").mkdir()
    with held(tmp_path) as (killed, left), held(tmp_path) as (_, kept):
        killed.kill()
        killed.wait()
        assert (left / "result.mp3").exists()
        with scratch(str(tmp_path)) as folder:
            assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "holidays", kept, folder])
        assert (kept / "result.mp3").exists()


def test_there_is_no_place(tmp_path: Path) -> None:
    """Whoever asked is told by an OSError."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"), scratch(str(tmp_path / "file")):
        pass
