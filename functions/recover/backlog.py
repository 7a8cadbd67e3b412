"""What waits, and what stands still: the four numbers that tell an operator whether all is well."""

from dataclasses import dataclass

from sqlalchemy import and_, func, select

from functions.common.database import Database, now
from functions.common.job import MICROSECONDS, State
from functions.common.tables import dead_letters, jobs, mails


@dataclass(frozen=True)
class Backlog:
    """A look at the rows."""

    #: Jobs that wait for a converter.
    queued: int
    #: How long the one that has waited longest has been waiting; None where none waits.
    oldest_queued_seconds: float | None
    #: Jobs that are being converted.
    converting: int
    #: Those of them whose converter gave no sign of life for the length of a lease.
    dead_leases: int
    #: Mails that are owed and not sent yet.
    unsent_mails: int
    #: How long the oldest of them is owed; None where none is.
    oldest_unsent_seconds: float | None
    #: Dead letters that are kept: events that a dispatcher gave up.
    dead_letters: int


def look(database: Database) -> Backlog:
    """Count, by the database's own clock.

    Raises:
        Unavailable: the database cannot be reached.
    """
    alive = jobs.c.deleted.is_(None)
    queued = and_(jobs.c.state == State.QUEUED, alive)
    converting = and_(jobs.c.state == State.CONVERTING, alive)
    unsent = and_(mails.c.sent.is_(None), mails.c.undelivered.is_(None))
    with database.read() as connection:

        def count(what: object) -> int:
            return int(connection.execute(what).scalar_one())  # type: ignore[call-overload]  # any SELECT

        def age(oldest: object) -> float | None:
            since = connection.execute(oldest).scalar_one()  # type: ignore[call-overload]  # any SELECT
            return None if since is None else max(0.0, (clock - int(since)) / MICROSECONDS)

        clock = int(connection.execute(select(now())).scalar_one())
        return Backlog(
            queued=count(select(func.count()).select_from(jobs).where(queued)),
            # Whatever queued it (an upload, a retry, a worker that gave it back) set this.
            oldest_queued_seconds=age(select(func.min(jobs.c.updated)).where(queued)),
            converting=count(select(func.count()).select_from(jobs).where(converting)),
            dead_leases=count(select(func.count()).select_from(jobs).where(converting, jobs.c.lease_until < now())),
            unsent_mails=count(select(func.count()).select_from(mails).where(unsent)),
            oldest_unsent_seconds=age(select(func.min(mails.c.created)).where(unsent)),
            dead_letters=count(select(func.count()).select_from(dead_letters)),
        )
