"""Files of the local file system, as every backend that fetches needs them."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from functions.common.errors import StorageFull, Unavailable

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the operating system raises into errors of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(retry_after_seconds=60) from error
        raise Unavailable(retry_after_seconds=30) from error


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Make a file that was not there; it goes again if the block ends by an error."""
    with translated():
        file = path.open("xb")
        try:
            with file:
                yield file
        except BaseException:
            path.unlink(missing_ok=True)
            raise
