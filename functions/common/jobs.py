"""The life of a job: every write to its row, each a conditional UPDATE that says what must still be true.

upload creates and queues, convert claims and ends, the owner cancels, retries and deletes; what recover needs is in
`functions.recover.overdue`, what the owner reads in `functions.jobs.history`. A write that finds its condition gone
hits no row and says so by its return value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Row, Update, and_, case, delete, func, insert, literal, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.elements import ColumnElement

from functions.common.database import Database, now
from functions.common.job import MICROSECONDS, OPEN, SILENT_SECONDS, Job, Piece, State, Stored, new_id
from functions.common.options import Options
from functions.common.tables import jobs, mails

LEASE_SECONDS: Final = 30
#: The claim of a run that is not granted any more.
LAST_CLAIM: Final = 5
#: How long an upload may stand still before its row counts as abandoned.
RECEIVING_SECONDS: Final = 900
#: How long a resumable upload may do so.
RESUMABLE_SECONDS: Final = 86_400
#: Dead letters of one run after which the next one ends it.
DEAD_LETTERS: Final = 3
#: A dead letter that comes sooner after the publication than the dispatcher's retries take proves nothing.
DELIVERY_SECONDS: Final = 60
#: First delay after which a published event is owed again; it doubles with each round.
OWED_AGAIN_SECONDS: Final = 600


class Claim(Enum):
    """What became of an attempt to claim a job."""

    #: The lease is the caller's.
    WON = "won"
    #: Another worker's lease is alive.
    LEASED = "leased"
    #: This run has ended (also: was given up just now); its outcome is in the row.
    ENDED = "ended"
    #: The event is of an earlier run, or there is no such job.
    STALE = "stale"


def seconds(count: float) -> int:
    """Microseconds of so many seconds."""
    return int(count * MICROSECONDS)


def not_leased() -> ColumnElement[bool]:
    """No worker's lease on the row is alive."""
    return or_(jobs.c.lease_until.is_(None), jobs.c.lease_until < now())


def silent() -> ColumnElement[bool]:
    """The source still arrives, but whoever receives it gave no sign of life lately."""
    quiet = jobs.c.due <= now() + seconds(RECEIVING_SECONDS - SILENT_SECONDS)
    return and_(jobs.c.state == State.RECEIVING, jobs.c.deleted.is_(None), quiet)


@dataclass(frozen=True)
class Resumable:
    """What is announced of a resumable upload."""

    size_bytes: int
    #: The Upload-Metadata header.
    metadata: str | None


