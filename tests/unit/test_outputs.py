"""Where MP3s go: each to a place of its own, never over another file unasked, whole or not at all."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.common.job import mp3_name
from local.cli.outputs import OutputError, Task, check, plan, writing


def names(*sources: str, directory: str | None = None) -> list[str]:
    """The targets that are planned for sources below /v, as paths below /v."""
    tasks = plan([Path("/v") / source for source in sources], None if directory is None else Path("/v") / directory)
    return [task.target.relative_to("/v").as_posix() for task in tasks]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("film.mp4", "film.mp3"),
        ("film", "film.mp3"),
        ("a.b.mkv", "a.b.mp3"),
        ("v1.final version", "v1.final version.mp3"),
        (".mp4", ".mp4.mp3"),
        ("film.webm", "film.mp3"),
        ("film.", "film.mp3"),
        ("\U0001f3ac.mp4", "\U0001f3ac.mp3"),
        ("song.mp3", "song.mp3"),
    ],
)
def test_names(source: str, target: str) -> None:
    """An MP3 is named like its source, with the ending replaced where there is one."""
    assert mp3_name(source) == target
    assert names(source) == [target]


def test_a_point_that_begins_no_ending() -> None:
    """What follows a point and a space belongs to the name."""
    assert mp3_name("Dr. Who") == "Dr. Who.mp3"


def test_beside_the_source_or_in_a_folder() -> None:
    """Without a folder each MP3 lies beside its source, with one all lie in it."""
    assert names("a/x.mp4", "b/y.mp4") == ["a/x.mp3", "b/y.mp3"]
    assert names("a/x.mp4", "b/y.mp4", directory="out") == ["out/x.mp3", "out/y.mp3"]


def test_two_of_one_name() -> None:
    """Sources whose MP3s would have one name get names that still tell them apart."""
    assert names("x.mp4", "x.mkv", "x.avi") == ["x.mp3", "x.mkv.mp3", "x.avi.mp3"]
    assert names("a/x.mp4", "b/x.mp4", "c/x.mp4", directory="out") == ["out/x.mp3", "out/x.mp4.mp3", "out/x (2).mp3"]


def test_a_source_that_is_named_twice() -> None:
    """A source is converted once, however often and in whatever spelling it is given."""
    assert names("x.mp4", "x.mp4") == ["x.mp3"]


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths are those of the working directory at the start."""
    monkeypatch.chdir(tmp_path)
    [task] = plan([Path("x.mp4")], Path("out"))
    assert task == Task(tmp_path / "x.mp4", tmp_path / "out" / "x.mp3")


FILENAMES: Final = st.text(alphabet="ab.x() 2", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), FILENAMES), min_size=1, max_size=12), st.booleans())
def test_no_two_to_one_place(sources: list[tuple[str, str]], together: bool) -> None:
    """Whatever the names, every source has its task, and no two tasks have one target."""
    paths = [Path("/v") / folder / name for folder, name in sources]
    tasks = plan(paths, Path("/v/out") if together else None)
    assert {task.source for task in tasks} == set(paths)
    assert len({task.target for task in tasks}) == len(tasks) == len(set(paths))
    assert all(task.target.suffix == ".mp3" for task in tasks)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A source that is there, and a target that is not."""
    (tmp_path / "x.mp4").write_bytes(b"\0video")
    return Task(tmp_path / "x.mp4", tmp_path / "x.mp3")


def test_a_good_task(task: Task) -> None:
    """A source that can be read and a free name are all that is needed."""
    check(task, force=False)
    check(task, force=True)


def test_a_source_that_is_no_media(task: Task) -> None:
    """What its first bytes tell needs no upload."""
    task.source.write_text("What I saw on my holidays.\n")
    with pytest.raises(OutputError, match="This is text, not a video or audio file"):
        check(task, force=False)


def link_to_source(task: Task) -> None:
    """Make the target another name of the source."""
    task.target.hardlink_to(task.source)


def symlink_to_source(task: Task) -> None:
    """Make the target point to the source."""
    task.target.symlink_to(task.source)


@pytest.mark.parametrize("make", [link_to_source, symlink_to_source])
def test_a_target_that_is_the_source(task: Task, make: Callable[[Task], None]) -> None:
    """No force overwrites a source with its own MP3, by whatever name."""
    make(task)
    for force in (False, True):
        with pytest.raises(OutputError, match="overwrite its own source"):
            check(task, force=force)


def test_an_mp3_beside_itself(tmp_path: Path) -> None:
    """An MP3 that is converted again needs another folder."""
    (tmp_path / "song.mp3").write_bytes(b"x")
    [task] = plan([tmp_path / "song.mp3"], None)
    with pytest.raises(OutputError, match="overwrite its own source"):
        check(task, force=True)


def test_targets_that_exist(task: Task) -> None:
    """A file that is there is overwritten only by force, a folder never."""
    task.target.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already; --force"):
        check(task, force=False)
    check(task, force=True)
    task.target.unlink()
    task.target.mkdir()
    for force in (False, True):
        with pytest.raises(OutputError, match="is a folder"):
            check(task, force=force)


def test_sources_that_are_none(task: Task, tmp_path: Path) -> None:
    """A source must be there and be a file."""
    with pytest.raises(OutputError, match="There is no file"):
        check(Task(tmp_path / "missing.mp4", task.target), force=False)
    with pytest.raises(OutputError, match="cannot be read as a file"):
        check(Task(tmp_path, task.target), force=False)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="cannot be read as a file"):
        check(Task(tmp_path / "pipe", task.target), force=False)


def test_a_folder_that_is_none(task: Task, tmp_path: Path) -> None:
    """The target's folder must be there."""
    with pytest.raises(OutputError, match="no folder that can be written to"):
        check(Task(task.source, tmp_path / "missing" / "x.mp3"), force=False)


