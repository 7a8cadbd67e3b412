"""Putting right what a crash, a lost event or time left undone."""

import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from cloudevents.http import CloudEvent

from functions.common import events
from functions.common.errors import ServiceError, Unavailable
from functions.common.job import OPEN, Job, State, blob_keys, result_key, source_key
from functions.recover.overdue import Overdue

if TYPE_CHECKING:
    from functions.common.blobs import Blobs
    from functions.common.jobs import Jobs
    from functions.common.publisher import Publisher

#: What one sweep may take of the handler's 60 s.
_SWEEP_SECONDS: Final = 45.0
_log = logging.getLogger(__name__)


class Recovery:
    """Sweeps the rows.

    Args:
        overdue: the rows that need it.
        jobs: the rows.
        blobs: where blobs are deleted.
        publisher: where owed events go.
    """

    def __init__(self, *, overdue: Overdue, jobs: "Jobs", blobs: "Blobs", publisher: "Publisher") -> None:
        self._overdue = overdue
        self._jobs = jobs
        self._blobs = blobs
        self._publisher = publisher

    def sweep(self) -> None:
        """Publish what is owed, then tidy up; what is not reached in time is the next sweep's.

        Raises:
            Unavailable: the broker took no event; everything else was done all the same.
        """
        ends = time.monotonic() + _SWEEP_SECONDS
        self._overdue.give_up_mails()
        failed = self._publish_due(ends)
        for job_id in self._overdue.take_abandoned():
            self._delete([source_key(job_id, 0)])
        for job in self._overdue.take_expired():
            self._delete(blob_keys(job))
        self._each(self._overdue.sources_over(), self._drop_sources, ends)
        for job, attempts in self._overdue.unswept():
            if self._delete(result_key(job.id, attempt) for attempt in attempts):
                self._overdue.swept(job, attempts[-1])
        self._each(self._overdue.tombstones(), self._bury, ends)
        if failed is not None:
            raise failed

    def dead_letter(self, event: CloudEvent) -> None:
        """Keep an event whose delivery gave up, and put its job right."""
        attributes = event.get_attributes()
        whole = json.dumps({**attributes, "data": event.get_data()}, default=repr)
        code, dest = attributes.get("knativeerrorcode"), attributes.get("knativeerrordest")
        try:
            notice = events.notice(event)
        except events.MalformedEvent:
            self._overdue.keep_dead_letter(None, whole, code=code, dest=dest)
            return
        self._overdue.keep_dead_letter(notice.job_id, whole, code=code, dest=dest)
        _log.warning("an event was dead-lettered", extra={"code": code})
        if notice.type == events.UPLOADED and self._jobs.count_dead_letter(notice.job_id, notice.run):
            _log.warning("a job is given up as undeliverable")
        # A dead letter of conversion.* changes nothing: its mail stays due.

    def _publish_due(self, ends: float) -> Unavailable | None:
        while time.monotonic() < ends:
            due = self._overdue.take_due()
            if not due:
                return None
            for index, job in enumerate(due):
                try:
                    self._publisher.publish(_owed(job))
                except Unavailable as error:
                    for unpublished in due[index:]:
                        self._overdue.owe_again(unpublished)
                    return error
                _log.info("an owed event was published again", extra={"job": job.id, "state": job.state.value})
        return None

    def _drop_sources(self, job: Job) -> None:
        if self._delete(source_key(job.id, piece) for piece in range(max(1, len(job.sources)))):
            self._overdue.sources_gone(job)

    def _bury(self, job: Job) -> None:
        if self._delete(blob_keys(job)):
            self._overdue.bury(job)

    def _each(self, rows: Iterable[Job], do: Callable[[Job], None], ends: float) -> None:
        for job in rows:
            if time.monotonic() > ends:
                return
            do(job)

    def _delete(self, keys: Iterable[str]) -> bool:
        try:
            for key in keys:
                self._blobs.delete(key)
        except ServiceError:
            _log.warning("blobs could not be deleted; the next sweep tries again", exc_info=True)
            return False
        return True


def _owed(job: Job) -> CloudEvent:
    """The event that a row owes in its state."""
    type_ = events.UPLOADED if job.state in OPEN else events.FAILED
    if job.state is State.SUCCEEDED:
        type_ = events.SUCCEEDED
    return events.make(type_, job_id=job.id, run=job.run, traceparent=job.traceparent, reason=job.reason)
