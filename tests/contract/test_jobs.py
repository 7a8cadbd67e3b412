"""The rows of jobs and mails: what may happen to a job in which state, on every database engine."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine, event, select, update

from functions.auth.accounts import Accounts
from functions.common.database import Database, migrate
from functions.common.job import SILENT_SECONDS, Job, Piece, State, Stored, new_id
from functions.common.jobs import (
    DEAD_LETTERS,
    DELIVERY_SECONDS,
    LAST_CLAIM,
    LEASE_SECONDS,
    OWED_AGAIN_SECONDS,
    RECEIVING_SECONDS,
    Claim,
    Jobs,
)
from functions.common.mails import LEASE_SECONDS as MAIL_LEASE_SECONDS
from functions.common.mails import MailClaim, Mails
from functions.common.options import Options
from functions.common.tables import dead_letters, jobs, mails, metadata
from functions.jobs.history import History
from functions.recover.overdue import MAIL_SECONDS, TOMBSTONE_SECONDS, Overdue
from tests.contract.claimers import ATTEMPTS
from tests.support import servers

ROOT: Final = Path(__file__).parents[2]
OWNER: Final = "01890a5d-ac96-774b-bcce-b302099a8057"
STRANGER: Final = "01890a5d-ac96-774b-bcce-b302099a8058"
SOURCE: Final = Piece(5_000_000_000, "ab" * 32)
RESULT: Final = Stored(4_321, "cd" * 32)
SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rig:
    """One database, and what the functions do with it."""

    url: str
    database: Database
    jobs: Jobs
    mails: Mails
    overdue: Overdue
    history: History

    def clock(self) -> int:
        """The database's time."""
        return self.database.clock()

    def row(self, job_id: str) -> Row | None:
        """Every column of a job's row."""
        with self.database.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().one_or_none()
        return None if row is None else dict(row)

    def sure_row(self, job_id: str) -> Row:
        """Every column of a row that must be there."""
        row = self.row(job_id)
        assert row is not None
        return row

    def state(self, job_id: str) -> str | None:
        """A row's state, "deleted" for a tombstone, None for no row."""
        row = self.row(job_id)
        if row is None:
            return None
        return "deleted" if row["deleted"] else str(row["state"])

    def put(self, job_id: str, **values: object) -> None:
        """Write a row's columns, as only time or another process could."""
        with self.database.write() as connection:
            assert connection.execute(update(jobs).where(jobs.c.id == job_id).values(values)).rowcount == 1

    def mail_rows(self, job_id: str) -> list[Row]:
        """The mails of a job, oldest run first."""
        query = select(mails).where(mails.c.job_id == job_id).order_by(mails.c.run)
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def put_mail(self, job_id: str, **values: object) -> None:
        """Write columns of a job's mails."""
        with self.database.write() as connection:
            assert connection.execute(update(mails).where(mails.c.job_id == job_id).values(values)).rowcount

    def lapse(self, job_id: str) -> None:
        """Let a job's lease be over."""
        over = self.clock() - SECOND
        self.put(job_id, lease_until=over, due=over)

    # Jobs in each situation, as the functions bring them there.

    def receiving(self, **values: Any) -> Job:
        """A job whose source is arriving."""
        given: dict[str, Any] = {
            "owner": OWNER,
            "filename": "film.mp4",
            "options": Options(),
            "idempotency_key": None,
            "traceparent": None,
        }
        job = self.jobs.create(**{**given, **values})
        assert job is not None
        return job

    def queued(self, **values: Any) -> Job:
        """A job that was promised."""
        job = self.receiving(**values)
        assert self.jobs.queue(job.id, sources=[SOURCE], options=job.options, filename=job.filename)
        return self.read(job.id)

    def claimed(self, job_id: str, run: int = 1) -> Job:
        """The row that a claim that is won gives."""
        claim, job = self.jobs.claim(job_id, run)
        assert (claim, job is None) == (Claim.WON, False)
        assert job is not None
        return job

    def converting(self, **values: Any) -> Job:
        """A job whose lease is alive."""
        return self.claimed(self.queued(**values).id)

    def lapsed(self) -> Job:
        """A job whose lease is over."""
        job = self.converting()
        self.lapse(job.id)
        return job

    def succeeded(self) -> Job:
        """A job that has its MP3."""
        job = self.converting()
        assert self.jobs.succeed(job, result=RESULT, duration_seconds=12.5)
        return job

    def failed(self) -> Job:
        """A job that has none, for good."""
        job = self.converting()
        assert self.jobs.fail(job, "no_audio")
        return job

    def cancelled(self) -> Job:
        """A job that its owner stopped while it was converted."""
        job = self.converting()
        assert self.jobs.cancel(job.id, OWNER)
        return job

    def expired(self) -> Job:
        """A job whose time is up."""
        job = self.succeeded()
        self.put(job.id, expires=self.clock() - SECOND)
        self.overdue.expire()
        assert self.state(job.id) == "expired"
        return job

    def deleted(self) -> Job:
        """A job that its owner deleted while it was converted."""
        job = self.converting()
        assert self.jobs.delete(job.id, OWNER) is not None
        return job

    def deleted_failed(self) -> Job:
        """A job that its owner deleted after it had failed."""
        job = self.failed()
        assert self.jobs.delete(job.id, OWNER) is not None
        return job

    def dead_letter(self, job_id: str, run: int = 1) -> bool:
        """Count a dead letter of an event that was published, if it was, before the dispatcher's last try."""
        row, now = self.sure_row(job_id), self.clock()
        if row["state"] in ("queued", "converting") and (row["lease_until"] or 0) < now:
            self.put(job_id, published=now - (DELIVERY_SECONDS + 1) * SECOND)
        return self.jobs.count_dead_letter(job_id, run)

    def read(self, job_id: str) -> Job:
        """A job that must be there."""
        job = self.jobs.get(job_id)
        assert job is not None
        return job


@pytest.fixture(scope="module", params=servers.ENGINES)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Database]]:
    """A database of each engine, and its URL."""
    with servers.database(request.param, tmp_path_factory.mktemp("database")) as url:
        migrate(url)
        database = Database(url)
        yield url, database
        database.close()


@pytest.fixture
def rig(opened: tuple[str, Database]) -> Rig:
    """An empty database of each engine."""
    url, database = opened
    with database.write() as connection:
        for table in metadata.sorted_tables:
            connection.execute(table.delete())
    made = Jobs(database, result_days=30, source_days=1)
    return Rig(url, database, made, Mails(database), Overdue(database), History(database))


# The state machine.

