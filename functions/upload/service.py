"""Taking a video in: the row, the blob, the promise, the event, in this order."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from functions.common import options
from functions.common.announcing import announce
from functions.common.crash import crash_point
from functions.common.errors import Conflict, Gone, Invalid, ServiceError, TooLarge
from functions.common.job import SILENT_SECONDS, Job, Piece, State, source_key
from functions.common.memory import bound_what_is_kept
from functions.common.waking import Foresight
from functions.upload.intake import Field, File
from functions.upload.sniff import LOOK_BYTES, refuse_other_than_media
from functions.upload.storing import between, store

if TYPE_CHECKING:
    from functions.common.blobs import Blobs
    from functions.common.jobs import Jobs
    from functions.common.publisher import Publisher
    from functions.common.quotas import Quotas, Room
    from functions.common.waking import Waker

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upload:
    """What is known of an upload before its body is read."""

    owner: str
    #: Options as the query spells them; form fields are added as they arrive.
    texts: Mapping[str, str]
    idempotency_key: str | None
    traceparent: str | None
    #: How long the file is at least; 0 where its length was not announced.
    least_bytes: int = 0


class Intake:
    """Receives uploads.

    Args:
        jobs: where the rows go.
        blobs: where the bytes go.
        publisher: where the events go.
        quotas: what each account may still do.
        waker: wakes convert.
        max_bytes: the largest file that is taken; 0 for any.
        crash_at: fault tests' crash point.
    """

    def __init__(
        self,
        *,
        jobs: "Jobs",
        blobs: "Blobs",
        publisher: "Publisher",
        quotas: "Quotas",
        waker: "Waker",
        max_bytes: int,
        crash_at: str = "",
    ) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._publisher = publisher
        self._quotas = quotas
        self._waker = waker
        self._max_bytes = max_bytes
        self._crash_at = crash_at
        bound_what_is_kept()

    def repeated(self, upload: Upload) -> Job | None:
        """The job that an earlier request with the same idempotency key made.

        Raises:
            Conflict: that request is still being received. One that was silent for a while is not: it counts as
                dead, and this one takes its place.
        """
        if upload.idempotency_key is None:
            return None
        job = self._jobs.find_by_key(upload.owner, upload.idempotency_key)
        if job is None or job.state is not State.RECEIVING:
            return job
        if not self._jobs.discard(job.id, only_silent=True):
            raise _still_arriving()
        return None

    def receive(self, upload: Upload, parts: Iterable[Field | File]) -> Job:
        """Store the file that the parts hold and promise its conversion.

        Raises:
            Invalid: no file, an empty one, or a wrong option.
            NotMedia: it surely is no media.
            TooLarge: it is larger than is taken.
            TooMany: the account has to wait; nothing was read.
            OverQuota: it is larger than the account's room.
            ServiceError: storing failed; nothing is left behind.
        """
        texts = dict(upload.texts)
        chosen = options.parse(texts)
        room = self._quotas.admit(upload.owner, least_bytes=upload.least_bytes)
        job: Job | None = None
        with self._undone_on_error() as undo:
            source: Piece | None = None
            for part in parts:
                if isinstance(part, Field):
                    texts[part.name] = part.text
                    chosen = options.parse(texts)
                elif job is not None:
                    raise Invalid("One upload takes one file.", field="file")
                else:
                    job, source = self._store(upload, part, chosen, room, undo)
            if job is None or source is None:
                raise Invalid("There is no file; send it in the form field `file`.", field="file")
            self._promise(job, source, chosen)
        announce(job, jobs=self._jobs, publisher=self._publisher)
        return replace(job, state=State.QUEUED, options=chosen, sources=(source,))

    def _store(
        self, upload: Upload, file: File, chosen: options.Options, room: "Room", undo: list[Job]
    ) -> tuple[Job, Piece]:
        chunks = _checked(file.chunks)
        job = self._jobs.create(
            owner=upload.owner,
            filename=file.name,
            options=chosen,
            idempotency_key=upload.idempotency_key,
            traceparent=upload.traceparent,
        )
        if job is None:
            raise _still_arriving()
        undo.append(job)
        stored = store(job.id, 0, self._admitted(job, chunks, room, upload.least_bytes), blobs=self._blobs)
        crash_point("stored-not-queued", self._crash_at)
        return job, stored

    def _admitted(self, job: Job, chunks: Iterator[bytes], room: "Room", least_bytes: int) -> Iterator[bytes]:
        ahead = Foresight(self._waker)
        size_bytes = 0
        for chunk in between(chunks, partial(self._say_alive, job)):
            size_bytes += len(chunk)
            if self._max_bytes and size_bytes > self._max_bytes:
                raise too_large(self._max_bytes)
            room.check(size_bytes)
            yield chunk
            ahead.done(min(size_bytes / least_bytes, 1) if least_bytes else 0)
            crash_point("receiving-half-a-blob", self._crash_at)
        ahead.done(1)

    def _say_alive(self, job: Job) -> None:
        if not self._jobs.still_receiving(job.id):
            raise Gone("The upload was taken away while it arrived.")

    def _promise(self, job: Job, source: Piece, chosen: options.Options) -> None:
        if not self._jobs.queue(job.id, sources=[source], options=chosen, filename=job.filename):
            raise Gone("The upload was taken away while it arrived.")
        crash_point("queued-not-published", self._crash_at)

    @contextmanager
    def _undone_on_error(self) -> Iterator[list[Job]]:
        begun: list[Job] = []
        try:
            yield begun
        except BaseException:
            for job in begun:
                try:
                    # The row first: if it became a promise after all, the blob is what was promised.
                    if self._jobs.discard(job.id):
                        self._blobs.delete(source_key(job.id, 0))
                        self._jobs.forget(job.id)
                except ServiceError:
                    # recover takes away what stays in state receiving.
                    _log.warning("an interrupted upload could not be undone", extra={"job": job.id}, exc_info=True)
            raise


def too_large(most_bytes: int) -> TooLarge:
    """What is answered to a file of more bytes than are taken."""
    return TooLarge(f"Files of up to {most_bytes:,} bytes are taken.", limit=most_bytes)


def _still_arriving() -> Conflict:
    return Conflict("An upload with this Idempotency-Key is still arriving.", retry_after_seconds=SILENT_SECONDS)


def _checked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, once the first of them were looked at.

    Raises:
        Invalid: there are none.
        NotMedia: they surely are no media.
    """
    first = b""
    for chunk in chunks:
        first += chunk
        if len(first) >= LOOK_BYTES:
            break
    if not first:
        raise Invalid("The file is empty.", field="file")
    refuse_other_than_media(first)
    return chain([first], chunks)
