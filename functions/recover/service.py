"""Putting right what a crash, a lost event or time left undone."""

import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from cloudevents.http import CloudEvent

from functions.common import events
from functions.common.errors import ServiceError, Unavailable
from functions.common.job import OPEN, Job, State, blob_keys, made_keys, source_keys
from functions.recover.overdue import Overdue

if TYPE_CHECKING:
    from functions.common.blobs import Blobs
    from functions.common.jobs import Jobs
    from functions.common.publisher import Publisher

T = TypeVar("T")
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
        failed = self._publish_due(ends) or self._publish_untold(ends)
        self._overdue.abandon()
        self._overdue.expire()
        self._overdue.forget_failures()
        # Each row keeps telling what is to be deleted until it was.
        self._each(self._overdue.blobs_over(), self._drop, ends)
        self._each(self._overdue.unswept(), self._sweep, ends)
        self._each(self._overdue.tombstones(), self._bury, ends)
        if failed is not None:
            raise failed

    def dead_letter(self, event: CloudEvent) -> None:
        """Keep an event whose delivery gave up, and put its job right."""
        attributes = event.get_attributes()
        whole = json.dumps({**attributes, "data": event.get_data()}, default=repr)
        code, dest = _text(attributes.get("knativeerrorcode"), 16), _text(attributes.get("knativeerrordest"), 2000)
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
                    if time.monotonic() > ends:
                        raise Unavailable("The sweep's time is up.")
                    self._publisher.publish(_owed(job))
                except Unavailable as error:
                    for unpublished in due[index:]:
                        self._overdue.owe_again(unpublished)
                    return error
                _log.info("an owed event was published again", extra={"job": job.id, "state": job.state.value})
        return None

    def _publish_untold(self, ends: float) -> Unavailable | None:
        for job in self._overdue.take_untold():
            try:
                if time.monotonic() > ends:
                    raise Unavailable("The sweep's time is up.")
                self._publisher.publish(_owed(job))
            except Unavailable as error:
                # The others' turn comes when their delay is over.
                return error
            _log.info("a success that another system was not told of was published again", extra={"job": job.id})
        return None

    def _drop(self, job: Job) -> None:
        if self._delete(blob_keys(job) if job.state is State.EXPIRED else source_keys(job)):
            self._overdue.blobs_gone(job)

    def _sweep(self, unswept: tuple[Job, list[int]]) -> None:
        job, attempts = unswept
        if self._delete(key for attempt in attempts for key in made_keys(job.id, attempt)):
            self._overdue.swept(job, attempts[-1])

    def _bury(self, job: Job) -> None:
        if self._delete(blob_keys(job)):
            self._overdue.bury(job)

    def _each(self, rows: Iterable[T], do: Callable[[T], None], ends: float) -> None:
        for row in rows:
            if time.monotonic() > ends:
                return
            do(row)

    def _delete(self, keys: Iterable[str]) -> bool:
        try:
            for key in keys:
                self._blobs.delete(key)
        except ServiceError:
            _log.warning("blobs could not be deleted; the next sweep tries again", exc_info=True)
            return False
        return True


def _text(value: object, longest: int) -> str | None:
    """Whatever stands in an attribute, as text that any database takes."""
    if value is None:
        return None
    return str(value).encode(errors="replace").decode().replace("\0", "")[:longest]


def _owed(job: Job) -> CloudEvent:
    """The event that a row owes in its state."""
    type_ = events.UPLOADED if job.state in OPEN else events.FAILED
    if job.state is State.SUCCEEDED:
        type_ = events.SUCCEEDED
    return events.make(type_, job_id=job.id, run=job.run, traceparent=job.traceparent, reason=job.reason)
