"""Taking a video in by several requests: its pieces, each stored and then kept, and the promise with the last one."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from functions.common import options
from functions.common.announcing import announce
from functions.common.crash import crash_point
from functions.common.errors import Conflict, Invalid, NotMedia, ServiceError, TooLarge
from functions.common.job import Job, Piece, State, source_key, source_keys
from functions.common.jobs import Resumable
from functions.common.memory import bound_what_is_kept
from functions.common.waking import Foresight
from functions.upload.arriving import Arriving
from functions.upload.service import too_large
from functions.upload.sniff import LOOK_BYTES, refuse_other_than_media
from functions.upload.storing import between, store

if TYPE_CHECKING:
    from functions.common.blobs import Blobs
    from functions.common.jobs import Jobs
    from functions.common.publisher import Publisher
    from functions.common.quotas import Quotas
    from functions.common.waking import Waker
    from functions.upload.pieces import Pieces

#: A longer body becomes several pieces, so that a crash in the middle of it costs no more than one.
_PIECE_BYTES: Final = 32 * 1024 * 1024
#: The row lists them all, and so does whoever deletes them.
MOST_PIECES: Final = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Announced:
    """What a client announces of an upload."""

    owner: str
    size_bytes: int
    filename: str
    #: Options, as forms and queries spell them.
    texts: Mapping[str, str]
    #: The metadata as it came.
    metadata: str | None
    traceparent: str | None


class Uploads:
    """Receives uploads in pieces.

    Args:
        jobs: where the rows go.
        pieces: which of them are uploads.
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
        pieces: "Pieces",
        blobs: "Blobs",
        publisher: "Publisher",
        quotas: "Quotas",
        waker: "Waker",
        max_bytes: int,
        crash_at: str = "",
    ) -> None:
        self._jobs = jobs
        self._pieces = pieces
        self._blobs = blobs
        self._publisher = publisher
        self._quotas = quotas
        self._waker = waker
        self._max_bytes = max_bytes
        self._crash_at = crash_at
        bound_what_is_kept()

    def create(self, announced: Announced) -> Job:
        """Begin an upload; its size counts as stored from now on.

        Raises:
            Invalid: the file is empty, or an option is wrong.
            TooLarge: it is larger than is taken.
            TooMany: the account has to wait.
            OverQuota: it is larger than the account's room.
        """
        chosen = options.parse(announced.texts)
        if not announced.size_bytes:
            raise Invalid("The file is empty.", field="file")
        if self._max_bytes and announced.size_bytes > self._max_bytes:
            raise too_large(self._max_bytes)
        self._quotas.admit(announced.owner, least_bytes=announced.size_bytes)
        job = self._jobs.create(
            owner=announced.owner,
            filename=announced.filename,
            options=chosen,
            idempotency_key=None,
            traceparent=announced.traceparent,
            resumable=Resumable(announced.size_bytes, announced.metadata),
        )
        if job is None:
            raise AssertionError("a row without an idempotency key collided with another")
        return job

    def find(self, job_id: str, owner: str) -> Job:
        """An owner's upload, complete or not.

        Raises:
            NotFound: there is none, or it is another's.
        """
        return self._pieces.find(job_id, owner)

    def receive(self, upload: Job, *, offset: int, body: Arriving, length: int | None) -> Job:
        """Add a request's bytes; the last one makes the job.

        What has come of a body that breaks off is kept.

        Args:
            upload: the upload.
            offset: how much of it the client takes for stored.
            body: the bytes.
            length: how many those are; None where that was not announced.

        Returns:
            The upload as it stands then.

        Raises:
            NotFound: it was taken away.
            Conflict: another number of bytes is stored, or a later request goes on with it.
            NotMedia: it surely is no media; the upload is gone.
            TooLarge: the body is longer than what is missing.
            Invalid: it came in too many pieces.
            ServiceError: storing failed; what was stored before is kept.
        """
        if length == 0 and offset == upload.received_bytes:
            return upload
        job = self._pieces.take(upload, offset)
        total = job.source_bytes or 0
        if length is not None and length > total - offset:
            raise _beyond(total)
        if not offset:
            self._look(job, body, total)
        ahead = Foresight(self._waker)

        def received() -> None:
            if length == total - offset:
                ahead.done(body.read_bytes / length)
            crash_point("receiving-half-a-piece", self._crash_at)

        while body.look(1):
            if job.pieces > MOST_PIECES:
                raise Invalid(f"An upload has at most {MOST_PIECES:,} pieces; send longer ones.")
            job = self._receive_piece(job, body, total, received)
        return job

    def give_up(self, upload: Job) -> None:
        """Take away an upload that is not complete.

        Raises:
            Conflict: it is.
        """
        if not self.discard(upload):
            raise Conflict("The upload is complete; delete its job.", job=f"/jobs/{upload.id}")

    def discard(self, upload: Job) -> bool:
        """Take away an upload; False if it is complete, or gone already."""
        gone = self._pieces.discard(upload)
        if gone is None:
            return False
        try:
            for key in source_keys(gone):
                self._blobs.delete(key)
        except ServiceError:
            _log.warning("the pieces of an upload could not be removed yet", exc_info=True)
        # The row stays for recover, which knows what a request that is still busy may have left.
        return True

    def _look(self, job: Job, body: Arriving, total: int) -> None:
        first = body.look(LOOK_BYTES)
        if len(first) < min(LOOK_BYTES, total):
            return
        try:
            refuse_other_than_media(first)
        except NotMedia:
            self.discard(job)
            raise

    def _receive_piece(self, job: Job, body: Arriving, total: int, received: Callable[[], None]) -> Job:
        left = total - job.received_bytes
        # Half of the numbers are for bodies that break off.
        most = max(_PIECE_BYTES, -(-total // (MOST_PIECES // 2)))
        chunks = self._alive(job, body.chunks(min(left, most)), received)
        piece = store(job.id, job.pieces - 1, chunks, blobs=self._blobs)
        crash_point("piece-stored-not-kept", self._crash_at)
        more = bool(body.look(1))
        if more and piece.size_bytes == left:
            self._blobs.delete(source_key(job.id, piece.number))
            raise _beyond(total)
        kept = replace(job, sources=(*job.sources, piece), pieces=job.pieces + int(more))
        if piece.size_bytes < left:
            self._or_drop(self._pieces.keep(job, piece, another=more), job, piece)
            return kept
        queued = self._jobs.queue(
            job.id, sources=kept.sources, options=job.options, filename=job.filename, pieces=job.pieces
        )
        self._or_drop(queued, job, piece)
        crash_point("queued-not-published", self._crash_at)
        announce(job, jobs=self._jobs, publisher=self._publisher)
        return replace(kept, state=State.QUEUED)

    def _or_drop(self, kept: bool, job: Job, piece: Piece) -> None:
        if not kept:
            # No row will ever name this number.
            self._blobs.delete(source_key(job.id, piece.number))
            raise _overtaken()

    def _alive(self, job: Job, chunks: Iterator[bytes], received: Callable[[], None]) -> Iterator[bytes]:
        def hold() -> None:
            if not self._pieces.holds(job):
                raise _overtaken()

        for chunk in between(chunks, hold):
            yield chunk
            received()


def _beyond(total: int) -> TooLarge:
    return TooLarge(f"The upload was announced with {total:,} bytes.", limit=total)


def _overtaken() -> Conflict:
    return Conflict("Another request goes on with this upload, or it was taken away.")
