"""One row per mail that is owed: claimed for the time of sending, silenced only by `sent`."""

from enum import Enum
from typing import Final

from sqlalchemy import and_, or_, select, update
from sqlalchemy.sql.elements import ColumnElement

from functions.common.database import Database, now
from functions.common.job import MICROSECONDS
from functions.common.tables import accounts, jobs, mails

#: Longer than a send may take, so that no two send at once.
LEASE_SECONDS: Final = 60


class MailClaim(Enum):
    """What became of an attempt to claim a mail."""

    WON = "won"
    #: Somebody is sending it.
    LEASED = "leased"
    #: It was sent, given up or withdrawn, or is not owed.
    DONE = "done"


class Mails:
    """The mails of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, job_id: str, run: int, outcome: str) -> MailClaim:
        """Take the right to send a mail."""
        mail = _mail(job_id, run, outcome)
        open_ = and_(mails.c.sent.is_(None), mails.c.undelivered.is_(None))
        free = or_(mails.c.lease_until.is_(None), mails.c.lease_until < now())
        with self._database.write() as connection:
            won = connection.execute(
                update(mails).where(mail, open_, free).values(lease_until=now() + LEASE_SECONDS * MICROSECONDS)
            ).rowcount
            if won:
                return MailClaim.WON
            leased = connection.execute(select(mails.c.job_id).where(mail, open_)).first()
        return MailClaim.LEASED if leased else MailClaim.DONE

    def release(self, job_id: str, run: int, outcome: str) -> None:
        """Give a claim back after a failure that may pass."""
        with self._database.write() as connection:
            connection.execute(update(mails).where(_mail(job_id, run, outcome)).values(lease_until=None))

    def sent(self, job_id: str, run: int, outcome: str) -> None:
        """Note that the mail server has it, so that nothing more is owed for this job."""
        self._close(job_id, run, outcome, sent=now())

    def undelivered(self, job_id: str, run: int, outcome: str) -> None:
        """Note that it can't be delivered and will not be tried again."""
        self._close(job_id, run, outcome, undelivered=now())

    def address(self, account_id: str) -> str | None:
        """The e-mail address of an account."""
        query = select(accounts.c.email).where(accounts.c.id == account_id)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def _close(self, job_id: str, run: int, outcome: str, **values: object) -> None:
        with self._database.write() as connection:
            connection.execute(update(mails).where(_mail(job_id, run, outcome)).values(lease_until=None, **values))
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.run == run, jobs.c.state == outcome)
                .values(due=None, rounds=0)
            )


def _mail(job_id: str, run: int, outcome: str) -> ColumnElement[bool]:
    return and_(mails.c.job_id == job_id, mails.c.run == run, mails.c.outcome == outcome)
