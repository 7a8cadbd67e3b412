"""The schema's revisions, on every database engine: from nothing, from each earlier one, and against the tables."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from functions.common import migrations
from functions.common.database import Database, engine, migrate
from functions.common.errors import Unavailable
from functions.common.tables import metadata
from tests.support import servers
from tests.support.command import COMMAND, run

REVISIONS: Final = sorted(path.name.split("_")[0] for path in Path(migrations.__file__).parent.glob("versions/*.py"))


@pytest.fixture(params=servers.ENGINES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, of each engine."""
    with servers.database(request.param, tmp_path) as made:
        yield made


def differences(url: str) -> list[object]:
    """What Alembic would change in a database to make it what the tables say."""
    made = engine(url)
    with made.connect() as connection:
        found: list[object] = compare_metadata(MigrationContext.configure(connection), metadata)
    made.dispose()
    return found


def upgrade(url: str, revision: str) -> None:
    """Bring a database to a revision."""
    made = engine(url)
    with made.connect().execution_options(writes=True) as connection, connection.begin():
        migrations.upgrade(connection, to=revision)
    made.dispose()


def collations(connection: Connection) -> set[str]:
    """By which rules MySQL compares the columns that hold text."""
    query = "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = DATABASE()"
    query += " AND collation_name IS NOT NULL AND table_name <> 'alembic_version'"
    return set(connection.execute(text(query)).scalars())


def test_from_nothing(url: str) -> None:
    """A migrated database has exactly the tables, columns, keys and indexes that the program has."""
    assert migrate(url) == (None, migrations.HEAD)
    assert differences(url) == []
    Database(url).close()
    assert migrate(url) == (migrations.HEAD, migrations.HEAD)


def test_revisions_alone_make_the_tables(url: str) -> None:
    """What the revisions make one after the other is what an embedded database is made as at once."""
    upgrade(url, "head")
    assert differences(url) == []
    assert REVISIONS[-1] == migrations.HEAD


@pytest.mark.parametrize("revision", REVISIONS)
def test_from_each_revision(url: str, revision: str) -> None:
    """From every revision that ever was one gets to the newest."""
    upgrade(url, revision)
    assert migrate(url) == (revision, migrations.HEAD)
    assert differences(url) == []


def test_sources_that_were_there_before_are_summed_up(url: str) -> None:
    """Jobs of a database without the column `source_bytes` get it from their sources, however many they are."""
    upgrade(url, "0001")
    sources: dict[str, list[list[Any]]] = {
        "receiving": [],
        "one": [[5_000_000_000, "ab"]],
        "pieces": [[3, "ab"], [4, "cd"], [5, "ef"]],
    }
    sources |= {f"many{number:04}": [[number, "ab"]] for number in range(2500)}
    numbers = ("run", "attempt", "claims", "rounds", "dead_letters", "percent", "swept", "created", "updated")
    row = {"owner": "someone", "filename": "a.mp4", "options": "{}", "state": "queued", **dict.fromkeys(numbers, 0)}
    columns = ("id", "sources", *row)
    insert = f"INSERT INTO jobs ({', '.join(columns)}) VALUES (:{', :'.join(columns)})"  # noqa: S608 - names of ours
    made = engine(url)
    with made.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(
            text(insert), [{**row, "id": name, "sources": json.dumps(pieces)} for name, pieces in sources.items()]
        )
    migrate(url)
    with made.connect() as connection:
        rows = connection.execute(text("SELECT id, source_bytes FROM jobs"))
        found = {row.id: row.source_bytes for row in rows}
    made.dispose()
    assert found == {name: sum(piece[0] for piece in pieces) if pieces else None for name, pieces in sources.items()}


def test_differences_are_seen(url: str) -> None:
    """A column that only the database has, and one that only the program has, are told."""
    migrate(url)
    made = engine(url)
    with made.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(text("ALTER TABLE mails DROP COLUMN sent"))
        connection.execute(text("ALTER TABLE mails ADD COLUMN dropped INTEGER"))
    made.dispose()
    assert [difference[0] for difference in differences(url) if isinstance(difference, tuple)] == [
        "add_column",
        "remove_column",
    ]


def test_two_at_once(url: str) -> None:
    """Of several that migrate at the same time one does, and all end well."""
    with ThreadPoolExecutor(4) as pool:
        found = [before for before, _ in pool.map(lambda _number: migrate(url), range(4))]
    assert sorted(found, key=str) == [migrations.HEAD] * 3 + [None]
    assert differences(url) == []


@pytest.mark.parametrize("engine_name", ["mysql", "postgresql"])
def test_a_server_without_the_schema_is_not_touched(engine_name: str, tmp_path: Path) -> None:
    """A function says what to do instead of making tables; after `video2mp3 migrate` it works."""
    with servers.database(engine_name, tmp_path) as url:
        with pytest.raises(Unavailable, match="run video2mp3 migrate"):
            Database(url)
        for words in ("was empty, now", "already"):
            answer = run("migrate", env={"DATABASE_URL": url})
            assert (answer.returncode, words in answer.stdout) == (0, True)
        Database(url).close()


def test_an_unnumbered_embedded_database_is_taken_over(tmp_path: Path) -> None:
    """A file that was made before there were revisions keeps its rows and gets a number."""
    url = f"sqlite:///{tmp_path}/old.db"
    upgrade(url, "0001")
    made = engine(url)
    with made.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("INSERT INTO accounts VALUES ('1', 'someone@example.com', '*', 5)"))
        migrations.upgrade(connection)
    with made.connect() as connection:
        assert connection.execute(text("SELECT email FROM accounts")).scalars().all() == ["someone@example.com"]
        assert inspect(connection).has_table("alembic_version")
    made.dispose()


def test_text_is_compared_byte_by_byte(tmp_path: Path) -> None:
    """On MySQL, whatever the database's own collation is, every column of ours tells case and accents apart."""
    with servers.database("mysql", tmp_path) as url:
        migrate(url)
        made = engine(url)
        with made.connect() as connection:
            assert collations(connection) == {"utf8mb4_bin"}
        made.dispose()


def test_nobody_there() -> None:
    """A server that cannot be reached is one sentence and exit code 1."""
    answer = subprocess.run(
        [COMMAND, "migrate", "--database", "mysql+pymysql://somebody:secret@127.0.0.1:1/x"],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1
    assert "secret" not in answer.stderr
    assert "Traceback" not in answer.stderr
