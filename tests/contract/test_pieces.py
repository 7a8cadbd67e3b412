"""Resumable uploads as rows, on every database engine: of all that send to one, the last to begin counts."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import pytest
from sqlalchemy import select

from functions.common.database import Database, migrate
from functions.common.errors import Conflict, NotFound
from functions.common.job import Job, Piece, State, source_keys
from functions.common.jobs import RESUMABLE_SECONDS, Jobs, Resumable
from functions.common.options import Options
from functions.common.tables import jobs
from functions.recover.overdue import Overdue
from functions.upload.pieces import Pieces
from tests.support import servers

OWNER: Final = "01890a5d-ac96-774b-bcce-b302099a8057"
STRANGER: Final = "01890a5d-ac96-774b-bcce-b302099a8058"
SECOND: Final = 1_000_000


@dataclass(frozen=True)
class Rig:
    """One database, and what upload does with it."""

    database: Database
    jobs: Jobs
    pieces: Pieces

    def begun(self, size_bytes: int = 100) -> Job:
        """An upload of which nothing has come."""
        job = self.jobs.create(
            owner=OWNER,
            filename="film.mp4",
            options=Options(bitrate=96),
            idempotency_key=None,
            traceparent=None,
            resumable=Resumable(size_bytes, "filename ZmlsbS5tcDQ="),
        )
        assert job is not None
        return job

    def queue(self, upload: Job, piece: Piece) -> bool:
        """Promise an upload whose last piece this is."""
        sources = (*upload.sources, piece)
        return self.jobs.queue(
            upload.id, sources=sources, options=upload.options, filename=upload.filename, pieces=upload.pieces
        )

    def due(self, upload: Job) -> int:
        """Seconds until it is abandoned."""
        with self.database.read() as connection:
            due = connection.execute(select(jobs.c.due).where(jobs.c.id == upload.id)).scalar_one()
        return int((due - self.database.clock()) / SECOND)


@pytest.fixture(scope="module", params=servers.ENGINES)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database of each engine."""
    with servers.database(request.param, tmp_path_factory.mktemp("database")) as url:
        migrate(url)
        database = Database(url)
        yield database
        database.close()


@pytest.fixture
def rig(database: Database) -> Rig:
    """Rows of its own."""
    return Rig(database, Jobs(database, result_days=30, source_days=1), Pieces(database))


def test_pieces_are_kept_in_the_order_in_which_they_were_taken(rig: Rig) -> None:
    """Each has a number of its own; the row tells what is there, and turns into a promise with the last."""
    upload = rig.begun()
    assert (upload.state, upload.source_bytes, upload.pieces) == (State.RECEIVING, 100, 0)
    assert upload.upload_metadata == "filename ZmlsbS5tcDQ="
    first = rig.pieces.take(upload, 0)
    assert rig.pieces.keep(first, Piece(40, "ab" * 32, 0), another=True)
    second = rig.pieces.find(upload.id, OWNER)
    assert (second.received_bytes, second.pieces, second.sources) == (40, 2, (Piece(40, "ab" * 32, 0),))
    assert rig.queue(second, Piece(60, "cd" * 32, 1))
    job = rig.jobs.get(upload.id)
    assert job is not None
    assert (job.state, job.received_bytes, job.source_bytes) == (State.QUEUED, 100, 100)
    assert [piece.number for piece in job.sources] == [0, 1]


def test_whoever_begins_later_takes_over(rig: Rig) -> None:
    """What the earlier one brings does not count any more, though it began with the same offset."""
    upload = rig.begun()
    early, late = rig.pieces.take(upload, 0), rig.pieces.take(upload, 0)
    assert not rig.pieces.holds(early)
    assert rig.pieces.holds(late)
    assert not rig.pieces.keep(early, Piece(40, "ab" * 32, 0), another=True)
    assert not rig.queue(early, Piece(100, "ab" * 32, 0))
    assert rig.pieces.keep(late, Piece(40, "cd" * 32, 1), another=False)
    found = rig.pieces.find(upload.id, OWNER)
    assert found.sources == (Piece(40, "cd" * 32, 1),)
    assert source_keys(found) == [f"videos/{upload.id}/0", f"videos/{upload.id}/1"]


