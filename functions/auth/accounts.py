"""The accounts table."""

from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.elements import ColumnElement

from functions.common.database import Database, now
from functions.common.job import new_id
from functions.common.tables import accounts


@dataclass(frozen=True)
class Account:
    """One row."""

    id: str
    email: str
    password_hash: str


class Accounts:
    """The accounts of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, email: str, password_hash: str) -> Account | None:
        """Make an account; None if the address is taken."""
        account = Account(new_id(), email, password_hash)
        values = {"id": account.id, "email": email, "password_hash": password_hash, "created": now()}
        try:
            with self._database.write() as connection:
                connection.execute(insert(accounts).values(values))
        except IntegrityError:
            return None
        return account

    def by_email(self, email: str) -> Account | None:
        """The account of a normalised address."""
        return self._one(accounts.c.email == email)

    def by_id(self, account_id: str) -> Account | None:
        """The account of an id."""
        return self._one(accounts.c.id == account_id)

    def set_password(self, account: Account, password_hash: str) -> bool:
        """Replace the password, unless it changed since the account was read."""
        with self._database.write() as connection:
            return bool(
                connection.execute(
                    update(accounts)
                    .where(accounts.c.id == account.id, accounts.c.password_hash == account.password_hash)
                    .values(password_hash=password_hash)
                ).rowcount
            )

    def _one(self, condition: ColumnElement[bool]) -> Account | None:
        query = select(accounts.c.id, accounts.c.email, accounts.c.password_hash).where(condition)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return Account(*row) if row else None
