"""Stores that hang while a worker fetches or stores: it stays a good worker, and ends when it has to."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest
import requests

from functions.common import events
from functions.common.blobs import BlobWriter
from functions.common.errors import BlobMissing, ServiceError, StorageFull, Unavailable
from functions.common.events import Notice
from functions.common.job import Piece, source_key
from functions.common.options import Options
from functions.common.waking import Waker
from functions.convert import service
from functions.convert.service import Converter, Terms
from tests.faults.evidence import mp3s, waveforms
from tests.faults.programs import Gate
from tests.faults.rig import SECOND, Answer, Rig, send, uploaded
from tests.support.held import HeldBlobs
from tests.support.relay import Relay, relay
from tests.support.serving import Served, eventually
from tests.support.stores import in_mongodb, in_s3

LOST: Final = Answer(204, None)


@dataclass(frozen=True)
class Far:
    """A rig whose blobs are on a server behind a relay."""

    rig: Rig
    between: Relay
    #: What a function needs to find them there.
    env: dict[str, str]

    @contextmanager
    def worker(self, **more: str) -> Iterator[Served]:
        """A convert that works there."""
        with Served(self.rig.state, function="convert", env={**self.env, **more}) as served:
            yield served

    def mp3s(self, job_id: str) -> list[str]:
        """Key of the first attempt's MP3, if it is stored."""
        key = f"mp3s/{job_id}/1"
        try:
            with self.rig.blobs.open(key):
                return [key]
        except BlobMissing:
            return []


@pytest.fixture(params=["gridfs", "s3"])
def far(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Far]:
    """Blobs on each server."""
    with in_s3() if request.param == "s3" else in_mongodb() as place, Rig(tmp_path / "state") as rig:
        env = {"BLOBS_URL": place.url, **getattr(place, "aws", {})}
        port = urlsplit(env.get("AWS_ENDPOINT_URL", place.url)).port
        assert port is not None
        with relay(port) as between:
            there, here = f"127.0.0.1:{port}", f"127.0.0.1:{between.port}"
            env = {name: value.replace(there, here) for name, value in env.items()}
            with closing(place.make()) as rig.blobs:
                yield Far(rig, between, env)


def reached(rig: Rig, job_id: str, phase: str) -> None:
    """Wait until a worker is at a phase."""
    eventually(lambda: rig.row(job_id)["phase"] == phase)


def given_back(rig: Rig, job_id: str) -> None:
    """The job is queued and due at once, and nobody counts what happened against it."""
    row = rig.row(job_id)
    assert (row["state"], row["claims"], row["lease_until"]) == ("queued", 0, None)
    assert row["due"] <= rig.clock()


def test_a_cancelled_job_is_let_go_of_while_the_store_hangs_with_its_source(
    far: Far, pool: ThreadPoolExecutor, video: bytes
) -> None:
    """The worker answers as soon as it knows, although the store still says nothing."""
    job_id = far.rig.queued(video)
    with far.worker() as worker:
        far.between.hold()
        answer = pool.submit(send, worker.url, uploaded(job_id))
        reached(far.rig, job_id, "fetching")
        assert far.rig.jobs.cancel(job_id, far.rig.owner)
        assert answer.result() == LOST


def test_a_cancelled_job_is_let_go_of_while_the_store_hangs_with_its_result(
    far: Far, gate: Gate, pool: ThreadPoolExecutor, video: bytes
) -> None:
    """The same while it stores; and the MP3 that the store takes afterwards does not stay."""
    job_id = far.rig.queued(video)
    gate.close()
    try:
        with far.worker(PATH=gate.path) as worker:
            answer = pool.submit(send, worker.url, uploaded(job_id))
            reached(far.rig, job_id, "encoding")
            far.between.hold()
            gate.open()
            reached(far.rig, job_id, "storing")
            assert far.rig.jobs.cancel(job_id, far.rig.owner)
            assert answer.result() == LOST
            far.between.let_go()
            # One at a time: the next job's end comes after what the first one left behind was taken up.
            other = far.rig.queued(video)
            assert send(worker.url, uploaded(other)) == Answer(200, f"{other}.1.succeeded")
            eventually(lambda: far.mp3s(job_id) == [])
    finally:
        gate.open()


