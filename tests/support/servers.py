"""The real servers that `local/services up` started, for the tests that run on them."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import create_engine, make_url, text

from local.testservers.fleet import Fleet

#: The database engines.
ENGINES: Final = ("sqlite", "mysql", "postgresql")


@cache
def urls() -> dict[str, str]:
    """What `local/services env` prints."""
    return Fleet().urls()


def url(name: str) -> str:
    """How a server is reached; without it the test is skipped on a laptop, and fails where `CI` is set."""
    found = urls().get(name)
    if found is None:
        reason = f"{name}: this server does not run; local/services up starts it"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def database(engine_name: str, folder: Path) -> Iterator[str]:
    """The URL of a database without tables, which is gone afterwards.

    Args:
        engine_name: one of ENGINES.
        folder: where an SQLite file goes.
    """
    made = f"test_{secrets.token_hex(8)}"
    if engine_name == "sqlite":
        yield f"sqlite:///{folder}/{made}.db"
        return
    server = make_url(url(f"{engine_name.upper()}_URL"))
    # Neither engine can make a database in a transaction.
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        # As people's own databases often are: blind for case and accents.
        collation = " COLLATE utf8mb4_unicode_ci" if engine_name == "mysql" else ""
        connection.execute(text(f"CREATE DATABASE {made}{collation}"))
        try:
            yield server.set(database=made).render_as_string(hide_password=False)
        finally:
            force = " WITH (FORCE)" if engine_name == "postgresql" else ""
            connection.execute(text(f"DROP DATABASE {made}{force}"))
    engine.dispose()