def test_a_dangling_link(task: Task, tmp_path: Path) -> None:
    """A link that leads nowhere is somebody's, too, and is not written through."""
    task.target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match=r"x\.mp3"), writing(task.target, force=False) as file:
        file.write(b"x")
    assert task.target.is_symlink()
    assert not (tmp_path / "elsewhere").exists()


def left(task: Task) -> list[str]:
    """Everything in the target's folder but the source."""
    return sorted(path.name for path in task.target.parent.iterdir() if path != task.source)


@pytest.mark.parametrize("force", [False, True])
def test_writing(task: Task, force: bool) -> None:
    """The name appears when all of it is written, and nothing else stays."""
    with writing(task.target, force=force) as file:
        file.write(b"half")
        assert not task.target.exists()
        file.write(b" and half")
    assert task.target.read_bytes() == b"half and half"
    assert left(task) == ["x.mp3"]


def write(task: Task, *, force: bool, then: Callable[[], object]) -> None:
    """Write to a target, and do something before the block ends."""
    with writing(task.target, force=force) as file:
        file.write(b"new")
        then()


def interrupt() -> None:
    """Press Ctrl-C."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("force", [False, True])
def test_writing_breaks_off(task: Task, force: bool) -> None:
    """A block that fails leaves nothing, and an earlier file as it was."""
    task.target.write_bytes(b"earlier")
    with pytest.raises(KeyboardInterrupt):
        write(task, force=force, then=interrupt)
    assert (task.target.read_bytes(), left(task)) == (b"earlier", ["x.mp3"])


def test_a_target_that_appeared(task: Task) -> None:
    """What appeared while the work went on is not overwritten unasked."""
    with pytest.raises(OutputError, match="appeared meanwhile"):
        write(task, force=False, then=lambda: task.target.write_bytes(b"somebody's"))
    assert (task.target.read_bytes(), left(task)) == (b"somebody's", ["x.mp3"])


def test_force_overwrites(task: Task) -> None:
    """By force it is, in one step."""
    task.target.write_bytes(b"old")
    with writing(task.target, force=True) as file:
        file.write(b"new")
        assert task.target.read_bytes() == b"old"
    assert (task.target.read_bytes(), left(task)) == (b"new", ["x.mp3"])


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_links(task: Task, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files cannot be linked the same promises hold."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    with writing(task.target, force=False) as file:
        file.write(b"new")
    assert (task.target.read_bytes(), left(task)) == (b"new", ["x.mp3"])
    with pytest.raises(OutputError, match="appeared meanwhile"), writing(task.target, force=False) as file:
        file.write(b"newer")
    assert (task.target.read_bytes(), left(task)) == (b"new", ["x.mp3"])


def test_the_longest_name(tmp_path: Path) -> None:
    """A name that is as long as the file system takes is no trouble."""
    target = tmp_path / ("x" * 251 + ".mp3")
    with writing(target, force=False) as file:
        file.write(b"x")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_folder_that_vanished(tmp_path: Path) -> None:
    """A place that cannot be written to is told as such, with the system's reason."""
    with pytest.raises(OutputError, match="No such file or directory"), writing(tmp_path / "gone" / "x", force=False):
        pass


def test_no_room(task: Task) -> None:
    """A full disk is told by its name and leaves nothing."""
    with pytest.raises(OutputError, match="No space left on device"), writing(task.target, force=False):
        raise OSError(errno.ENOSPC, "full")
    assert left(task) == []
