"""The table of failed logins: the more wrong passwords for an address, the longer no further one is looked at."""

from hashlib import sha256
from typing import Final

from sqlalchemy import case, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from functions.common.database import Database, now
from functions.common.errors import TooMany
from functions.common.job import MICROSECONDS
from functions.common.tables import login_failures as table

#: So many wrong passwords cost nothing but their time.
FREE_FAILURES: Final = 5
#: After the next ones, in turn; then the last of them again and again.
DELAYS_SECONDS: Final = (2, 4, 8, 16, 32, 64, 128, 256, 300)


class Failures:
    """Counts failed logins by address, whether it has an account or not.

    A guess is counted after it was checked, so guesses that come together are all looked at: as many as two hashes at
    a time get through while the others wait for their turn, and that is for seconds (`functions.auth.passwords`).

    Args:
        database: where the rows are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def check(self, address: str) -> bool:
        """Make sure that an address may be tried; whether it has failures that a success has to forget.

        Raises:
            TooMany: not yet, whatever the password is.
        """
        query = select(table.c.blocked_until - now()).where(table.c.address == _key(address))
        with self._database.read() as connection:
            left = connection.execute(query).scalar_one_or_none()
        if left is not None and left > 0:
            raise TooMany(
                "There were too many wrong passwords for this address; please wait.",
                retry_after_seconds=-(-left // MICROSECONDS),
            )
        return left is not None

    def count(self, address: str) -> None:
        """Count a failure, by the database's clock."""
        key = _key(address)
        if self._raise(key):
            return
        values = {"address": key, "failures": 1, "blocked_until": now(), "updated": now()}
        try:
            with self._database.write() as connection:
                connection.execute(insert(table).values(values))
        except IntegrityError:
            # Somebody else's was the first.
            self._raise(key)

    def forget(self, address: str) -> None:
        """Begin anew after a success."""
        with self._database.write() as connection:
            connection.execute(delete(table).where(table.c.address == _key(address)))

    def _raise(self, key: str) -> bool:
        delay = case(
            {FREE_FAILURES + index: seconds * MICROSECONDS for index, seconds in enumerate(DELAYS_SECONDS)},
            value=table.c.failures,
            else_=case((table.c.failures < FREE_FAILURES, 0), else_=DELAYS_SECONDS[-1] * MICROSECONDS),
        )
        # The delay goes first: MySQL's assignments see what those before them wrote.
        change = update(table).ordered_values(
            (table.c.blocked_until, now() + delay), (table.c.failures, table.c.failures + 1), (table.c.updated, now())
        )
        with self._database.write() as connection:
            return bool(connection.execute(change.where(table.c.address == key)).rowcount)


def _key(address: str) -> str:
    return sha256(address.encode(errors="surrogatepass")).hexdigest()
