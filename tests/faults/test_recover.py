"""What is owed is published again: in time, once, and whatever becomes of the broker or the mail server."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.evidence import mail_row, message_ids
from tests.faults.rig import SECOND, Answer, Rig, ping, send, succeeded
from tests.faults.sink import Sink
from tests.support.serving import Served, free_port
from tests.support.traces import change

MINUTE = 60 * SECOND
DAY = 86_400 * SECOND


@pytest.fixture(autouse=True)
def broker_is_there(sink: Sink) -> Iterator[None]:
    """After each test the broker takes events again."""
    yield
    sink.status = 202


@pytest.fixture(scope="module")
def other_recover(rig: Rig, sink: Sink) -> Iterator[Served]:
    """A second recover on the same database."""
    with Served(rig.state, function="recover", env={"BROKER_URL": sink.url}) as served:
        yield served


@pytest.fixture(scope="module")
def mute_notify(rig: Rig) -> Iterator[Served]:
    """A notify whose mail server is away."""
    env = {"MAIL_URL": f"smtp://127.0.0.1:{free_port()}?starttls=never"}
    with Served(rig.state, function="notify", env=env) as served:
        yield served


def wait(rig: Rig, job_id: str, microseconds: int) -> None:
    """Let time pass for a job's next event."""
    assert change(rig.state, "UPDATE jobs SET due = due - ? WHERE id = ?", microseconds, job_id) == 1


def due_in(rig: Rig, job_id: str) -> float:
    """Seconds until a job's event is owed."""
    return float(rig.row(job_id)["due"] - rig.clock()) / SECOND


def test_an_overdue_job_is_published_again_after_a_delay_that_doubles(rig: Rig, recover: Served, sink: Sink) -> None:
    """A queued job's event is sent again 10 min after it was published, then after 10 and 20 more, never before."""
    job_id = rig.queued()
    assert ping(recover.url) == 204
    assert sink.of(job_id) == []
    for times, delay in enumerate((10, 10, 20, 40), start=1):
        wait(rig, job_id, delay * MINUTE - 30 * SECOND)
        assert ping(recover.url) == 204
        assert sink.of(job_id) == ["1.uploaded"] * (times - 1)
        wait(rig, job_id, 30 * SECOND)
        assert ping(recover.url) == ping(recover.url) == 204
        assert sink.of(job_id) == ["1.uploaded"] * times
        assert rig.row(job_id)["state"] == "queued"


def test_a_dead_lease_is_published_again_but_not_taken_away(rig: Rig, recover: Served, sink: Sink) -> None:
    """A worker that fell silent has its event sent again; the row stays as it is, since the worker may only be late."""
    job = rig.claimed()
    assert ping(recover.url) == 204
    assert sink.of(job.id) == []
    ended = "UPDATE jobs SET due = due - 31000000, lease_until = lease_until - 31000000 WHERE id = ?"
    assert change(rig.state, ended, job.id) == 1
    assert ping(recover.url) == 204
    assert sink.of(job.id) == ["1.uploaded"]
    row = rig.row(job.id)
    assert (row["state"], row["attempt"]) == ("converting", job.attempt)
    assert rig.jobs.heartbeat(job, phase="encoding", percent=50)


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_a_mail_that_is_owed_is_asked_for_again(outcome: str, rig: Rig, recover: Served, sink: Sink) -> None:
    """A job that ended without its mail has the event of its end sent again, and not that of its beginning."""
    job_id = rig.succeeded() if outcome == "succeeded" else rig.failed()
    assert ping(recover.url) == 204
    assert sink.of(job_id) == []
    wait(rig, job_id, 11 * MINUTE)
    assert ping(recover.url) == 204
    assert sink.of(job_id) == [f"1.{outcome}"]


def test_recovers_that_sweep_at_once_share_the_work(
    rig: Rig, recover: Served, other_recover: Served, sink: Sink
) -> None:
    """However many recovers sweep at the same time, each event that is due is published once."""
    overdue = [rig.queued() for _ in range(40)]
    for job_id in overdue:
        wait(rig, job_id, 11 * MINUTE)
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(ping, [recover.url, other_recover.url] * 3)) == {204}
    assert [sink.of(job_id) for job_id in overdue] == [["1.uploaded"]] * len(overdue)
    assert {rig.row(job_id)["rounds"] for job_id in overdue} == {1}


