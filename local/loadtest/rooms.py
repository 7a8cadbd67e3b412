"""Rooms of the burst's own on the servers of `local/services`: a database, a virtual host, a prefix of blobs.

They are empty at first, so that whatever is left in them is the burst's, and gone afterwards.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import requests
from sqlalchemy import create_engine, make_url, text

from local.loadtest import stores
from local.loadtest.queues import Queues
from local.testservers.fleet import Fleet, cache_folder
from local.testservers.rabbitmq import RabbitMQ

_TIMEOUT_SECONDS: Final = 30.0
_NEEDED: Final = ("MYSQL_URL", "S3_URL", "AMQP_URL", "RABBITMQ_MANAGEMENT_URL")


class NoServers(Exception):
    """The servers do not run: `local/services up` starts them."""


@dataclass(frozen=True)
class Rooms:
    """What a server on them is told, and how it is looked at."""

    settings: dict[str, str]
    queues: Queues
    #: The database's name, for whoever ends its connections.
    database: str
    #: A RabbitMQ of the burst's own, where it is going to be killed.
    rabbitmq: RabbitMQ | None

    #: The processes of the servers that others use, too.
    shared: tuple[int, ...] = ()

    def servers(self) -> list[int]:
        """The processes of all of these servers."""
        own = self.rabbitmq.process.found if self.rabbitmq else None
        return [*self.shared, *([own.pid] if own else [])]


@contextmanager
def rooms(folder: Path, *, killable: bool = False) -> Iterator[Rooms]:
    """Make all of them, for the time of a block.

    Args:
        folder: where a RabbitMQ of our own keeps its data.
        killable: whether the broker is to be one of our own, since others use the one of `local/services`.

    Raises:
        NoServers: one of them does not run.
    """
    fleet = Fleet()
    found = fleet.urls()
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise NoServers(f"{', '.join(missing)}: local/services up starts the servers that --services needs")
    running = (server.process.found for server in fleet.servers)
    shared = tuple(process.pid for process in running if process is not None)
    name = f"burst_{secrets.token_hex(6)}"
    with _database(found["MYSQL_URL"], name) as database_url, _blobs(found, name) as blobs:
        settings = {"DATABASE_URL": database_url, **blobs}
        if killable:
            rabbitmq = RabbitMQ(folder / "rabbitmq", cache_folder())
            rabbitmq.start()
            try:
                own = rabbitmq.urls()
                settings["BROKER_URL"] = own["AMQP_URL"]
                yield Rooms(settings, Queues(own["RABBITMQ_MANAGEMENT_URL"], "/"), name, rabbitmq, shared)
            finally:
                rabbitmq.stop()
            return
        with _vhost(found["RABBITMQ_MANAGEMENT_URL"], name):
            settings["BROKER_URL"] = f"{found['AMQP_URL'].rpartition('/')[0]}/{quote(name)}"
            yield Rooms(settings, Queues(found["RABBITMQ_MANAGEMENT_URL"], name), name, None, shared)


@contextmanager
def _database(server_url: str, name: str) -> Iterator[str]:
    server = make_url(server_url)
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        engine.dispose()


@contextmanager
def _blobs(found: Mapping[str, str], name: str) -> Iterator[dict[str, str]]:
    # Not FerretDB, which looks through every chunk of every file for those of one.
    settings = {"BLOBS_URL": f"{found['S3_URL']}/{name}"}
    settings |= {name: value for name, value in found.items() if name.startswith("AWS_")}
    try:
        yield settings
    finally:
        stores.empty(settings)


@contextmanager
def _vhost(management_url: str, name: str) -> Iterator[None]:
    vhost = f"{management_url}/api/vhosts/{name}"
    requests.put(vhost, timeout=_TIMEOUT_SECONDS).raise_for_status()
    try:
        user = urlsplit(management_url).username or ""
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        permissions = f"{management_url}/api/permissions/{name}/{user}"
        requests.put(permissions, json=everything, timeout=_TIMEOUT_SECONDS).raise_for_status()
        yield
    finally:
        requests.delete(vhost, timeout=_TIMEOUT_SECONDS).raise_for_status()
