"""What an account has of what it may have, on every database engine."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import event, text, update

from functions.common.database import Database, migrate
from functions.common.errors import OverQuota, TooMany
from functions.common.job import Job, Piece, Stored
from functions.common.jobs import Jobs
from functions.common.options import Options
from functions.common.quotas import Quotas, Used
from functions.common.tables import jobs
from functions.recover.overdue import Overdue
from tests.support import servers

OWNER: Final = "01890a5d-ac96-774b-bcce-b302099a8057"
STRANGER: Final = "01890a5d-ac96-774b-bcce-b302099a8058"
GIB: Final = 1024**3
SECOND: Final = 1_000_000


@dataclass(frozen=True)
class Rig:
    """One database, and the jobs of an account and of another one in it."""

    engine: str
    database: Database
    jobs: Jobs
    overdue: Overdue

    def quotas(self, *, jobs_per_hour: int = 0, queued_jobs: int = 0, stored_bytes: int = 0) -> Quotas:
        """These quotas, and no others."""
        return Quotas(self.database, jobs_per_hour=jobs_per_hour, queued_jobs=queued_jobs, stored_bytes=stored_bytes)

    def used(self) -> tuple[int, int, int]:
        """Jobs of the last hour, waiting jobs, bytes."""
        used = self.quotas().used(OWNER)
        return used.jobs_per_hour, used.queued_jobs, used.stored_bytes

    def receiving(self, owner: str = OWNER) -> Job:
        """A job whose source is arriving."""
        job = self.jobs.create(owner=owner, filename="a.mp4", options=Options(), idempotency_key=None, traceparent=None)
        assert job is not None
        return job

    def queued(self, *sizes: int, owner: str = OWNER) -> Job:
        """A job whose source is stored, in pieces of these sizes."""
        job = self.receiving(owner)
        sources = [Piece(size, "ab" * 32, number) for number, size in enumerate(sizes)]
        assert self.jobs.queue(job.id, sources=sources, options=Options(), filename="a.mp4")
        return job

    def converting(self, *sizes: int) -> Job:
        """A job that is worked on."""
        _, job = self.jobs.claim(self.queued(*sizes).id, 1)
        assert job is not None
        return job

    def put(self, job: Job, **values: Any) -> None:
        """Write columns of a row, as time alone could."""
        with self.database.write() as connection:
            assert connection.execute(update(jobs).where(jobs.c.id == job.id).values(values)).rowcount == 1


@pytest.fixture(params=servers.ENGINES)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """No jobs but a stranger's, on each engine."""
    with servers.database(request.param, tmp_path) as url:
        migrate(url)
        database = Database(url)
        made = Rig(request.param, database, Jobs(database, result_days=30, source_days=1), Overdue(database))
        made.queued(7 * GIB, owner=STRANGER)
        yield made
        database.close()


def test_nothing(rig: Rig) -> None:
    """An account without jobs has used nothing of anything."""
    assert rig.quotas().used(OWNER) == Used(0, 0, 0, 0)


def test_a_job_from_its_beginning_to_its_end(rig: Rig) -> None:
    """Files count for as long as they are kept, waiting only until the job ends, its making for an hour."""
    first = rig.receiving()
    assert rig.used() == (1, 1, 0)
    assert rig.jobs.discard(first.id)
    assert rig.used() == (1, 0, 0)
    rig.jobs.forget(first.id)
    assert rig.used() == (0, 0, 0)
    queued = rig.queued(5 * GIB, 3)
    assert rig.used() == (1, 1, 5 * GIB + 3)
    _, job = rig.jobs.claim(queued.id, 1)
    assert job is not None
    assert rig.used() == (1, 1, 5 * GIB + 3)
    assert rig.jobs.succeed(job, result=Stored(40, "cd" * 32), duration_seconds=1)
    assert rig.used() == (1, 0, 5 * GIB + 43)
    rig.overdue.blobs_gone(job)
    assert rig.used() == (1, 0, 40)
    rig.put(job, expires=1)
    rig.overdue.expire()
    assert rig.used() == (1, 0, 0)


def test_a_job_that_fails_and_is_run_again(rig: Rig) -> None:
    """The source of what did not succeed is kept and counted, and a further run waits like a first."""
    job = rig.converting(100)
    assert rig.jobs.fail(job, "no_audio")
    assert rig.used() == (1, 0, 100)
    assert rig.jobs.retry(job.id, OWNER)
    assert rig.used() == (1, 1, 100)
    assert rig.jobs.cancel(job.id, OWNER)
    assert rig.used() == (1, 0, 100)


@pytest.mark.parametrize("size", [0, 10])
def test_a_deleted_job_counts_for_the_hour_alone(rig: Rig, size: int) -> None:
    """Its files go and nobody works on it, but it was made, so deleting is no way around the limit."""
    job = rig.queued(size)
    assert rig.jobs.delete(job.id, OWNER) is not None
    assert rig.used() == (1, 0, 0)
    rig.overdue.bury(job)
    assert rig.used() == (0, 0, 0)