@pytest.mark.parametrize("status", [503, 404, None])
def test_what_the_broker_does_not_take_is_due_again(status: int | None, rig: Rig, recover: Served, sink: Sink) -> None:
    """A sweep without a broker answers 503, loses no event, does the rest of its work, and the next one makes good."""
    overdue = [rig.queued() for _ in range(3)]
    expired = rig.succeeded()
    for job_id in overdue:
        wait(rig, job_id, 11 * MINUTE)
    assert change(rig.state, "UPDATE jobs SET expires = expires - ? WHERE id = ?", 31 * DAY, expired) == 1
    sink.status = status
    assert ping(recover.url) == 503
    assert all(due_in(rig, job_id) <= 0 for job_id in overdue)
    assert {rig.row(job_id)["state"] for job_id in overdue} == {"queued"}
    assert rig.row(expired)["state"] == "expired"
    sink.status = 202
    assert ping(recover.url) == 204
    assert [sink.of(job_id) for job_id in overdue] == [["1.uploaded"]] * len(overdue)


def test_a_mail_is_given_up_after_three_days_and_the_job_stays_succeeded(
    rig: Rig, recover: Served, sink: Sink, mute_notify: Served, notify: Served
) -> None:
    """A mail server that stays away costs the mail and nothing else, and only after three days of trying."""
    job_id = rig.succeeded()
    for times in (1, 2):
        assert send(mute_notify.url, succeeded(job_id)) == Answer(503, None)
        assert mail_row(rig.state, job_id)["lease_until"] is None
        wait(rig, job_id, 21 * MINUTE)
        assert ping(recover.url) == 204
        assert sink.of(job_id) == ["1.succeeded"] * times
    assert change(rig.state, "UPDATE mails SET created = created - ? WHERE job_id = ?", 3 * DAY - MINUTE, job_id) == 1
    assert ping(recover.url) == 204
    assert mail_row(rig.state, job_id)["undelivered"] is None
    assert change(rig.state, "UPDATE mails SET created = created - ? WHERE job_id = ?", 2 * MINUTE, job_id) == 1
    assert ping(recover.url) == 204
    assert mail_row(rig.state, job_id)["undelivered"]
    row = rig.row(job_id)
    assert (row["state"], row["due"]) == ("succeeded", None)
    # The mail server is back, and an old event turns up: what was given up stays so.
    assert send(notify.url, succeeded(job_id)) == Answer(204, None)
    assert message_ids(rig.state, job_id) == []
    assert sink.of(job_id) == ["1.succeeded"] * 2


def test_a_mail_goes_out_once_when_the_mail_server_is_back(
    rig: Rig, recover: Served, sink: Sink, mute_notify: Served, notify: Served
) -> None:
    """A mail that could not be sent stays owed, is asked for again, and is then sent once."""
    job_id = rig.succeeded()
    assert send(mute_notify.url, succeeded(job_id)) == Answer(503, None)
    wait(rig, job_id, 11 * MINUTE)
    assert ping(recover.url) == 204
    assert sink.of(job_id) == ["1.succeeded"]
    for _ in range(2):
        assert send(notify.url, succeeded(job_id)) == Answer(204, None)
    assert len(message_ids(rig.state, job_id)) == 1
    assert mail_row(rig.state, job_id)["sent"]
    assert rig.row(job_id)["due"] is None


def test_a_notify_that_died_while_it_sent_holds_the_mail_for_a_minute_only(rig: Rig, notify: Served) -> None:
    """A mail that somebody sends is not sent by another, until that lease is over."""
    job_id = rig.succeeded()
    claimed = "UPDATE mails SET lease_until = created + 60000000 WHERE job_id = ?"
    assert change(rig.state, claimed, job_id) == 1
    assert send(notify.url, succeeded(job_id)) == Answer(409, None)
    assert message_ids(rig.state, job_id) == []
    assert change(rig.state, "UPDATE mails SET lease_until = lease_until - 61000000 WHERE job_id = ?", job_id) == 1
    assert send(notify.url, succeeded(job_id)) == Answer(204, None)
    assert len(message_ids(rig.state, job_id)) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff\x00", b"[" * 60_000])
def test_a_ping_of_anybody_is_a_sweep_and_nothing_more(body: bytes, rig: Rig, recover: Served, sink: Sink) -> None:
    """What a ping says is not read: it may be forged, and only makes recover look at the rows."""
    job_id = rig.queued()
    before = rig.row(job_id)
    assert ping(recover.url, body) == 204
    assert rig.row(job_id) == before
    assert sink.of(job_id) == []