SITUATIONS: Final[Mapping[str, Callable[[Rig], Job]]] = {
    "receiving": Rig.receiving,
    "queued": Rig.queued,
    "converting": Rig.converting,
    "lapsed": Rig.lapsed,
    "succeeded": Rig.succeeded,
    "failed": Rig.failed,
    "cancelled": Rig.cancelled,
    "expired": Rig.expired,
    "deleted": Rig.deleted,
    "deleted_failed": Rig.deleted_failed,
}


def publish(rig: Rig, job: Job) -> object:
    """Say that the event was published; whether that was noted."""
    rig.jobs.published(job.id, 1)
    return rig.sure_row(job.id)["published"]


def dead_letters_in_a_row(rig: Rig, job: Job) -> object:
    """One dead letter more than a run survives; whether the last one ended it."""
    return [rig.dead_letter(job.id) for _ in range(DEAD_LETTERS + 1)][-1]


def long_after(rig: Rig, job: Job, *columns: str) -> None:
    """Shift those of a row's times that are set into the past."""
    row = rig.sure_row(job.id)
    past = {name: rig.clock() - SECOND for name in columns if row[name] is not None}
    if past:
        rig.put(job.id, **past)


#: What each action leads to in the situations in which it is allowed. In every other situation it must be refused
#: and leave every column of the row and its mails as they were.
ACTIONS: Final[Mapping[str, tuple[Callable[[Rig, Job], object], Mapping[str, str]]]] = {
    "still_receiving": (lambda rig, job: rig.jobs.still_receiving(job.id), {"receiving": "receiving"}),
    "queue": (
        lambda rig, job: rig.jobs.queue(job.id, sources=[SOURCE], options=Options(), filename="b.mp4"),
        {"receiving": "queued"},
    ),
    "published": (publish, {"queued": "queued"}),
    "discard": (lambda rig, job: rig.jobs.discard(job.id), {"receiving": "deleted"}),
    "discard, only if silent": (lambda rig, job: rig.jobs.discard(job.id, only_silent=True), {}),
    "claim": (
        lambda rig, job: rig.jobs.claim(job.id, 1)[0] is Claim.WON,
        {"queued": "converting", "lapsed": "converting"},
    ),
    "claim of another run": (lambda rig, job: rig.jobs.claim(job.id, 2)[0] is not Claim.STALE, {}),
    # A worker whose lease is over, but whose job nobody else has taken, is late and not lost.
    "heartbeat": (
        lambda rig, job: rig.jobs.heartbeat(job, phase="encoding", percent=7),
        {"converting": "converting", "lapsed": "converting"},
    ),
    "succeed": (
        lambda rig, job: rig.jobs.succeed(job, result=RESULT, duration_seconds=1.0),
        {"converting": "succeeded", "lapsed": "succeeded"},
    ),
    "fail": (
        lambda rig, job: rig.jobs.fail(job, "unreadable"),
        {"converting": "failed", "lapsed": "failed"},
    ),
    "give_back": (lambda rig, job: rig.jobs.give_back(job), {"converting": "queued", "lapsed": "queued"}),
    "give_back, counted": (
        lambda rig, job: rig.jobs.give_back(job, counted=True),
        {"converting": "queued", "lapsed": "queued"},
    ),
    "cancel": (
        lambda rig, job: rig.jobs.cancel(job.id, OWNER),
        {"queued": "cancelled", "converting": "cancelled", "lapsed": "cancelled"},
    ),
    "retry": (lambda rig, job: rig.jobs.retry(job.id, OWNER), {"failed": "queued", "cancelled": "queued"}),
    "delete": (
        lambda rig, job: rig.jobs.delete(job.id, OWNER),
        dict.fromkeys(
            ("receiving", "queued", "converting", "lapsed", "succeeded", "failed", "cancelled", "expired"), "deleted"
        ),
    ),
    "cancel by a stranger": (lambda rig, job: rig.jobs.cancel(job.id, STRANGER), {}),
    "retry by a stranger": (lambda rig, job: rig.jobs.retry(job.id, STRANGER), {}),
    "delete by a stranger": (lambda rig, job: rig.jobs.delete(job.id, STRANGER), {}),
    "too many dead letters": (dead_letters_in_a_row, {"queued": "failed", "lapsed": "failed"}),
    "dead letter of another run": (lambda rig, job: rig.jobs.count_dead_letter(job.id, 2), {}),
    "abandon": (lambda rig, _job: rig.overdue.abandon(), {}),
    "expire": (lambda rig, _job: rig.overdue.expire(), {}),
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("situation", SITUATIONS)
def test_state_machine(rig: Rig, situation: str, action: str) -> None:
    """Each action leads from each state to the one that the table says, or is refused and changes nothing."""
    act, allowed = ACTIONS[action]
    job = SITUATIONS[situation](rig)
    before = (rig.row(job.id), rig.mail_rows(job.id))
    accepted = bool(act(rig, job))
    if situation in allowed:
        assert (accepted, rig.state(job.id)) == (True, allowed[situation])
    else:
        assert accepted is False
        assert (rig.row(job.id), rig.mail_rows(job.id)) == before


@pytest.mark.parametrize("situation", SITUATIONS)
def test_late_sweeps(rig: Rig, situation: str) -> None:
    """Time makes tombstones of what was abandoned, expires what has ended, and leaves everything else alone."""
    job = SITUATIONS[situation](rig)
    long_after(rig, job, "due", "expires")
    before = rig.row(job.id)
    for _ in range(2):
        rig.overdue.abandon()
        rig.overdue.expire()
    row = rig.sure_row(job.id)
    if situation == "receiving":
        assert (rig.state(job.id), row["due"]) == ("deleted", None)
    elif situation in ("succeeded", "failed", "cancelled"):
        assert (rig.state(job.id), row["due"], row["idempotency_key"]) == ("expired", None, None)
    else:
        assert row == before


@pytest.mark.parametrize("situation", SITUATIONS)
def test_claims_answer(rig: Rig, situation: str) -> None:
    """A claim says why it was not won, and gives the row to whoever may report its outcome."""
    answers = {
        "queued": Claim.WON,
        "lapsed": Claim.WON,
        "converting": Claim.LEASED,
        "succeeded": Claim.ENDED,
        "failed": Claim.ENDED,
        "cancelled": Claim.ENDED,
        "expired": Claim.ENDED,
    }
    job = SITUATIONS[situation](rig)
    claim, found = rig.jobs.claim(job.id, 1)
    assert claim is answers.get(situation, Claim.STALE)
    assert (None if found is None else found.id) == (job.id if situation in answers else None)


# What the steps leave in the row.


def test_create(rig: Rig) -> None:
    """A new job carries what was asked for, and counts as abandoned only when it stood still for a quarter hour."""
    options = Options(bitrate=192, start=1.5, end=2.0, channels=1)
    trace = f"00-{'1' * 32}-{'2' * 16}-01"
    job = rig.receiving(filename="fílm \U0001f3ac.mp4", options=options, traceparent=trace)
    assert (job.owner, job.filename, job.options) == (OWNER, "fílm \U0001f3ac.mp4", options)
    assert (job.state, job.run, job.attempt, job.percent, job.sources) == (State.RECEIVING, 1, 0, 0, ())
    assert (job.traceparent, job.result, job.reason, job.deleted) == (trace, None, None, None)
    row = rig.sure_row(job.id)
    assert row["due"] - row["created"] == pytest.approx(RECEIVING_SECONDS * SECOND, abs=SECOND)


def test_a_long_name_is_cut(rig: Rig) -> None:
    """A name of more characters than the column holds is cut to it, whatever bytes they take."""
    job = rig.queued(filename="\U0001f3ac" * 300)
    assert rig.read(job.id).filename == "\U0001f3ac" * 255


def test_queue(rig: Rig) -> None:
    """A stored source keeps its pieces in order, options and name of the end of the form, and owes its event now."""
    job = rig.receiving(options=Options(bitrate=64))
    pieces = [SOURCE, Piece(1, "00" * 32, number=1)]
    assert rig.jobs.queue(job.id, sources=pieces, options=Options(quality=4), filename="b.mkv")
    queued = rig.read(job.id)
    assert (queued.state, queued.sources, queued.options) == (State.QUEUED, tuple(pieces), Options(quality=4))
    assert queued.filename == "b.mkv"
    assert rig.sure_row(job.id)["due"] <= rig.clock()


def test_still_receiving(rig: Rig) -> None:
    """Arriving bytes put off the time at which an upload counts as abandoned."""
    job = rig.receiving()
    rig.put(job.id, due=1)
    assert rig.jobs.still_receiving(job.id)
    assert rig.sure_row(job.id)["due"] > rig.clock() + (RECEIVING_SECONDS - 60) * SECOND
    rig.overdue.abandon()
    assert rig.state(job.id) == "receiving"


def test_published(rig: Rig) -> None:
    """An event that reached the broker is owed again only after ten minutes, and only one of the present run counts."""
    job = rig.queued()
    rig.jobs.published(job.id, 2)
    assert rig.sure_row(job.id)["published"] is None
    rig.jobs.published(job.id, 1)
    row = rig.sure_row(job.id)
    assert row["due"] - row["published"] == pytest.approx(OWED_AGAIN_SECONDS * SECOND, abs=SECOND)


def test_claim_leases(rig: Rig) -> None:
    """A claim raises attempt and count, begins the clock of the run, and is owed again when its lease ends."""
    job = rig.queued()
    rig.put(job.id, rounds=3)
    claimed = rig.claimed(job.id)
    row = rig.sure_row(job.id)
    assert (claimed.state, claimed.attempt, claimed.phase, claimed.percent) == (State.CONVERTING, 1, "starting", 0)
    assert (row["claims"], row["rounds"]) == (1, 0)
    assert row["lease_until"] - row["started"] == pytest.approx(LEASE_SECONDS * SECOND, abs=SECOND)
    assert row["due"] == row["lease_until"]


def test_second_claim_keeps_the_start(rig: Rig) -> None:
    """The second attempt of a run raises the fencing number, but the run began with the first."""
    job = rig.lapsed()
    rig.put(job.id, started=5, percent=80)
    again = rig.claimed(job.id)
    assert (again.attempt, again.started, again.percent) == (2, 5, 0)
    assert rig.sure_row(job.id)["claims"] == 2


def test_heartbeat(rig: Rig) -> None:
    """A heartbeat tells phase and percent, and extends the lease."""
    job = rig.lapsed()
    assert rig.jobs.heartbeat(job, phase="encoding", percent=42)
    row = rig.sure_row(job.id)
    assert (row["phase"], row["percent"]) == ("encoding", 42)
    assert row["lease_until"] > rig.clock() + (LEASE_SECONDS - 5) * SECOND
    assert row["due"] == row["lease_until"]
    assert rig.jobs.claim(job.id, 1)[0] is Claim.LEASED


def test_succeed(rig: Rig) -> None:
    """A success stores the result, ends the lease, owes one mail, and says how long source and result are kept."""
    job = rig.converting()
    waveform = Stored(300, "ef" * 32)
    assert rig.jobs.succeed(job, result=RESULT, duration_seconds=12.5, omitted=["chapters"], waveform=waveform)
    ended, row = rig.read(job.id), rig.sure_row(job.id)
    assert (job.waveform_size_bytes, ended.waveform_size_bytes) == (None, 300)
    assert (job.omitted, ended.omitted) == ((), ("chapters",))
    assert (ended.state, ended.result, ended.duration_seconds, ended.percent) == (State.SUCCEEDED, RESULT, 12.5, 100)
    assert (ended.phase, row["lease_until"], row["rounds"]) == (None, None, 0)
    assert row["expires"] - row["finished"] == pytest.approx(30 * DAY, abs=SECOND)
    assert row["sources_until"] - row["finished"] == pytest.approx(DAY, abs=SECOND)
    assert row["due"] - row["finished"] == pytest.approx(OWED_AGAIN_SECONDS * SECOND, abs=SECOND)
    [mail] = rig.mail_rows(job.id)
    assert (mail["run"], mail["outcome"], mail["sent"], mail["undelivered"]) == (1, "succeeded", None, None)


def test_fail(rig: Rig) -> None:
    """A failure keeps its reason and its source, and owes one mail."""
    job = rig.converting()
    assert rig.jobs.fail(job, "encrypted")
    ended, row = rig.read(job.id), rig.sure_row(job.id)
    assert (ended.state, ended.reason, ended.result, row["sources_until"]) == (State.FAILED, "encrypted", None, None)
    assert row["expires"] - row["finished"] == pytest.approx(30 * DAY, abs=SECOND)
    assert [mail["outcome"] for mail in rig.mail_rows(job.id)] == ["failed"]


def test_sources_are_not_kept_longer_than_results(rig: Rig) -> None:
    """Where results are kept for less time than sources, both go together."""
    brief = Jobs(rig.database, result_days=0.5, source_days=7)
    job = rig.converting()
    assert brief.succeed(job, result=RESULT, duration_seconds=1.0)
    row = rig.sure_row(job.id)
    assert row["sources_until"] == pytest.approx(row["expires"], abs=SECOND)


def test_give_back(rig: Rig) -> None:
    """A claim that is given back is off the count, free at once, owed at once, and keeps its attempt used up."""
    job = rig.converting()
    assert rig.jobs.heartbeat(job, phase="encoding", percent=50)
    assert rig.jobs.give_back(job)
    row = rig.sure_row(job.id)
    assert (row["claims"], row["attempt"], row["lease_until"]) == (0, 1, None)
    assert (row["phase"], row["percent"]) == (None, 0)
    assert row["due"] <= rig.clock()
    assert rig.claimed(job.id).attempt == 2


def test_give_back_counted(rig: Rig) -> None:
    """A claim that may have failed by its file stays on the count."""
    job = rig.converting()
    assert rig.jobs.give_back(job, counted=True)
    assert rig.sure_row(job.id)["claims"] == 1


def test_giving_back_never_gives_up(rig: Rig) -> None:
    """Ten stops of a worker cost a job none of its claims."""
    job = rig.queued()
    for attempt in range(1, 11):
        claimed = rig.claimed(job.id)
        assert claimed.attempt == attempt
        assert rig.jobs.give_back(claimed)
    assert rig.sure_row(job.id)["claims"] == 0


def test_fifth_claim_gives_up(rig: Rig) -> None:
    """The claim that would be the fifth of a run ends it with its mail, and tells the outcome."""
    job = rig.queued()
    for _ in range(LAST_CLAIM - 1):
        rig.claimed(job.id)
        rig.lapse(job.id)
    claim, ended = rig.jobs.claim(job.id, 1)
    assert LAST_CLAIM == 5
    assert claim is Claim.ENDED
    assert ended is not None
    assert (ended.state, ended.reason, ended.attempt) == (State.FAILED, "gave_up", 4)
    assert [mail["outcome"] for mail in rig.mail_rows(job.id)] == ["failed"]
    assert rig.sure_row(job.id)["due"] > rig.clock()


def test_fifth_claim_waits_for_the_lease(rig: Rig) -> None:
    """While the fourth worker lives, nobody gives its job up."""
    job = rig.queued()
    for _ in range(LAST_CLAIM - 2):
        rig.claimed(job.id)
        rig.lapse(job.id)
    fourth = rig.claimed(job.id)
    assert rig.jobs.claim(job.id, 1)[0] is Claim.LEASED
    assert rig.jobs.succeed(fourth, result=RESULT, duration_seconds=1.0)


@contextmanager
def after_statement(beginning: str, then: Callable[[], None]) -> Iterator[None]:
    """Do something right after the first statement with this beginning, in whatever transaction."""
    done = threading.Event()

    def listener(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith(beginning) and not done.is_set():
            done.set()
            then()

    event.listen(Engine, "after_cursor_execute", listener)
    try:
        yield
        assert done.is_set(), "there was no such statement"
    finally:
        event.remove(Engine, "after_cursor_execute", listener)


def pass_time(rig: Rig, until: int) -> None:
    """Wait until the database's clock is past a moment."""
    while time.time_ns() // 1000 <= until + 20_000 or rig.clock() <= until:
        time.sleep(0.01)


def test_claim_as_a_lease_ends(rig: Rig) -> None:
    """A claim in the very moment in which the first lease ends is won or refused; it does not end the job."""
    job = rig.converting()
    moment = rig.clock() + 300_000
    rig.put(job.id, lease_until=moment)
    with after_statement("UPDATE jobs", lambda: pass_time(rig, moment)):
        claim, _ = rig.jobs.claim(job.id, 1)
    assert (claim, rig.state(job.id)) in {(Claim.LEASED, "converting"), (Claim.WON, "converting")}


def test_dead_letter_as_a_lease_ends(rig: Rig) -> None:
    """The first dead letter, in the very moment in which a lease ends, does not end the job."""
    job = rig.converting()
    moment = rig.clock() + 300_000
    rig.put(job.id, lease_until=moment)
    rig.put(job.id, published=1)
    with after_statement("UPDATE jobs", lambda: pass_time(rig, moment)):
        assert rig.jobs.count_dead_letter(job.id, 1) is False
    assert rig.state(job.id) == "converting"


class PowerCutError(Exception):
    """The process ended here."""


@contextmanager
def no_mail_rows() -> Iterator[None]:
    """Break off in the moment in which a mail's row would be written."""

    def listener(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("INSERT INTO mails"):
            raise PowerCutError

    event.listen(Engine, "before_cursor_execute", listener)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", listener)


def give_up(rig: Rig, job: Job) -> object:
    """Claim for the fifth time."""
    rig.put(job.id, claims=LAST_CLAIM - 1, lease_until=None)
    return rig.jobs.claim(job.id, 1)


def undeliverable(rig: Rig, job: Job) -> object:
    """Count one dead letter too many."""
    rig.put(job.id, dead_letters=DEAD_LETTERS, lease_until=None)
    return rig.dead_letter(job.id)


@pytest.mark.parametrize(
    "end",
    [
        lambda rig, job: rig.jobs.succeed(job, result=RESULT, duration_seconds=1.0),
        lambda rig, job: rig.jobs.fail(job, "no_audio"),
        give_up,
        undeliverable,
    ],
    ids=["succeed", "fail", "give up", "undeliverable"],
)
def test_an_end_and_its_mail_are_one(rig: Rig, end: Callable[[Rig, Job], object]) -> None:
    """Where the mail's row cannot be written, the job has not ended either; later both come together."""
    job = rig.converting()
    with no_mail_rows(), pytest.raises(PowerCutError):
        end(rig, job)
    assert (rig.state(job.id), rig.mail_rows(job.id)) == ("converting", [])
    end(rig, job)
    assert rig.state(job.id) in ("succeeded", "failed")
    assert len(rig.mail_rows(job.id)) == 1


# Fencing.

LATE_WRITES: Final[Mapping[str, Callable[[Rig, Job], bool]]] = {
    "heartbeat": lambda rig, job: rig.jobs.heartbeat(job, phase="encoding", percent=99),
    "succeed": lambda rig, job: rig.jobs.succeed(job, result=RESULT, duration_seconds=1.0),
    "fail": lambda rig, job: rig.jobs.fail(job, "unreadable"),
    "give_back": lambda rig, job: rig.jobs.give_back(job),
}


@pytest.mark.parametrize("write", LATE_WRITES)
def test_an_old_attempt_hits_nothing(rig: Rig, write: str) -> None:
    """A worker whose lease was taken over changes nothing any more."""
    late = rig.lapsed()
    rig.claimed(late.id)
    before = rig.row(late.id)
    assert LATE_WRITES[write](rig, late) is False
    assert (rig.row(late.id), rig.mail_rows(late.id)) == (before, [])


@pytest.mark.parametrize("write", LATE_WRITES)
def test_an_old_run_hits_nothing(rig: Rig, write: str) -> None:
    """A worker of a run that was cancelled and run again changes nothing of the new one."""
    late = rig.cancelled()
    assert rig.jobs.retry(late.id, OWNER)
    again = rig.claimed(late.id, 2)
    before = rig.row(late.id)
    assert (late.attempt, again.attempt) == (1, 2)
    assert LATE_WRITES[write](rig, late) is False
    assert (rig.row(late.id), rig.mail_rows(late.id)) == (before, [])


@pytest.mark.parametrize("write", LATE_WRITES)
def test_cancel_while_converting(rig: Rig, write: str) -> None:
    """A cancelled job's worker learns of it by its next write, which does not undo the cancelling."""
    job = rig.cancelled()
    assert LATE_WRITES[write](rig, job) is False
    row = rig.sure_row(job.id)
    assert (row["state"], row["lease_until"], row["due"]) == ("cancelled", None, None)
    assert (row["expires"] > row["finished"], rig.mail_rows(job.id)) == (True, [])


@pytest.mark.parametrize("write", LATE_WRITES)
def test_an_attempt_that_is_not_of_this_run(rig: Rig, write: str) -> None:
    """A worker's write must fit in run and attempt both."""
    job = rig.converting()
    rig.put(job.id, run=2)
    before = rig.row(job.id)
    assert LATE_WRITES[write](rig, job) is False
    assert rig.row(job.id) == before


# Retry, delete, dead letters.


def test_retry(rig: Rig) -> None:
    """A new run begins afresh, but for the fencing number; the news that was not mailed yet is withdrawn."""
    job = rig.failed()
    rig.put(job.id, dead_letters=2, published=7)
    assert rig.jobs.retry(job.id, OWNER)
    again, row = rig.read(job.id), rig.sure_row(job.id)
    assert (again.state, again.run, again.attempt, again.reason) == (State.QUEUED, 2, 1, None)
    assert (again.started, again.finished, again.expires, again.percent) == (None, None, None, 0)
    assert (row["claims"], row["dead_letters"], row["published"]) == (0, 0, None)
    assert row["due"] <= rig.clock()
    [mail] = rig.mail_rows(job.id)
    assert mail["undelivered"] is not None
    assert rig.mails.claim(job.id, 1, "failed") is MailClaim.DONE
    assert rig.jobs.claim(job.id, 1)[0] is Claim.STALE
    assert rig.claimed(job.id, 2).attempt == 2


def test_retry_leaves_sent_mails(rig: Rig) -> None:
    """A mail that was sent before the retry stays marked as sent and nothing else."""
    job = rig.failed()
    rig.mails.sent(job.id, 1, "failed")
    assert rig.jobs.retry(job.id, OWNER)
    [mail] = rig.mail_rows(job.id)
    assert (mail["sent"] is not None, mail["undelivered"]) == (True, None)


def test_each_run_owes_its_own_mail(rig: Rig) -> None:
    """A retry that fails again tells so again."""
    job = rig.failed()
    assert rig.jobs.retry(job.id, OWNER)
    assert rig.jobs.fail(rig.claimed(job.id, 2), "no_audio")
    assert [(mail["run"], mail["undelivered"] is None) for mail in rig.mail_rows(job.id)] == [(1, False), (2, True)]


def test_retry_without_a_source(rig: Rig) -> None:
    """What has expired by the clock is not run again, even before it is swept."""
    job = rig.failed()
    rig.put(job.id, expires=rig.clock() - SECOND)
    assert rig.jobs.retry(job.id, OWNER) is False
    assert rig.state(job.id) == "failed"


def test_retry_gives_four_claims_again(rig: Rig) -> None:
    """A run that was given up can be asked for again, with a count of its own."""
    job = rig.queued()
    rig.put(job.id, claims=LAST_CLAIM - 1)
    assert rig.jobs.claim(job.id, 1)[0] is Claim.ENDED
    assert rig.jobs.retry(job.id, OWNER)
    assert rig.claimed(job.id, 2).state is State.CONVERTING


def test_delete(rig: Rig) -> None:
    """A deleted job is gone for its owner, owes nothing, and its key can be used again."""
    job = rig.converting(idempotency_key="k")
    gone = rig.jobs.delete(job.id, OWNER)
    assert gone is not None
    assert (gone.id, gone.attempt, gone.state) == (job.id, 1, State.CANCELLED)
    assert (rig.jobs.get(job.id), rig.history.page(OWNER, limit=5)) == (None, [])
    row = rig.sure_row(job.id)
    assert (row["due"], row["lease_until"]) == (None, None)
    assert rig.jobs.find_by_key(OWNER, "k") is None
    assert rig.receiving(idempotency_key="k").id != job.id


@pytest.mark.parametrize("situation", ["succeeded", "failed", "expired"])
def test_a_tombstone_tells_what_it_was(rig: Rig, situation: str) -> None:
    """An ended job keeps its state when it is deleted, and its mail is withdrawn."""
    job = SITUATIONS[situation](rig)
    assert rig.jobs.delete(job.id, OWNER) is not None
    assert rig.sure_row(job.id)["state"] == situation
    assert all(mail["undelivered"] for mail in rig.mail_rows(job.id))


def test_dead_letters(rig: Rig) -> None:
    """Three dead letters make an idle run due at once, the fourth ends it with its mail due at once."""
    job = rig.queued()
    for count in range(1, DEAD_LETTERS + 1):
        rig.put(job.id, due=rig.clock() + DAY)
        assert rig.dead_letter(job.id) is False
        row = rig.sure_row(job.id)
        assert (row["state"], row["dead_letters"], row["due"] <= rig.clock()) == ("queued", count, True)
    assert rig.dead_letter(job.id) is True
    ended = rig.read(job.id)
    assert (ended.state, ended.reason) == (State.FAILED, "undeliverable")
    assert [mail["outcome"] for mail in rig.mail_rows(job.id)] == ["failed"]
    assert [due.id for due in rig.overdue.take_due()] == [job.id]


def test_dead_letters_of_one_publication(rig: Rig) -> None:
    """However often the dead letter of one publication arrives it counts once, and one of none does not count."""
    job = rig.queued()
    assert rig.jobs.count_dead_letter(job.id, 1) is False
    assert rig.sure_row(job.id)["dead_letters"] == 0
    assert rig.dead_letter(job.id) is False
    for _ in range(DEAD_LETTERS + 1):
        assert rig.jobs.count_dead_letter(job.id, 1) is False
    assert (rig.state(job.id), rig.sure_row(job.id)["dead_letters"]) == ("queued", 1)


def test_dead_letter_of_a_fresh_event(rig: Rig) -> None:
    """A dead letter that is older than the last publication proves nothing of it."""
    job = rig.queued()
    rig.jobs.published(job.id, 1)
    before = rig.row(job.id)
    assert rig.jobs.count_dead_letter(job.id, 1) is False
    assert rig.row(job.id) == before
    rig.put(job.id, published=rig.clock() - (DELIVERY_SECONDS + 1) * SECOND)
    assert rig.jobs.count_dead_letter(job.id, 1) is False
    assert rig.sure_row(job.id)["dead_letters"] == 1


# What owners read.


def test_idempotency_key(rig: Rig) -> None:
    """An owner uses a key once; another owner's, and one in other letters, are other keys."""
    job = rig.receiving(idempotency_key="key")
    given: dict[str, Any] = {"filename": "a", "options": Options(), "traceparent": None}
    assert rig.jobs.create(owner=OWNER, idempotency_key="key", **given) is None
    found = rig.jobs.find_by_key(OWNER, "key")
    assert found is not None
    assert found.id == job.id
    assert rig.jobs.find_by_key(STRANGER, "key") is None
    others = [
        rig.receiving(owner=STRANGER, idempotency_key="key"),
        rig.receiving(idempotency_key="KEY"),
        rig.receiving(idempotency_key="kéy"),
        rig.receiving(idempotency_key="key "),
    ]
    assert len({job.id, *(other.id for other in others)}) == 5


def test_without_a_key_all_are_new(rig: Rig) -> None:
    """Uploads without a key never meet."""
    assert rig.receiving().id != rig.receiving().id


def test_one_key_many_uploads_at_once(rig: Rig) -> None:
    """Of sixteen uploads with one key at the same moment, one makes the job."""
    given: dict[str, Any] = {"filename": "a", "options": Options(), "traceparent": None, "idempotency_key": "k"}
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: rig.jobs.create(owner=OWNER, **given), range(16)))
    assert sum(job is not None for job in made) == 1


def test_get_is_for_the_owner(rig: Rig) -> None:
    """A job is shown to its owner, and without an owner to the steps."""
    job = rig.queued()
    assert rig.jobs.get(job.id, owner=STRANGER) is None
    assert rig.jobs.get(new_id()) is None
    assert rig.jobs.get(job.id, owner=OWNER) == rig.jobs.get(job.id) == rig.read(job.id)


def test_paging(rig: Rig) -> None:
    """Pages hold the owner's jobs newest first, each once, without those that still arrive or are deleted."""
    mine = sorted(rig.queued().id for _ in range(7))
    rig.receiving()
    rig.deleted()
    rig.queued(owner=STRANGER)
    pages: list[list[str]] = []
    before = None
    for _ in range(4):
        page = rig.history.page(OWNER, limit=3, before=before)
        pages.append([job.id for job in page])
        before = page[-1].id if page else None
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert [job_id for page in pages for job_id in page] == mine[::-1]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("film", {"Film.mp4", "FILM_2.mp4"}),
        ("ÖLBERG", {"ölberg 100%.mp4"}),
        ("o\u0308lberg", {"ölberg 100%.mp4"}),
        ("b\u00e4r", {"ba\u0308r.mp4"}),
        ("%", {"ölberg 100%.mp4"}),
        ("_", {"FILM_2.mp4"}),
        ("\\", {"back\\slash/.mp4"}),
        ("/", {"back\\slash/.mp4"}),
        ("'", set()),
        (".MP4", {"Film.mp4", "FILM_2.mp4", "ölberg 100%.mp4", "ba\u0308r.mp4", "back\\slash/.mp4"}),
    ],
)
def test_search(rig: Rig, search: str, found: set[str]) -> None:
    """A part of a name finds it, in capitals or not; no character stands for others, and the servers agree."""
    for name in ("Film.mp4", "FILM_2.mp4", "ölberg 100%.mp4", "ba\u0308r.mp4", "back\\slash/.mp4"):
        rig.queued(filename=name)
    rig.queued(owner=STRANGER, filename="film of theirs.mp4")
    assert {job.filename for job in rig.history.page(OWNER, limit=10, search=search)} == found