def test_jobs_per_hour(rig: Rig) -> None:
    """At the limit no further job may be made until the oldest of the hour is an hour old."""
    quotas = rig.quotas(jobs_per_hour=2)
    oldest, _ = rig.queued(1), quotas.admit(OWNER, least_bytes=0)
    rig.queued(1)
    rig.put(oldest, created=rig.database.clock() - 3000 * SECOND)
    with pytest.raises(TooMany) as caught:
        quotas.admit(OWNER, least_bytes=0)
    assert caught.value.members == {"limit": 2, "used": 2}
    assert caught.value.retry_after_seconds is not None
    assert 0 < caught.value.retry_after_seconds <= 600
    rig.put(oldest, created=rig.database.clock() - 3600 * SECOND)
    quotas.admit(OWNER, least_bytes=0)


def test_queued_jobs(rig: Rig) -> None:
    """At the limit none may be made or run again, until one has ended."""
    quotas = rig.quotas(queued_jobs=2)
    job = rig.converting(1)
    quotas.admit(OWNER, least_bytes=0)
    quotas.admit_retry(OWNER)
    rig.receiving()
    for ask in (lambda: quotas.admit(OWNER, least_bytes=0), lambda: quotas.admit_retry(OWNER)):
        with pytest.raises(TooMany) as caught:
            ask()
        assert (caught.value.members, caught.value.retry_after_seconds) == ({"limit": 2, "used": 2}, 10)
    assert rig.jobs.fail(job, "no_audio")
    quotas.admit(OWNER, least_bytes=0)
    quotas.admit_retry(OWNER)


def test_stored_bytes(rig: Rig) -> None:
    """A file of exactly the room that is left fits, and none that is a byte longer, announced or not."""
    quotas = rig.quotas(stored_bytes=10)
    rig.queued(7)
    room = quotas.admit(OWNER, least_bytes=3)
    room.check(3)
    for ask in (lambda: room.check(4), lambda: quotas.admit(OWNER, least_bytes=4)):
        with pytest.raises(OverQuota) as caught:
            ask()
        assert caught.value.members == {"limit": 10, "used": 7}
    rig.queued(3)
    with pytest.raises(OverQuota):
        quotas.admit(OWNER, least_bytes=0)


def test_without_limits(rig: Rig) -> None:
    """0 stands for no limit, for each of them."""
    for _ in range(3):
        rig.queued(GIB)
    quotas = rig.quotas()
    quotas.admit(OWNER, least_bytes=1 << 60).check(1 << 60)
    quotas.admit_retry(OWNER)
    for one in ("jobs_per_hour", "queued_jobs", "stored_bytes"):
        quotas = rig.quotas(**{one: 1})
        assert [kind for kind, each in quotas.describe(OWNER).items() if each["limit"] is not None] == [one]
        with pytest.raises((TooMany, OverQuota)):
            quotas.admit(OWNER, least_bytes=0)


def test_what_is_told(rig: Rig) -> None:
    """Limits and what is used of them, as the history shows them."""
    rig.queued(5)
    assert rig.quotas(queued_jobs=4, stored_bytes=9).describe(OWNER) == {
        "jobs_per_hour": {"limit": None, "used": 1},
        "queued_jobs": {"limit": 4, "used": 1},
        "stored_bytes": {"limit": 9, "used": 5},
    }


def test_a_row_of_an_older_program_is_no_obstacle(rig: Rig) -> None:
    """A job that was queued by a program without the column counts with no bytes."""
    rig.put(rig.queued(5), source_bytes=None)
    rig.queued(6)
    assert rig.used() == (2, 2, 6)


def test_rows_are_found_by_their_indexes(rig: Rig) -> None:
    """Each count reads the owner's part of an index: in a table with many other jobs none is looked at whole."""
    numbers = ("run", "attempt", "claims", "rounds", "dead_letters", "percent", "swept", "updated")
    with rig.database.write() as connection:
        now = rig.database.clock()
        row = {"filename": "a", "options": {}, "state": "succeeded", "sources": [], **dict.fromkeys(numbers, 0)}
        row |= {"source_bytes": 1, "result_size_bytes": 1, "sources_until": 1}
        many = [
            {**row, "id": f"{number}", "owner": f"o{number % 50}", "created": now - number * 10 * SECOND}
            for number in range(5000)
        ]
        connection.execute(jobs.insert(), many)
    with rig.database.write() as connection:
        for statement in {"postgresql": ["ANALYZE jobs"], "mysql": ["ANALYZE TABLE jobs"]}.get(rig.engine, ["ANALYZE"]):
            connection.execute(text(statement))
    plan = explain(rig)
    if rig.engine == "sqlite":
        # The others may find that another of the owner's indexes is cheaper.
        assert plan.count("COVERING INDEX jobs_created") == plan.count("COVERING INDEX jobs_kept") == 2, plan
    assert not any(word in plan for word in ("Seq Scan", "SCAN jobs", "'ALL'", "'index'")), plan


def explain(rig: Rig) -> str:
    """How the engine would count."""
    seen: list[tuple[Any, Any]] = []

    @event.listens_for(rig.database._engine, "before_cursor_execute")
    def see(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            seen.append((statement, parameters))

    rig.quotas().used("o7")
    event.remove(rig.database._engine, "before_cursor_execute", see)
    [(statement, parameters)] = seen
    words = "EXPLAIN QUERY PLAN " if rig.engine == "sqlite" else "EXPLAIN "
    with rig.database.read() as connection:
        return "\n".join(str(row) for row in connection.exec_driver_sql(words + statement, parameters))
