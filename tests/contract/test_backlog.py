"""What an operator is told of the rows, on each engine."""

from collections.abc import Iterator

import pytest
from sqlalchemy import delete

from functions.common.database import Database, migrate
from functions.common.jobs import Jobs
from functions.common.mails import Mails
from functions.common.tables import dead_letters, jobs, mails
from functions.jobs.history import History
from functions.recover.backlog import Backlog, look
from functions.recover.overdue import Overdue
from tests.contract.test_jobs import SECOND, Rig
from tests.support import servers


@pytest.fixture(scope="module", params=servers.ENGINES)
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database of each engine."""
    with servers.database(request.param, tmp_path_factory.mktemp("database")) as url:
        migrate(url)
        made = Database(url)
        yield made
        made.close()


@pytest.fixture
def rig(database: Database) -> Rig:
    """Jobs in it; none at first."""
    with database.write() as connection:
        for table in (mails, dead_letters, jobs):
            connection.execute(delete(table))
    made = Jobs(database, result_days=30, source_days=1)
    return Rig("", database, made, Mails(database), Overdue(database), History(database))


def test_nothing_waits(rig: Rig) -> None:
    """What has ended and was told, or was deleted, counts for nothing."""
    done = rig.succeeded()
    rig.put_mail(done.id, sent=rig.clock())
    rig.deleted()
    rig.receiving()
    assert look(rig.database) == Backlog(0, None, 0, 0, 0, None, 0)


def test_what_waits(rig: Rig) -> None:
    """Each of the four numbers, and how long the oldest has been waiting."""
    old, _young = rig.queued(), rig.queued()
    rig.put(old.id, updated=rig.clock() - 90 * SECOND)
    rig.converting()
    rig.lapsed()
    failed = rig.failed()
    rig.put_mail(failed.id, created=rig.clock() - 40 * SECOND)
    rig.overdue.keep_dead_letter(None, "{}", code="503", dest="http://convert")
    found = look(rig.database)
    assert (found.queued, found.converting, found.dead_leases) == (2, 2, 1)
    assert (found.unsent_mails, found.dead_letters) == (1, 1)
    assert found.oldest_queued_seconds is not None
    assert found.oldest_unsent_seconds is not None
    assert 90 <= found.oldest_queued_seconds < 120
    assert 40 <= found.oldest_unsent_seconds < 70
