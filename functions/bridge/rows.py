"""What bridge reads and writes of the rows: accounts of the other system's users, and which job is which video's."""

from typing import NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from functions.common.accounts import NO_PASSWORD
from functions.common.database import Database, now
from functions.common.job import new_id
from functions.common.jobs import RECEIVING_SECONDS, seconds, silent
from functions.common.tables import accounts, bridged, jobs


class Bridged(NamedTuple):
    """How the other system knows a job."""

    video_fid: str
    username: str
    #: Whether it has yet to be told of the MP3.
    owed: bool


class Rows:
    """The rows of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def account(self, address: str) -> str | None:
        """The id of the account of a normalised address."""
        with self._database.read() as connection:
            found: str | None = connection.execute(
                select(accounts.c.id).where(accounts.c.email == address)
            ).scalar_one_or_none()
        return found

    def make_account(self, address: str) -> str:
        """The id of the address's account, made where there is none: nobody can log in before it gets a password."""
        values = {"id": new_id(), "email": address, "password_hash": NO_PASSWORD, "created": now()}
        try:
            with self._database.write() as connection:
                connection.execute(insert(accounts).values(values))
        except IntegrityError:
            return self.account(address) or self.make_account(address)
        return str(values["id"])

    def take_over(self, job_id: str) -> bool:
        """Go on with a copy that nobody works at any more; False if somebody does, or it is over."""
        with self._database.write() as connection:
            return bool(
                connection.execute(
                    update(jobs).where(jobs.c.id == job_id, silent()).values(due=now() + seconds(RECEIVING_SECONDS))
                ).rowcount
            )

    def link(self, job_id: str, *, video_fid: str, username: str) -> None:
        """Note whose video a job is of, unless that was noted; from its success on the other system is owed a word."""
        if self.of(job_id) is not None:
            return
        values = {"job_id": job_id, "video_fid": video_fid, "username": username, "due": now()}
        with self._database.write() as connection:
            connection.execute(insert(bridged).values(values))

    def of(self, job_id: str) -> Bridged | None:
        """How the other system knows a job; None for a job of our own."""
        query = select(bridged.c.video_fid, bridged.c.username, bridged.c.due).where(bridged.c.job_id == job_id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return Bridged(row.video_fid, row.username, row.due is not None) if row else None

    def told(self, job_id: str) -> None:
        """Note that the other system's RabbitMQ has the message."""
        with self._database.write() as connection:
            connection.execute(update(bridged).where(bridged.c.job_id == job_id).values(due=None))
