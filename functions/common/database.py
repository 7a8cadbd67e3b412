"""The one way to the SQL database: an engine, transactions, and its clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, Engine, create_engine, event, make_url, select
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from functions.common import migrations
from functions.common.errors import Unavailable


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
        url: an SQLAlchemy URL; an SQLite file is made where it does not exist, and brought to the newest schema. A
            server's schema is made by `video2mp3 migrate`, unless it is a newer one, which leaves room for us.

    Raises:
        Unavailable: the database cannot be reached, or its schema is older than this program.
    """

    def __init__(self, url: str) -> None:
        self._engine = engine(url)
        try:
            with self.read() as connection:
                found = migrations.revision(connection)
            if found is not None and found >= migrations.HEAD:
                return
            if self._engine.dialect.name != "sqlite":
                raise Unavailable(
                    f"The database's schema is {found or 'missing'}, this program needs {migrations.HEAD}:"
                    " run video2mp3 migrate.",
                    retry_after_seconds=60,
                )
            with _translated():
                _migrate(self._engine)
        except BaseException:
            self._engine.dispose()
            raise

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
    except (OperationalError, InterfaceError, InternalError, PoolTimeout) as error:
        # Drivers tell a lost connection by any of these, and what is wrong with a statement or its data by others.
        raise Unavailable(retry_after_seconds=5) from error


def migrate(url: str) -> tuple[str | None, str]:
    """Bring a database's schema to the newest revision; return the one it had and the one it has.

    Args:
        url: an SQLAlchemy URL.

    Raises:
        Unavailable: the database cannot be reached.
    """
    made = engine(url)
    try:
        with _translated():
            return _migrate(made)
    finally:
        made.dispose()


def _migrate(made: Engine) -> tuple[str | None, str]:
    with made.connect().execution_options(writes=True) as connection, connection.begin():
        # Whoever comes second waits, and finds nothing to do. SQLite's transactions wait by themselves.
        for statement in _ALONE.get(made.dialect.name, ()):
            connection.exec_driver_sql(statement)
        found = migrations.revision(connection)
        if found is None and made.dialect.name == "sqlite":
            migrations.create(connection)
        elif found is None or found < migrations.HEAD:
            migrations.upgrade(connection)
        return found, migrations.revision(connection) or migrations.HEAD


#: Connections that one process holds at most.
POOL_SIZE: Final = 4
#: Both locks go with their connection; PostgreSQL's key is any number that nobody else uses.
_ALONE: Final = {
    "mysql": ("SELECT GET_LOCK('video2mp3.migrate', 60)",),
    "postgresql": ("SELECT pg_advisory_xact_lock(8320743)",),
}


def engine(url: str) -> Engine:
    """An engine as this program needs it; nothing is connected yet.

    Args:
        url: an SQLAlchemy URL.
    """
    made = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=10,
        # A connection that a restart of the server cut is noticed before it is used.
        pool_pre_ping=True,
        # Error messages are logged; password hashes and addresses are not.
        hide_parameters=True,
        **_OPTIONS.get(make_url(url).get_backend_name(), {}),
    )
    if made.dialect.name == "sqlite":
        _tune_sqlite(made)
    return made


#: A server that is silent for so long is away; its conditional writes need no more isolation than this.
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "mysql": {
        "isolation_level": "READ COMMITTED",
        "connect_args": {"connect_timeout": 5, "read_timeout": 30, "write_timeout": 30},
    },
    "postgresql": {
        "isolation_level": "READ COMMITTED",
        "connect_args": {"connect_timeout": 5, "tcp_user_timeout": 30_000, "options": "-c statement_timeout=30000"},
    },
}


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