def test_sixteen_at_once_have_numbers_of_their_own(rig: Rig) -> None:
    """Requests that begin at the same moment never write the same key, and one of them counts."""
    upload = rig.begun()
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda _: rig.pieces.take(upload, 0), range(16)))
        assert sorted(each.pieces for each in taken) == list(range(1, 17))
        kept = list(
            pool.map(lambda each: rig.pieces.keep(each, Piece(1, "ab" * 32, each.pieces - 1), another=False), taken)
        )
    assert sum(kept) == 1
    assert rig.pieces.find(upload.id, OWNER).sources == (Piece(1, "ab" * 32, 15),)


@pytest.mark.parametrize("offset", [0, 39, 41, 100])
def test_another_offset_takes_nothing(rig: Rig, offset: int) -> None:
    """The number that was given out stays the last one, so whoever sends goes on."""
    upload = rig.begun()
    holder = rig.pieces.take(upload, 0)
    assert rig.pieces.keep(holder, Piece(40, "ab" * 32, 0), another=True)
    with pytest.raises(Conflict) as refused:
        rig.pieces.take(upload, offset)
    assert refused.value.members == {"offset": 40}
    assert rig.pieces.find(upload.id, OWNER).pieces == 2


def test_a_complete_or_discarded_upload_takes_nothing(rig: Rig) -> None:
    """Neither a repeated last piece nor a late one changes anything."""
    done, gone = rig.begun(), rig.begun()
    taken = rig.pieces.take(done, 0)
    assert rig.queue(taken, Piece(100, "ab" * 32, 0))
    with pytest.raises(Conflict):
        rig.pieces.take(done, 0)
    assert not rig.pieces.keep(taken, Piece(100, "ab" * 32, 0), another=False)
    late = rig.pieces.take(gone, 0)
    discarded = rig.pieces.discard(gone)
    assert discarded is not None
    assert source_keys(discarded) == [f"videos/{gone.id}/0"]
    assert rig.pieces.discard(gone) is rig.pieces.discard(done) is None
    with pytest.raises(NotFound):
        rig.pieces.take(gone, 0)
    assert not rig.pieces.holds(late)
    assert not rig.queue(late, Piece(100, "ab" * 32, 0))


def test_uploads_are_found_by_their_owner_alone(rig: Rig) -> None:
    """Another's is none, and neither is a job whose source came at once."""
    upload = rig.begun()
    plain = rig.jobs.create(owner=OWNER, filename="a.mp4", options=Options(), idempotency_key=None, traceparent=None)
    assert plain is not None
    for job_id, owner in ((upload.id, STRANGER), (plain.id, OWNER)):
        with pytest.raises(NotFound):
            rig.pieces.find(job_id, owner)


def test_every_sign_of_life_gives_another_day(rig: Rig) -> None:
    """A piece that is taken, held or kept puts the removal off; a start of the one-process run does not hasten it."""
    upload = rig.begun()

    def passes() -> None:
        with rig.database.write() as connection:
            connection.execute(jobs.update().where(jobs.c.id == upload.id).values(due=jobs.c.due - 1000 * SECOND))
        assert rig.due(upload) < RESUMABLE_SECONDS - 900

    passes()
    taken = rig.pieces.take(upload, 0)
    assert rig.due(upload) > RESUMABLE_SECONDS - 900
    passes()
    assert rig.pieces.holds(taken)
    assert rig.due(upload) > RESUMABLE_SECONDS - 900
    passes()
    assert rig.pieces.keep(taken, Piece(40, "ab" * 32, 0), another=False)
    Overdue(rig.database).forget_leases()
    assert rig.due(upload) > RESUMABLE_SECONDS - 900
