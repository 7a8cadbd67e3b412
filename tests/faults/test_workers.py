"""Workers that share a job: two at once, one that slept past its lease, one that a retry overtook."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from tests.faults.evidence import litter, mp3s, waveforms
from tests.faults.programs import Gate, commands_naming
from tests.faults.rig import Answer, Rig, send, uploaded
from tests.support.serving import Served, eventually
from tests.support.traces import change

NOTHING: Final = Answer(204, None)
CONFLICT: Final = Answer(409, None)


@contextmanager
def held(gate: Gate, worker: Served) -> Iterator[None]:
    """Hold a worker's ffmpeg, and let all go on afterwards, whatever happened."""
    gate.close()
    try:
        yield
    finally:
        gate.open()
        os.killpg(worker.process.pid, signal.SIGCONT)


def pause(worker: Served) -> None:
    """Stop a worker where it stands, as a machine does that is out of breath."""
    os.killpg(worker.process.pid, signal.SIGSTOP)


def wake(worker: Served) -> None:
    """Let it go on."""
    os.killpg(worker.process.pid, signal.SIGCONT)


def end_lease(rig: Rig, job_id: str) -> None:
    """Let a minute pass for a job's lease."""
    past = "UPDATE jobs SET lease_until = lease_until - 60000000, due = due - 60000000 WHERE id = ?"
    assert change(rig.state, past, job_id) == 1


def begun(rig: Rig, job_id: str) -> None:
    """Wait until a worker's ffmpeg was started for a job."""
    eventually(lambda: rig.row(job_id)["phase"] == "encoding", seconds=10)


def converted_by(rig: Rig, job_id: str, *, run: int, attempt: int) -> None:
    """The row and the one MP3 are those of this attempt."""
    row = rig.row(job_id)
    assert (row["state"], row["run"], row["attempt"]) == ("succeeded", run, attempt)
    assert mp3s(rig.state, job_id) == waveforms(rig.state, job_id) == [str(attempt)]
    content = (rig.state / "blobs" / "mp3s" / job_id / str(attempt)).read_bytes()
    assert sha256(content).hexdigest() == row["result_sha256"]
    assert list((rig.state / "work").glob("*")) == []


