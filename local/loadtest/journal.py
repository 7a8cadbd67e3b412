"""What became of each job as far as it is known: written by the generator's lines and by looks at the server."""

import json
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from functions.common.job import ENDED
from local.loadtest.plan import Order

#: A job's states here, in the order of its life: those before the 202, those of its row, and whether its mail came.
STATES = ("not sent", "uploading", "queued", "converting", "succeeded", "mailed", "failed", "given up", "lost")


@dataclass
class Refusal:
    """An answer other than 202."""

    #: Seconds since the burst began.
    at: float
    status: int
    #: The header as it came.
    retry_after: str | None
    why: str


@dataclass
class Record:
    """One job; all moments are seconds since the burst began, None where they never came."""

    number: int
    #: SHA-256 of the source, the name of its file, and the options: equal ones make equal MP3s.
    source: str
    name: str
    options: dict[str, str]
    account: int
    #: How long the source's sound is.
    source_seconds: float
    due: float
    sent: float | None = None
    accepted: float | None = None
    id: str | None = None
    refusals: list[Refusal] = field(default_factory=list)
    #: Why connections broke before there was an answer, and when.
    broken: list[str] = field(default_factory=list)
    given_up: bool = False
    #: The row's; None while it was not seen.
    state: str | None = None
    reason: str | None = None
    run: int = 0
    attempt: int = 0
    started: float | None = None
    finished: float | None = None
    mailed: float | None = None
    result_sha256: str | None = None
    duration_seconds: float | None = None

    @property
    def standing(self) -> str:
        """Where it is, one of STATES."""
        if self.id is None:
            return "given up" if self.given_up else "not sent" if self.sent is None else "uploading"
        if self.state == "succeeded":
            return "mailed" if self.mailed is not None else "succeeded"
        if self.state in ENDED or self.state == "gone":
            return "lost" if self.state == "gone" else "failed"
        return "converting" if self.state == "converting" else "queued"

    def as_dict(self) -> dict[str, Any]:
        """As the report has it."""
        return asdict(self)


class Journal:
    """All jobs of a burst; the generator's lines come in one thread, looks in another.

    Args:
        orders: what is going to be asked for.
    """

    def __init__(self, orders: Iterable[Order]) -> None:
        self.records = [
            Record(
                number=order.number,
                source=order.clip.sha256,
                name=order.clip.path.name,
                options=order.options,
                account=order.account,
                source_seconds=order.clip.duration_seconds,
                due=order.due_seconds,
            )
            for order in orders
        ]
        #: When the burst began, in seconds since 1970; 0 before.
        self.began = 0.0
        #: When the generator had its last word.
        self.uploads_ended: float | None = None
        self.lock = threading.Lock()

    def hear(self, line: str) -> None:
        """Take one line of the generator."""
        told = json.loads(line)
        at = told["at"] - self.began
        with self.lock:
            match told["what"]:
                case "began":
                    self.began = told["at"]
                case "done":
                    self.uploads_ended = at
                case "ready":
                    pass
                case what:
                    self._note(self.records[told["job"]], what, at, told)

    def _note(self, record: Record, what: str, at: float, told: dict[str, Any]) -> None:
        match what:
            case "sent":
                record.sent = at if record.sent is None else record.sent
            case "accepted":
                record.accepted, record.id = at, told["id"]
            case "refused":
                record.refusals.append(Refusal(at, told["status"], told["retry_after"], told["why"]))
            case "broken":
                record.broken.append(f"{told['why']} after {at:.1f} s")
            case "given_up":
                record.given_up = True

    def ids(self) -> set[str]:
        """The jobs that had their 202 by now."""
        with self.lock:
            return {record.id for record in self.records if record.id is not None}

    def see(self, rows: dict[str, dict[str, Any]], *, asked: set[str]) -> None:
        """Take what the server knows of its jobs, by their ids: columns of Record, moments since 1970.

        Args:
            rows: what was found.
            asked: the jobs that had their 202 before anybody looked: one that is not found has no row any more.
        """
        with self.lock:
            for record in self.records:
                if record.id is None:
                    continue
                row = rows.get(record.id)
                if row is None:
                    record.state = "gone" if record.id in asked else record.state
                    continue
                for name, value in row.items():
                    moment = name in ("started", "finished", "mailed") and value is not None
                    setattr(record, name, value - self.began if moment else value)

    def standings(self) -> Counter[str]:
        """How many jobs are where."""
        with self.lock:
            return Counter(record.standing for record in self.records)

    def unfinished(self, *, mails: bool = True) -> int:
        """How many jobs have not come to their end.

        Args:
            mails: whether a mail belongs to the end.
        """
        found = self.standings()
        ends = ("mailed", "failed", "given up", "lost", *(() if mails else ("succeeded",)))
        return len(self.records) - sum(found[each] for each in ends)
