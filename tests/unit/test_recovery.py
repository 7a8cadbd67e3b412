"""A sweep of recover while the store is out of reach: what could not be deleted now is deleted by a later sweep."""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from cloudevents.http import CloudEvent
from sqlalchemy import update

from functions.auth.failures import Failures
from functions.common.blobs.directory import DirectoryBlobs
from functions.common.database import Database
from functions.common.errors import Unavailable
from functions.common.job import Job, Piece, Stored, result_key, source_key, waveform_key
from functions.common.jobs import Jobs
from functions.common.options import Options
from functions.common.tables import jobs as table
from functions.common.tables import login_failures
from functions.recover.overdue import Overdue
from functions.recover.service import Recovery
from local.loadtest.stores import keys_below

OWNER = "01890a5d-ac96-774b-bcce-b302099a8057"


class Shaky(DirectoryBlobs):
    """A store that can be out of reach for deletions."""

    reachable = True

    def delete(self, key: str) -> None:
        """See Blobs.delete."""
        if not self.reachable:
            raise Unavailable
        super().delete(key)


class Nowhere:
    """A broker that takes every event."""

    def publish(self, _event: CloudEvent) -> None:
        """See Publisher.publish."""

    def close(self) -> None:
        """Do nothing."""


class Rig:
    """A database, a store, and recover on both."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "blobs"
        self.database = Database(f"sqlite:///{folder}/a.db")
        self.jobs = Jobs(self.database, result_days=30, source_days=1)
        self.blobs = Shaky(self.folder)
        self.recovery = Recovery(overdue=Overdue(self.database), jobs=self.jobs, blobs=self.blobs, publisher=Nowhere())

    def put(self, key: str) -> None:
        """Store a blob."""
        with self.blobs.create(key) as writer:
            writer.write(b"x")
            writer.commit()

    def stored(self) -> list[str]:
        """The keys of all blobs."""
        return keys_below(self.folder)

    def receiving(self) -> Job:
        """A job whose source is arriving."""
        job = self.jobs.create(owner=OWNER, filename="a.mp4", options=Options(), idempotency_key=None, traceparent=None)
        assert job is not None
        self.put(source_key(job.id, 0))
        return job

    def succeeded(self) -> Job:
        """A job that has its MP3."""
        job = self.receiving()
        assert self.jobs.queue(job.id, sources=[Piece(1, "ab" * 32)], options=Options(), filename="a.mp4")
        _, claimed = self.jobs.claim(job.id, 1)
        assert claimed is not None
        self.put(result_key(job.id, 1))
        self.put(waveform_key(job.id, 1))
        stored = Stored(1, "cd" * 32)
        assert self.jobs.succeed(claimed, result=stored, duration_seconds=1.0, waveform=stored)
        return claimed

    def past(self, job: Job, *columns: str) -> None:
        """Let these times of a job be over."""
        with self.database.write() as connection:
            connection.execute(update(table).where(table.c.id == job.id).values(dict.fromkeys(columns, 1)))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """An empty database and store."""
    rig = Rig(tmp_path)
    yield rig
    rig.database.close()


def expire(rig: Rig) -> None:
    """A job whose time is up."""
    rig.past(rig.succeeded(), "expires")


def abandon(rig: Rig) -> None:
    """An upload that stood still."""
    rig.past(rig.receiving(), "due")


def bury(rig: Rig) -> None:
    """A job that was deleted days ago."""
    job = rig.succeeded()
    assert rig.jobs.delete(job.id, OWNER) is not None
    rig.past(job, "deleted")


@pytest.mark.parametrize("end", [expire, abandon, bury])
def test_everything_goes(rig: Rig, end: object) -> None:
    """Where all is well one sweep leaves no blob."""
    assert callable(end)
    end(rig)
    rig.recovery.sweep()
    assert rig.stored() == []


@pytest.mark.parametrize("end", [expire, abandon, bury])
def test_a_store_out_of_reach(rig: Rig, end: object) -> None:
    """What a sweep could not delete since the store was out of reach, a later one deletes."""
    assert callable(end)
    end(rig)
    rig.blobs.reachable = False
    rig.recovery.sweep()
    assert rig.stored() != []
    rig.blobs.reachable = True
    for _ in range(3):
        rig.recovery.sweep()
    assert rig.stored() == []


def test_a_source_that_is_over(rig: Rig) -> None:
    """The same for a source that is not kept any longer, whose MP3 and waveform stay."""
    job = rig.succeeded()
    rig.past(job, "sources_until")
    rig.blobs.reachable = False
    rig.recovery.sweep()
    rig.blobs.reachable = True
    rig.recovery.sweep()
    assert rig.stored() == [result_key(job.id, 1), waveform_key(job.id, 1)]


def readable(stream: BinaryIO) -> bytes:
    """What a stream holds."""
    with stream:
        return stream.read()


def test_failed_logins_are_forgotten(rig: Rig) -> None:
    """A sweep forgets the wrong passwords of the day before yesterday."""
    failures = Failures(rig.database)
    failures.count("someone@example.com")
    rig.recovery.sweep()
    assert failures.check("someone@example.com")
    with rig.database.write() as connection:
        connection.execute(update(login_failures).values(updated=1))
    rig.recovery.sweep()
    assert not failures.check("someone@example.com")


def test_what_lives_is_left_alone(rig: Rig) -> None:
    """A sweep takes nothing of a job that is kept."""
    job = rig.succeeded()
    rig.recovery.sweep()
    assert rig.stored() == [result_key(job.id, 1), source_key(job.id, 0), waveform_key(job.id, 1)]
    assert readable(rig.blobs.open(result_key(job.id, 1))) == b"x"
