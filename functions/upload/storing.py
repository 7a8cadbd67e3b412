"""Bytes that arrive into the store, hashed on the way."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from functions.common.job import ALIVE_SECONDS, Piece, source_key
from functions.upload.hashing import BackgroundSha256

if TYPE_CHECKING:
    from functions.common.blobs import Blobs


def store(job_id: str, number: int, chunks: Iterable[bytes], *, blobs: "Blobs") -> Piece:
    """Store a piece of a job's source as its chunks arrive; an error of theirs leaves nothing behind.

    Args:
        job_id: whose source.
        number: the piece's.
        chunks: the bytes.
        blobs: where they go.

    Raises:
        StorageFull: there is no room.
        Unavailable: the store cannot be reached.
    """
    size_bytes = 0
    with blobs.create(source_key(job_id, number)) as writer, BackgroundSha256() as digest:
        for chunk in chunks:
            size_bytes += len(chunk)
            digest.update(chunk)
            writer.write(chunk)
        writer.commit()
        return Piece(size_bytes, digest.hexdigest(), number)


def between(chunks: Iterable[bytes], do: Callable[[], None]) -> Iterator[bytes]:
    """The same chunks, and something done every few seconds while they come: a sign of life."""
    done = time.monotonic()
    for chunk in chunks:
        if time.monotonic() - done > ALIVE_SECONDS:
            done = time.monotonic()
            do()
        yield chunk