def test_changed(rig: Rig) -> None:
    """A look since a moment gives what changed then or later, oldest change first, deleted ones among it."""
    first, second, third = rig.queued(), rig.queued(), rig.queued()
    rig.receiving()
    rig.queued(owner=STRANGER)
    now = rig.clock()
    rig.put(first.id, updated=now + 2)
    rig.put(second.id, updated=now + 1)
    rig.put(third.id, updated=now - SECOND)
    assert [job.id for job in rig.history.changed(OWNER, since=now)] == [second.id, first.id]
    assert [job.id for job in rig.history.changed(OWNER, since=now + 2)] == [first.id]
    assert [job.id for job in rig.history.changed(OWNER, since=0, job_id=third.id)] == [third.id]
    assert [job.id for job in rig.history.changed(OWNER, since=0, limit=1)] == [third.id]
    assert rig.jobs.delete(third.id, OWNER) is not None
    assert [bool(job.deleted) for job in rig.history.changed(OWNER, since=0, job_id=third.id)] == [True]
    assert rig.history.changed(STRANGER, since=0, job_id=first.id) == []


CHANGES: Final = [name for name, (_, allowed) in ACTIONS.items() if "converting" in allowed]


@pytest.mark.parametrize("action", CHANGES)
def test_every_change_is_told(rig: Rig, action: str) -> None:
    """Whatever happens to a converting job, a look since then shows it."""
    job = rig.converting()
    rig.put(job.id, updated=1)
    since = rig.clock()
    assert ACTIONS[action][0](rig, job)
    assert [changed.id for changed in rig.history.changed(OWNER, since=since)] == [job.id]


