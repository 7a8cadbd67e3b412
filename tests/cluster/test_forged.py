"""Whoever reaches a function, the broker or the gateway may say what they like: no row changes, nothing is mailed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from functions.common import events, tables
from functions.common.job import new_id
from tests.cluster.conftest import People, Post
from tests.cluster.kube import Kube
from tests.cluster.stores import Mailbox, Rows
from tests.cluster.traffic import JOB_SECONDS, Client, Door, again, ended
from tests.faults.forgeries import FORGERIES, forged

#: What neither the page nor paths.map offers to a POST.
_NO_WAY_IN: Final = ("/", "/convert", "/notify", "/recover", "/dead-letters", "/bridge", "/broker", "/healthz")
_EVENT_FUNCTIONS: Final = ("convert", "notify", "recover")
_PING: Final = {
    "Content-Type": "application/json",
    "ce-specversion": "1.0",
    "ce-type": "dev.knative.sources.ping",
    "ce-source": "/apis/v1/namespaces/default/pingsources/recover",
    "ce-id": "forged-ping",
}
#: Where forged dead letters say that they could not be delivered to.
_NOWHERE: Final = "http://forged.example"
Message = tuple[dict[str, str], bytes]


@dataclass(frozen=True)
class Settled:
    """Three jobs that have come to their ends: a success, a failure in its second run, one that was cancelled."""

    client: Client
    job_ids: tuple[str, ...]
    rows: Rows
    mailbox: Mailbox

    def everything(self) -> dict[str, Any]:
        """Every column of their rows, and what was mailed of them."""
        ids = ", ".join(map(repr, self.job_ids))
        return {
            "jobs": self.rows.read(tables.jobs, f"id IN ({ids})"),
            "mails": self.rows.read(tables.mails, f"job_id IN ({ids})"),
            "mailed": self.mailbox.about(*self.job_ids),
        }

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters that speak of them."""
        return self.rows.read(tables.dead_letters, f"job_id IN ({', '.join(map(repr, self.job_ids))})")


@pytest.fixture
def settled(
    kube: Kube, people: People, rows: Rows, mailbox: Mailbox, inside: Post, short: Path, hour: Path, tmp_path: Path
) -> Settled:
    """The jobs, once nothing is left to do for them."""
    client = people()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(bytes(range(256)) * 256)
    cancelled, failed, succeeded = client.upload_id(hour), client.upload_id(broken), client.upload_id(short)
    assert client.call("POST", f"/jobs/{cancelled}/cancel").status_code == 200
    for job_id in (failed, succeeded):
        ended(kube, client, job_id)
    assert client.call("POST", f"/jobs/{failed}/retry").status_code == 202
    ended(kube, client, failed)
    made = Settled(client, (cancelled, failed, succeeded), rows, mailbox)
    wanted = sorted([f"{failed}.1.failed", f"{failed}.2.failed", f"{succeeded}.1.succeeded"])
    kube.until("all mails", lambda: wanted == mailbox.about(*made.job_ids), seconds=JOB_SECONDS)
    # Where a sweep would tidy up, it has; and the cancelled job's worker has put down its work.
    assert inside("recover", _PING, b"{}").status_code == 204

    def still() -> bool:
        before = made.everything()
        time.sleep(6)
        return made.everything() == before and all(job["due"] is None for job in before["jobs"])

    kube.until("nothing is owed any more", still, seconds=180)
    return made


@pytest.fixture
def letters(rows: Rows) -> Iterator[None]:
    """Forget the dead letters that the test forged: recover keeps each, whoever sent it."""
    yield
    mine = f"error_dest = '{_NOWHERE}' OR event LIKE '%\"id\": \"forged\"%'"
    rows.run(f"DELETE FROM dead_letters WHERE {mine}")  # noqa: S608 - our own words


def _lies(job_ids: tuple[str, ...]) -> Iterator[Message]:
    """Every event of ours about each of these jobs and about nobody's: true ones, of old runs, of later ones."""
    for job_id in (*job_ids, new_id()):
        for type_ in (events.UPLOADED, events.SUCCEEDED, events.FAILED):
            for run in (1, 2, 3):
                reason = "unreadable" if type_ == events.FAILED else None
                yield events.encode(events.make(type_, job_id=job_id, run=run, reason=reason))


def _messages(job_ids: tuple[str, ...]) -> list[Message]:
    return [*_lies(job_ids), *(forged(name, job_id) for name in FORGERIES for job_id in job_ids)]


@pytest.mark.usefixtures("letters")
def test_forged_events_at_the_functions_change_nothing(settled: Settled, inside: Post) -> None:
    """Any pod can post to convert, notify and recover: each takes it, and looks at the row."""
    before = settled.everything()
    for headers, body in _messages(settled.job_ids):
        for function in _EVENT_FUNCTIONS:
            assert inside(function, headers, body).status_code in (200, 204), (function, headers)
        dead = {**headers, "ce-knativeerrorcode": "503", "ce-knativeerrordest": _NOWHERE}
        assert inside("recover", dead, body, "/dead-letters").status_code == 204, headers
    assert settled.everything() == before


@pytest.mark.usefixtures("letters")
def test_forged_events_at_the_broker_change_nothing(
    kube: Kube, settled: Settled, publish: Callable[[dict[str, str], bytes], int], short: Path
) -> None:
    """What the broker takes it delivers, and the functions look at the rows; a video after all that is still served."""
    before = settled.everything()
    statuses = [publish(headers, body) for headers, body in _messages(settled.job_ids)]
    # What is no event at all the ingress refuses.
    assert 202 in statuses
    assert all(200 <= status < 300 or status == 400 for status in statuses), statuses
    last = settled.client.upload_id(short)
    assert ended(kube, settled.client, last)["state"] == "succeeded"
    kube.until(f"a mail about job {last}", lambda: settled.mailbox.about(last), seconds=JOB_SECONDS)
    assert settled.mailbox.about(last) == [f"{last}.1.succeeded"]
    assert settled.everything() == before


def test_the_gateway_has_no_way_to_event_functions(settled: Settled, door: Door, kube: Kube) -> None:
    """No path of the gateway, and no name at the public door, leads an event to a function."""
    before = settled.everything()
    inner = [f"{name}.{kube.namespace}.svc.cluster.local" for name in (*_EVENT_FUNCTIONS, "upload", "jobs")]
    for headers, body in list(_lies(settled.job_ids))[:4]:
        for path in _NO_WAY_IN:
            answer = _posted(door.url, path, {**headers, "Host": door.host}, body)
            assert answer.status_code in (404, 405), f"{path}: {answer.status_code} {answer.text}"
        for host in inner:
            for path in ("/", "/dead-letters"):
                answer = _posted(door.url, path, {**headers, "Host": host}, body)
                assert answer.status_code == 404, f"{host}{path}: {answer.status_code} {answer.text}"
    assert settled.everything() == before
    assert settled.letters() == []


def _posted(url: str, path: str, headers: dict[str, str], body: bytes) -> requests.Response:
    return again(lambda: requests.post(f"{url}{path}", data=body, headers=headers, timeout=60, allow_redirects=False))
