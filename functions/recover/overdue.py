"""What recover reads and writes of the rows: what is owed, stale, expired or left over.

Each take is a conditional UPDATE on what was read, so that two recovers at once share the work and never double it.
"""

from typing import Any

from sqlalchemy import Row, Update, and_, delete, insert, not_, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from functions.common.database import Database, now
from functions.common.job import ENDED, OPEN, Job, State, new_id
from functions.common.jobs import OWED_AGAIN_SECONDS, job_of, not_leased, seconds
from functions.common.tables import bridged, dead_letters, jobs, login_failures, mails

#: How long a mail that cannot be delivered is tried again.
MAIL_SECONDS = 3 * 86_400
#: How long a deleted job's row is kept.
TOMBSTONE_SECONDS = 86_400
#: The longest delays: 80 minutes for a conversion, 11 hours for a mail.
_OPEN_DOUBLINGS = 3
_MAIL_DOUBLINGS = 6
_DEAD_LETTERS_KEPT_SECONDS = 30 * 86_400
#: How long failed logins are remembered after the last one.
FAILURE_SECONDS = 86_400


class Overdue:
    """The rows that need recover.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def forget_leases(self) -> None:
        """Make every unfinished row due at once; only for a run that is its database's sole user, at its start.

        Resumable uploads are not, since their clients come back.
        """
        waits = and_(jobs.c.state == State.RECEIVING, jobs.c.pieces.is_not(None))
        with self._database.write() as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.due.is_not(None), jobs.c.deleted.is_(None), not_(waits))
                .values(due=now() - 1, lease_until=None)
            )
            connection.execute(update(mails).where(mails.c.sent.is_(None)).values(lease_until=None))

    def take_due(self, limit: int = 100) -> list[Job]:
        """Take rows whose event is owed, each now owed again only after a delay that doubles."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(jobs)
                .where(jobs.c.due <= now(), jobs.c.state != State.RECEIVING, jobs.c.deleted.is_(None))
                .order_by(jobs.c.due)
                .limit(limit)
            ).all()
        return [job_of(row) for row in rows if self._take(row)]

    def _take(self, row: "Row[Any]") -> bool:
        seen = row._mapping
        most = _OPEN_DOUBLINGS if seen["state"] in OPEN else _MAIL_DOUBLINGS
        delay = OWED_AGAIN_SECONDS << min(seen["rounds"], most)
        with self._database.write() as connection:
            return bool(
                connection.execute(
                    update(jobs)
                    .where(_seen(row), jobs.c.due == seen["due"])
                    .values(due=now() + seconds(delay), rounds=jobs.c.rounds + 1, published=now())
                ).rowcount
            )

    def owe_again(self, job: Job) -> None:
        """Make a row due at once, since its event could not be published after all."""
        self._change(
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.run == job.run, jobs.c.due > now(), jobs.c.rounds > 0)
            .values(due=now(), rounds=jobs.c.rounds - 1, published=None)
        )

    def take_untold(self, limit: int = 100) -> list[Job]:
        """Take successes that another system has yet to be told of, each owed again only after a delay that doubles."""
        age = now() - jobs.c.finished
        untold = and_(
            bridged.c.due <= now(),
            jobs.c.state == State.SUCCEEDED,
            jobs.c.deleted.is_(None),
            # Until then the event's own delivery is still being tried.
            age > seconds(OWED_AGAIN_SECONDS),
        )
        with self._database.read() as connection:
            rows = connection.execute(
                select(jobs, bridged.c.due.label("told_due"), age.label("age"))
                .join(bridged, bridged.c.job_id == jobs.c.id)
                .where(untold)
                .order_by(bridged.c.due)
                .limit(limit)
            ).all()
        return [job_of(row) for row in rows if self._take_untold(row)]

    def _take_untold(self, row: "Row[Any]") -> bool:
        seen = row._mapping
        delay = min(seen["age"], seconds(OWED_AGAIN_SECONDS << _MAIL_DOUBLINGS))
        mine = and_(bridged.c.job_id == seen["id"], bridged.c.due == seen["told_due"])
        with self._database.write() as connection:
            return bool(connection.execute(update(bridged).where(mine).values(due=now() + delay)).rowcount)

    def give_up_mails(self) -> None:
        """Mark mails undelivered that could not be sent for three days."""
        old = and_(mails.c.sent.is_(None), mails.c.undelivered.is_(None), mails.c.created < _ago(MAIL_SECONDS))
        with self._database.write() as connection:
            for job_id, run, outcome in connection.execute(
                select(mails.c.job_id, mails.c.run, mails.c.outcome).where(old)
            ).all():
                connection.execute(
                    update(mails)
                    .where(mails.c.job_id == job_id, mails.c.run == run, mails.c.outcome == outcome, old)
                    .values(undelivered=now())
                )
                connection.execute(
                    update(jobs)
                    .where(jobs.c.id == job_id, jobs.c.run == run, jobs.c.state == outcome)
                    .values(due=None, rounds=0)
                )

    def abandon(self) -> None:
        """Turn uploads that stood still too long into tombstones."""
        stale = and_(jobs.c.state == State.RECEIVING, jobs.c.due <= now(), jobs.c.deleted.is_(None))
        self._change(update(jobs).where(stale).values(deleted=now(), due=None, idempotency_key=None))

    def expire(self) -> None:
        """Expire ended jobs whose time is up; their blobs count as sources that are over."""
        past = and_(jobs.c.expires < now(), jobs.c.deleted.is_(None), jobs.c.state.in_(ENDED - {State.EXPIRED}))
        self._change(
            update(jobs)
            .where(past)
            .values(state=State.EXPIRED, due=None, idempotency_key=None, sources_until=now() - 1, updated=now())
        )

    def blobs_over(self) -> list[Job]:
        """Succeeded jobs whose source, and expired ones of which nothing, is kept any longer."""
        return self._rows(and_(jobs.c.sources_until < now(), jobs.c.state.in_((State.SUCCEEDED, State.EXPIRED))))

    def blobs_gone(self, job: Job) -> None:
        """Note that what was over was deleted."""
        self._change(update(jobs).where(jobs.c.id == job.id).values(sources_until=None))

    def unswept(self) -> list[tuple[Job, list[int]]]:
        """Ended jobs of more than one attempt, each with the attempts that may have left a result."""
        # The attempt that succeeded is the last; a failed job's last attempt may have stored before it was stopped.
        kept = and_(jobs.c.state == State.SUCCEEDED, jobs.c.swept < jobs.c.attempt - 1)
        dropped = and_(jobs.c.state.in_((State.FAILED, State.CANCELLED)), jobs.c.swept < jobs.c.attempt)
        swept = []
        with self._database.read() as connection:
            for row in connection.execute(select(jobs).where(or_(kept, dropped), not_leased()).limit(500)):
                job = job_of(row)
                last = job.attempt - 1 if job.state is State.SUCCEEDED else job.attempt
                swept.append((job, list(range(row._mapping["swept"] + 1, last + 1))))
        return swept

    def swept(self, job: Job, attempt: int) -> None:
        """Note that no attempt up to this one has a leftover."""
        with self._database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job.id, jobs.c.swept < attempt).values(swept=attempt))

    def tombstones(self) -> list[Job]:
        """Deleted jobs that were kept long enough, and abandoned uploads, which nobody was told of."""
        old = or_(jobs.c.deleted < _ago(TOMBSTONE_SECONDS), jobs.c.state == State.RECEIVING)
        return self._rows(and_(jobs.c.deleted.is_not(None), old))

    def bury(self, job: Job) -> None:
        """Remove a deleted job's rows for good."""
        with self._database.write() as connection:
            connection.execute(delete(mails).where(mails.c.job_id == job.id))
            connection.execute(delete(bridged).where(bridged.c.job_id == job.id))
            connection.execute(delete(jobs).where(jobs.c.id == job.id, jobs.c.deleted.is_not(None)))

    def keep_dead_letter(self, job_id: str | None, event: str, *, code: str | None, dest: str | None) -> None:
        """Store a dead letter whole, and drop those that are a month old."""
        values = {
            "id": new_id(),
            "job_id": job_id,
            "event": event,
            "error_code": code,
            "error_dest": dest,
            "received": now(),
        }
        with self._database.write() as connection:
            connection.execute(insert(dead_letters).values(values))
            connection.execute(delete(dead_letters).where(dead_letters.c.received < _ago(_DEAD_LETTERS_KEPT_SECONDS)))

    def forget_failures(self) -> None:
        """Remove the counts of failed logins whose last one is a day old."""
        with self._database.write() as connection:
            connection.execute(delete(login_failures).where(login_failures.c.updated < _ago(FAILURE_SECONDS)))

    def _rows(self, condition: ColumnElement[bool]) -> list[Job]:
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(select(jobs).where(condition).limit(500))]

    def _change(self, statement: Update) -> None:
        with self._database.write() as connection:
            connection.execute(statement)


def _ago(count: float) -> "ColumnElement[int]":
    return now() - seconds(count)


def _seen(row: "Row[Any]") -> ColumnElement[bool]:
    seen = row._mapping
    return and_(jobs.c.id == seen["id"], jobs.c.run == seen["run"], jobs.c.state == seen["state"])
