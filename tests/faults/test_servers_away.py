"""Database servers that are killed and come back: a clear refusal meanwhile, and then everything goes on."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from functions.auth.accounts import Accounts
from functions.common.database import Database, migrate
from functions.common.errors import Unavailable
from local.testservers.fleet import cache_folder
from local.testservers.mariadb import MariaDB
from local.testservers.postgresql import PostgreSQL
from local.testservers.server import Server

KINDS: dict[type[Server], str] = {MariaDB: "MYSQL_URL", PostgreSQL: "POSTGRESQL_URL"}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A database server of this test's own."""
    folder = Path(tempfile.mkdtemp(prefix="video2mp3-test-"))
    folder.chmod(0o711)  # PostgreSQL's account has to pass
    made: Server = request.param(folder / "server", cache_folder())
    if not made.is_installed():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{made.name} is not installed")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        stack.callback(made.stop)
        made.start()
        yield made


def test_a_killed_server_is_answered_503_and_comes_back(server: Server) -> None:
    """While it is away each use is refused as something to be tried again; afterwards the same pool works on."""
    url = server.urls()[KINDS[type(server)]]
    migrate(url)
    database = Database(url)
    accounts = Accounts(database)
    kept = accounts.add("someone@example.com", "hash")
    assert kept is not None
    server.kill()
    for _ in range(3):
        with pytest.raises(Unavailable) as caught:
            accounts.by_email("someone@example.com")
        assert caught.value.retry_after_seconds
    with pytest.raises(Unavailable):
        Database(url)
    server.start()
    assert accounts.by_email("someone@example.com") == kept
    assert accounts.add("another@example.com", "hash") is not None
    database.close()


def test_a_server_that_goes_away_between_two_statements(server: Server) -> None:
    """A transaction that is cut leaves nothing of itself, and says that it can be tried again."""
    url = server.urls()[KINDS[type(server)]]
    migrate(url)
    database = Database(url)
    accounts = Accounts(database)

    def transaction() -> None:
        with database.write() as connection:
            connection.exec_driver_sql("INSERT INTO accounts VALUES ('1', 'half@example.com', '*', 1)")
            server.kill()
            connection.exec_driver_sql("INSERT INTO accounts VALUES ('2', 'other@example.com', '*', 1)")

    with pytest.raises(Unavailable):
        transaction()
    server.start()
    assert accounts.by_email("half@example.com") is None
    database.close()