class Jobs:
    """The jobs of one database.

    Args:
        database: where the rows are.
        result_days: how long results, and what did not succeed, are kept.
        source_days: how long the source of a succeeded job is kept.
    """

    def __init__(self, database: Database, *, result_days: float, source_days: float) -> None:
        self._database = database
        self._kept = seconds(result_days * 86_400)
        self._source_kept = seconds(min(source_days, result_days) * 86_400)

    # What upload does.

    def create(
        self,
        *,
        owner: str,
        filename: str,
        options: Options,
        idempotency_key: str | None,
        traceparent: str | None,
        resumable: Resumable | None = None,
    ) -> Job | None:
        """Make a row in state receiving; None if the owner already used this idempotency key.

        Args:
            owner: the account.
            filename: as people call it.
            options: how to convert.
            idempotency_key: as the client sent it.
            traceparent: the trace that the job belongs to.
            resumable: what was announced of an upload that may come by several requests.
        """
        values = {
            "id": new_id(),
            "owner": owner,
            "idempotency_key": _digest(idempotency_key),
            "filename": filename[:255],
            "options": options.as_dict(),
            "traceparent": traceparent,
            "state": State.RECEIVING,
            **_FRESH,
            "run": 1,
            "attempt": 0,
            "percent": 0,
            "sources": [],
            "swept": 0,
            "created": now(),
            "updated": now(),
            "due": now() + seconds(RECEIVING_SECONDS),
        }
        if resumable is not None:
            values |= {
                "pieces": 0,
                "upload_metadata": resumable.metadata,
                "source_bytes": resumable.size_bytes,
                "due": now() + seconds(RESUMABLE_SECONDS),
            }
        try:
            with self._database.write() as connection:
                connection.execute(insert(jobs).values(values))
                return job_of(connection.execute(select(jobs).where(jobs.c.id == values["id"])).one())
        except IntegrityError:
            return None

    def find_by_key(self, owner: str, idempotency_key: str) -> Job | None:
        """The owner's job that was made with this idempotency key."""
        return self._one(jobs.c.owner == owner, jobs.c.idempotency_key == _digest(idempotency_key))

    def still_receiving(self, job_id: str) -> bool:
        """Say that bytes still arrive; False if the row was taken away meanwhile."""
        return self._change(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state == State.RECEIVING, jobs.c.deleted.is_(None))
            .values(due=now() + seconds(RECEIVING_SECONDS))
        )

    def queue(
        self, job_id: str, *, sources: Sequence[Piece], options: Options, filename: str, pieces: int | None = None
    ) -> bool:
        """Turn a stored source into a promise: receiving -> queued, its event owed at once.

        Args:
            job_id: of the job.
            sources: the pieces of its source.
            options: how to convert.
            filename: as people call it.
            pieces: for a resumable upload, how many numbers must have been given out: no more than the caller knows.
        """
        last = [] if pieces is None else [jobs.c.pieces == pieces]
        return self._change(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state == State.RECEIVING, jobs.c.deleted.is_(None), *last)
            .values(
                state=State.QUEUED,
                sources=listed(sources),
                source_bytes=sum(source.size_bytes for source in sources),
                options=options.as_dict(),
                filename=filename[:255],
                updated=now(),
                due=now(),
            )
        )

    def published(self, job_id: str, run: int) -> None:
        """Note that this run's event reached the broker, so that it is owed again only after a while."""
        self._change(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.run == run, jobs.c.state == State.QUEUED)
            .values(published=now(), due=now() + seconds(OWED_AGAIN_SECONDS))
        )

    def owe_now(self, job_id: str, run: int) -> None:
        """Make the event of a run that nobody works on due at once."""
        self._change(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.run == run, jobs.c.state.in_(OPEN), not_leased())
            .values(due=now(), published=None)
        )

    def discard(self, job_id: str, *, only_silent: bool = False) -> bool:
        """Make a tombstone of an upload that did not come to its end; False if it did after all.

        `forget` or recover removes it, so that a blob that cannot be deleted right now is not forgotten.

        Args:
            job_id: of the job.
            only_silent: leave alone what still gives signs of life.
        """
        return self._change(
            update(jobs)
            .where(jobs.c.id == job_id, silent() if only_silent else jobs.c.state == State.RECEIVING)
            .values(deleted=now(), due=None, idempotency_key=None)
        )

    def forget(self, job_id: str) -> None:
        """Remove the tombstone of a discarded upload whose blob is gone."""
        with self._database.write() as connection:
            connection.execute(
                delete(jobs).where(jobs.c.id == job_id, jobs.c.state == State.RECEIVING, jobs.c.deleted.is_not(None))
            )

    # What convert does.

    def claim(self, job_id: str, run: int) -> tuple[Claim, Job | None]:
        """Take the lease on a run, if it is to be had; the row comes with it where there is one.

        The claim that would be the fifth of a run ends it as failed(gave_up) instead, with its mail.
        """
        free = and_(
            jobs.c.id == job_id,
            jobs.c.run == run,
            jobs.c.state.in_(OPEN),
            jobs.c.deleted.is_(None),
            not_leased(),
        )
        with self._database.write() as connection:
            won = connection.execute(
                update(jobs)
                .where(free, jobs.c.claims < LAST_CLAIM - 1)
                .values(
                    state=State.CONVERTING,
                    attempt=jobs.c.attempt + 1,
                    claims=jobs.c.claims + 1,
                    rounds=0,
                    phase="starting",
                    percent=0,
                    started=func.coalesce(jobs.c.started, now()),
                    updated=now(),
                    **_leased(),
                )
            ).rowcount
            if not won:
                spent = jobs.c.claims >= LAST_CLAIM - 1
                gave_up = update(jobs).where(free, spent).values(self._end(State.FAILED, reason="gave_up"))
                if connection.execute(gave_up).rowcount:
                    connection.execute(_owe_mail(job_id, State.FAILED))
            row = connection.execute(
                select(jobs).where(jobs.c.id == job_id, jobs.c.run == run, jobs.c.deleted.is_(None))
            ).one_or_none()
        job = job_of(row) if row else None
        if job is None or job.state is State.RECEIVING:
            return Claim.STALE, None
        if won:
            return Claim.WON, job
        return (Claim.LEASED if job.state in OPEN else Claim.ENDED), job

    def heartbeat(self, job: Job, *, phase: str, percent: int) -> bool:
        """Extend the lease and tell how far the work is; False if the claim is lost."""
        return self._change(_mine(job).values(phase=phase, percent=percent, updated=now(), **_leased()))

    def succeed(
        self,
        job: Job,
        *,
        result: Stored,
        duration_seconds: float,
        omitted: Sequence[str] = (),
        waveform: Stored | None = None,
    ) -> bool:
        """End a claimed run well, its mail owed in the same transaction; False if the claim is lost."""
        return self._finish(
            job,
            State.SUCCEEDED,
            percent=100,
            result_size_bytes=result.size_bytes,
            result_sha256=result.sha256,
            duration_seconds=duration_seconds,
            omitted=list(omitted),
            waveform_size_bytes=None if waveform is None else waveform.size_bytes,
            sources_until=now() + self._source_kept,
        )

    def fail(self, job: Job, reason: str) -> bool:
        """End a claimed run for a lasting reason, its mail owed; False if the claim is lost."""
        return self._finish(job, State.FAILED, reason=reason)

    def give_back(self, job: Job, *, counted: bool = False) -> bool:
        """Return a claim, its event owed at once; False if it is lost anyway.

        Args:
            job: the row as it was claimed.
            counted: whether the claim stays on the count, since the work itself may be what failed.
        """
        return self._change(
            _mine(job).values(
                state=State.QUEUED,
                claims=jobs.c.claims if counted else jobs.c.claims - 1,
                lease_until=None,
                phase=None,
                percent=0,
                updated=now(),
                due=now(),
            )
        )

    # What recover does with a delivery that gave up.

    def count_dead_letter(self, job_id: str, run: int) -> bool:
        """Make a run that nobody works on due at once; whether it was one time too many, which ends it.

        A row that has ended, whose lease lives, or whose event was published just now stays as it is.
        """
        idle = and_(
            jobs.c.id == job_id,
            jobs.c.run == run,
            jobs.c.state.in_(OPEN),
            jobs.c.deleted.is_(None),
            not_leased(),
            # Counting takes the publication away, so that between two counts lies a further one.
            jobs.c.published < now() - seconds(DELIVERY_SECONDS),
        )
        with self._database.write() as connection:
            again = update(jobs).where(idle, jobs.c.dead_letters < DEAD_LETTERS)
            if connection.execute(
                again.values(due=now(), published=None, dead_letters=jobs.c.dead_letters + 1)
            ).rowcount:
                return False
            spent = update(jobs).where(idle, jobs.c.dead_letters >= DEAD_LETTERS)
            ended = spent.values(self._end(State.FAILED, reason="undeliverable", due=now()))
            if not connection.execute(ended).rowcount:
                return False
            connection.execute(_owe_mail(job_id, State.FAILED))
        return True

    # What the owner does.

    def get(self, job_id: str, *, owner: str | None = None) -> Job | None:
        """One job; with an owner, only if it is theirs. Deleted ones are gone."""
        mine = [] if owner is None else [jobs.c.owner == owner]
        return self._one(jobs.c.id == job_id, jobs.c.deleted.is_(None), *mine)

    def cancel(self, job_id: str, owner: str) -> bool:
        """Stop what has not ended; its worker notices at its next heartbeat."""
        return self._change(
            _owned(job_id, owner).where(jobs.c.state.in_(OPEN)).values(self._end(State.CANCELLED, due=None))
        )

    def retry(self, job_id: str, owner: str) -> bool:
        """Begin a new run of what failed or was cancelled, if its source is still kept."""
        with self._database.write() as connection:
            again = connection.execute(
                _owned(job_id, owner)
                .where(jobs.c.state.in_((State.FAILED, State.CANCELLED)), jobs.c.expires > now())
                .values(
                    **_FRESH,
                    state=State.QUEUED,
                    run=jobs.c.run + 1,
                    percent=0,
                    updated=now(),
                    due=now(),
                )
            ).rowcount
            if again:
                # Whoever tries again has read the news: what was not mailed by now is withdrawn.
                connection.execute(_withdraw(job_id))
        return bool(again)

    def delete(self, job_id: str, owner: str) -> Job | None:
        """Take a job from its owner's sight, whatever its state; its blobs are the caller's to delete next."""
        ended = jobs.c.state.in_((State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED))
        with self._database.write() as connection:
            gone = connection.execute(
                _owned(job_id, owner).values(
                    # An ended job keeps its state: the tombstone tells what it was.
                    state=case((ended, jobs.c.state), else_=State.CANCELLED.value),
                    idempotency_key=None,
                    lease_until=None,
                    due=None,
                    deleted=now(),
                    updated=now(),
                )
            ).rowcount
            if not gone:
                return None
            connection.execute(_withdraw(job_id))
            return job_of(connection.execute(select(jobs).where(jobs.c.id == job_id)).one())

    # Shared by the above.

    def _finish(self, job: Job, state: State, **values: object) -> bool:
        with self._database.write() as connection:
            mine = connection.execute(_mine(job).values(self._end(state, **values))).rowcount
            if mine:
                connection.execute(_owe_mail(job.id, state))
        return bool(mine)

    def _end(self, state: State, **values: object) -> dict[str, object]:
        return {
            "state": state,
            "lease_until": None,
            "rounds": 0,
            "phase": None,
            "finished": now(),
            "updated": now(),
            "expires": now() + self._kept,
            "due": now() + seconds(OWED_AGAIN_SECONDS),
            **values,
        }

    def _one(self, *conditions: ColumnElement[bool]) -> Job | None:
        with self._database.read() as connection:
            row = connection.execute(select(jobs).where(*conditions)).one_or_none()
        return job_of(row) if row else None

    def _change(self, statement: Update) -> bool:
        with self._database.write() as connection:
            return bool(connection.execute(statement).rowcount)