# The clock.


def test_clock(rig: Rig) -> None:
    """The database's clock counts whole microseconds of UTC, and does not go back."""
    times = [rig.clock() for _ in range(200)]
    assert all(type(moment) is int for moment in times)
    assert times == sorted(times)
    assert times[-1] / SECOND == pytest.approx(time.time(), abs=2)
    assert times[-1] > times[0]


def test_times_are_whole_microseconds(rig: Rig) -> None:
    """Every time in a row is an integer of the database's clock."""
    before = rig.clock()
    job = rig.succeeded()
    row, after = rig.sure_row(job.id), rig.clock()
    assert all(type(row[name]) is int for name in ("created", "updated", "started", "finished", "expires", "due"))
    assert before <= row["created"] <= row["started"] <= row["finished"] <= after


# Mails.


def test_mail_is_claimed_once(rig: Rig) -> None:
    """A mail is one sender's at a time, until it gives it back or its lease is over."""
    job = rig.failed()
    assert rig.mails.claim(job.id, 1, "failed") is MailClaim.WON
    assert rig.mails.claim(job.id, 1, "failed") is MailClaim.LEASED
    rig.mails.release(job.id, 1, "failed")
    assert rig.mails.claim(job.id, 1, "failed") is MailClaim.WON
    [mail] = rig.mail_rows(job.id)
    assert mail["lease_until"] == pytest.approx(rig.clock() + MAIL_LEASE_SECONDS * SECOND, abs=SECOND)
    rig.put_mail(job.id, lease_until=rig.clock() - SECOND)
    assert rig.mails.claim(job.id, 1, "failed") is MailClaim.WON


