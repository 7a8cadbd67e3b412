"""Turning a message into a job, and a job's success into a message."""

import logging
import time
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO, Protocol

from functions.bridge.message import Message, NoMessage, answer, read
from functions.common import logs
from functions.common.announcing import announce
from functions.common.blobs import chunks
from functions.common.crash import crash_point
from functions.common.errors import BlobMissing, Conflict, ServiceError
from functions.common.events import Notice
from functions.common.filenames import clean_name
from functions.common.job import ALIVE_SECONDS, Job, Piece, State, source_key
from functions.common.memory import bound_what_is_kept

if TYPE_CHECKING:
    from functions.bridge.rows import Rows
    from functions.common.blobs.gridfs import GridFsBlobs
    from functions.common.jobs import Jobs
    from functions.common.publisher import Publisher

_log = logging.getLogger(__name__)


class Queue(Protocol):
    """Where the other system waits for its MP3s."""

    def publish(self, body: bytes) -> None:
        """Put a message in; on return the queue has it.

        Raises:
            Unavailable: it may not have arrived.
        """


class Bridge:
    """Stands between the other system's queues and our events.

    Args:
        jobs: where the rows are.
        rows: which job is which video's.
        blobs: the other system's GridFS, which is ours as well.
        publisher: where our events go.
        queue: where the other system waits for its MP3s.
        crash_at: fault tests' crash point.
    """

    def __init__(
        self,
        *,
        jobs: "Jobs",
        rows: "Rows",
        blobs: "GridFsBlobs",
        publisher: "Publisher",
        queue: Queue,
        crash_at: str = "",
    ) -> None:
        self._jobs = jobs
        self._rows = rows
        self._blobs = blobs
        self._publisher = publisher
        self._queue = queue
        self._crash_at = crash_at
        bound_what_is_kept()

    def take(self, data: object, *, traceparent: str) -> None:
        """Make the job that a message asks for, once; a repeat only moves on what is not at its end.

        What can never work is logged and counts as dealt with.

        Args:
            data: the message as the event carries it.
            traceparent: W3C trace context that a new job begins with.

        Raises:
            Conflict: another delivery of the same message is being worked on.
            Unavailable: not now; nothing is promised, and the message must come again.
        """
        try:
            message = read(data)
        except NoMessage as error:
            _log.warning("a message of the other system was dropped: %s", error)
            return
        owner = self._rows.account(message.address)
        job = self._jobs.find_by_key(owner, _key(message)) if owner else None
        if job is None or job.state is State.RECEIVING:
            self._receive(message, job, traceparent)
            return
        logs.add(job=job.id)
        if job.state is State.QUEUED:
            # A crash may have fallen between promise and event; one too many does no harm.
            announce(job, jobs=self._jobs, publisher=self._publisher)
        elif job.state is State.SUCCEEDED:
            self._tell(job, video_fid=message.video_fid, username=message.username)

    def tell(self, notice: Notice) -> None:
        """Tell the other system of the success of a job that came from there, unless it knows.

        Raises:
            Unavailable: its RabbitMQ cannot be reached; the word stays owed.
        """
        job = self._jobs.get(notice.job_id)
        if job is None or job.run != notice.run or job.state is not State.SUCCEEDED:
            return
        bridged = self._rows.of(job.id)
        if bridged is not None and bridged.owed:
            self._tell(job, video_fid=bridged.video_fid, username=bridged.username)

    def _receive(self, message: Message, job: Job | None, traceparent: str) -> None:
        try:
            name, video = self._blobs.open_video(message.video_fid)
        except BlobMissing:
            _log.warning("a message of the other system was dropped: there is no video %s", message.video_fid)
            return
        with video:
            job = self._begin(message, job, name, traceparent)
            logs.add(job=job.id)
            try:
                source = self._copy(job, video)
            except BaseException:
                self._discard(job)
                raise
        if not self._jobs.queue(job.id, sources=[source], options=job.options, filename=job.filename):
            raise Conflict("Another delivery of this message was faster.", retry_after_seconds=5)
        crash_point("queued-not-published", self._crash_at)
        announce(job, jobs=self._jobs, publisher=self._publisher)

    def _begin(self, message: Message, job: Job | None, name: str | None, traceparent: str) -> Job:
        """The row that the copy goes to: a new one, or that of a copy that died."""
        busy = Conflict("This video is being copied.", retry_after_seconds=5)
        if job is None:
            job = self._jobs.create(
                owner=self._rows.make_account(message.address),
                filename=clean_name(name) if name else message.video_fid,
                options=message.options,
                idempotency_key=_key(message),
                traceparent=traceparent,
            )
            if job is None:
                raise busy
        elif not self._rows.take_over(job.id):
            raise busy
        # Before the job is a promise, so that no success is ever without it.
        self._rows.link(job.id, video_fid=message.video_fid, username=message.username)
        return job

    def _copy(self, job: Job, video: BinaryIO) -> Piece:
        digest, size_bytes = sha256(), 0
        told = time.monotonic()
        with self._blobs.create(source_key(job.id, 0)) as writer:
            for chunk in chunks(video):
                if time.monotonic() - told > ALIVE_SECONDS:
                    told = time.monotonic()
                    self._say_alive(job)
                size_bytes += len(chunk)
                digest.update(chunk)
                writer.write(chunk)
                crash_point("receiving-half-a-blob", self._crash_at)
            # A copy that was thought dead must not replace the file that another one has promised.
            self._say_alive(job)
            writer.commit()
        crash_point("stored-not-queued", self._crash_at)
        return Piece(size_bytes, digest.hexdigest())

    def _say_alive(self, job: Job) -> None:
        if not self._jobs.still_receiving(job.id):
            raise Conflict("The copy was taken away while it was made.", retry_after_seconds=5)

    def _discard(self, job: Job) -> None:
        try:
            # recover takes the tombstone away, and the blob with it; the next delivery begins anew.
            self._jobs.discard(job.id)
        except ServiceError:
            _log.warning("an interrupted copy could not be undone; the next delivery takes it over", exc_info=True)

    def _tell(self, job: Job, *, video_fid: str, username: str) -> None:
        try:
            mp3_fid = self._blobs.file_id(job.result_key)
        except BlobMissing:
            _log.warning("the MP3 is gone before the other system was told of it")
        else:
            self._queue.publish(answer(video_fid=video_fid, mp3_fid=mp3_fid, username=username))
            _log.info("told the other system")
        self._rows.told(job.id)


def _key(message: Message) -> str:
    """The idempotency key of a video."""
    return f"bridge:{message.video_fid}"
