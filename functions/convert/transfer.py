"""Sources out of the store and results into it: work that ends when it must, whatever the store does."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from functions.common.blobs import chunks
from functions.common.errors import ServiceError, Unavailable
from functions.common.job import Job, Stored, made_keys, mp3_name, source_key

if TYPE_CHECKING:
    from functions.common.blobs import Blobs

T = TypeVar("T")

#: How often it is asked whether the work must end.
_LOOK_SECONDS: Final = 0.25
#: How long the removal of a result is waited for; what it leaves, recover removes.
_DROP_SECONDS: Final = 2.0
_log = logging.getLogger(__name__)


class Abandoned(Exception):
    """Nobody waits for this work any longer."""


def fetch(job: Job, path: Path, *, blobs: "Blobs", check: Callable[[], None]) -> None:
    """Put a job's source at a new path.

    Args:
        job: whose source.
        path: where it goes.
        blobs: where it is.
        check: raises when this must end; asked several times a second.

    Raises:
        BlobMissing: it is no longer there.
        Unavailable: the store cannot be reached.
    """

    def work(wanted: Callable[[], None]) -> None:
        if len(job.sources) == 1:
            blobs.fetch(source_key(job.id, job.sources[0].number), path, check=wanted)
            return
        with path.open("wb") as joined:
            for piece in job.sources:
                with blobs.open(source_key(job.id, piece.number)) as stream:
                    for chunk in chunks(stream):
                        wanted()
                        joined.write(chunk)

    _watched(work, check)


def store(job: Job, path: Path, *, blobs: "Blobs", check: Callable[[], None]) -> Stored:
    """Store the MP3 that this attempt made; a store that brings it to an end after `check` raised removes it again.

    Raises:
        StorageFull: there is no room.
        Unavailable: the store cannot be reached.
    """
    return _store(job.result_key, path, mp3_name(job.filename), blobs=blobs, check=check)


def store_waveform(job: Job, path: Path, *, blobs: "Blobs", check: Callable[[], None]) -> Stored | None:
    """Store that MP3's waveform; None if the store does not take it, for which no MP3 is held back."""
    try:
        return _store(job.waveform_key, path, None, blobs=blobs, check=check)
    except ServiceError:
        _log.warning("the waveform could not be stored", exc_info=True)
        return None


def _store(key: str, path: Path, file_name: str | None, *, blobs: "Blobs", check: Callable[[], None]) -> Stored:
    def work(wanted: Callable[[], None]) -> Stored:
        digest = sha256()
        size_bytes = 0
        with path.open("rb") as stream, blobs.create(key, file_name=file_name) as writer:
            for chunk in chunks(stream):
                wanted()
                digest.update(chunk)
                size_bytes += len(chunk)
                writer.write(chunk)
            wanted()
            writer.commit()
        try:
            wanted()
        except Abandoned:
            # Whoever left may have removed it before it was there.
            blobs.delete(key)
            raise
        return Stored(size_bytes, digest.hexdigest())

    return _watched(work, check)


def drop(job: Job, *, blobs: "Blobs") -> None:
    """Remove what this attempt has stored, if the store does it soon."""
    ends = time.monotonic() + _DROP_SECONDS

    def check() -> None:
        if time.monotonic() > ends:
            raise Unavailable

    def delete(_wanted: Callable[[], None]) -> None:
        for key in made_keys(job.id, job.attempt):
            blobs.delete(key)

    with suppress(ServiceError):
        _watched(delete, check)


def _watched(work: Callable[[Callable[[], None]], T], check: Callable[[], None]) -> T:
    """Do work in a thread of its own, and leave it to itself once `check` raises.

    A store that has fallen silent keeps a thread waiting until its own time limits end it, one after the other, and
    that may be long after the conversion had to end.

    Args:
        work: gets what it has to call between its pieces, which raises Abandoned when nobody waits any longer.
        check: raises when the work must end.
    """
    outcome: Future[T] = Future()
    left = threading.Event()

    def wanted() -> None:
        if left.is_set():
            raise Abandoned

    def run() -> None:
        try:
            outcome.set_result(work(wanted))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            outcome.set_exception(error)

    # With the log ids of the request.
    threading.Thread(target=copy_context().run, args=(run,), name="transfer", daemon=True).start()
    try:
        while not wait([outcome], _LOOK_SECONDS).done:
            check()
    except BaseException:
        left.set()
        raise
    return outcome.result()
