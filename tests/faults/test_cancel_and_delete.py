"""Cancelling and deleting a job in every phase of its life: its worker stops, and nothing of it stays."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from tests.faults.evidence import litter, message_ids, mp3s, quiet, row, sources
from tests.faults.programs import Gate, commands_naming
from tests.support.serving import Api, Served, eventually

#: A heartbeat comes after 4 s at the latest; ffmpeg ends and its folder goes within the fifth.
STOPPED_SECONDS: Final = 5.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Served]:
    """Everything in one process, with two slots and an ffmpeg that waits for us."""
    with Served(tmp_path_factory.mktemp("home") / "state", env={"CONVERT_SLOTS": "2", "PATH": gate.path}) as served:
        yield served


@pytest.fixture
def api(home: Served, gate: Gate) -> Iterator[Api]:
    """An account of that server; afterwards the ffmpegs may go on."""
    yield home.account()
    gate.open()


def cancel(api: Api, job_id: str) -> None:
    """Cancel a job that has not ended."""
    answer = api.call("POST", f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")


def delete(api: Api, job_id: str) -> None:
    """Delete a job."""
    assert api.call("DELETE", f"/jobs/{job_id}").status_code == 204


def idle(state: Path) -> bool:
    """Whether no worker does anything any more."""
    return not list((state / "work").glob("*")) and not commands_naming(state / "work")


def encoding(api: Api, *job_ids: str) -> bool:
    """Whether each job's ffmpeg was started."""
    return all(api.job(job_id)["phase"] == "encoding" for job_id in job_ids)


def has_no_mp3(state: Path, job_id: str) -> bool:
    """Whether nothing is stored of what was made of it."""
    return mp3s(state, job_id) == []


def gone(home: Served, api: Api, *, cancelled: str, deleted: str) -> None:
    """One job was cancelled and one deleted before either had a result: no MP3, no mail, nobody at work."""
    quiet(home.state)
    assert api.job(cancelled)["state"] == "cancelled"
    assert api.call("GET", f"/jobs/{deleted}").status_code == 404
    for job_id in (cancelled, deleted):
        # A worker takes away what it stored last of all, after its folder.
        eventually(partial(has_no_mp3, home.state, job_id), seconds=STOPPED_SECONDS)
        assert message_ids(home.state, job_id) == []
        assert row(home.state, job_id)["due"] is None
    # Who cancelled may try again, who deleted may not.
    assert sources(home.state, cancelled) == ["0"]
    assert sources(home.state, deleted) == []
    assert litter(home.state) == []


def test_cancel_and_delete_while_jobs_wait(home: Served, api: Api, gate: Gate, short: Path) -> None:
    """What has not begun never begins, and what runs beside it is not disturbed."""
    gate.close()
    running = [api.upload_id(short), api.upload_id(short)]
    eventually(lambda: encoding(api, *running))
    waiting = [api.upload_id(short), api.upload_id(short)]
    cancel(api, waiting[0])
    delete(api, waiting[1])
    gate.open()
    for job_id in running:
        assert api.ended(job_id)["state"] == "succeeded"
    gone(home, api, cancelled=waiting[0], deleted=waiting[1])
    assert row(home.state, waiting[0])["attempt"] == row(home.state, waiting[1])["attempt"] == 0


def test_cancel_and_delete_before_a_worker_has_done_anything(home: Served, api: Api, gate: Gate, short: Path) -> None:
    """A worker whose ffmpeg says nothing notices by its heartbeat alone, and ends within 5 s."""
    gate.close()
    first, second = api.upload_id(short), api.upload_id(short)
    eventually(lambda: encoding(api, first, second))
    cancel(api, first)
    delete(api, second)
    eventually(lambda: idle(home.state), seconds=STOPPED_SECONDS)
    gone(home, api, cancelled=first, deleted=second)


def test_cancel_and_delete_in_the_middle_of_the_work(home: Served, api: Api, long: Path) -> None:
    """An ffmpeg with much left to do is ended within 5 s, and what it made so far is gone."""
    first, second = api.upload_id(long), api.upload_id(long)
    eventually(lambda: api.job(first)["percent"] and api.job(second)["percent"])
    cancel(api, first)
    delete(api, second)
    eventually(lambda: idle(home.state), seconds=STOPPED_SECONDS)
    gone(home, api, cancelled=first, deleted=second)


def test_cancel_and_delete_after_the_end(home: Served, api: Api, short: Path) -> None:
    """A job that has ended cannot be cancelled; deleting it takes its files, and its one mail stays the only one."""
    job_id = api.upload_id(short)
    assert api.ended(job_id)["state"] == "succeeded"
    quiet(home.state)
    answer = api.call("POST", f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (409, "succeeded")
    assert api.job(job_id)["state"] == "succeeded"
    delete(api, job_id)
    assert api.call("GET", f"/jobs/{job_id}").status_code == 404
    assert api.call("GET", f"/download?fid={job_id}").status_code == 404
    assert mp3s(home.state, job_id) == sources(home.state, job_id) == []
    assert len(message_ids(home.state, job_id)) == 1
    assert litter(home.state) == []


def test_a_job_that_is_cancelled_and_retried_at_once_runs_once_more(
    home: Served, api: Api, gate: Gate, short: Path
) -> None:
    """The second run begins beside the first one's worker, and leaves one MP3 and one mail, its own."""
    gate.close()
    job_id = api.upload_id(short)
    eventually(lambda: encoding(api, job_id))
    cancel(api, job_id)
    assert api.call("POST", f"/jobs/{job_id}/retry").status_code == 202
    gate.open()
    ended = api.ended(job_id)
    assert (ended["state"], ended["run"]) == ("succeeded", 2)
    quiet(home.state)
    eventually(lambda: idle(home.state), seconds=STOPPED_SECONDS)
    # The first worker may have stored its MP3 before it heard, and takes it away last of all.
    eventually(lambda: mp3s(home.state, job_id) == ["2"], seconds=STOPPED_SECONDS)
    assert message_ids(home.state, job_id) == [f"<{job_id}.2.succeeded@localhost>"]
    assert len(api.download(job_id)) == ended["size_bytes"]