@pytest.mark.parametrize("run_outcome", [(1, "succeeded"), (2, "failed")])
def test_mail_that_is_not_owed(rig: Rig, run_outcome: tuple[int, str]) -> None:
    """Nobody may send the mail of an outcome or run that did not happen."""
    job = rig.failed()
    assert rig.mails.claim(job.id, *run_outcome) is MailClaim.DONE
    assert rig.mails.claim(new_id(), 1, "failed") is MailClaim.DONE


@pytest.mark.parametrize("close", ["sent", "undelivered"])
def test_mail_is_closed(rig: Rig, close: str) -> None:
    """After a mail was sent or given up, nobody may send it, and its job owes nothing more."""
    job = rig.failed()
    assert rig.mails.claim(job.id, 1, "failed") is MailClaim.WON
    getattr(rig.mails, close)(job.id, 1, "failed")
    [mail] = rig.mail_rows(job.id)
    assert [name for name in ("sent", "undelivered") if mail[name] is not None] == [close]
    assert mail["lease_until"] is None
    assert rig.mails.claim(job.id, 1, "failed") is MailClaim.DONE
    assert rig.sure_row(job.id)["due"] is None


def test_mail_of_an_old_run_leaves_the_new_one_owed(rig: Rig) -> None:
    """A mail that is marked sent after a retry does not silence the new run's event."""
    job = rig.failed()
    assert rig.mails.claim(job.id, 1, "failed") is MailClaim.WON
    assert rig.jobs.retry(job.id, OWNER)
    rig.mails.sent(job.id, 1, "failed")
    assert rig.sure_row(job.id)["due"] is not None
    assert rig.jobs.fail(rig.claimed(job.id, 2), "no_audio")
    rig.mails.sent(job.id, 1, "failed")
    assert rig.sure_row(job.id)["due"] is not None
    assert rig.mails.claim(job.id, 2, "failed") is MailClaim.WON


