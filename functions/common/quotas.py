"""What one account may have and has: jobs made in an hour, jobs that wait, bytes that are kept; for upload and jobs.

The rows are the count, so nothing has to be counted down. Uploads that arrive at the same moment do not see each other,
so an account may get beyond a limit by as much as it sends at once; a lock on the account would cost all others more.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, ScalarSelect, and_, case, func, or_, select

from functions.common.database import Database, now
from functions.common.errors import OverQuota, TooMany
from functions.common.job import MICROSECONDS, OPEN, State
from functions.common.jobs import seconds
from functions.common.tables import jobs

_HOUR_SECONDS: Final = 3600
#: When a place among the waiting jobs may be free again.
_QUEUE_SECONDS: Final = 10
#: When there may be more room: what is not deleted by its owner goes in its time, which is a matter of days.
_ROOM_SECONDS: Final = 3600
#: States in which files are kept, or announced; an expired job's are about to go.
_KEPT: Final = (State.RECEIVING, State.QUEUED, State.CONVERTING, State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Used:
    """What an account has at one moment."""

    #: Jobs made in the last hour, deleted ones included while their rows are kept.
    jobs_per_hour: int
    #: Jobs that are received, queued or converted.
    queued_jobs: int
    #: Bytes of the sources and results that are kept, and of resumable uploads that arrive.
    stored_bytes: int
    #: Seconds until the oldest of the last hour's jobs is an hour old.
    oldest_seconds: int


@dataclass(frozen=True)
class Room:
    """How much an account may store besides what it has."""

    #: Bytes in all; 0 for any number.
    limit: int
    used: int

    def check(self, size_bytes: int) -> None:
        """Make sure that a file of this size fits.

        Raises:
            OverQuota: it does not.
        """
        if self.limit and self.used + size_bytes > self.limit:
            raise OverQuota(
                f"You may keep {self.limit:,} bytes, and {self.used:,} are kept; delete jobs to make room.",
                retry_after_seconds=_ROOM_SECONDS,
                limit=self.limit,
                used=self.used,
            )


class Quotas:
    """The quotas of one database's accounts; 0 stands for none.

    Args:
        database: where the jobs are.
        jobs_per_hour: how many jobs an account may make in an hour.
        queued_jobs: how many of its jobs may wait or be worked on.
        stored_bytes: how many bytes of sources and results are kept for it.
    """

    def __init__(self, database: Database, *, jobs_per_hour: int, queued_jobs: int, stored_bytes: int) -> None:
        self._database = database
        self._jobs_per_hour = jobs_per_hour
        self._queued_jobs = queued_jobs
        self._stored_bytes = stored_bytes

    def admit(self, owner: str, *, least_bytes: int) -> Room:
        """Make sure that an account may upload a file; return the room for it.

        Args:
            owner: the account.
            least_bytes: how long the file is at least; 0 where that is not known.

        Raises:
            TooMany: it made too many jobs in the last hour, or too many of them wait.
            OverQuota: the file is larger than the room that is left, or none is left.
        """
        if not (self._jobs_per_hour or self._queued_jobs or self._stored_bytes):
            return Room(0, 0)
        used = self.used(owner)
        if self._jobs_per_hour and used.jobs_per_hour >= self._jobs_per_hour:
            raise TooMany(
                f"You may make {self._jobs_per_hour:,} jobs in an hour.",
                retry_after_seconds=max(1, used.oldest_seconds),
                limit=self._jobs_per_hour,
                used=used.jobs_per_hour,
            )
        self._check_queued(used)
        room = Room(self._stored_bytes, used.stored_bytes)
        room.check(max(1, least_bytes))
        return room

    def admit_retry(self, owner: str) -> None:
        """Make sure that an account may queue a job again.

        Raises:
            TooMany: too many of its jobs wait.
        """
        if self._queued_jobs:
            self._check_queued(self.used(owner))

    def _check_queued(self, used: Used) -> None:
        if self._queued_jobs and used.queued_jobs >= self._queued_jobs:
            raise TooMany(
                f"{used.queued_jobs:,} of your jobs wait or are worked on, and {self._queued_jobs:,} may.",
                retry_after_seconds=_QUEUE_SECONDS,
                limit=self._queued_jobs,
                used=used.queued_jobs,
            )

    def describe(self, owner: str) -> dict[str, dict[str, int | None]]:
        """Each limit, None for none, and how much of it an account has used."""
        used = self.used(owner)
        return {
            "jobs_per_hour": {"limit": self._jobs_per_hour or None, "used": used.jobs_per_hour},
            "queued_jobs": {"limit": self._queued_jobs or None, "used": used.queued_jobs},
            "stored_bytes": {"limit": self._stored_bytes or None, "used": used.stored_bytes},
        }

    def used(self, owner: str) -> Used:
        """What an account has now."""
        recent = jobs.c.created > now() - seconds(_HOUR_SECONDS)
        waiting = and_(jobs.c.state.in_((State.RECEIVING, *OPEN)), jobs.c.deleted.is_(None))
        # The source of a job that succeeded may be gone long before its result.
        source = case((or_(jobs.c.state != State.SUCCEEDED, jobs.c.sources_until.is_not(None)), jobs.c.source_bytes))
        size = func.coalesce(source, 0) + func.coalesce(jobs.c.result_size_bytes, 0)
        kept = and_(jobs.c.state.in_(_KEPT), jobs.c.deleted.is_(None))
        oldest = func.min(jobs.c.created) + seconds(_HOUR_SECONDS) - now()
        query = select(
            _of(owner, func.count(), recent),
            _of(owner, func.count(), waiting),
            _of(owner, func.sum(size), kept),
            _of(owner, oldest, recent),
        )
        with self._database.read() as connection:
            made, queued, stored, left = (int(value or 0) for value in connection.execute(query).one())
        return Used(made, queued, stored, -(-left // MICROSECONDS))


def _of(owner: str, what: ColumnElement[Any], condition: ColumnElement[bool]) -> ScalarSelect[Any]:
    return select(what).select_from(jobs).where(jobs.c.owner == owner, condition).scalar_subquery()
