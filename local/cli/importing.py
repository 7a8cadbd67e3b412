"""Taking over the accounts of an older system, whose table `user` keeps passwords as they are."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, column, make_url, select, table
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from functions.auth.accounts import Accounts
from functions.auth.passwords import AT_ONCE, hash_password
from functions.common.accounts import NO_PASSWORD, normalise
from functions.common.database import engine
from functions.common.errors import Invalid

_PAGE: Final = 500
_USERS: Final = table("user", column("id"), column("email"), column("password"))


class NotReadable(Exception):
    """The older system's database cannot be read; the message never repeats a password."""


@dataclass
class Count:
    """What became of the rows."""

    made: int = 0
    existed: int = 0
    #: Those that are no accounts; each was told.
    wrong: int = 0


def import_accounts(url: str, *, accounts: Accounts, tell: Callable[[str], None]) -> Count:
    """Make an account of ours of each of theirs.

    Weak passwords stay as they are, since their owners must be able to log in. An account that has no password yet gets
    theirs; any other that exists is left alone. So it can be run again.

    Args:
        url: their database, `mysql://user:password@host/name`.
        accounts: ours.
        tell: takes a line about each row that cannot be taken over.

    Raises:
        NotReadable: they cannot be read, or not to their end.
        Unavailable: ours cannot be written.
    """
    count = Count()

    # Hashing takes nearly all of the time, and no more than so many may run at once.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for page in _pages(url):
            for row, made in zip(page, pool.map(lambda row: _take(row, accounts), page), strict=True):
                if isinstance(made, Invalid):
                    count.wrong += 1
                    tell(f"row {row.id}: {made.detail}")
                elif made:
                    count.made += 1
                else:
                    count.existed += 1
    return count


def _take(row: Row[Any], accounts: Accounts) -> bool | Invalid:
    """Whether an account was made of a row, or why none can be."""
    password = row.password
    if not isinstance(password, str) or not password:
        return Invalid("It has no password.")
    try:
        address = normalise(str(row.email))
    except Invalid as error:
        return error
    account = accounts.by_email(address)
    if account is None:
        return accounts.add(address, hash_password(password)) is not None
    return account.password_hash == NO_PASSWORD and accounts.set_password(account, hash_password(password))


def _pages(url: str) -> Iterator[list[Row[Any]]]:
    """Their rows, some at a time: a result that is read as slowly as we hash would be cut off by their server."""
    try:
        given = make_url(url)
        theirs = engine(given.set(drivername="mysql+pymysql").render_as_string(hide_password=False))
    except ModuleNotFoundError as error:
        raise NotReadable(f"{error.name} is not installed; it comes with the extra `mysql`") from error
    except (ArgumentError, ValueError):
        raise NotReadable("--from must be the address of a database: mysql://user:password@host/name") from None
    if given.drivername not in ("mysql", "mysql+pymysql"):
        raise NotReadable("--from must begin with mysql://")
    query = select(_USERS).order_by(_USERS.c.id).limit(_PAGE)
    last: Any = None
    try:
        while True:
            with theirs.connect() as connection:
                page = list(connection.execute(query if last is None else query.where(_USERS.c.id > last)))
            if not page:
                return
            yield page
            last = page[-1].id
    except SQLAlchemyError as error:
        # The driver's own words name the user and the host, and no password.
        raise NotReadable(f"Their table `user` cannot be read: {getattr(error, 'orig', None) or error}") from error
    finally:
        theirs.dispose()