def test_address(rig: Rig) -> None:
    """A mail goes to the address of the owner's account, if there still is one."""
    account = Accounts(rig.database).add("zoë@example.com", "x")
    assert account is not None
    assert rig.mails.address(account.id) == "zoë@example.com"
    assert rig.mails.address(new_id()) is None


def test_mails_are_given_up(rig: Rig) -> None:
    """A mail that could not be sent for three days is marked undelivered, and its job owes nothing more."""
    old, young, sent = rig.failed(), rig.failed(), rig.failed()
    rig.mails.sent(sent.id, 1, "failed")
    for job, days in ((old, 1), (young, -1), (sent, 1)):
        rig.put_mail(job.id, created=rig.clock() - MAIL_SECONDS * SECOND - days * 60 * SECOND)
    rig.overdue.give_up_mails()
    given_up = [rig.mail_rows(job.id)[0]["undelivered"] is not None for job in (old, young, sent)]
    assert given_up == [True, False, False]
    assert (rig.sure_row(old.id)["due"], rig.sure_row(young.id)["due"] is None) == (None, False)


# What recover takes.


@pytest.mark.parametrize("situation", SITUATIONS)
def test_take_due(rig: Rig, situation: str) -> None:
    """Whoever owes an event is taken once its time has come, and no state is changed by that."""
    owing = {"queued", "converting", "lapsed", "succeeded", "failed"}
    job = SITUATIONS[situation](rig)
    state = rig.state(job.id)
    long_after(rig, job, "due")
    assert [due.id for due in rig.overdue.take_due()] == ([job.id] if situation in owing else [])
    assert rig.overdue.take_due() == []
    assert rig.state(job.id) == state


