"""Blobs as files of one directory: the embedded default."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from functions.common.blobs import check_key, nothing
from functions.common.blobs.files import translated
from functions.common.errors import BlobMissing


class DirectoryBlobs:
    """Keeps each blob in a file named like its key.

    A blob is written under a temporary name, synced and renamed, so a crash leaves either all of it or a temporary
    file, which the next start of a single-process run removes (`sweep`).
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._temporary = root / ".incoming"

    @contextmanager
    def create(self, key: str, *, file_name: str | None = None) -> Iterator["_Writer"]:  # noqa: ARG002 - no address
        """See Blobs.create."""
        target = self._path(key)
        with translated():
            self._temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._temporary)
        writer = _Writer(descriptor, Path(name), target)
        try:
            yield writer
        finally:
            writer.close()

    def open(self, key: str) -> BinaryIO:
        """See Blobs.open."""
        path = self._path(key)
        with translated():
            try:
                return path.open("rb")
            except FileNotFoundError as error:
                raise BlobMissing from error

    def fetch(self, key: str, path: Path, *, check: Callable[[], None] = nothing) -> None:  # noqa: ARG002 - no network
        """See Blobs.fetch; a hard link where both are on one file system."""
        source = self._path(key)
        with translated():
            try:
                os.link(source, path)
            except FileNotFoundError as error:
                if path.parent.exists():
                    raise BlobMissing from error
                raise
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                    raise
                shutil.copyfile(source, path)

    def address(self, key: str, *, seconds: int) -> str | None:  # noqa: ARG002 - there is none
        """See Blobs.address."""
        check_key(key)
        return None

    def delete(self, key: str) -> None:
        """See Blobs.delete."""
        path = self._path(key)
        with translated(), suppress(FileNotFoundError):
            path.unlink()
        # An empty folder goes with its last blob; one that another writer just filled stays.
        with suppress(OSError):
            path.parent.rmdir()

    def close(self) -> None:
        """See Blobs.close; nothing is held."""

    def sweep(self) -> None:
        """Remove what crashed writers left; only for a run that is this directory's sole user."""
        shutil.rmtree(self._temporary, ignore_errors=True)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._root.joinpath(*key.split("/"))


class _Writer:
    def __init__(self, descriptor: int, temporary: Path, target: Path) -> None:
        self._file = open(descriptor, "wb", buffering=0)  # noqa: SIM115 - a descriptor; closed by close
        self._temporary = temporary
        self._target = target

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        with translated():
            while view:
                view = view[self._file.write(view) :]

    def commit(self) -> None:
        with translated():
            os.fsync(self._file.fileno())
            for _ in range(100):
                # A delete of the folder's last blob may remove the folder at any moment before there is a new one;
                # mkdir itself then takes it for a file that is in its way.
                with suppress(FileNotFoundError, FileExistsError):
                    self._target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    self._temporary.replace(self._target)
                    break
            else:
                raise FileNotFoundError(errno.ENOENT, "the blob's folder keeps vanishing")
            for folder in (self._target.parent, self._target.parent.parent):
                _sync_folder(folder)

    def close(self) -> None:
        self._file.close()
        with suppress(FileNotFoundError):
            self._temporary.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
