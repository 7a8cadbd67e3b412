"""Resumable uploads as rows: whose bytes count, each time by a conditional UPDATE as in `functions.common.jobs`.

Every piece gets a number of its own, and of several requests that send to one upload only the one whose number is the
last given out may add to it. So a client that comes back need not wait for a request of its own that hangs somewhere,
and no key is ever written twice.
"""

from sqlalchemy import Update, select, update

from functions.common.database import Database, now
from functions.common.errors import Conflict, NotFound
from functions.common.job import Job, Piece, State
from functions.common.jobs import RESUMABLE_SECONDS, job_of, listed, seconds
from functions.common.tables import jobs


class Pieces:
    """The pieces of one database's resumable uploads.

    Args:
        database: where the rows are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, job_id: str, owner: str) -> Job:
        """An owner's resumable upload, complete or not.

        Raises:
            NotFound: there is none, or it is another's.
        """
        mine = (jobs.c.id == job_id, jobs.c.owner == owner, jobs.c.deleted.is_(None), jobs.c.pieces.is_not(None))
        with self._database.read() as connection:
            row = connection.execute(select(jobs).where(*mine)).one_or_none()
        if row is None:
            raise NotFound
        return job_of(row)

    def take(self, upload: Job, offset: int) -> Job:
        """Give out the number of the next piece; from here on no earlier one counts.

        Args:
            upload: the upload.
            offset: how many bytes of it the client takes for stored.

        Raises:
            NotFound: it was taken away.
            Conflict: another number of bytes is stored.
        """
        receiving = (jobs.c.id == upload.id, jobs.c.state == State.RECEIVING, jobs.c.deleted.is_(None))
        with self._database.write() as connection:
            # The write locks the row, so what is read next is what this number was given out for.
            connection.execute(update(jobs).where(*receiving).values(pieces=jobs.c.pieces + 1, due=_due()))
            row = connection.execute(select(jobs).where(jobs.c.id == upload.id, jobs.c.deleted.is_(None))).one_or_none()
            if row is None:
                raise NotFound
            job = job_of(row)
            if job.state is not State.RECEIVING or job.received_bytes != offset:
                raise Conflict("The upload has another offset; ask for it by HEAD.", offset=job.received_bytes)
        return job

    def holds(self, upload: Job) -> bool:
        """Say that the piece taken last still arrives; False if a later one was, or the upload taken away."""
        return self._change(_last(upload).values(due=_due()))

    def keep(self, upload: Job, piece: Piece, *, another: bool) -> bool:
        """Add a piece that is stored; False if a later one was taken, or the upload taken away.

        Args:
            upload: as `take` or the last `keep` left it.
            piece: the one that was taken.
            another: take the next number in the same step.
        """
        values = {"sources": listed([*upload.sources, piece]), "due": _due()}
        return self._change(_last(upload).values(pieces=jobs.c.pieces + int(another), **values))

    def discard(self, upload: Job) -> Job | None:
        """Make a tombstone of an upload, which recover removes; None if it is complete, or gone already.

        Returns:
            The upload with every number that was given out.
        """
        gone = update(jobs).where(jobs.c.id == upload.id, jobs.c.state == State.RECEIVING, jobs.c.deleted.is_(None))
        with self._database.write() as connection:
            if not connection.execute(gone.values(deleted=now(), due=None)).rowcount:
                return None
            return job_of(connection.execute(select(jobs).where(jobs.c.id == upload.id)).one())

    def _change(self, statement: Update) -> bool:
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)


def _last(upload: Job) -> Update:
    return update(jobs).where(
        jobs.c.id == upload.id,
        jobs.c.pieces == upload.pieces,
        jobs.c.state == State.RECEIVING,
        jobs.c.deleted.is_(None),
    )


def _due() -> object:
    return now() + seconds(RESUMABLE_SECONDS)
