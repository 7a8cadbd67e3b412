"""Blobs: sources and results, behind one interface, one module per store."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final, Protocol
from urllib.parse import unquote, urlsplit

from functions.common.errors import SettingError

_WORD: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}\Z")


def nothing() -> None:
    """Ask nobody: for whoever lets a store take its time."""


class BlobWriter(Protocol):
    """A blob that is being written; nobody sees it before `commit`."""

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            StorageFull: there is no room.
            Unavailable: the store cannot be reached.
        """

    def commit(self) -> None:
        """Make the blob durable and visible, all of it, replacing an earlier one of this key.

        Raises:
            StorageFull: there is no room.
            Unavailable: the store cannot be reached.
        """


class Blobs(Protocol):
    """A store of byte strings by key.

    A key is one or more words of `a-z`, `A-Z`, `0-9`, `-`, `_` and `.`, joined by `/`; a word does not begin with
    a dot. Every method raises ValueError for another, and Unavailable where the store cannot be reached.
    """

    def create(self, key: str, *, file_name: str | None = None) -> AbstractContextManager[BlobWriter]:
        """Begin a blob. Leaving the block without `commit` leaves nothing behind.

        Args:
            key: its key.
            file_name: what people's programs call it that get it by its `address`.
        """

    def open(self, key: str) -> BinaryIO:
        """Open a blob for reading; seekable, and only what is asked for is fetched.

        A reader goes on reading what it opened, or fails, if the blob is deleted meanwhile.

        Raises:
            BlobMissing: there is none.
        """

    def fetch(self, key: str, path: Path, *, check: Callable[[], None] = nothing) -> None:
        """Put a blob's bytes at a new path of the local file system, to be read only: it may be a link.

        Args:
            key: the blob's.
            path: where no file is yet; nor is one if this fails.
            check: called between the pieces that come over a network; what it raises ends the fetching.

        Raises:
            BlobMissing: there is none.
        """

    def address(self, key: str, *, seconds: int) -> str | None:
        """A URL where whoever knows it gets this blob from the store itself for so long; None if there is none.

        Nobody is asked whether the blob exists.
        """

    def delete(self, key: str) -> None:
        """Remove a blob; one that does not exist is none already."""

    def close(self) -> None:
        """Let go of connections; another call of any method makes new ones."""


def check_key(key: str) -> None:
    """Refuse what is no key; for the backends.

    Raises:
        ValueError: it is none.
    """
    if not all(_WORD.match(word) for word in key.split("/")):
        raise ValueError(f"not a blob key: {key!r}")


def chunks(stream: BinaryIO, *, size: int = 1024 * 1024) -> Iterator[bytes]:
    """Read a stream to its end in pieces of at most `size` bytes."""
    while chunk := stream.read(size):
        yield chunk


def from_url(url: str, *, aws: Mapping[str, str]) -> Blobs:
    """Make the store that `BLOBS_URL` names; nothing is opened yet.

    Args:
        url: `file:///directory`, `mongodb://host/?options`, `mongodb+srv://...`, `s3://bucket/prefix`.
        aws: the settings whose names begin with `AWS_`, for S3.

    Raises:
        SettingError: the URL is not one of these; the message never repeats it.
    """
    match url.partition(":")[0].lower():
        case "file":
            parts = urlsplit(url)
            if not parts.netloc and parts.path.startswith("/"):
                from functions.common.blobs.directory import DirectoryBlobs

                return DirectoryBlobs(Path(unquote(parts.path)))
        case "mongodb" | "mongodb+srv":
            from functions.common.blobs.gridfs import GridFsBlobs

            return GridFsBlobs(url)
        case "s3":
            from functions.common.blobs.s3 import S3Blobs

            return S3Blobs(url, aws)
    raise SettingError("BLOBS_URL must be file:///a/directory, mongodb://..., mongodb+srv://... or s3://a-bucket")
