"""Accounts by the command line: taken over from an older system on the real MariaDB, and given passwords."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from requests.auth import HTTPBasicAuth
from sqlalchemy import create_engine, text

from functions.auth.accounts import Accounts
from functions.common.accounts import NO_PASSWORD
from functions.common.database import Database, migrate
from local.cli import importing
from tests.support import servers
from tests.support.command import run
from tests.support.serving import PASSWORD, Served

#: As the older system makes it.
USER_TABLE: Final = """CREATE TABLE user (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY,
                       email VARCHAR(255) NOT NULL UNIQUE, password VARCHAR(255) NOT NULL)"""


class Theirs:
    """The older system's database of accounts.

    Args:
        url: as SQLAlchemy has it.
    """

    def __init__(self, url: str) -> None:
        #: As people write it.
        self.url = url.replace("mysql+pymysql://", "mysql://", 1)
        self._engine = create_engine(url)
        self.do(USER_TABLE)

    def do(self, statement: str, *values: dict[str, Any]) -> None:
        """Change it."""
        with self._engine.begin() as connection:
            connection.execute(text(statement), list(values) or None)

    def users(self, users: dict[str, str]) -> None:
        """Add accounts: addresses and passwords."""
        self.do(
            "INSERT INTO user (email, password) VALUES (:email, :password)",
            *({"email": email, "password": password} for email, password in users.items()),
        )

    def close(self) -> None:
        """Let go of it."""
        self._engine.dispose()


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Theirs]:
    """An older system without accounts."""
    with servers.database("mysql", tmp_path) as url:
        made = Theirs(url)
        yield made
        made.close()


@pytest.fixture
def database_url(tmp_path: Path) -> Iterator[str]:
    """A database of ours on the same server."""
    with servers.database("mysql", tmp_path) as url:
        migrate(url)
        yield url


def accounts(*arguments: str, **env: str) -> tuple[int, str, str]:
    """Run `video2mp3 accounts`; exit code, standard output, standard error."""
    clean = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **env}
    done = run("accounts", *arguments, env=clean)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@contextmanager
def stored(url: str) -> Iterator[Accounts]:
    """Our accounts."""
    database = Database(url)
    try:
        yield Accounts(database)
    finally:
        database.close()


def login(server: Served, email: str, password: str) -> int:
    """The status of a login."""
    return requests.post(
        f"{server.url}/login", auth=HTTPBasicAuth(email.encode(), password.encode()), timeout=30
    ).status_code


def test_accounts_are_taken_over(theirs: Theirs, database_url: str, tmp_path: Path) -> None:
    """Everybody logs in as before, weak passwords included; who is here already keeps what is here."""
    users = {
        "Georgio@Email.com": "Admin123",
        "weak@example.com": "abc",
        "same@example.com": "same@example.com",
        "pass\u00fcwort@example.com": "p\u00e4ss w\u00f6rd \U0001f511",
        "here@example.com": "theirs, not ours",
        "bridged@example.com": "from their table",
    }
    theirs.users(users)
    state = ("--state", str(tmp_path / "state"))
    env = {"DATABASE_URL": database_url}
    assert accounts("add", "here@example.com", *state, VIDEO2MP3_PASSWORD=PASSWORD, **env)[0] == 0
    with stored(database_url) as ours:
        assert ours.add("bridged@example.com", NO_PASSWORD) is not None
    done = accounts("import", *state, VIDEO2MP3_IMPORT_FROM=theirs.url, **env)
    assert done == (0, "5 accounts made, 1 existed already, 0 could not be taken over\n", "")
    with Served(tmp_path / "state", function="auth", env=env) as server:
        for email, password in users.items():
            assert login(server, email, password) == (401 if email.startswith("here") else 200), email
        assert login(server, "here@example.com", PASSWORD) == 200
    again = accounts("import", "--from", theirs.url, *state, **env)
    assert again == (0, "0 accounts made, 6 existed already, 0 could not be taken over\n", "")


def test_what_is_no_account_is_told_by_its_row(theirs: Theirs, database_url: str, tmp_path: Path) -> None:
    """Rows without address or password are named by their ids, never by what they hold; the others are taken over."""
    theirs.users({"nobody": "secret-one", "good@example.com": "secret-two", "empty@example.com": ""})
    theirs.do("ALTER TABLE user MODIFY password VARCHAR(255) NULL, MODIFY email VARCHAR(255) NULL")
    theirs.do("INSERT INTO user (email, password) VALUES (NULL, 'secret-three'), ('null@example.com', NULL)")
    code, out, err = accounts(
        "import", "--from", theirs.url, "--state", str(tmp_path / "state"), DATABASE_URL=database_url
    )
    assert (code, out) == (1, "1 accounts made, 0 existed already, 4 could not be taken over\n")
    assert [line.partition(":")[0] for line in err.splitlines()] == ["row 1", "row 3", "row 4", "row 5"]
    assert "secret" not in out + err


def test_many_rows_come_in_pages(theirs: Theirs, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, each is taken once, and rows that were deleted leave no gap."""
    monkeypatch.setattr(importing, "_PAGE", 3)
    theirs.users({f"user{number}@example.com": "password" for number in range(10)})
    theirs.do("DELETE FROM user WHERE id IN (3, 4)")
    with stored(database_url) as ours:
        count = importing.import_accounts(theirs.url, accounts=ours, tell=pytest.fail)
        assert (count.made, count.existed, count.wrong) == (8, 0, 0)
        assert ours.by_email("user9@example.com") is not None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://somebody:hunter2@127.0.0.1:1/auth", "cannot be read"),
        ("oracle://scott:hunter2@db/auth", "must begin with mysql://"),
        ("hunter2", "must be the address"),
        ("mysql://scott:hunter2@db:port/auth", "must be the address"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, url: str, words: str) -> None:
    """A database that is not there or no database is one sentence without the password, and exit code 1."""
    code, out, err = accounts("import", "--from", url, "--state", str(tmp_path / "state"))
    assert (code, out) == (1, "")
    assert words in err
    assert "hunter2" not in err


def test_a_database_without_their_table(tmp_path: Path) -> None:
    """One that is of another kind is told as such."""
    with servers.database("mysql", tmp_path) as url:
        code, _, err = accounts("import", "--from", url, "--state", str(tmp_path / "state"))
    assert code == 1
    assert "Their table `user` cannot be read" in err


def test_a_password_is_given(tmp_path: Path) -> None:
    """An account without one, as bridge makes it, can log in with it; our rules hold; nobody's account is told."""
    state = ("--state", str(tmp_path / "state"))
    assert accounts("add", "first@example.com", *state, VIDEO2MP3_PASSWORD=PASSWORD)[0] == 0
    with stored(f"sqlite:///{tmp_path}/state/video2mp3.db") as ours:
        assert ours.add("bridged@example.com", NO_PASSWORD) is not None
    done = accounts("password", "Bridged@example.com", *state, VIDEO2MP3_PASSWORD="a new one")
    assert done == (0, "bridged@example.com can log in with it now.\n", "")
    for email, password in (("bridged@example.com", "short"), ("nobody@example.com", PASSWORD), ("none", PASSWORD)):
        code, out, err = accounts("password", email, *state, VIDEO2MP3_PASSWORD=password)
        assert (code, out) == (1, "")
        assert err.strip()
    with Served(tmp_path / "state", function="auth") as server:
        assert login(server, "bridged@example.com", "a new one") == 200
        assert login(server, "bridged@example.com", "short") == 401
        assert login(server, "first@example.com", PASSWORD) == 200
