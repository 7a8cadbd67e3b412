"""The rows of a server of our own, read behind its back."""

from collections import Counter
from typing import Any, Final

from sqlalchemy import create_engine, event, func, or_, select
from sqlalchemy.engine import Engine

from functions.common.tables import dead_letters, jobs, mails

_MICROSECONDS: Final = 1_000_000
_SEEN: Final = (
    jobs.c.id,
    jobs.c.state,
    jobs.c.reason,
    jobs.c.run,
    jobs.c.attempt,
    jobs.c.started,
    jobs.c.finished,
    jobs.c.result_sha256,
    jobs.c.duration_seconds,
)


class Rows:
    """One database.

    Args:
        url: an SQLAlchemy URL; its tables exist.
    """

    def __init__(self, url: str) -> None:
        # Faults kill connections, ours among them, so one that was kept is tried before it is used.
        self._engine: Engine = create_engine(url, pool_pre_ping=True)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _read_only)

    def seen(self) -> dict[str, dict[str, Any]]:
        """What the journal takes of every job, moments in seconds since 1970."""
        mailed = select(mails.c.job_id, mails.c.sent, mails.c.undelivered)
        with self._engine.connect() as connection:
            found = {
                row["id"]: {
                    **row,
                    "started": _seconds(row["started"]),
                    "finished": _seconds(row["finished"]),
                    "mailed": None,
                }
                for row in (dict(each) for each in connection.execute(select(*_SEEN)).mappings())
            }
            for job_id, sent, _ in connection.execute(mailed):
                if job_id in found and sent is not None:
                    found[job_id]["mailed"] = _seconds(sent)
        return found

    def counts(self) -> Counter[str]:
        """Jobs by the state of their rows."""
        with self._engine.connect() as connection:
            return Counter(dict(connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).tuples()))

    def all(self) -> list[dict[str, Any]]:
        """Every job, every column."""
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(jobs)).mappings()]

    def busy(self) -> list[str]:
        """Jobs that are leased, owed an event or not ended, in words."""
        still = or_(
            jobs.c.lease_until.is_not(None),
            jobs.c.due.is_not(None),
            jobs.c.state.in_(("receiving", "queued", "converting")),
        )
        with self._engine.connect() as connection:
            found = connection.execute(select(jobs.c.id, jobs.c.state, jobs.c.due, jobs.c.lease_until).where(still))
            return [
                f"{job_id} is {state}{', leased' if lease else ''}{', owed an event' if due else ''}"
                for job_id, state, due, lease in found
            ]

    def most_claims(self) -> int:
        """How often the job that was claimed most often and has not ended was."""
        open_ = jobs.c.state.in_(("queued", "converting"))
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.max(jobs.c.claims)).where(open_)).scalar_one() or 0)

    def unswept(self) -> int:
        """Jobs whose earlier attempts may have left a result."""
        left = (
            select(func.count()).select_from(jobs).where(jobs.c.state == "succeeded", jobs.c.swept < jobs.c.attempt - 1)
        )
        with self._engine.connect() as connection:
            return int(connection.execute(left).scalar_one())

    def unsent(self) -> list[str]:
        """Jobs whose mail is owed, or was given up."""
        with self._engine.connect() as connection:
            return list(connection.execute(select(mails.c.job_id).where(mails.c.sent.is_(None))).scalars())

    def dead_letters(self) -> int:
        """How many events were given up."""
        with self._engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(dead_letters)).scalar_one())


def _read_only(connection: Any, _record: Any) -> None:
    # The server's own writers must never wait for us.
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA busy_timeout = 10000")


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / _MICROSECONDS
