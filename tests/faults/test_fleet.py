"""What `local/services` promises: once is enough, nothing else is touched, and nothing is left."""

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pymysql
import pytest
from sqlalchemy import create_engine, text

from local.testservers import fleet as fleets
from local.testservers.fleet import Fleet, Started, cache_folder
from local.testservers.mariadb import MariaDB
from local.testservers.server import HOST, Server
from local.testservers.smtp import Smtp

KINDS = (MariaDB, Smtp)


Make = Callable[[], Fleet]


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    """Makes fleets of one state directory, as programs that come one after the other do."""
    made: list[Fleet] = []

    def one() -> Fleet:
        made.append(Fleet(folder))
        return made[-1]

    yield one
    for fleet in made:
        # Whoever started a process takes note of its end.
        fleet.down()


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state directory."""
    monkeypatch.setattr(fleets, "KINDS", KINDS)
    made = Path(tempfile.mkdtemp(prefix="video2mp3-test-"))
    if not MariaDB(made, cache_folder()).is_installed():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("mariadb is not installed")
    yield made
    shutil.rmtree(made)


def up(fleet: Fleet) -> list[Started]:
    """Bring all up; each of them must come."""
    came = fleet.up(say=lambda _: None)
    assert [started.error for started in came] == [None] * len(KINDS)
    return came


def pids(fleet: Fleet) -> list[int]:
    """The process of each server."""
    return [server.process.found.pid for server in fleet.servers if server.process.found is not None]


def test_up_twice_and_down(make: Make, folder: Path) -> None:
    """A second `up` changes nothing; `down` leaves neither processes nor data."""
    up(make())
    running = pids(make())
    assert len(running) == len(KINDS)
    up(make())
    assert pids(make()) == running
    assert make().urls().keys() == {"MYSQL_URL", "SMTP_URL"}
    make().down()
    assert not [pid for pid in running if psutil.pid_exists(pid)]
    assert [path.name for path in folder.iterdir()] == ["lock"]
    assert make().urls() == {}
    assert make().down() == []


def test_two_at_once(make: Make) -> None:
    """Whoever comes second waits and finds everything up."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(up, (make(), make())))
    assert len(pids(make())) == len(KINDS)


def test_a_killed_server_comes_back_with_its_data(make: Make) -> None:
    """As after a power cut."""
    fleet = make()
    up(fleet)
    engine = create_engine(fleet.urls()["MYSQL_URL"])
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE kept (n INT)"))
        connection.execute(text("INSERT INTO kept VALUES (7)"))
    engine.dispose()
    fleet.servers[0].kill()
    assert fleet.urls().keys() == {"SMTP_URL"}
    up(make())
    with engine.connect() as connection:
        assert connection.execute(text("SELECT n FROM kept")).scalar_one() == 7
    engine.dispose()


def test_beside_somebody_on_its_ports(make: Make) -> None:
    """A port that is taken is left to whoever has it."""
    with socket.socket() as other:
        try:
            other.bind((HOST, MariaDB.ports["mysql"]))
        except OSError:
            # Another tree's server has it.
            pass
        else:
            other.listen()
        up(make())
        [mariadb, _] = make().servers
        assert mariadb.port("mysql") != MariaDB.ports["mysql"]


def test_a_stranger_by_its_pid(folder: Path) -> None:
    """A process that has got the pid of one that ended is nobody's to stop."""
    server: Server = Smtp(folder / Smtp.name, cache_folder())
    server.folder.mkdir(mode=0o700)
    (server.folder / f"{Smtp.name}.pid").write_text(f"{os.getpid()} 1.0")
    assert server.process.found is None
    server.stop()


def test_secrets_are_its_owners(make: Make, folder: Path) -> None:
    """Passwords are made for each folder, and lie where nobody else reads."""
    fleet = make()
    up(fleet)
    path = folder / MariaDB.name / "password.json"
    assert path.stat().st_mode & 0o077 == 0
    assert (folder / MariaDB.name).stat().st_mode & 0o066 == 0
    assert json.loads(path.read_text()) in fleet.urls()["MYSQL_URL"]
    with pytest.raises(pymysql.err.OperationalError):
        pymysql.connect(host=HOST, port=fleet.servers[0].port("mysql"), user="root", password="").close()