def test_not_due_yet(rig: Rig) -> None:
    """What was published, claimed or ended just now is left in peace."""
    published = rig.queued()
    rig.jobs.published(published.id, 1)
    rig.converting()
    rig.succeeded()
    assert rig.overdue.take_due() == []


@pytest.mark.parametrize(("situation", "doublings"), [("queued", 3), ("lapsed", 3), ("succeeded", 6), ("failed", 6)])
def test_delays_double(rig: Rig, situation: str, doublings: int) -> None:
    """Each publication in vain doubles the wait, up to 80 minutes for a conversion and 11 hours for a mail."""
    job = SITUATIONS[situation](rig)
    waits = []
    for _ in range(10):
        rig.put(job.id, due=rig.clock() - SECOND)
        assert len(rig.overdue.take_due()) == 1
        row = rig.sure_row(job.id)
        waits.append(round((row["due"] - row["published"]) / SECOND))
    assert waits == [OWED_AGAIN_SECONDS << min(count, doublings) for count in range(10)]


def test_take_due_has_a_limit(rig: Rig) -> None:
    """The longest overdue rows come first, so many at a time."""
    made = [rig.queued() for _ in range(3)]
    for age, job in enumerate(made, start=1):
        rig.put(job.id, due=rig.clock() - age * SECOND)
    assert [job.id for job in rig.overdue.take_due(limit=2)] == [made[2].id, made[1].id]
    assert [job.id for job in rig.overdue.take_due(limit=2)] == [made[0].id]


def test_owe_again(rig: Rig) -> None:
    """An event that could not be published after all is owed at once again, but not that of an old run."""
    job = rig.queued()
    [taken] = rig.overdue.take_due()
    rig.overdue.owe_again(taken)
    assert (rig.sure_row(job.id)["rounds"], rig.sure_row(job.id)["published"]) == (0, None)
    assert [due.id for due in rig.overdue.take_due()] == [job.id]
    rig.put(job.id, run=2)
    rig.overdue.owe_again(taken)
    assert rig.overdue.take_due() == []


def test_many_recovers_at_once(rig: Rig) -> None:
    """Rows that several recovers look at in the same moment are published by one of them."""
    made = sorted(rig.queued().id for _ in range(20))
    barrier = threading.Barrier(4)

    def take(_number: int) -> list[Job]:
        barrier.wait(10)
        return rig.overdue.take_due()

    with ThreadPoolExecutor(4) as pool:
        taken = [job.id for part in pool.map(take, range(4)) for job in part]
    assert sorted(taken) == made


