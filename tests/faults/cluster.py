"""`--services` on servers of a test's own, each of which can be killed and brought back."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from sqlalchemy import Engine, NullPool, create_engine, text

from local.testservers.fleet import cache_folder
from local.testservers.mariadb import MariaDB
from local.testservers.rabbitmq import RabbitMQ
from local.testservers.server import Server
from local.testservers.versitygw import VersityGateway
from tests.faults.rig import ping
from tests.support.serving import Api, Served, eventually

#: Jobs that have not ended, or whose event is still owed.
BUSY: Final = """SELECT id, state, run, claims, due, lease_until, updated FROM jobs WHERE deleted IS NULL
                 AND (due IS NOT NULL OR state IN ('receiving', 'queued', 'converting'))"""


class Cluster:
    """Every function, RabbitMQ, MariaDB, an S3 server, and a folder of mails.

    Args:
        folder: where all of it keeps its state.
    """

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        programs = cache_folder()
        self.rabbitmq = RabbitMQ(folder / "rabbitmq", programs)
        self.mariadb = MariaDB(folder / "mariadb", programs)
        self.s3 = VersityGateway(folder / "s3", programs)
        self.servers: tuple[Server, ...] = (self.rabbitmq, self.mariadb, self.s3)

    def settings(self) -> dict[str, str]:
        """What the functions are told."""
        found = {name: value for server in self.servers for name, value in server.urls().items()}
        return {
            **{name: value for name, value in found.items() if name.startswith("AWS_")},
            "DATABASE_URL": found["MYSQL_URL"],
            "BLOBS_URL": found["S3_URL"],
            "BROKER_URL": found["AMQP_URL"],
            "MAIL_URL": f"file://{self.state}/mail",
        }

    @contextmanager
    def served(self, env: Mapping[str, str] | None = None) -> Iterator[Served]:
        """All functions, for the time of the block."""
        with Served(self.state, services=True, env={**self.settings(), **(env or {})}) as served:
            yield served

    def rows(self, query: str, **values: object) -> list[dict[str, Any]]:
        """The rows that a query finds in the database."""
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query), values).mappings()]

    def change(self, statement: str, **values: object) -> int:
        """Change rows behind the functions' backs, as time would; how many."""
        with self._engine.begin() as connection:
            return connection.execute(text(statement), values).rowcount

    @cached_property
    def _engine(self) -> Engine:
        # Nothing is kept of a connection, since the server dies in the middle of tests.
        return create_engine(self.mariadb.urls()["MYSQL_URL"], poolclass=NullPool)

    def count(self, state: str) -> int:
        """How many jobs are in a state."""
        return int(self.rows("SELECT COUNT(*) AS n FROM jobs WHERE state = :state", state=state)[0]["n"])

    def sweep(self, served: Served) -> None:
        """Have recover do what it does every five minutes, as soon as it can."""
        eventually(lambda: self._pinged(served), seconds=60)

    def _pinged(self, served: Served) -> bool:
        recover = served.programs().get("recover")
        try:
            return recover is not None and ping(f"http://127.0.0.1:{recover.environ()['PORT']}") == 204
        except requests.RequestException:
            return False

    def quiet(self, served: Served, *, seconds: float = 120) -> None:
        """Wait until nothing is left to do, sweeping now and then, since nobody waits five minutes here."""
        busy: list[dict[str, Any]] = []

        def look() -> bool:
            busy[:] = self.rows(BUSY)
            if busy:
                self.sweep(served)
            return not busy

        try:
            eventually(look, seconds=seconds)
        except AssertionError:
            pytest.fail(f"still busy with {busy}")


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Servers of one's own, in a folder that goes afterwards."""
    # Not below pytest's own folder, where MariaDB's and PostgreSQL's accounts may not pass.
    folder = Path(tempfile.mkdtemp(prefix="video2mp3-test-"))
    folder.chmod(0o711)
    made = Cluster(folder)
    missing = [server.name for server in made.servers if not server.is_installed()]
    try:
        if missing:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{', '.join(missing)}: not installed")
        with ThreadPoolExecutor(len(made.servers)) as pool:
            list(pool.map(Server.start, made.servers))
        yield made
    finally:
        for server in made.servers:
            server.stop()
        shutil.rmtree(folder)


def upload_all(api: Api, files: list[Path]) -> list[str]:
    """Upload files, some at once; the ids of their jobs."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(api.upload_id, files))
