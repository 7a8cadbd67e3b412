"""What an owner reads: pages of jobs, and what changed of late."""

import unicodedata

from sqlalchemy import ColumnElement, or_, select

from functions.common.database import Database
from functions.common.job import Job, State
from functions.common.jobs import job_of
from functions.common.tables import jobs


class History:
    """The jobs of one database as their owners look at them; uploads that still arrive are not among them.

    Args:
        database: where the rows are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, owner: str, *, limit: int, before: str | None = None, search: str = "") -> list[Job]:
        """The owner's jobs, newest first.

        Args:
            owner: whose.
            limit: how many at most.
            before: only those older than this job.
            search: only those with this in the name of their file, in capitals or small letters.
        """
        only: list[ColumnElement[bool]] = [] if before is None else [jobs.c.id < before]
        if search:
            only.append(or_(*(jobs.c.filename.icontains(form, autoescape=True) for form in _forms(search))))
        query = (
            select(jobs)
            .where(jobs.c.owner == owner, jobs.c.deleted.is_(None), jobs.c.state != State.RECEIVING, *only)
            .order_by(jobs.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def changed(self, owner: str, *, since: int, job_id: str | None = None, limit: int = 500) -> list[Job]:
        """The owner's jobs that changed at or after a time of the database's clock, deleted ones among them."""
        only = [] if job_id is None else [jobs.c.id == job_id]
        query = (
            select(jobs)
            .where(jobs.c.owner == owner, jobs.c.updated >= since, jobs.c.state != State.RECEIVING, *only)
            .order_by(jobs.c.updated)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def clock(self) -> int:
        """The database's time, in microseconds since 1970."""
        return self._database.clock()


def _forms(search: str) -> list[str]:
    """How a name may spell what is looked for.

    SQLite, and PostgreSQL with the locale C, know capitals of ASCII alone. Some systems write an accent as a character
    of its own.
    """
    if search.isascii():
        return [search]
    cases = (search, search.lower(), search.upper())
    return sorted({unicodedata.normalize(form, case) for form in ("NFC", "NFD") for case in cases} | {search})
