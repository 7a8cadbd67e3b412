"""From nothing and back: a cold start, thirty jobs at once, forty event streams at once."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Final

import requests

from functions.common import tables
from tests.cluster.conftest import People, Record
from tests.cluster.kube import Kube
from tests.cluster.pods import Pods, bounds, counted, fall_asleep, listed
from tests.cluster.stores import Mailbox, Rows
from tests.cluster.traffic import JOB_SECONDS, Client, Times, measured, times
from tests.support.streams import Events

_JOBS: Final = 30
_STREAMS: Final = 40
#: As many as one owner may have open at one process (functions/jobs/streams.py).
_STREAMS_OF_ONE: Final = 4
_LOOKS: Final = 20
_BETWEEN_SECONDS: Final = 0.5
_MOST_SECONDS: Final = 1.0


def test_a_job_from_a_cold_start(
    kube: Kube, people: People, mailbox_if_any: Mailbox | None, short: Path, pods: Pods, record: Record
) -> None:
    """With every function asleep, a video becomes an MP3 and a mail; each step starts when it is needed."""
    client = people()
    fall_asleep(kube)
    pods.begin_anew()
    job, seconds = measured(kube, client, short, mailbox_if_any)
    record("a cold start", seconds, pods.most, "" if mailbox_if_any else "no mailpit")
    assert job["state"] == "succeeded"
    assert job["run"] == 1


def test_thirty_jobs_at_once(
    kube: Kube,
    people: People,
    rows_if_any: Rows | None,
    mailbox_if_any: Mailbox | None,
    minutes: Path,
    pods: Pods,
    record: Record,
) -> None:
    """Each is done once and mailed once; functions go from nothing to as many pods as they may have, and back."""
    most = bounds(kube)
    client = people()
    fall_asleep(kube)
    pods.begin_anew()
    jobs, sent = _upload_all(kube, client, minutes)
    assert {job["state"] for job in jobs} == {"succeeded"}, {job["id"]: job["reason"] for job in jobs}
    job_ids = [str(job["id"]) for job in jobs]
    if mailbox_if_any is not None:
        about = mailbox_if_any.about
        kube.until("a mail of each", lambda: len(about(*job_ids)) >= _JOBS, seconds=JOB_SECONDS)
    fall_asleep(kube)
    seen = [times(job, sent=sent[job["id"]][0], accepted=sent[job["id"]][1], mailed=None) for job in jobs]
    for which, choose in (("median", median), ("slowest", max)):
        figures = [
            float(choose([getattr(each, name) for each in seen])) for name in ("accepted", "converting", "ended")
        ]
        record(f"{_JOBS} jobs at once, {which}", Times(*figures), pods.most)
    # What is sent twice would have been sent by now.
    if mailbox_if_any is not None:
        assert mailbox_if_any.about(*job_ids) == sorted(f"{job_id}.1.succeeded" for job_id in job_ids)
    if rows_if_any is not None:
        found = rows_if_any.read(tables.jobs, f"id IN ({', '.join(map(repr, job_ids))})")
        assert {(row["state"], row["run"], row["attempt"]) for row in found} == {("succeeded", 1, 1)}
    _check_scaling(pods, most)


def _upload_all(kube: Kube, client: Client, path: Path) -> tuple[list[dict[str, str]], dict[str, tuple[float, float]]]:
    """Upload a file thirty times at once and wait for all ends; the jobs, and when each POST began and was answered."""

    def upload(_number: int) -> tuple[str, tuple[float, float]]:
        sent = time.time()
        job_id = client.upload_id(path)
        return job_id, (sent, time.time())

    with ThreadPoolExecutor(_JOBS) as pool:
        sent = dict(pool.map(upload, range(_JOBS)))

    def look() -> list[dict[str, str]] | None:
        jobs: list[dict[str, str]] = client.call("GET", "/jobs?limit=200").json()["jobs"]
        return jobs if not {"queued", "converting"} & {job["state"] for job in jobs} else None

    jobs = kube.until(f"all {_JOBS} jobs have ended", look, seconds=2 * JOB_SECONDS, every_seconds=2)
    assert jobs is not None
    assert sorted(job["id"] for job in jobs) == sorted(sent)
    return jobs, sent


def _check_scaling(pods: Pods, most: dict[str, int]) -> None:
    """From 0 to N and back to 0, N never above the bound, and convert on more than one pod where it may be."""
    seen = list(pods.samples)
    for name in ("gateway", "upload", "convert", "notify", "jobs"):
        if name not in most:
            # It never sleeps here.
            continue
        counts = [sample[name] for sample in seen]
        assert counts[0] == counts[-1] == 0, f"{name}: {counts}"
        assert max(counts) > 0, f"{name}: {counts}"
    for name, bound in most.items():
        assert pods.most.get(name, 0) <= (bound or 1000), f"{name}: {[sample[name] for sample in seen]}"
    # One that waits for room on a node is no help.
    served = [sample["convert"] for sample in pods.ready]
    assert max(served) >= min(2, most["convert"] or 2), f"convert: {served}"


class _Streams:
    """Forty clients that keep an event stream open each, and ask again where they are told to."""

    def __init__(self) -> None:
        self.enough = threading.Event()
        self._open = 0
        self._lock = threading.Lock()

    @property
    def open(self) -> int:
        """How many are open now."""
        with self._lock:
            return self._open

    def keep(self, client: Client) -> None:
        """One client's part, until it is enough."""
        while not self.enough.is_set():
            with suppress(requests.RequestException):
                self._listen(client)
            self.enough.wait(2)

    def _listen(self, client: Client) -> None:
        with Events(client, "/jobs/events") as stream:
            # 503: every process that is there has as many as it takes.
            if stream.answer.status_code != 200:
                return
            with self._counted():
                # A comment comes every few seconds.
                for _ in stream.answer.iter_lines(chunk_size=1):
                    if self.enough.is_set():
                        return

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1