def test_forget_leases(rig: Rig) -> None:
    """At the start of a run that has the database to itself every unfinished job is due and free at once."""
    converting, succeeded, deleted = rig.converting(), rig.succeeded(), rig.deleted()
    done = rig.failed()
    rig.mails.sent(done.id, 1, "failed")
    assert rig.mails.claim(succeeded.id, 1, "succeeded") is MailClaim.WON
    rig.overdue.forget_leases()
    assert {job.id for job in rig.overdue.take_due()} == {converting.id, succeeded.id}
    assert rig.claimed(converting.id).attempt == 2
    assert rig.mails.claim(succeeded.id, 1, "succeeded") is MailClaim.WON
    assert rig.state(deleted.id) == "deleted"


def test_sources_over(rig: Rig) -> None:
    """A succeeded job's source goes when its time is up; the row tells of it until it was deleted."""
    job, young = rig.succeeded(), rig.succeeded()
    rig.put(job.id, sources_until=rig.clock() - SECOND)
    for _ in range(2):
        [over] = rig.overdue.blobs_over()
        assert (over.id, over.state, over.sources) == (job.id, State.SUCCEEDED, (SOURCE,))
    rig.overdue.blobs_gone(over)
    assert rig.overdue.blobs_over() == []
    assert rig.sure_row(young.id)["sources_until"] is not None


def test_blobs_of_expired_jobs_are_over(rig: Rig) -> None:
    """An expired job tells of its blobs until they were deleted, whatever it was before."""
    made = [rig.succeeded(), rig.failed(), rig.cancelled()]
    for job in made:
        rig.put(job.id, expires=rig.clock() - SECOND)
    rig.overdue.expire()
    over = rig.overdue.blobs_over()
    assert {job.id for job in over} == {job.id for job in made}
    assert {job.state for job in over} == {State.EXPIRED}
    for job in over:
        rig.overdue.blobs_gone(job)
    assert rig.overdue.blobs_over() == []


def test_unswept(rig: Rig) -> None:
    """Ended jobs name the attempts that may have left a result, but never the one that succeeded."""
    succeeded = rig.lapsed()
    assert rig.jobs.succeed(rig.claimed(succeeded.id), result=RESULT, duration_seconds=1.0)
    failed = rig.lapsed()
    assert rig.jobs.fail(rig.claimed(failed.id), "no_audio")
    rig.converting()
    rig.lapsed()
    assert rig.jobs.succeed(rig.converting(), result=RESULT, duration_seconds=1.0)
    found = {job.id: attempts for job, attempts in rig.overdue.unswept()}
    assert found == {succeeded.id: [1], failed.id: [1, 2]}
    rig.overdue.swept(rig.read(failed.id), 2)
    rig.overdue.swept(rig.read(succeeded.id), 1)
    assert rig.overdue.unswept() == []


def test_swept_only_grows(rig: Rig) -> None:
    """Two sweeps of one job leave the higher mark."""
    job = rig.failed()
    rig.put(job.id, attempt=5)
    rig.overdue.swept(job, 4)
    rig.overdue.swept(job, 2)
    assert [attempts for _, attempts in rig.overdue.unswept()] == [[5]]


def test_tombstones(rig: Rig) -> None:
    """A tombstone is kept for a day, that of an upload not at all; a job that lives is never buried."""
    old, young, alive = rig.deleted_failed(), rig.deleted(), rig.failed()
    rig.put(old.id, deleted=rig.clock() - (TOMBSTONE_SECONDS + 60) * SECOND)
    abandoned = rig.receiving()
    assert rig.jobs.discard(abandoned.id)
    buried = rig.overdue.tombstones()
    assert {job.id for job in buried} == {old.id, abandoned.id}
    for job in buried:
        rig.overdue.bury(job)
    assert rig.row(abandoned.id) is None
    assert (rig.row(old.id), rig.mail_rows(old.id), rig.overdue.tombstones()) == (None, [], [])
    rig.overdue.bury(rig.read(alive.id))
    assert (rig.state(alive.id), rig.state(young.id)) == ("failed", "deleted")


def test_only_silent_uploads_are_taken_over(rig: Rig) -> None:
    """A sign of life keeps an upload for a while; after a silence its key is free for the next."""
    job = rig.receiving(idempotency_key="once")
    rig.put(job.id, due=rig.sure_row(job.id)["due"] - (SILENT_SECONDS + 1) * SECOND)
    assert rig.jobs.still_receiving(job.id)
    assert not rig.jobs.discard(job.id, only_silent=True)
    rig.put(job.id, due=rig.sure_row(job.id)["due"] - (SILENT_SECONDS + 1) * SECOND)
    assert rig.jobs.discard(job.id, only_silent=True)
    assert not rig.jobs.queue(job.id, sources=[SOURCE], options=Options(), filename="late.mp4")
    assert rig.receiving(idempotency_key="once").id != job.id


def test_dead_letters_are_kept_a_month(rig: Rig) -> None:
    """A dead letter is stored whole, and those of last month go with the next."""
    text = json.dumps({"data": "\U0001f3ac" * 20_000})
    rig.overdue.keep_dead_letter(None, "old", code=None, dest=None)
    with rig.database.write() as connection:
        connection.execute(update(dead_letters).values(received=rig.clock() - 31 * DAY))
    rig.overdue.keep_dead_letter(OWNER, text, code="503", dest="http://convert")
    with rig.database.read() as connection:
        [kept] = connection.execute(select(dead_letters)).mappings()
    assert (kept["job_id"], kept["event"]) == (OWNER, text)
    assert (kept["error_code"], kept["error_dest"]) == ("503", "http://convert")


# Many at once.


def test_sixteen_processes_fight_for_jobs(rig: Rig) -> None:
    """Every attempt of every job is won by exactly one of sixteen processes."""
    made = [rig.queued().id for _ in range(200)]
    command = [sys.executable, "-m", "tests.contract.claimers", rig.url, "16"]
    answer = subprocess.run(
        command, cwd=ROOT, input=json.dumps(made), stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    parts = json.loads(answer.stdout)
    won = sorted((job_id, attempt) for part in parts for job_id, attempt in part)
    assert won == sorted((job_id, attempt) for job_id in made for attempt in range(1, ATTEMPTS + 1))
    assert (len(parts), sum(bool(part) for part in parts) > 1) == (16, True)
    rows = [rig.sure_row(job_id) for job_id in made]
    assert {(row["state"], row["attempt"], row["claims"]) for row in rows} == {("converting", ATTEMPTS, 1)}


def test_a_new_database_is_opened_by_many(tmp_path: Path) -> None:
    """Functions that start together on an empty SQLite file all find their tables."""
    url = f"sqlite:///{tmp_path}/new.db"
    barrier = threading.Barrier(8)

    def start(_number: int) -> int:
        barrier.wait(10)
        database = Database(url)
        moment = database.clock()
        database.close()
        return moment

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(start, range(8)))
