"""A server that somebody else runs (`--url`): what its HTTP API shows, and its cluster where that may be asked."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from local.loadtest.api import Account, moment
from local.loadtest.evidence import Evidence, Strike
from local.loadtest.faults import striking
from local.loadtest.journal import Journal
from local.loadtest.pods import Pods
from local.loadtest.queues import Queues
from local.loadtest.samples import Seen

_SLOTS = 1


class Remote:
    """See terms.Place.

    Args:
        url: the server's origin.
        host: the name that it has there, where the address is not it; empty for none.
        pods: of its cluster; None where there is none, or it may not be asked.
        queues: of its broker; the same.
    """

    def __init__(self, url: str, *, host: str = "", pods: Pods | None = None, queues: Queues | None = None) -> None:
        self.url, self.host = url.rstrip("/"), host
        self._pods, self._queues = pods, queues
        self._accounts: Sequence[Account] = ()
        self._shift_seconds = 0.0
        self.slots, self.converters = _SLOTS, "convert"
        self.sleeps = pods is not None
        self.sees_mails = self.is_here = False

    @property
    def unseen(self) -> tuple[str, ...]:
        """See terms.Place."""
        found = ["mails, rows, leases and files in the store cannot be seen through the HTTP API"]
        if self._pods is None:
            found.append("processes, pods, CPU and memory: no --namespace was given")
        elif not self._pods.has_metrics:
            found.append("CPU and memory: the cluster has no metrics API")
        if self._queues is None:
            found.append("queued events: no --rabbitmq was given")
        return tuple(found)

    def use(self, accounts: Sequence[Account]) -> None:
        """Look at the jobs of these accounts."""
        self._accounts = accounts

    def look(self, journal: Journal) -> None:
        """See samples.Target; the server's clock is set to ours by what must lie between POST and 202."""
        asked = journal.ids()
        told = {job["id"]: job for account in self._accounts for job in account.jobs()}
        self._shift_seconds = shift(_bounds(told, journal))
        journal.see({job_id: self._row(job) for job_id, job in told.items()}, asked=asked)

    def _row(self, job: dict[str, Any]) -> dict[str, Any]:
        started, finished = moment(job["started"]), moment(job["finished"])
        return {
            **{name: job[name] for name in ("state", "reason", "run", "duration_seconds")},
            "started": None if started is None else started - self._shift_seconds,
            "finished": None if finished is None else finished - self._shift_seconds,
        }

    def seen(self) -> Seen:
        """See samples.Target."""
        queues = self._queues.depths() if self._queues else {}
        if self._pods is None:
            return Seen(queues=queues)
        return Seen(self._pods.instances(), self._pods.usage(), queues)

    def asleep(self) -> bool:
        """See terms.Place; the gateway may have pods that never sleep."""
        return self._pods is None or not self._pods.instances().keys() - {"gateway"}

    def starts(self) -> dict[str, list[float]]:
        """See terms.Place."""
        return self._pods.starts() if self._pods else {}

    def gather(self, evidence: Evidence, began: float) -> None:  # noqa: ARG002 - only mails have moments
        """See terms.Place."""
        if self._queues is not None:
            evidence.queues = self._queues.settled()

    @contextmanager
    def strikes(self, journal: Journal, *, seed: int) -> Iterator[list[Strike]]:
        """See terms.Place."""
        if self._pods is None:
            yield []
            return
        with striking(self._pods.blows(), None, journal, seed=seed) as made:
            yield made

    def nudge(self) -> None:
        """See terms.Place: nobody outside can ask recover for anything."""

    def facts(self) -> dict[str, Any]:
        """See terms.Place."""
        return {"server": self.url, "slots": self.slots, "namespace": self._pods is not None}


def shift(bounds: tuple[float, float]) -> float:
    """How far the server's clock is ahead of ours, in seconds; 0 where it may be the same.

    Args:
        bounds: the least and the most that it can be.
    """
    least, most = bounds
    return 0.0 if least <= 0.0 <= most else (least + most) / 2


def _bounds(told: dict[str, dict[str, Any]], journal: Journal) -> tuple[float, float]:
    """A job was created after its POST was sent, and before its 202 came: so far may the clocks be apart."""
    least, most = float("-inf"), float("inf")
    with journal.lock:
        for record in journal.records:
            created = moment(told[record.id]["created"]) if record.id in told else None
            if created is not None and record.sent is not None and record.accepted is not None:
                least = max(least, created - journal.began - record.accepted)
                most = min(most, created - journal.began - record.sent)
    return least, most