#: What a run begins with.
_FRESH: Final[dict[str, Any]] = {
    "reason": None,
    "claims": 0,
    "lease_until": None,
    "rounds": 0,
    "published": None,
    "dead_letters": 0,
    "phase": None,
    "sources_until": None,
    "result_size_bytes": None,
    "result_sha256": None,
    "duration_seconds": None,
    "started": None,
    "finished": None,
    "expires": None,
}


#: Columns that a Job has under the same name and as they are.
_SAME: Final = (
    *("id", "owner", "filename", "reason", "run", "attempt", "claims", "phase", "percent", "duration_seconds"),
    *("created", "started", "finished", "expires", "updated", "due", "deleted", "traceparent"),
    *("source_bytes", "upload_metadata", "waveform_size_bytes"),
)


def _leased() -> dict[str, ColumnElement[int]]:
    until = now() + seconds(LEASE_SECONDS)
    return {"lease_until": until, "due": until}


def _digest(idempotency_key: str | None) -> str | None:
    return None if idempotency_key is None else sha256(idempotency_key.encode(errors="surrogatepass")).hexdigest()


def _mine(job: Job) -> Update:
    return update(jobs).where(
        jobs.c.id == job.id,
        jobs.c.run == job.run,
        jobs.c.attempt == job.attempt,
        jobs.c.state == State.CONVERTING,
    )


