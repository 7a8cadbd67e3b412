"""The rows of accounts, on every database engine."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from functions.auth.accounts import Accounts
from functions.common.database import Database, migrate
from tests.support import servers


@pytest.fixture(params=servers.ENGINES)
def accounts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Accounts]:
    """No accounts, on each engine."""
    with servers.database(request.param, tmp_path) as url:
        migrate(url)
        database = Database(url)
        yield Accounts(database)
        database.close()


def test_what_was_added_is_found(accounts: Accounts) -> None:
    """An account is found by its address and by its id, and nobody else is."""
    made = accounts.add("someone@example.com", "hash")
    assert made is not None
    assert accounts.by_email("someone@example.com") == accounts.by_id(made.id) == made
    assert accounts.by_email("nobody@example.com") is None
    assert accounts.by_id("someone@example.com") is None


@pytest.mark.parametrize(
    "other", ["josé@example.com", "JOSE@example.com", "jose@exämple.com", "jo\u200bse@example.com", "jose@example.con"]
)
def test_addresses_that_look_alike_are_others(accounts: Accounts, other: str) -> None:
    """An address is that of one account alone: no engine's idea of equal letters hands it to another."""
    first = accounts.add("jose@example.com", "hash")
    assert accounts.by_email(other) is None
    second = accounts.add(other, "other")
    assert second is not None
    assert (accounts.by_email("jose@example.com"), accounts.by_email(other)) == (first, second)


def test_an_address_is_taken_once(accounts: Accounts) -> None:
    """Of many who register one address at the same moment one gets it."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: accounts.add("someone@example.com", str(number)), range(8)))
    [winner] = [account for account in made if account is not None]
    assert accounts.by_email("someone@example.com") == winner


def test_a_password_is_replaced_once(accounts: Accounts) -> None:
    """Whoever read the account before another changed the password changes nothing."""
    read = accounts.add("someone@example.com", "old")
    assert read is not None
    assert accounts.set_password(read, "new")
    assert not accounts.set_password(read, "newer")
    found = accounts.by_email("someone@example.com")
    assert found is not None
    assert found.password_hash == "new"


@pytest.mark.parametrize("text", ["x" * 64 + "@" + "y" * 251 + ".com", "\U0001f3ac@example.com"])
def test_long_and_rare_addresses(accounts: Accounts, text: str) -> None:
    """The longest address and characters beyond the basic plane are kept as they are."""
    accounts.add(text, "hash")
    found = accounts.by_email(text)
    assert found is not None
    assert found.email == text
