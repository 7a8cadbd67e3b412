"""`video2mp3 dead-letters`: what could not be delivered is read, sent again and dropped, by whoever looks after it."""

import json
import os
import subprocess

import pytest

from tests.faults.evidence import message_ids
from tests.faults.rig import Rig, failed, give_up, ping, send, succeeded, uploaded
from tests.faults.sink import Sink
from tests.support.command import run
from tests.support.serving import Served
from tests.support.traces import change, rows


@pytest.fixture(autouse=True)
def no_letters(rig: Rig) -> None:
    """No dead letters of other tests."""
    change(rig.state, "DELETE FROM dead_letters")


def command(rig: Rig, *arguments: str, broker: str = "") -> "subprocess.CompletedProcess[str]":
    """Run the command on the rig's state directory."""
    env = {"PATH": os.environ["PATH"], "VIDEO2MP3_STATE": str(rig.state), "BROKER_URL": broker}
    return run("dead-letters", *arguments, env=env)


def only_letter(rig: Rig) -> str:
    """The id of the one dead letter there is, as the command lists it."""
    listed = command(rig, "list").stdout.splitlines()
    assert len(listed) == 1
    return listed[0].split()[0]


def undeliverable(rig: Rig) -> str:
    """A job that was given up, since its event could not be delivered."""
    job_id = rig.queued()
    fail = "UPDATE jobs SET state = 'failed', reason = 'undeliverable', finished = 1, expires = 1 << 62 WHERE id = ?"
    assert change(rig.state, fail, job_id) == 1
    return job_id


def test_a_letter_is_read_whole(rig: Rig, recover: Served) -> None:
    """Event, error code, destination and time are there as they came."""
    job_id = undeliverable(rig)
    give_up(recover.url, uploaded(job_id))
    shown = json.loads(command(rig, "show", only_letter(rig)).stdout)
    assert (shown["job_id"], shown["error_code"]) == (job_id, "503")
    assert shown["error_dest"] == "http://convert.default.svc.cluster.local"
    assert shown["event"]["id"] == f"{job_id}.1.uploaded"
    assert shown["event"]["data"] == {"job_id": job_id, "run": 1}
    assert shown["received"].endswith("+00:00")


def test_a_replay_reopens_the_job(rig: Rig, recover: Served, sink: Sink) -> None:
    """The job that had failed is queued again, in a new run, and its event is published; the letter is gone."""
    job_id = undeliverable(rig)
    give_up(recover.url, uploaded(job_id))
    done = command(rig, "replay", only_letter(rig), broker=sink.url)
    assert (done.returncode, "runs once more" in done.stdout) == (0, True), done.stderr
    found = rig.row(job_id)
    assert (found["state"], found["run"], found["reason"]) == ("queued", 2, None)
    assert sink.of(job_id) == ["2.uploaded"]
    assert rows(rig.state, "SELECT id FROM dead_letters") == []


def test_a_replay_beside_the_one_process_run(rig: Rig, recover: Served, sink: Sink) -> None:
    """Without a broker that can be reached the row owes the event, and the next sweep publishes it."""
    job_id = undeliverable(rig)
    give_up(recover.url, uploaded(job_id))
    assert command(rig, "replay", "--all").returncode == 0
    assert rig.row(job_id)["state"] == "queued"
    assert ping(recover.url) == 204
    assert sink.of(job_id) == ["2.uploaded"]


def test_a_waiting_job_is_only_told_of_again(rig: Rig, recover: Served, sink: Sink) -> None:
    """A job that has not failed keeps its run."""
    job_id = rig.queued()
    give_up(recover.url, uploaded(job_id))
    assert "published again" in command(rig, "replay", "--all", broker=sink.url).stdout
    assert (rig.row(job_id)["state"], rig.row(job_id)["run"]) == ("queued", 1)
    assert sink.of(job_id) == ["1.uploaded"]


def test_a_mail_that_was_given_up_goes_out(rig: Rig, recover: Served, notify: Served, sink: Sink) -> None:
    """The letter of a success has its mail owed again, and the mail is sent."""
    job_id = rig.succeeded()
    give_up(recover.url, succeeded(job_id))
    assert change(rig.state, "UPDATE mails SET undelivered = 1 WHERE job_id = ?", job_id) == 1
    assert "published again" in command(rig, "replay", "--all", broker=sink.url).stdout
    assert sink.of(job_id) == ["1.succeeded"]
    send(notify.url, succeeded(job_id))
    assert len(message_ids(rig.state, job_id)) == 1


def test_a_letter_of_what_is_over(rig: Rig, recover: Served, notify: Served, sink: Sink) -> None:
    """A job that succeeded meanwhile, and a mail that was sent, need nothing more."""
    ended, told = rig.succeeded(), rig.failed()
    send(notify.url, failed(told))
    give_up(recover.url, uploaded(ended))
    give_up(recover.url, failed(told))
    done = command(rig, "replay", "--all", broker=sink.url)
    assert done.stdout.count("nothing is left to do") == 2
    assert sink.of(ended) == sink.of(told) == []
    assert len(message_ids(rig.state, told)) == 1


def test_the_broker_is_away(rig: Rig, recover: Served, sink: Sink) -> None:
    """The letter stays, and the job is published by the next sweep all the same."""
    job_id = undeliverable(rig)
    give_up(recover.url, uploaded(job_id))
    done = command(rig, "replay", "--all", broker="http://127.0.0.1:1")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    only_letter(rig)
    assert ping(recover.url) == 204
    assert sink.of(job_id) == ["2.uploaded"]


def test_a_letter_is_dropped(rig: Rig, recover: Served) -> None:
    """It is gone, and its job as it was."""
    job_id = undeliverable(rig)
    give_up(recover.url, uploaded(job_id))
    assert command(rig, "drop", only_letter(rig)).returncode == 0
    assert command(rig, "list").stdout == ""
    assert rig.row(job_id)["state"] == "failed"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("show", "none"), 1),
        (("replay", "none"), 1),
        (("drop", "none"), 1),
        (("replay",), 2),
        (("drop", "x", "--all"), 2),
    ],
)
def test_wrong_usage(rig: Rig, arguments: tuple[str, ...], status: int) -> None:
    """A sentence says what is wrong."""
    done = command(rig, *arguments)
    assert (done.returncode, bool(done.stderr), "Traceback" in done.stderr) == (status, True, False)
