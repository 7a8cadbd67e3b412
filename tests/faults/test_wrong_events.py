"""Events repeated, out of order, of an earlier run, and forged: none of them changes anything."""

from typing import Final

import pytest

from tests.faults.evidence import message_ids, mp3s
from tests.faults.forgeries import FORGERIES, forged
from tests.faults.rig import Answer, Rig, failed, send, send_all, send_raw, succeeded, uploaded
from tests.support.serving import Served

NOTHING: Final = Answer(204, None)
CONFLICT: Final = Answer(409, None)


def test_an_event_delivered_ten_times_at_once_is_worked_on_once(
    rig: Rig, slow_worker: Served, worker: Served, notify: Served, video: bytes
) -> None:
    """Ten deliveries to two workers make one attempt, one MP3, the same reply; ten of the reply make one mail."""
    job_id = rig.queued(video)
    answers = send_all([worker.url, slow_worker.url] * 5, uploaded(job_id))
    replied = Answer(200, f"{job_id}.1.succeeded")
    assert replied in answers
    assert set(answers) <= {replied, CONFLICT}
    assert rig.row(job_id)["attempt"] == 1
    assert mp3s(rig.state, job_id) == ["1"]
    mailing = send_all([notify.url] * 10, succeeded(job_id))
    assert NOTHING in mailing
    assert set(mailing) <= {NOTHING, CONFLICT}
    assert len(message_ids(rig.state, job_id)) == 1


def test_events_out_of_order_change_nothing(rig: Rig, worker: Served, notify: Served, video: bytes) -> None:
    """A success that is told before the upload is no news to notify or convert, and both are right in the end."""
    job_id = rig.queued(video)
    before = rig.everything()
    assert send(notify.url, succeeded(job_id)) == NOTHING
    assert send(notify.url, failed(job_id)) == NOTHING
    assert send(worker.url, succeeded(job_id)) == NOTHING
    assert rig.everything() == before
    assert send(worker.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")
    assert send(notify.url, failed(job_id)) == NOTHING
    assert message_ids(rig.state, job_id) == []
    for _ in range(2):
        assert send(notify.url, succeeded(job_id)) == NOTHING
        assert send(worker.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")
    assert len(message_ids(rig.state, job_id)) == 1
    assert rig.row(job_id)["due"] is None


def test_events_of_an_earlier_run_are_old_news(rig: Rig, worker: Served, notify: Served) -> None:
    """After a retry the first run's events are answered 2xx, and neither work nor mail comes of them."""
    job_id = rig.failed()
    assert rig.jobs.retry(job_id, rig.owner)
    before = rig.everything()
    assert send(worker.url, uploaded(job_id, run=1)) == NOTHING
    assert send(notify.url, failed(job_id, run=1)) == NOTHING
    assert rig.everything() == before
    assert message_ids(rig.state, job_id) == []


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_event_is_answered_2xx_and_changes_nothing(
    forgery: str, rig: Rig, worker: Served, notify: Served
) -> None:
    """Whatever comes in, convert and notify take it off the broker's hands and no row is touched."""
    headers, text = forged(forgery, rig.queued())
    before = rig.everything()
    assert send_raw(worker.url, headers, text) == NOTHING
    assert send_raw(notify.url, headers, text) == NOTHING
    assert rig.everything() == before
