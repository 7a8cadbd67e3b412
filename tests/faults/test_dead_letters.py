"""A dead letter proves that one delivery gave up; what becomes of the job is read from its row."""

import json

import pytest

from tests.faults.evidence import mail_row, message_ids
from tests.faults.forgeries import FORGERIES, STRUCTURED, forged
from tests.faults.rig import Answer, Rig, failed, give_up, ping, send, send_raw, succeeded, uploaded
from tests.faults.sink import Sink
from tests.support.serving import Served
from tests.support.traces import change, rows

NOTHING = Answer(204, None)


@pytest.fixture
def waiting(rig: Rig) -> str:
    """A queued job whose event was published two minutes ago: long enough for every retry of one delivery."""
    job_id = rig.queued()
    minutes_pass(rig, job_id)
    return job_id


def minutes_pass(rig: Rig, job_id: str) -> None:
    """Let two minutes pass since a job's event was published."""
    past = "UPDATE jobs SET published = published - 120000000, due = due - 120000000 WHERE id = ?"
    assert change(rig.state, past, job_id) == 1


def test_a_dead_letter_of_a_waiting_job_makes_it_due(rig: Rig, recover: Served, sink: Sink, waiting: str) -> None:
    """A job that nobody works on is published again with the next sweep instead of after ten minutes."""
    assert give_up(recover.url, uploaded(waiting)) == 204
    row = rig.row(waiting)
    assert (row["state"], row["dead_letters"]) == ("queued", 1)
    assert row["due"] <= rig.clock()
    assert ping(recover.url) == 204
    assert sink.of(waiting) == ["1.uploaded"]


def test_only_after_three_rounds_a_dead_letter_ends_a_job(
    rig: Rig, recover: Served, sink: Sink, notify: Served, waiting: str
) -> None:
    """Three deliveries that gave up are tried again; the next one fails the job as undeliverable, with one mail."""
    for round_ in (1, 2, 3):
        assert give_up(recover.url, uploaded(waiting)) == 204
        assert rig.row(waiting)["state"] == "queued"
        assert ping(recover.url) == 204
        assert sink.of(waiting) == ["1.uploaded"] * round_
        minutes_pass(rig, waiting)
    assert give_up(recover.url, uploaded(waiting)) == 204
    row = rig.row(waiting)
    assert (row["state"], row["reason"]) == ("failed", "undeliverable")
    assert mail_row(rig.state, waiting)["outcome"] == "failed"
    assert ping(recover.url) == 204
    assert sink.of(waiting) == [*["1.uploaded"] * 3, "1.failed"]
    assert send(notify.url, failed(waiting)) == NOTHING
    assert len(message_ids(rig.state, waiting)) == 1
    assert rig.row(waiting)["due"] is None


def test_a_dead_letter_that_is_repeated_counts_once(rig: Rig, recover: Served, waiting: str) -> None:
    """Dead letters are delivered at least once and may be forged: without a publication between them they are one."""
    for _ in range(6):
        assert give_up(recover.url, uploaded(waiting)) == 204
    row = rig.row(waiting)
    assert (row["state"], row["reason"], row["dead_letters"]) == ("queued", None, 1)


def test_a_dead_letter_that_comes_too_soon_does_not_count(rig: Rig, recover: Served) -> None:
    """Sooner than a minute after the publication no delivery can have given up, so nothing changes."""
    job_id = rig.queued()
    before = rig.everything()
    for _ in range(6):
        assert give_up(recover.url, uploaded(job_id)) == 204
    assert rig.everything() == before


def test_a_job_that_runs_or_has_ended_is_not_touched(rig: Rig, recover: Served) -> None:
    """A live lease, a success, a failure, a cancellation, a deletion: each stays whatever the dead letters say."""
    jobs = [rig.claimed().id, rig.succeeded(), rig.failed(), rig.queued(), rig.queued()]
    assert rig.jobs.cancel(jobs[3], rig.owner)
    assert rig.jobs.delete(jobs[4], rig.owner)
    for job_id in jobs:
        assert change(rig.state, "UPDATE jobs SET published = published - 120000000 WHERE id = ?", job_id) == 1
    before = rig.everything()
    for job_id in jobs * 5:
        assert give_up(recover.url, uploaded(job_id)) == 204
    assert rig.everything() == before


