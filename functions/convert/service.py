"""Converting one job: claim, fetch, encode, store, mark; what it is told last is what the row says."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cloudevents.http import CloudEvent

from functions.common import events
from functions.common.crash import crash_point
from functions.common.errors import BlobMissing, Conflict, ServiceError, Unavailable
from functions.common.events import Notice
from functions.common.job import Job, State, Stored
from functions.common.waking import Foresight
from functions.convert.checking import Failed
from functions.convert.encoding import Made, encode
from functions.convert.heartbeat import Heartbeat
from functions.convert.process import Stopped
from functions.convert.processors import processors
from functions.convert.scratch import scratch
from functions.convert.slots import slots
from functions.convert.transfer import drop, fetch, store, store_waveform
from functions.convert.watch import Bounds

if TYPE_CHECKING:
    from functions.common.blobs import Blobs
    from functions.common.jobs import Jobs
    from functions.common.waking import Waker

#: Kept back of the deadline for checking and storing.
_AFTER_FFMPEG_SECONDS: Final = 60.0
#: Claims that came to nothing, after which a job runs alone in its process.
_SUSPECT_CLAIMS: Final = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Terms:
    """What conversions in this process are held to; see functions.common.config."""

    #: For fetching, encoding, checking and storing together; 0 for none.
    seconds: int
    max_duration_seconds: int
    slots: int
    #: Processors that conversions may use; 0 for all that this process has.
    cpus: int
    work_dir: str
    crash_at: str


class Converter:
    """Converts jobs.

    Args:
        jobs: where the rows are.
        blobs: where sources and results are.
        terms: limits.
        waker: wakes notify.
        halting: asked whether work must be given back at once.
    """

    def __init__(
        self, *, jobs: "Jobs", blobs: "Blobs", terms: Terms, waker: "Waker", halting: Callable[[], bool]
    ) -> None:
        self._jobs = jobs
        self._blobs = blobs
        self._terms = terms
        self._waker = waker
        self._halting = halting

    def handle(self, notice: Notice) -> CloudEvent | None:
        """Do what an uploaded event asks for; return the event that tells its end, if there is one to tell.

        Raises:
            Conflict: another worker holds the lease.
            Unavailable: this cannot be done right now.
        """
        from functions.common.jobs import Claim

        began = time.monotonic()
        with slots(self._terms.slots).held(alone=self._is_suspect(notice)):
            if self._halting():
                raise Unavailable("This converter is stopping.")
            claim, job = self._jobs.claim(notice.job_id, notice.run)
            if claim is Claim.LEASED:
                raise Conflict("Another worker is converting this job.", retry_after_seconds=5)
            if claim is Claim.WON and job is not None:
                crash_point("claimed", self._terms.crash_at)
                if not self._convert(job, began):
                    return None
                job = self._jobs.get(notice.job_id)
        return _outcome(job, notice)

    def _is_suspect(self, notice: Notice) -> bool:
        """Whether the job may have taken workers down before: such a one must not take neighbours with it again."""
        job = self._jobs.get(notice.job_id)
        return job is not None and job.claims >= _SUSPECT_CLAIMS

    def _convert(self, job: Job, began: float) -> bool:
        """Work on a claimed job; whether the row now says how it ended."""
        with Heartbeat(self._jobs, job) as heartbeat:
            try:
                made, result, waveform = self._work(job, began, heartbeat)
            except Failed as failed:
                heartbeat.stop()
                return self._failed(job, failed.reason)
            except Stopped:
                heartbeat.stop()
                return self._stopped(job, heartbeat)
            except ServiceError as error:
                heartbeat.stop()
                drop(job, blobs=self._blobs)
                self._jobs.give_back(job)
                raise Unavailable(error.detail, retry_after_seconds=error.retry_after_seconds) from error
            except Exception as error:
                # Whatever it was, the next attempt need not wait for the lease; the count of claims ends it.
                heartbeat.stop()
                _log.exception("a conversion broke off")
                drop(job, blobs=self._blobs)
                self._jobs.give_back(job, counted=True)
                raise Unavailable("The conversion broke off.", retry_after_seconds=5) from error
            heartbeat.stop()
            crash_point("stored-not-marked", self._terms.crash_at)
            if not self._jobs.succeed(
                job, result=result, duration_seconds=made.duration_seconds, omitted=made.omitted, waveform=waveform
            ):
                return self._lost(job)
        crash_point("marked-not-replied", self._terms.crash_at)
        _log.info(
            "converted", extra={"seconds": round(time.monotonic() - began, 3), "audio_seconds": made.duration_seconds}
        )
        return True

    def _work(self, job: Job, began: float, heartbeat: Heartbeat) -> tuple[Made, Stored, Stored | None]:
        with self._folder() as folder:
            source, target = folder / "source", folder / "result.mp3"
            deadline = self._deadline(began, kept_back=_AFTER_FFMPEG_SECONDS)
            heartbeat.tell("fetching", 0)
            try:
                fetch(job, source, blobs=self._blobs, check=self._check(heartbeat, deadline))
            except BlobMissing as error:
                raise Failed("source_missing") from error

            ahead = Foresight(self._waker)

            def progress(percent: int) -> None:
                heartbeat.tell("encoding", percent)
                ahead.done(percent / 100)
                crash_point("encoding", self._terms.crash_at)

            heartbeat.tell("encoding", 0)
            made = encode(
                source,
                target,
                job.options,
                bounds=Bounds(deadline=deadline, audio_seconds=self._terms.max_duration_seconds or None),
                processors=processors(self._terms.cpus),
                stop=lambda: self._is_stopped(heartbeat),
                progress=progress,
            )
            heartbeat.tell("storing", 99)
            ahead.done(1)
            check = self._check(heartbeat, self._deadline(began))
            result = store(job, target, blobs=self._blobs, check=check)
            if made.waveform is None:
                return made, result, None
            return made, result, store_waveform(job, made.waveform, blobs=self._blobs, check=check)

    def _check(self, heartbeat: Heartbeat, deadline: float | None) -> Callable[[], None]:
        """What fetching and storing are asked: whether they have to end."""

        def check() -> None:
            if self._is_stopped(heartbeat):
                raise Stopped
            if deadline is not None and time.monotonic() > deadline:
                raise Unavailable("Fetching or storing took too long.", retry_after_seconds=30)

        return check

    def _is_stopped(self, heartbeat: Heartbeat) -> bool:
        return heartbeat.lost.is_set() or self._halting()

    def _deadline(self, began: float, *, kept_back: float = 0.0) -> float | None:
        return began + self._terms.seconds - kept_back if self._terms.seconds else None

    def _failed(self, job: Job, reason: str) -> bool:
        self._waker.touch()
        drop(job, blobs=self._blobs)
        _log.info("failed", extra={"reason": reason})
        return self._jobs.fail(job, reason)

    def _stopped(self, job: Job, heartbeat: Heartbeat) -> bool:
        drop(job, blobs=self._blobs)
        if heartbeat.lost.is_set():
            _log.info("the claim was lost; the work is dropped")
            return False
        # Halting is nobody's fault; an ffmpeg that was killed may have been killed by its file.
        self._jobs.give_back(job, counted=not self._halting())
        raise Unavailable("The conversion was stopped.", retry_after_seconds=5)

    def _lost(self, job: Job) -> bool:
        drop(job, blobs=self._blobs)
        _log.info("the claim was lost; the result is dropped")
        return False

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        with ExitStack() as stack:
            try:
                folder = stack.enter_context(scratch(self._terms.work_dir))
            except OSError as error:
                raise Unavailable("There is no place to work in.", retry_after_seconds=30) from error
            try:
                yield folder
            except OSError as error:
                raise Unavailable("The place to work in failed.", retry_after_seconds=30) from error


def _outcome(job: Job | None, notice: Notice) -> CloudEvent | None:
    """The event that tells how the notice's run ended; the same again for a repeated notice."""
    if job is None or job.run != notice.run or job.state not in (State.SUCCEEDED, State.FAILED):
        return None
    type_ = events.SUCCEEDED if job.state is State.SUCCEEDED else events.FAILED
    return events.make(
        type_, job_id=job.id, run=job.run, traceparent=job.traceparent or notice.traceparent, reason=job.reason
    )
