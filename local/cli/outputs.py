"""Where each MP3 goes: never over another file unasked, never two to one place."""

import errno
import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from functions.common.job import mp3_name
from functions.upload.sniff import LOOK_BYTES, not_media


class OutputError(Exception):
    """There is no place for an MP3; the message is for people."""


@dataclass(frozen=True)
class Task:
    """One video and the place of its MP3."""

    source: Path
    target: Path


def plan(sources: Sequence[Path], directory: Path | None) -> list[Task]:
    """Give each source, named once, a target of its own."""
    tasks: list[Task] = []
    taken: set[str] = set()
    for source in dict.fromkeys(path.absolute() for path in sources):
        folder = (directory or source.parent).absolute()
        names = [mp3_name(source.name), f"{source.name}.mp3"]
        names += [f"{source.stem} ({number}).mp3" for number in range(2, len(sources) + 2)]
        target = next(folder / name for name in names if _same(folder / name) not in taken)
        taken.add(_same(target))
        tasks.append(Task(source, target))
    return tasks


def _same(path: Path) -> str:
    """What is equal for names that some file systems take for one."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def check(task: Task, *, force: bool) -> None:
    """Look before any work is done.

    Raises:
        OutputError: the source cannot be read or surely is no media, or the target must not be written.
    """
    try:
        _check(task.source, task.target, force=force)
    except OSError as error:
        raise OutputError(f"{error.filename or task.source}: {error.strerror}.") from error


def _check(source: Path, target: Path, *, force: bool) -> None:
    if not source.exists():
        raise OutputError(f"There is no file {source}.")
    if not source.is_file() or not os.access(source, os.R_OK):
        raise OutputError(f"{source} cannot be read as a file.")
    if target == source or (target.exists() and target.samefile(source)):
        raise OutputError(f"{target.name} would overwrite its own source; choose another folder with -o.")
    if target.is_dir():
        raise OutputError(f"{target} is a folder.")
    if target.exists() and not force:
        raise OutputError(f"{target.name} exists already; --force overwrites it.")
    if not target.parent.is_dir() or not os.access(target.parent, os.W_OK):
        raise OutputError(f"{target.parent} is no folder that can be written to.")
    with source.open("rb") as file:
        # A server would say the same, once it was woken and asked.
        kind = not_media(file.read(LOOK_BYTES))
    if kind is not None:
        raise OutputError(f"This is {kind}, not a video or audio file.")


@contextmanager
def writing(target: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """A file that takes the target's name once the block has ended well, and leaves nothing otherwise.

    Raises:
        OutputError: the target appeared meanwhile, or there is no room.
    """
    # The name of the MP3 may be as long as the file system takes, so the temporary one does not contain it.
    temporary = target.with_name(f".video2mp3-{os.getpid()}-{abs(hash(target)):x}.part")
    try:
        with temporary.open("xb") as file:
            yield file
        if force:
            temporary.replace(target)
        else:
            _place(temporary, target)
    except FileExistsError as error:
        raise OutputError(f"{target.name} appeared meanwhile; it was not overwritten.") from error
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {os.strerror(error.errno or errno.EIO)}.") from error
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _place(temporary: Path, target: Path) -> None:
    """Give a file its name, unless the name is taken."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
        # A file system without links: take the name first, then put the content there.
        target.touch(exist_ok=False)
        temporary.replace(target)
