"""The rows of failed logins, on every database engine."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import insert, select, update

from functions.auth.failures import DELAYS_SECONDS, FREE_FAILURES, Failures
from functions.common.database import Database, migrate
from functions.common.errors import TooMany
from functions.common.tables import login_failures
from functions.recover.overdue import FAILURE_SECONDS, Overdue
from tests.support import servers

ADDRESS: Final = "someone@example.com"
SECOND: Final = 1_000_000


@dataclass(frozen=True)
class Rig:
    """One database, and its table of failures."""

    database: Database
    failures: Failures

    def rows(self) -> list[dict[str, Any]]:
        """The whole table."""
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(select(login_failures)).mappings()]

    def shift(self, **columns: int) -> None:
        """Turn the clock: move these columns of all rows by so many microseconds."""
        values = {name: login_failures.c[name] + by for name, by in columns.items()}
        with self.database.write() as connection:
            connection.execute(update(login_failures).values(values))

    def fail(self, times: int) -> None:
        """Fail so often, one after the other, however long each has to wait."""
        for _ in range(times):
            self.shift(blocked_until=-DELAYS_SECONDS[-1] * SECOND)
            self.failures.check(ADDRESS)
            self.failures.count(ADDRESS)

    def blocked_seconds(self) -> int:
        """What somebody is told who tries; 0 who may."""
        try:
            self.failures.check(ADDRESS)
        except TooMany as error:
            return error.retry_after_seconds or 0
        return 0


@pytest.fixture(params=servers.ENGINES)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """No failures, on each engine."""
    with servers.database(request.param, tmp_path) as url:
        migrate(url)
        database = Database(url)
        yield Rig(database, Failures(database))
        database.close()


def test_the_first_failures_are_free(rig: Rig) -> None:
    """Nobody waits who was wrong five times, and the sixth time costs two seconds."""
    for failures in range(1, FREE_FAILURES + 1):
        rig.failures.count(ADDRESS)
        assert [row["failures"] for row in rig.rows()] == [failures]
        assert rig.failures.check(ADDRESS)
    rig.failures.count(ADDRESS)
    [row] = rig.rows()
    assert row["blocked_until"] - row["updated"] == 2 * SECOND


def test_delays_grow(rig: Rig) -> None:
    """Each further failure doubles the time, up to five minutes: counted from the failure, by the database's clock."""
    rig.fail(FREE_FAILURES)
    for delay in (2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300):
        rig.fail(1)
        [row] = rig.rows()
        assert row["blocked_until"] - row["updated"] == delay * SECOND
        assert abs(row["updated"] - rig.database.clock()) < 60 * SECOND
        assert rig.blocked_seconds() <= delay


def test_a_block_ends(rig: Rig) -> None:
    """What is told is the time that is left, and once it is over the next guess is looked at."""
    rig.fail(FREE_FAILURES + 9)
    assert 100 < rig.blocked_seconds() <= 300
    rig.shift(blocked_until=-200 * SECOND)
    assert 0 < rig.blocked_seconds() <= 100
    rig.shift(blocked_until=-100 * SECOND)
    assert rig.blocked_seconds() == 0


def test_a_success_forgets(rig: Rig) -> None:
    """After a success nothing is left, and counting begins anew; other addresses keep what they have."""
    rig.fail(FREE_FAILURES + 3)
    rig.failures.count("other@example.com")
    rig.failures.forget(ADDRESS)
    [row] = rig.rows()
    assert (row["failures"], rig.blocked_seconds(), rig.failures.check(ADDRESS)) == (1, 0, False)
    rig.failures.count(ADDRESS)
    assert sorted(row["failures"] for row in rig.rows()) == [1, 1]


def test_failures_at_once_are_all_counted(rig: Rig) -> None:
    """Of many that fail at the same moment, the first ones among them, none is lost."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(rig.failures.count, [ADDRESS] * 20))
    [row] = rig.rows()
    assert row["failures"] == 20
    assert row["blocked_until"] - row["updated"] == DELAYS_SECONDS[-1] * SECOND


@pytest.mark.parametrize("address", ["", "x" * 5000, "nul\0@example.com", "\ud800", "josé@example.com", "\U0001f3ac"])
def test_whatever_is_given_as_an_address(rig: Rig, address: str) -> None:
    """Any text is counted, each for itself, and none is stored in a readable form."""
    rig.failures.count("jose@example.com")
    for _ in range(FREE_FAILURES + len(DELAYS_SECONDS)):
        rig.failures.count(address)
    with pytest.raises(TooMany):
        rig.failures.check(address)
    assert rig.failures.check("jose@example.com")
    assert all(len(row["address"]) == 64 and row["address"].isalnum() for row in rig.rows())


def test_recover_forgets_after_a_day(rig: Rig) -> None:
    """A sweep removes counts whose last failure is a day old, and no others."""
    with rig.database.write() as connection:
        for name, age in (("old", FAILURE_SECONDS + 10), ("young", FAILURE_SECONDS - 10)):
            then = rig.database.clock() - age * SECOND
            values = {"address": name, "failures": 7, "blocked_until": then, "updated": then}
            connection.execute(insert(login_failures).values(values))
    Overdue(rig.database).forget_failures()
    assert [row["address"] for row in rig.rows()] == ["young"]
