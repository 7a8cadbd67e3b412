"""An older system with our bridge beside it, on real servers, and a broker that only writes down what it is given."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import text

from functions.common.blobs.gridfs import GridFsBlobs
from functions.common.database import Database, migrate
from functions.common.job import Stored, source_key
from functions.common.jobs import Claim, Jobs
from functions.common.publisher import HttpPublisher
from functions.recover.overdue import Overdue
from functions.recover.service import Recovery
from tests.faults.sink import Sink
from tests.support import servers
from tests.support.older import Older, older_system
from tests.support.serving import Served


class Installation:
    """An older system, our rows, and a broker that only writes down what it is given.

    Args:
        state: folder for the bridge's logs.
        older: the older system.
        sink: the broker.
        database_url: where the rows are.
    """

    def __init__(self, state: Path, older: Older, sink: Sink, database_url: str) -> None:
        self.state = state
        self.older = older
        self.sink = sink
        self.env = {
            "DATABASE_URL": database_url,
            "BLOBS_URL": older.mongo.url,
            "BROKER_URL": sink.url,
            "BRIDGE_AMQP_URL": older.amqp_url,
        }
        self.database = Database(database_url)
        self.jobs = Jobs(self.database, result_days=30, source_days=1)
        self.blobs = GridFsBlobs(older.mongo.url)

    @contextmanager
    def bridge(self, **env: str) -> Iterator[Served]:
        """The function, in a process of its own."""
        with Served(self.state, function="bridge", env={**self.env, **env}) as served:
            yield served

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """What a query finds."""
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(text(query), values).mappings()]

    def shift(self, statement: str, **values: object) -> int:
        """Change rows behind the functions' backs, as time would; how many."""
        with self.database.write() as connection:
            return connection.execute(text(statement), values).rowcount

    def job(self) -> dict[str, Any]:
        """The one job that there is, as the older system's."""
        [found] = self.rows(
            "SELECT jobs.*, accounts.email, bridged.video_fid, bridged.username, bridged.due AS owed FROM jobs"
            " JOIN accounts ON accounts.id = jobs.owner JOIN bridged ON bridged.job_id = jobs.id"
        )
        return found

    def source(self, job_id: str) -> bytes:
        """The bytes that convert will read."""
        with self.blobs.open(source_key(job_id, 0)) as file:
            return file.read()

    def convert(self, job_id: str, mp3: bytes = b"an MP3") -> None:
        """Do what convert does, without its ffmpeg."""
        claim, job = self.jobs.claim(job_id, 1)
        assert claim is Claim.WON
        assert job is not None
        with self.blobs.create(job.result_key) as writer:
            writer.write(mp3)
            writer.commit()
        assert self.jobs.succeed(job, result=Stored(len(mp3), sha256(mp3).hexdigest()), duration_seconds=1.0)

    def sweep(self) -> None:
        """Do what recover does when it is pinged."""
        Recovery(
            overdue=Overdue(self.database),
            jobs=self.jobs,
            blobs=self.blobs,
            publisher=HttpPublisher(self.sink.url),
        ).sweep()

    def nothing_made(self) -> bool:
        """Whether no row came into being."""
        return not any(self.rows(f"SELECT * FROM {table}") for table in ("accounts", "jobs", "bridged"))  # noqa: S608


@contextmanager
def installed(folder: Path, engine_name: str) -> Iterator[Installation]:
    """An installation whose rows are in this kind of database."""
    with older_system() as older, Sink() as sink, servers.database(engine_name, folder) as database_url:
        migrate(database_url)
        made = Installation(folder / "state", older, sink, database_url)
        try:
            yield made
        finally:
            made.blobs.close()
            made.database.close()
