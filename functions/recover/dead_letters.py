"""The dead letters that recover kept, for those who look after the system: to read, to send again, to drop."""

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from cloudevents.http import CloudEvent
from sqlalchemy import delete, select, update

from functions.common import events
from functions.common.database import Database, now
from functions.common.errors import NotFound, Unavailable
from functions.common.job import OPEN, State
from functions.common.tables import dead_letters, jobs, mails

if TYPE_CHECKING:
    from functions.common.jobs import Jobs
    from functions.common.publisher import Publisher

_ERROR_ATTRIBUTES = ("knativeerrordest", "knativeerrorcode")


@dataclass(frozen=True)
class Letter:
    """One row."""

    id: str
    job_id: str | None
    #: The event's attributes, and its data under `data`.
    event: dict[str, Any]
    error_code: str | None
    error_dest: str | None
    #: UTC microseconds.
    received: int


class Replayed(Enum):
    """What became of a letter that was to be sent again."""

    #: Its job, which had failed, runs once more.
    REOPENED = "the job runs once more"
    #: Its event was published.
    PUBLISHED = "the event was published again"
    #: Its event will be published, by the next sweep.
    OWED = "the next sweep publishes the event again"
    #: Its job needs it no longer.
    OBSOLETE = "nothing is left to do for it"


class DeadLetters:
    """The dead letters of one database.

    Args:
        database: where they are.
        jobs: the rows that they speak of.
        publisher: where events go; None where none can be reached, so that recover has to publish what rows owe.
    """

    def __init__(self, database: Database, *, jobs: "Jobs", publisher: "Publisher | None") -> None:
        self._database = database
        self._jobs = jobs
        self._publisher = publisher

    def newest(self, limit: int) -> list[Letter]:
        """The newest, the last to come first."""
        query = select(dead_letters).order_by(dead_letters.c.received.desc(), dead_letters.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [_letter(row) for row in connection.execute(query).mappings()]

    def ids(self) -> list[str]:
        """Of all of them, the first to come first."""
        query = select(dead_letters.c.id).order_by(dead_letters.c.received, dead_letters.c.id)
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def get(self, letter_id: str) -> Letter:
        """One of them.

        Raises:
            NotFound: there is none of this id.
        """
        with self._database.read() as connection:
            query = select(dead_letters).where(dead_letters.c.id == letter_id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no dead letter {letter_id}.")
        return _letter(row)

    def drop(self, letter: Letter) -> None:
        """Forget it."""
        with self._database.write() as connection:
            connection.execute(delete(dead_letters).where(dead_letters.c.id == letter.id))

    def replay(self, letter: Letter) -> Replayed:
        """Send it again, its job made ready for it; then forget it.

        Raises:
            Unavailable: the event could not be published; the letter stays. What a row owes is published by recover
                all the same.
        """
        attributes = {name: value for name, value in letter.event.items() if name not in ("data", *_ERROR_ATTRIBUTES)}
        event = CloudEvent(attributes, letter.event.get("data"))
        try:
            notice = events.notice(event)
        except events.MalformedEvent:
            if self._publisher is None:
                raise Unavailable("This event can only be published where the broker is (BROKER_URL).") from None
            done = self._publish(event)
        else:
            replay = self._replay_upload if notice.type == events.UPLOADED else self._replay_mail
            done = replay(notice, event)
        self.drop(letter)
        return done

    def _replay_upload(self, notice: events.Notice, event: CloudEvent) -> Replayed:
        job = self._jobs.get(notice.job_id)
        if job is None or job.run != notice.run or job.state not in {*OPEN, State.FAILED}:
            return Replayed.OBSOLETE
        if job.state in OPEN:
            self._jobs.owe_now(job.id, job.run)
            return self._publish(event)
        if not self._jobs.retry(job.id, job.owner):
            return Replayed.OBSOLETE
        run = job.run + 1
        again = events.make(events.UPLOADED, job_id=job.id, run=run, traceparent=job.traceparent)
        self._publish(again)
        return Replayed.REOPENED

    def _replay_mail(self, notice: events.Notice, event: CloudEvent) -> Replayed:
        outcome = State.SUCCEEDED if notice.type == events.SUCCEEDED else State.FAILED
        unsent = (mails.c.job_id == notice.job_id, mails.c.run == notice.run, mails.c.outcome == outcome)
        with self._database.write() as connection:
            # Its three days begin anew.
            owed = connection.execute(
                update(mails).where(*unsent, mails.c.sent.is_(None)).values(undelivered=None, created=now())
            ).rowcount
            if owed:
                connection.execute(
                    update(jobs)
                    .where(jobs.c.id == notice.job_id, jobs.c.run == notice.run, jobs.c.state == outcome)
                    .where(jobs.c.deleted.is_(None))
                    .values(due=now(), rounds=0)
                )
        return self._publish(event) if owed else Replayed.OBSOLETE

    def _publish(self, event: CloudEvent) -> Replayed:
        if self._publisher is None:
            return Replayed.OWED
        self._publisher.publish(event)
        return Replayed.PUBLISHED


def _letter(row: Any) -> Letter:
    return Letter(
        id=row["id"],
        job_id=row["job_id"],
        event=json.loads(row["event"]),
        error_code=row["error_code"],
        error_dest=row["error_dest"],
        received=row["received"],
    )
