"""What a server leaves in its state directory, read and changed behind its back."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from local.loadtest.stores import keys_below


def rows(state: Path, query: str, *values: object) -> list[dict[str, Any]]:
    """The rows that a query finds in the state directory's database."""
    with closing(sqlite3.connect(state / "video2mp3.db", timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query, values)]


def change(state: Path, statement: str, *values: object) -> int:
    """Write rows of the state directory's database, as time alone could; how many."""
    with closing(sqlite3.connect(state / "video2mp3.db", timeout=30)) as connection, connection:
        return connection.execute(statement, values).rowcount


def blobs(state: Path, folder: str = "") -> list[Path]:
    """Every file below the blobs' folder, half-written ones included."""
    below = state / "blobs" / folder
    return [below / key for key in keys_below(below)]
