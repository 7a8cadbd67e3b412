"""Clients of the deployed system, as its documentation asks clients to be, and what they measure."""

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import requests

from functions.common.job import ENDED
from tests.cluster.kube import Kube
from tests.support.serving import PASSWORD, Api
from tests.support.streams import Events

#: What a broken connection is called, before and after the answer began.
_BROKEN: Final = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
#: However busy the machine is: pulling nothing, starting everything, converting an hour.
JOB_SECONDS: Final = 600.0


def again(ask: Callable[[], requests.Response], *, seconds: float = 90) -> requests.Response:
    """Ask until an answer does not say when to ask again; a connection that breaks is the port-forward's fault."""
    ends = time.monotonic() + seconds
    while True:
        wait_seconds = 1.0
        try:
            answer = ask()
            if "Retry-After" not in answer.headers or time.monotonic() > ends:
                return answer
            with suppress(ValueError):
                wait_seconds = min(5.0, float(answer.headers["Retry-After"]))
        except _BROKEN:
            if time.monotonic() > ends:
                raise
        time.sleep(wait_seconds)


@dataclass(frozen=True)
class Door:
    """Where the public reaches the gateway."""

    url: str
    #: The name that it has there.
    host: str


class Client(Api):
    """The HTTP API through the public door; whatever may be asked twice is, until the answer is a last one.

    Args:
        door: where it is.
        email: the account's address.
        token: its access token; empty for none.
    """

    def __init__(self, door: Door, *, email: str = "", token: str = "") -> None:
        super().__init__(door.url, token)
        self.email = email
        self.headers["Host"] = door.host

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """See Api.call."""
        once = super().call
        if method not in ("GET", "HEAD", "DELETE") or arguments.get("stream"):
            return once(method, path, **arguments)
        return again(lambda: once(method, path, **arguments))

    def once(self) -> Api:
        """The same account, asking each thing once."""
        made = Api(self.url)
        made.headers = dict(self.headers)
        return made

    def upload(self, path: Path, *, name: str | None = None, **fields: str) -> requests.Response:
        """See Api.upload; its key makes it one job, however often it is sent."""
        sender = self.once()
        sender.headers["Idempotency-Key"] = secrets.token_hex(16)
        return again(lambda: sender.upload(path, name=name, **fields))


def registered(door: Door) -> Client:
    """A client of a new account."""
    visitor, email = Client(door), f"cluster-{secrets.token_hex(8)}@example.com"
    made = again(lambda: visitor.call("POST", "/register", data={"email": email, "password": PASSWORD}))
    # 409: it was made, and the connection broke before the answer came.
    assert made.status_code in (201, 409), made.text
    login = again(lambda: visitor.call("POST", "/login", auth=(email, PASSWORD)))
    assert login.status_code == 200, login.text
    return Client(door, email=email, token=login.text)


def ended(kube: Kube, client: Client, job_id: str, *, seconds: float = JOB_SECONDS) -> dict[str, Any]:
    """A job, once it has ended."""

    def look() -> dict[str, Any] | None:
        job = client.job(job_id)
        return job if job["state"] in ENDED else None

    job = kube.until(f"job {job_id} has ended", look, seconds=seconds)
    assert job is not None
    return job


def followed(client: Client, job_id: str, *, seconds: float = JOB_SECONDS) -> list[str]:
    """The states that the job's event stream tells, up to its end; a stream that breaks is opened again."""
    ends = time.monotonic() + seconds
    told: list[str] = []
    while True:
        with suppress(*_BROKEN), Events(client, f"/jobs/{job_id}/events") as stream:
            told += [str(job["state"]) for _, job in stream]
        if told and told[-1] in ENDED:
            return told
        assert time.monotonic() < ends, f"job {job_id} did not end within {seconds:.0f} s: {told}"
        time.sleep(1)


class Mails(Protocol):
    """Where mails are looked for."""

    def about(self, *job_ids: str) -> list[str]:
        """What was mailed of these jobs."""


@dataclass(frozen=True)
class Times:
    """When a job came how far, in seconds since its POST began; None where nobody could tell."""

    accepted: float
    converting: float | None = None
    ended: float | None = None
    mailed: float | None = None


def measured(kube: Kube, client: Client, path: Path, mails: Mails | None) -> tuple[dict[str, Any], Times]:
    """Upload a file and wait for its mail, or for its end where mails are nowhere to be seen.

    Until the mail is there only mailpit is asked, which never sleeps, so that nothing else is woken.
    """
    sent = time.time()
    job_id = client.upload_id(path)
    accepted, mailed = time.time(), None
    if mails is not None:
        kube.until(f"a mail about job {job_id}", lambda: mails.about(job_id), seconds=JOB_SECONDS, every_seconds=0.2)
        mailed = time.time()
    job = ended(kube, client, job_id)
    return job, times(job, sent=sent, accepted=accepted, mailed=mailed)


def times(job: dict[str, Any], *, sent: float, accepted: float, mailed: float | None) -> Times:
    """Read a job's times off its row, whose clock is the database's, into those of a client.

    Args:
        job: as GET /jobs/ID tells it.
        sent: when its POST began, in seconds since 1970 by our clock.
        accepted: when it was answered.
        mailed: when its mail was seen, or None.
    """
    created, started, finished = (_moment(job[name]) for name in ("created", "started", "finished"))
    assert created is not None
    # Its row was made while the POST lasted; where the clocks differ, by as little as explains that.
    skew = min(max(0.0, created - accepted), created - sent)
    return Times(
        accepted=accepted - sent,
        converting=None if started is None else started - skew - sent,
        ended=None if finished is None else finished - skew - sent,
        mailed=None if mailed is None else mailed - sent,
    )


def _moment(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