def test_a_converter_started_alone_makes_its_place_to_work(tmp_path: Path, video: bytes) -> None:
    """`video2mp3 serve convert` converts on a state directory that no one-process run has seen."""
    with Rig(tmp_path / "state") as rig:
        (rig.state / "work").rmdir()
        job_id = rig.queued(video)
        with Served(rig.state, function="convert") as served:
            assert send(served.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")


def test_of_two_workers_on_one_job_one_converts_and_one_is_told_to_wait(
    rig: Rig, gate: Gate, slow_worker: Served, worker: Served, pool: ThreadPoolExecutor, video: bytes
) -> None:
    """While a lease lives the other worker answers 409; after the end it answers what the first one did."""
    job_id = rig.queued(video)
    with held(gate, slow_worker):
        first = pool.submit(send, slow_worker.url, uploaded(job_id))
        begun(rig, job_id)
        assert send(worker.url, uploaded(job_id)) == CONFLICT
        gate.open()
        assert first.result() == Answer(200, f"{job_id}.1.succeeded")
    assert send(worker.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")
    converted_by(rig, job_id, run=1, attempt=1)


def test_a_worker_that_slept_past_its_lease_while_it_encoded_changes_nothing(
    rig: Rig, gate: Gate, slow_worker: Served, worker: Served, pool: ThreadPoolExecutor, video: bytes
) -> None:
    """It wakes to find the job done by another, ends its ffmpeg, and answers 204 without an event."""
    job_id = rig.queued(video)
    with held(gate, slow_worker):
        late = pool.submit(send, slow_worker.url, uploaded(job_id))
        begun(rig, job_id)
        pause(slow_worker)
        end_lease(rig, job_id)
        assert send(worker.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")
        wake(slow_worker)
        assert late.result(timeout=10) == NOTHING
    converted_by(rig, job_id, run=1, attempt=2)
    assert commands_naming(rig.state / "work") == []


def test_a_worker_that_slept_past_its_lease_before_it_stored_changes_nothing(
    rig: Rig, gate: Gate, slow_worker: Served, worker: Served, pool: ThreadPoolExecutor, video: bytes
) -> None:
    """It wakes with an MP3 in its hands, and none of it stays: the row and the blob are the other's."""
    job_id = rig.queued(video)
    with held(gate, slow_worker):
        gate.stop_after(slow_worker.process.pid)
        gate.open()
        late = pool.submit(send, slow_worker.url, uploaded(job_id))
        eventually(gate.stopped)
        end_lease(rig, job_id)
        assert send(worker.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")
        wake(slow_worker)
        assert late.result(timeout=10) == NOTHING
    converted_by(rig, job_id, run=1, attempt=2)


def test_a_late_worker_whose_lease_nobody_took_goes_on(
    rig: Rig, gate: Gate, slow_worker: Served, pool: ThreadPoolExecutor, video: bytes
) -> None:
    """A lease that ran out is not a claim that is lost: who wakes first may still extend it."""
    job_id = rig.queued(video)
    with held(gate, slow_worker):
        late = pool.submit(send, slow_worker.url, uploaded(job_id))
        begun(rig, job_id)
        pause(slow_worker)
        end_lease(rig, job_id)
        wake(slow_worker)
        gate.open()
        assert late.result(timeout=20) == Answer(200, f"{job_id}.1.succeeded")
    converted_by(rig, job_id, run=1, attempt=1)


def retried(rig: Rig, job_id: str) -> None:
    """Cancel a job and run it again, before its worker can notice either."""
    assert rig.jobs.cancel(job_id, rig.owner)
    assert rig.jobs.retry(job_id, rig.owner)


@pytest.mark.parametrize("asleep", ["before", "after"])
def test_a_retry_wins_over_the_old_worker_that_still_runs(
    asleep: str, rig: Rig, gate: Gate, slow_worker: Served, worker: Served, pool: ThreadPoolExecutor, video: bytes
) -> None:
    """The second run's result stays alone, whether the first one's worker wakes before or after its ffmpeg's end."""
    job_id = rig.queued(video)
    with held(gate, slow_worker):
        if asleep == "after":
            gate.stop_after(slow_worker.process.pid)
            gate.open()
        old = pool.submit(send, slow_worker.url, uploaded(job_id))
        if asleep == "after":
            eventually(gate.stopped)
        else:
            begun(rig, job_id)
            pause(slow_worker)
        retried(rig, job_id)
        assert send(worker.url, uploaded(job_id, run=2)) == Answer(200, f"{job_id}.2.succeeded")
        wake(slow_worker)
        assert old.result(timeout=10) == NOTHING
    converted_by(rig, job_id, run=2, attempt=2)


def test_a_retry_wins_while_both_workers_run(
    rig: Rig, gate: Gate, slow_worker: Served, worker: Served, pool: ThreadPoolExecutor, video: bytes
) -> None:
    """Cancel and retry follow each other so fast that the old worker has noticed neither when the new one is done."""
    job_id = rig.queued(video)
    with held(gate, slow_worker):
        old = pool.submit(send, slow_worker.url, uploaded(job_id))
        begun(rig, job_id)
        retried(rig, job_id)
        new = pool.submit(send, worker.url, uploaded(job_id, run=2))
        assert new.result(timeout=10) == Answer(200, f"{job_id}.2.succeeded")
        assert old.result(timeout=10) == NOTHING
    converted_by(rig, job_id, run=2, attempt=2)


def test_a_worker_that_is_told_to_halt_gives_its_job_back(
    rig: Rig, gate: Gate, pool: ThreadPoolExecutor, video: bytes
) -> None:
    """SIGINT ends a worker within 5 s: its job is queued and due at once, and the claim is not counted."""
    job_id = rig.queued(video)
    gate.close()
    try:
        with Served(rig.state, function="convert", env={"CONVERT_SLOTS": "1", "PATH": gate.path}) as served:
            answer: Future[Answer] = pool.submit(send, served.url, uploaded(job_id))
            begun(rig, job_id)
            served.stop(signal.SIGINT, seconds=5)
            # Its answer, a 503, may be lost with the connection; the dispatcher tries again after either.
            assert answer.exception(timeout=5) or answer.result() == Answer(503, None)
    finally:
        gate.open()
    row = rig.row(job_id)
    assert (row["state"], row["claims"], row["lease_until"]) == ("queued", 0, None)
    assert row["due"] <= rig.clock()
    assert mp3s(rig.state, job_id) == waveforms(rig.state, job_id) == []
    assert commands_naming(rig.state / "work") == []
    assert litter(rig.state) == []