def test_forty_event_streams_at_once(kube: Kube, people: People, pods: Pods, record: Record) -> None:
    """They bring a second pod of jobs, and meanwhile GET /jobs stays under a second: nineteen times of twenty."""
    listeners = [people() for _ in range(_STREAMS // _STREAMS_OF_ONE)]
    asker = listeners[0]
    streams = _Streams()
    with ThreadPoolExecutor(_STREAMS) as pool:
        try:
            kept = [pool.submit(streams.keep, listeners[number % len(listeners)]) for number in range(_STREAMS)]
            kube.until("a first stream is open", lambda: streams.open, seconds=120, every_seconds=0.1)
            seconds = [_asked(asker) for _ in range(_LOOKS)]
            kube.until(
                "a second pod of jobs takes requests",
                lambda: counted(listed(kube), ready=True)["jobs"] >= 2,
                seconds=240,
            )
            kube.until("all streams are open at once", lambda: streams.open == _STREAMS, seconds=240, every_seconds=0.2)
            seconds_after = [_asked(asker) for _ in range(_LOOKS)]
        finally:
            streams.enough.set()
    for each in kept:
        each.result()
    told = [f"{median(each):.3f} s, at most {max(each):.3f} s" for each in (seconds, seconds_after)]
    notes = f"GET /jobs, median of {_LOOKS}: {told[0]} while they open; {told[1]} then"
    record(f"{_STREAMS} event streams", None, pods.most, notes)
    # The one may be a pod that is started, or a moment of the machine's own.
    assert sorted(seconds)[-2] < _MOST_SECONDS, seconds
    assert sorted(seconds_after)[-2] < _MOST_SECONDS, seconds_after


def _asked(asker: Client) -> float:
    """How long GET /jobs takes until it has its answer, a moment after the one before."""
    time.sleep(_BETWEEN_SECONDS)
    began = time.monotonic()
    answer = asker.call("GET", "/jobs")
    seconds = time.monotonic() - began
    assert answer.status_code == 200, answer.text
    return seconds