def test_a_source_that_does_not_come_in_time_is_asked_for_again(far: Far, video: bytes) -> None:
    """At the deadline the answer is 503 and the job is given back; another worker converts it later."""
    job_id = far.rig.queued(video)
    with far.worker(CONVERT_SECONDS="61") as hurried, far.worker() as worker:
        far.between.hold()
        headers, body = events.encode(uploaded(job_id))
        answer = requests.post(hurried.url, data=body, headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["detail"]) == (503, "Fetching or storing took too long.")
        given_back(far.rig, job_id)
        far.between.let_go()
        assert send(worker.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")


def test_a_worker_that_is_told_to_halt_does_not_wait_for_the_store(
    far: Far, pool: ThreadPoolExecutor, video: bytes
) -> None:
    """SIGINT ends it within 5 s while the store hangs, and the job is given back."""
    job_id = far.rig.queued(video)
    with far.worker() as worker:
        far.between.hold()
        answer: Future[Answer] = pool.submit(send, worker.url, uploaded(job_id))
        reached(far.rig, job_id, "fetching")
        worker.stop(signal.SIGINT, seconds=5)
        # Its answer, a 503, may be lost with the connection.
        assert answer.exception(timeout=5) or answer.result() == Answer(503, None)
    given_back(far.rig, job_id)


# In this process, with a store that hangs at a chosen point and a clock that the test turns.


def notice(job_id: str) -> Notice:
    """What the event of an upload says."""
    return Notice(events.UPLOADED, f"{job_id}.1.uploaded", job_id, 1, None)


class Clock:
    """The system's, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return time.monotonic() + self.ahead


@dataclass(frozen=True)
class Near:
    """A converter on a store that hangs when it is told to."""

    rig: Rig
    blobs: HeldBlobs
    converter: Converter
    clock: Clock

    def left_alone(self) -> None:
        """Let the store go on, and wait until nobody works on it any more."""
        self.blobs.let_go()
        eventually(lambda: not any(thread.name == "transfer" for thread in threading.enumerate()))


@pytest.fixture
def near(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor) -> Iterator[Near]:  # noqa: ARG001
    """One converter with a deadline of 480 s."""
    with Rig(tmp_path / "state") as rig:
        clock = Clock()
        monkeypatch.setattr(service, "time", clock)
        blobs = HeldBlobs(rig.blobs)
        work = str(tmp_path / "state" / "work")
        terms = Terms(seconds=480, max_duration_seconds=0, slots=1, cpus=0, work_dir=work, crash_at="")
        yield Near(
            rig,
            blobs,
            Converter(jobs=rig.jobs, blobs=blobs, terms=terms, waker=Waker(""), halting=lambda: False),
            clock,
        )
        # Before the pool waits for its threads: nobody waits for ever where a test failed.
        blobs.let_go()


def test_a_source_that_hangs_beyond_the_deadline(near: Near, pool: ThreadPoolExecutor, video: bytes) -> None:
    """What is kept back for checking and storing is not spent on waiting for the source."""
    job_id = near.rig.queued(video)
    near.blobs.hold("fetch")
    handled = pool.submit(near.converter.handle, notice(job_id))
    assert near.blobs.reached.wait(30)
    near.clock.ahead = 480 - 60
    with pytest.raises(Unavailable, match="too long"):
        handled.result(30)
    given_back(near.rig, job_id)
    near.left_alone()
    assert list((near.rig.state / "work").iterdir()) == []


def test_a_result_that_hangs_beyond_the_deadline(near: Near, pool: ThreadPoolExecutor, video: bytes) -> None:
    """The job is given back, and the MP3 that the store takes in the end does not stay; the next try succeeds."""
    job_id = near.rig.queued(video)
    near.blobs.hold("commit")
    handled = pool.submit(near.converter.handle, notice(job_id))
    assert near.blobs.reached.wait(30)
    near.clock.ahead = 480
    with pytest.raises(Unavailable, match="too long"):
        handled.result(30)
    given_back(near.rig, job_id)
    near.left_alone()
    assert mp3s(near.rig.state, job_id) == []
    near.clock.ahead = 0
    near.converter.handle(notice(job_id))
    assert near.rig.row(job_id)["state"] == "succeeded"
    assert mp3s(near.rig.state, job_id) == ["2"]


def test_a_job_that_is_cancelled_while_its_waveform_is_stored(
    near: Near, pool: ThreadPoolExecutor, video: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the MP3, which is stored by then, stays, nor the waveform that the store takes in the end."""
    create = near.blobs.create

    def held(key: str, *, file_name: str | None = None) -> AbstractContextManager[BlobWriter]:
        if key.startswith("waveforms/"):
            near.blobs.hold("commit")
        return create(key, file_name=file_name)

    monkeypatch.setattr(near.blobs, "create", held)
    job_id = near.rig.queued(video)
    handled = pool.submit(near.converter.handle, notice(job_id))
    assert near.blobs.reached.wait(30)
    assert (mp3s(near.rig.state, job_id), waveforms(near.rig.state, job_id)) == (["1"], [])
    assert near.rig.jobs.cancel(job_id, near.rig.owner)
    assert handled.result(30) is None
    near.left_alone()
    assert mp3s(near.rig.state, job_id) == waveforms(near.rig.state, job_id) == []


@pytest.mark.parametrize("error", [StorageFull, Unavailable])
def test_a_waveform_that_the_store_does_not_take(
    near: Near, video: bytes, error: type[ServiceError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The MP3 is published without one."""
    create = near.blobs.create

    def picky(key: str, *, file_name: str | None = None) -> AbstractContextManager[BlobWriter]:
        if key.startswith("waveforms/"):
            raise error
        return create(key, file_name=file_name)

    monkeypatch.setattr(near.blobs, "create", picky)
    job_id = near.rig.queued(video)
    near.converter.handle(notice(job_id))
    row = near.rig.row(job_id)
    assert (row["state"], row["waveform_size_bytes"]) == ("succeeded", None)
    assert (mp3s(near.rig.state, job_id), waveforms(near.rig.state, job_id)) == (["1"], [])


@pytest.mark.parametrize("what", ["fetch", "commit"])
def test_the_lease_is_extended_while_the_store_hangs(
    near: Near, pool: ThreadPoolExecutor, video: bytes, what: str
) -> None:
    """Nobody else takes the job meanwhile, and when the store goes on it succeeds at the first attempt."""
    job_id = near.rig.queued(video)
    near.blobs.hold(what)
    handled = pool.submit(near.converter.handle, notice(job_id))
    assert near.blobs.reached.wait(30)
    lease = near.rig.row(job_id)["lease_until"]
    # The first beat tells the phase; the second one comes for the lease alone.
    eventually(lambda: near.rig.row(job_id)["lease_until"] > lease + 3 * SECOND)
    near.blobs.let_go()
    assert handled.result(30) is not None
    assert mp3s(near.rig.state, job_id) == ["1"]


def test_a_source_in_pieces_is_joined_in_order(near: Near, video: bytes) -> None:
    """A source that came in pieces is converted as the one file that it is."""
    job_id = near.rig.receiving()
    pieces = [video[:1000], video[1000:20_000], video[20_000:]]
    stored = []
    for number, piece in zip((1, 2, 7), pieces, strict=True):
        near.rig.put(source_key(job_id, number), piece)
        stored.append(Piece(len(piece), sha256(piece).hexdigest(), number))
    assert near.rig.jobs.queue(job_id, sources=stored, options=Options(), filename="holiday.mp4")
    near.converter.handle(notice(job_id))
    assert near.rig.row(job_id)["state"] == "succeeded"
