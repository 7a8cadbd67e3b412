"""Private folders to work in, and the end of those whose process was killed.

A folder is locked for as long as somebody works in it (flock(2)). The lock goes with its process, however that ends, so
whoever begins next can tell what nobody will tidy up any more.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = "video2mp3-convert-"


@contextmanager
def scratch(parent: str) -> Iterator[Path]:
    """A folder of one's own for the time of a block, empty at first.

    Args:
        parent: where, made where it does not exist; empty for the system's own place.

    Raises:
        OSError: there is no place for it.
    """
    where = Path(parent or tempfile.gettempdir()).absolute()
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sweep(where)
    made = Path(tempfile.mkdtemp(prefix=".video2mp3-", dir=where))
    with _opened(made) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Under its name nobody ever sees it without its lock.
        folder = made.rename(where / f"{_PREFIX}{made.name.rpartition('-')[2]}")
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(where: Path) -> None:
    for folder in where.glob(f"{_PREFIX}*"):
        # It may be locked, somebody else's, or gone by now.
        with suppress(OSError), _opened(folder) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
