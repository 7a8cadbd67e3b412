"""The one way to the SQL database: an engine, transactions, and its clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BigInteger, Connection, Engine, create_engine, event, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from functions.common.errors import Unavailable
from functions.common.tables import metadata


class now(FunctionElement[int]):  # noqa: N801 - SQL functions are written in lower case, as in sqlalchemy.func
    """The database's clock: microseconds since 1970, UTC."""

    type = BigInteger()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(_element: now, _compiler: SQLCompiler, **_: Any) -> str:
    # SQLite's clock ticks in milliseconds.
    return "(CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)"


@compiles(now, "mysql")
@compiles(now, "mariadb")
def _now_mysql(_element: now, _compiler: SQLCompiler, **_: Any) -> str:
    # Counted in UTC: the session's own time zone may jump.
    return "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"


@compiles(now, "postgresql")
def _now_postgresql(_element: now, _compiler: SQLCompiler, **_: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM statement_timestamp()) * 1000000 AS BIGINT)"


class Database:
    """Transactions on one database; connections are opened when first used.

    Args:
        url: an SQLAlchemy URL; an SQLite file and its tables are made where they do not exist.
    """

    def __init__(self, url: str) -> None:
        self._engine = create_engine(
            url,
            pool_size=4,
            max_overflow=0,
            pool_pre_ping=True,
            # Error messages are logged; password hashes and addresses are not.
            hide_parameters=True,
        )
        if self._engine.dialect.name == "sqlite":
            _tune_sqlite(self._engine)
        with self.write() as connection:
            metadata.create_all(connection)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent look.

        Raises:
            Unavailable: the database cannot be reached or is overloaded.
        """
        with _translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, committed at the end of the block unless it raises.

        Raises:
            Unavailable: the database cannot be reached or is overloaded.
        """
        with (
            _translated(),
            self._engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    def clock(self) -> int:
        """The database's time, in microseconds since 1970.

        Raises:
            Unavailable: the database cannot be reached or is overloaded.
        """
        with self.read() as connection:
            return int(connection.execute(select(now())).scalar_one())

    def close(self) -> None:
        """Close every idle connection."""
        self._engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, PoolTimeout) as error:
        raise Unavailable(retry_after_seconds=5) from error


def _tune_sqlite(engine: Engine) -> None:
    # The driver's own transaction handling would begin them too late to be seen by SELECTs; a writer takes its
    # lock at once (IMMEDIATE), since one that reads first and writes later fails whenever another was faster.
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute("PRAGMA journal_mode = WAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
