"""A state directory without a server: rows and blobs that the functions' own code makes, at no cost of time."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import requests
from cloudevents.http import CloudEvent

from functions.auth.accounts import Accounts
from functions.common import events
from functions.common.blobs import Blobs
from functions.common.blobs.directory import DirectoryBlobs
from functions.common.database import Database
from functions.common.job import Job, Piece, Stored, source_key
from functions.common.jobs import Claim, Jobs, Resumable
from functions.common.options import Options
from functions.recover.overdue import Overdue
from functions.upload.pieces import Pieces
from local.delivery.rules import dead_letter
from local.server.state import settings
from tests.faults.evidence import row
from tests.support.traces import rows

SECOND: Final = 1_000_000


class Rig:
    """One state directory, written to as upload, jobs and convert write to it.

    Args:
        state: the directory; it and its database are made where they do not exist.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        settings(state, env={})
        (state / "work").mkdir(exist_ok=True)
        self._database = Database(f"sqlite:///{state}/video2mp3.db")
        self.jobs = Jobs(self._database, result_days=30, source_days=1)
        self.pieces = Pieces(self._database)
        self.blobs: Blobs = DirectoryBlobs(state / "blobs")
        self.overdue = Overdue(self._database)
        account = Accounts(self._database).add("someone@example.com", "*")
        assert account is not None
        self.owner = account.id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the database."""
        self._database.close()

    def clock(self) -> int:
        """The database's time."""
        return self._database.clock()

    def receiving(self) -> str:
        """A job whose source still arrives."""
        job = self.jobs.create(
            owner=self.owner, filename="holiday.mp4", options=Options(), idempotency_key=None, traceparent=None
        )
        assert job is not None
        return job.id

    def resumable(self, size_bytes: int) -> Job:
        """An upload that comes in pieces, of which there are none yet."""
        job = self.jobs.create(
            owner=self.owner,
            filename="holiday.mp4",
            options=Options(),
            idempotency_key=None,
            traceparent=None,
            resumable=Resumable(size_bytes, None),
        )
        assert job is not None
        return job

    def queued(self, source: bytes = b"no media at all", *, options: Options | None = None) -> str:
        """A job whose event was published just now."""
        job_id = self.receiving()
        self.put(source_key(job_id, 0), source)
        stored = Piece(len(source), sha256(source).hexdigest())
        assert self.jobs.queue(job_id, sources=[stored], options=options or Options(), filename="holiday.mp4")
        self.jobs.published(job_id, 1)
        return job_id

    def claimed(self, source: bytes = b"no media at all") -> Job:
        """A job with a worker, whose lease has 30 s."""
        return self.claim(self.queued(source))

    def claim(self, job_id: str, run: int = 1) -> Job:
        """Claim a job, as a worker does."""
        claim, job = self.jobs.claim(job_id, run)
        assert claim is Claim.WON
        assert job is not None
        return job

    def succeeded(self, result: bytes = b"an MP3") -> str:
        """A job with a result, whose mail is owed."""
        job = self.claimed()
        self.put(job.result_key, result)
        stored = Stored(len(result), sha256(result).hexdigest())
        assert self.jobs.succeed(job, result=stored, duration_seconds=1.0)
        return job.id

    def failed(self) -> str:
        """A job that failed, whose mail is owed."""
        job = self.claimed()
        assert self.jobs.fail(job, "unreadable")
        return job.id

    def put(self, key: str, content: bytes) -> None:
        """Store a blob."""
        with self.blobs.create(key) as writer:
            writer.write(content)
            writer.commit()

    def row(self, job_id: str) -> dict[str, Any]:
        """Every column of a job's row."""
        return row(self.state, job_id)

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """Every row of jobs and mails, to see whether anything changed."""
        return {"jobs": rows(self.state, "SELECT * FROM jobs"), "mails": rows(self.state, "SELECT * FROM mails")}


@dataclass(frozen=True)
class Answer:
    """What a function answered to an event."""

    status: int
    #: Id of the event in the answer, or None.
    reply: str | None


def send(url: str, event: CloudEvent) -> Answer:
    """Post an event to a function, as the dispatcher does, once."""
    headers, body = events.encode(event)
    return send_raw(url, headers, body)


def send_raw(url: str, headers: dict[str, str], body: bytes) -> Answer:
    """Post what may be no event at all."""
    answer = requests.post(url, data=body, headers=headers, timeout=60, allow_redirects=False)
    return Answer(answer.status_code, answer.headers.get("ce-id"))


def uploaded(job_id: str, run: int = 1) -> CloudEvent:
    """The event of an upload."""
    return events.make(events.UPLOADED, job_id=job_id, run=run)


def succeeded(job_id: str, run: int = 1) -> CloudEvent:
    """The event of a success."""
    return events.make(events.SUCCEEDED, job_id=job_id, run=run)


def failed(job_id: str, run: int = 1) -> CloudEvent:
    """The event of a failure."""
    return events.make(events.FAILED, job_id=job_id, run=run, reason="unreadable")


def send_all(urls: list[str], event: CloudEvent) -> list[Answer]:
    """Post the same event to all of these at once."""
    with ThreadPoolExecutor(len(urls)) as pool:
        return list(pool.map(lambda url: send(url, event), urls))


def ping(url: str, data: bytes = b"{}") -> int:
    """Ask a recover to sweep, as the clock does; the status of its answer."""
    headers = {
        "Content-Type": "application/json",
        "ce-specversion": "1.0",
        "ce-type": "dev.knative.sources.ping",
        "ce-source": "/apis/v1/namespaces/default/pingsources/recover",
        "ce-id": "a-ping",
    }
    return send_raw(url, headers, data).status


def give_up(url: str, event: CloudEvent, *, status: int = 503) -> int:
    """Post an event to a recover's dead-letter sink, as the dispatcher does when it gives up; the answer's status."""
    letter = dead_letter(event, url="http://convert.default.svc.cluster.local", status=status)
    return send(f"{url}/dead-letters", letter).status