def test_a_job_whose_lease_is_dead_is_due_now(rig: Rig, recover: Served, sink: Sink) -> None:
    """A dead letter of a job whose worker fell silent counts, and recover leaves the claiming to convert."""
    job = rig.claimed()
    past = "UPDATE jobs SET published = published - 120000000, lease_until = lease_until - 31000000 WHERE id = ?"
    assert change(rig.state, past, job.id) == 1
    assert give_up(recover.url, uploaded(job.id)) == 204
    row = rig.row(job.id)
    assert (row["state"], row["attempt"], row["dead_letters"]) == ("converting", job.attempt, 1)
    assert ping(recover.url) == 204
    assert sink.of(job.id) == ["1.uploaded"]


def test_a_dead_letter_of_an_earlier_run_is_old_news(rig: Rig, recover: Served, waiting: str) -> None:
    """After a retry the first run's dead letters count no more, and the second run begins its own count."""
    assert give_up(recover.url, uploaded(waiting)) == 204
    assert rig.jobs.cancel(waiting, rig.owner)
    assert rig.jobs.retry(waiting, rig.owner)
    rig.jobs.published(waiting, 2)
    minutes_pass(rig, waiting)
    before = rig.everything()
    assert give_up(recover.url, uploaded(waiting, run=1)) == 204
    assert rig.everything() == before
    assert rig.row(waiting)["dead_letters"] == 0


@pytest.mark.parametrize("outcome", ["succeeded", "failed"])
def test_a_dead_letter_of_a_mail_leaves_the_job_and_its_mail_alone(
    outcome: str, rig: Rig, recover: Served, sink: Sink
) -> None:
    """An outcome that could not be delivered changes no state: the mail stays due and is tried again later."""
    job_id, event = (rig.succeeded(), succeeded) if outcome == "succeeded" else (rig.failed(), failed)
    before = rig.everything()
    for _ in range(5):
        assert give_up(recover.url, event(job_id)) == 204
    assert rig.everything() == before
    assert change(rig.state, "UPDATE jobs SET due = due - 660000000 WHERE id = ?", job_id) == 1
    assert ping(recover.url) == 204
    assert sink.of(job_id) == [f"1.{outcome}"]
    assert mail_row(rig.state, job_id)["undelivered"] is None


def test_a_dead_letter_is_kept_whole(rig: Rig, recover: Served) -> None:
    """Whoever looks for the cause later finds the event with its attributes and data, and what refused it."""
    job_id = rig.queued()
    event = uploaded(job_id)
    event["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert give_up(recover.url, event, status=502) == 204
    [kept] = rows(rig.state, "SELECT * FROM dead_letters WHERE job_id = ?", job_id)
    whole = json.loads(kept["event"])
    assert {name: whole[name] for name in event.get_attributes()} == dict(event.get_attributes())
    assert whole["data"] == {"job_id": job_id, "run": 1}
    assert (kept["error_code"], kept["error_dest"]) == ("502", "http://convert.default.svc.cluster.local")
    assert abs(kept["received"] - rig.clock()) < 60_000_000


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_dead_letter_is_answered_2xx_and_changes_nothing(
    forgery: str, rig: Rig, recover: Served, waiting: str
) -> None:
    """Whatever is posted as a dead letter is taken, and no job is touched by it."""
    headers, text = forged(forgery, waiting)
    before = rig.everything()
    assert send_raw(f"{recover.url}/dead-letters", headers, text) == NOTHING
    assert rig.everything() == before


@pytest.mark.parametrize("attribute", ["knativeerrorcode", "knativeerrordest"])
@pytest.mark.parametrize("value", [7, True, None, ["a"], {"a": 1}, "x" * 1000])
def test_what_a_forged_dead_letter_says_of_its_error_does_no_harm(
    attribute: str, value: object, rig: Rig, recover: Served
) -> None:
    """The attributes that tell of the error may be anything in structured mode; the letter is kept all the same."""
    event = {**uploaded(rig.queued()).get_attributes(), attribute: value, "data": {"job_id": "nobody's", "run": 1}}
    before = rig.everything()
    counted = "SELECT COUNT(*) AS n FROM dead_letters"
    kept = rows(rig.state, counted)[0]["n"]
    assert send_raw(f"{recover.url}/dead-letters", dict(STRUCTURED), json.dumps(event).encode()) == NOTHING
    assert rows(rig.state, counted)[0]["n"] == kept + 1
    assert rig.everything() == before
