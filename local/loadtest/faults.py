"""Faults while jobs are worked on: what a machine, a cluster or a network does to processes and connections."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import psutil
from sqlalchemy import NullPool, create_engine, text

from local.loadtest.evidence import Strike
from local.loadtest.journal import Journal
from local.loadtest.rooms import Rooms
from local.loadtest.rows import Rows
from local.loadtest.server import NoServer, OwnServer

#: Between two faults, in seconds.
PAUSE_SECONDS: Final = (0.2, 1.5)
#: With more of them retries never come to rest, and the proof is the same.
_MOST_STRIKES: Final = 12
#: How long what was killed stays away, where nobody else brings it back.
_AWAY_SECONDS: Final = (0.0, 2.0)
#: A job that was taken down so often is let through: its fifth claim would be refused by contract.
_MOST_CLAIMS: Final = 3
#: What takes a job's worker down with it, which counts as a claim.
_COST_CLAIMS: Final = ("convert", "server", "ffmpeg")

#: Makes one fault; False where there was nothing to hit.
Blow = Callable[[random.Random], bool]


@contextmanager
def striking(blows: Mapping[str, Blow], rows: Rows | None, journal: Journal, *, seed: int) -> Iterator[list[Strike]]:
    """Make faults in a thread of its own for the time of a block, as long as there are jobs to be hit.

    Args:
        blows: what may be hit, by name.
        rows: of the server; None where they cannot be seen, and each worker may be taken down a few times in all.
        journal: knows when the burst began, and what is left to do.
        seed: of moments and blows.
    """
    strikes: list[Strike] = []
    over = threading.Event()
    chance = random.Random(f"faults {seed}")  # noqa: S311 - a test's moments, no secret

    def strike() -> None:
        while not over.wait(chance.uniform(*PAUSE_SECONDS)) and journal.unfinished():
            if len(strikes) >= _MOST_STRIKES:
                return
            name = chance.choice(sorted(blows))
            if name in _COST_CLAIMS and not _may_cost_claims(rows, strikes):
                continue
            at = time.time() - journal.began
            if blows[name](chance):
                strikes.append(Strike(round(at, 3), round(time.time() - journal.began, 3), name))

    thread = threading.Thread(target=strike, name="faults")
    thread.start()
    try:
        yield strikes
    finally:
        over.set()
        thread.join()


def _may_cost_claims(rows: Rows | None, strikes: Sequence[Strike]) -> bool:
    if rows is None:
        return sum(strike.what in _COST_CLAIMS for strike in strikes) < _MOST_CLAIMS
    # A database that is away right now tells nothing, and whoever does not know does not strike.
    with suppress(Exception):
        return rows.most_claims() < _MOST_CLAIMS
    return False


def of_one_process(server: OwnServer) -> dict[str, Blow]:
    """Faults of the one-process run: its server, which is broker and dispatcher too, and its encoders."""
    return {"server": lambda chance: _restart(server, chance), "ffmpeg": lambda chance: _kill_encoder(server, chance)}


def of_services(server: OwnServer, rooms: Rooms) -> dict[str, Blow]:
    """Faults of a process per function on real servers."""
    blows: dict[str, Blow] = {
        name: lambda chance, name=name: _kill_program(server, name, chance)  # type: ignore[misc]
        for name in ("convert", "upload", "notify", "ingress", "dispatcher")
    }
    blows["ffmpeg"] = lambda chance: _kill_encoder(server, chance)
    blows["database"] = lambda _chance: _cut_database(rooms)
    if rooms.rabbitmq is not None:
        blows["broker"] = lambda chance: _restart_broker(rooms, chance)
    return blows


def _restart(server: OwnServer, chance: random.Random) -> bool:
    server.kill()
    time.sleep(chance.uniform(*_AWAY_SECONDS))
    # Nobody else would bring it back.
    with suppress(NoServer):
        server.start()
    return True


def _kill_encoder(server: OwnServer, chance: random.Random) -> bool:
    with suppress(psutil.Error):
        encoders = [each for each in server.root().children(recursive=True) if each.name() == "ffmpeg"]
        if encoders:
            chance.choice(encoders).kill()
            return True
    return False


def _kill_program(server: OwnServer, name: str, chance: random.Random) -> bool:
    program = server.programs().get(name)
    if program is None:
        return False
    with suppress(psutil.Error):
        # Master or worker of a gunicorn: either may be what the kernel chooses.
        chance.choice([program, *program.children()]).kill()
        return True
    return False


def _cut_database(rooms: Rooms) -> bool:
    """End every connection to the burst's database, in the middle of whatever they do."""
    engine = create_engine(rooms.settings["DATABASE_URL"], poolclass=NullPool)
    with engine.connect() as connection:
        found = text("SELECT id FROM information_schema.processlist WHERE db = :name AND id <> CONNECTION_ID()")
        ids = list(connection.execute(found, {"name": rooms.database}).scalars())
        for each in ids:
            # One that has ended by now is one less.
            with suppress(Exception):
                connection.execute(text(f"KILL {int(each)}"))
    return bool(ids)


def _restart_broker(rooms: Rooms, chance: random.Random) -> bool:
    if rooms.rabbitmq is None:
        return False
    rooms.rabbitmq.kill()
    time.sleep(chance.uniform(*_AWAY_SECONDS))
    rooms.rabbitmq.start()
    return True