def _owned(job_id: str, owner: str) -> Update:
    return update(jobs).where(jobs.c.id == job_id, jobs.c.owner == owner, jobs.c.deleted.is_(None))


def _owe_mail(job_id: str, outcome: State) -> Any:
    return insert(mails).from_select(
        ["job_id", "run", "outcome", "created"],
        select(jobs.c.id, jobs.c.run, literal(outcome.value), now()).where(jobs.c.id == job_id),
    )


def _withdraw(job_id: str) -> Update:
    return (
        update(mails)
        .where(mails.c.job_id == job_id, mails.c.sent.is_(None), mails.c.undelivered.is_(None))
        .values(undelivered=now())
    )


def listed(sources: Sequence[Piece]) -> list[list[int | str]]:
    """Pieces as the rows hold them."""
    # Where every piece has the number of its place, as programs before resumable uploads read and write them.
    return [
        [piece.size_bytes, piece.sha256] if piece.number == place else [piece.size_bytes, piece.sha256, piece.number]
        for place, piece in enumerate(sources)
    ]


def _pieces(stored: Sequence[Sequence[Any]]) -> tuple[Piece, ...]:
    return tuple(Piece(size, digest, *(number or [place])) for place, (size, digest, *number) in enumerate(stored))


def job_of(row: Row[Any]) -> Job:
    """The job that a whole row of the table holds."""
    values = row._mapping
    result = None
    if values["result_sha256"] is not None:
        result = Stored(values["result_size_bytes"], values["result_sha256"])
    return Job(
        **{name: values[name] for name in _SAME},
        state=State(values["state"]),
        options=Options(**values["options"]),
        sources=_pieces(values["sources"]),
        pieces=max(1, len(values["sources"])) if values["pieces"] is None else values["pieces"],
        result=result,
        omitted=tuple(values["omitted"] or ()),
    )
