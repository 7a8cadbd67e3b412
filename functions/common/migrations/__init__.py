"""The database's schema in its revisions, by Alembic; `video2mp3 migrate` brings a database to the newest one."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from functions.common.tables import accounts, metadata

#: The revision that this program's tables are. Revisions are numbers, so that programs can tell older from newer.
HEAD: Final = "0006"
#: What an embedded database is that was made before there were revisions.
_UNNUMBERED: Final = "0001"


def revision(connection: Connection) -> str | None:
    """The revision of a database's schema, None where there is none yet."""
    tables = inspect(connection)
    if not tables.has_table("alembic_version"):
        return _UNNUMBERED if tables.has_table(accounts.name) else None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return found


def upgrade(connection: Connection, *, to: str = "head") -> None:
    """Bring a database's schema to a revision, from whichever it has.

    Args:
        connection: in a transaction that is committed afterwards; no other program may migrate meanwhile.
        to: the revision.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    if revision(connection) is not None and not inspect(connection).has_table("alembic_version"):
        command.stamp(config, _UNNUMBERED)
    command.upgrade(config, to)


def create(connection: Connection) -> None:
    """Make all tables in an empty database, as `upgrade` would but without loading Alembic."""
    metadata.create_all(connection)
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
