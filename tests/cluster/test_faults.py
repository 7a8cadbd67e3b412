"""What dies or refuses: a converter in the middle of a job, and a subscriber that never takes its event."""

import copy
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cloudevents.http import CloudEvent

from functions.common import events, tables
from functions.common.job import ENDED
from functions.common.jobs import LEASE_SECONDS
from tests.cluster.conftest import People, Record
from tests.cluster.kube import Kube
from tests.cluster.pods import SERVICE, Pods
from tests.cluster.stores import Mailbox, Rows
from tests.cluster.traffic import Client, Times, ended

#: The trigger `convert` tries again 4, 12, 28 and 60 s later, and the lease of who was killed is over by the last of
#: these at the latest; then a pod may have to start.
_TAKEN_UP_SECONDS: Final = 2 * LEASE_SECONDS + 30
#: For the hour's conversion, on a busy machine.
_AGAIN_SECONDS: Final = 300
_TEST_EVENT: Final = "io.github.video2mp3.test.v1"


def test_a_converter_that_is_killed_in_the_middle(
    kube: Kube,
    people: People,
    mailbox: Mailbox,
    rows_if_any: Rows | None,
    hour: Path,
    pods: Pods,
    record: Record,
) -> None:
    """The broker brings the event again, and once the lease is over another pod does the job; nobody hears of it."""
    client = people()
    job_id = client.upload_id(hour)
    percent = kube.until("it is a tenth done", lambda: _done(client, job_id, 10), seconds=300, every_seconds=0.5)
    # A pod that is asked to go ends its request first: only this is a crash.
    kube.run("delete", "pod", "-l", f"{SERVICE}=convert", "--force", "--grace-period=0", "--wait=false")
    killed = time.monotonic()
    kube.until(
        "another pod took it up",
        lambda: _taken_up(client, job_id, percent),
        seconds=_TAKEN_UP_SECONDS,
        every_seconds=0.5,
    )
    taken_up = time.monotonic() - killed
    job = ended(kube, client, job_id, seconds=_AGAIN_SECONDS)
    finished = time.monotonic() - killed
    assert job["state"] == "succeeded"
    kube.until("its mail", lambda: mailbox.about(job_id), seconds=180)
    notes = f"killed at {percent} %: taken up after {taken_up:.0f} s, done after {finished:.0f} s"
    record("convert killed", None, pods.most, notes)
    assert mailbox.about(job_id) == [f"{job_id}.1.succeeded"]
    if rows_if_any is not None:
        [row] = rows_if_any.read(tables.jobs, f"id = '{job_id}'")
        assert row["attempt"] >= 2


def _done(client: Client, job_id: str, least_percent: int) -> int:
    """How much of it is encoded, once that is so much; 0 before."""
    job = client.job(job_id)
    assert job["state"] not in ENDED, f"it was over too soon, or failed: {job}"
    percent = int(job["percent"]) if job["phase"] == "encoding" else 0
    return percent if percent >= least_percent else 0


def _taken_up(client: Client, job_id: str, percent: int) -> bool:
    job = client.job(job_id)
    return job["state"] in ENDED or (job["state"] == "converting" and job["percent"] < percent)


def test_a_subscriber_that_never_takes_its_event(
    kube: Kube, rows: Rows, publish: Callable[[dict[str, str], bytes], int], record: Record
) -> None:
    """What is answered 503 to the last try goes to the dead-letter sink, which keeps it whole."""
    name = f"test-refuser-{secrets.token_hex(4)}"
    headers, body = events.encode(CloudEvent({"type": _TEST_EVENT, "source": "/test", "id": name}, {"refused": name}))
    mine = f"event LIKE '%{name}%'"
    with _refuser(kube, name), _trigger(kube, name):
        try:
            assert publish(headers, body) == 202
            began = time.monotonic()
            [letter] = kube.until("a dead letter", lambda: rows.read(tables.dead_letters, mine), seconds=240)
            seconds = time.monotonic() - began
        finally:
            rows.run(f"DELETE FROM dead_letters WHERE {mine}")  # noqa: S608 - our own name
    record("a dead letter", Times(seconds), notes="the first number: from the 202 to its row")
    assert letter["error_code"] == "503"
    assert name in letter["error_dest"]
    assert letter["job_id"] is None
    assert f'"{_TEST_EVENT}"' in letter["event"]


@contextmanager
def _refuser(kube: Kube, name: str) -> Iterator[None]:
    """A gateway whose functions are nowhere: each path of theirs is answered 503."""
    spec: dict[str, Any] = copy.deepcopy(kube.read("ksvc", "gateway")["spec"]["template"]["spec"])
    spec["containers"][0].pop("envFrom", None)
    # Nothing listens on this port of the pod's own.
    spec["containers"][0]["env"] = [{"name": "UPSTREAM", "value": "http://127.0.0.1:9"}]
    annotations = {"autoscaling.knative.dev/max-scale": "1"}
    service = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"networking.knative.dev/visibility": "cluster-local"}},
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": spec}},
    }
    with _there(kube, service, f"ksvc/{name}"):
        yield


@contextmanager
def _trigger(kube: Kube, name: str) -> Iterator[None]:
    """A trigger of ours alone that gives up after two tries."""
    terms = kube.read("triggers.eventing.knative.dev", "convert")["spec"]
    function = {"apiVersion": "serving.knative.dev/v1", "kind": "Service"}
    trigger = {
        "apiVersion": "eventing.knative.dev/v1",
        "kind": "Trigger",
        "metadata": {
            "name": name,
            "annotations": {
                "rabbitmq.eventing.knative.dev/cpu-request": "10m",
                "rabbitmq.eventing.knative.dev/memory-request": "32Mi",
            },
        },
        "spec": {
            "broker": terms["broker"],
            "filter": {"attributes": {"type": _TEST_EVENT}},
            "subscriber": {"ref": {**function, "name": name}, "uri": "/jobs"},
            "delivery": {
                "retry": 1,
                "backoffPolicy": "linear",
                "backoffDelay": "PT1S",
                # Its first try may find it asleep.
                "timeout": "PT60S",
                "deadLetterSink": {"ref": {**function, "name": "recover"}, "uri": "/dead-letters"},
            },
        },
    }
    with _there(kube, trigger, f"triggers.eventing.knative.dev/{name}"):
        yield


@contextmanager
def _there(kube: Kube, document: dict[str, Any], what: str) -> Iterator[None]:
    """Make an object and wait until it is ready; it is gone afterwards."""
    try:
        kube.apply(document)
        kube.ready(what)
        yield
    finally:
        kube.run("delete", what, "--ignore-not-found", "--timeout=120s", seconds=180)
