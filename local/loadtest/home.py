"""The one-process run and `--services` as a target: what its rows, processes and queues show."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from functions.common.config import load
from local.loadtest.evidence import Evidence, Strike
from local.loadtest.journal import Journal
from local.loadtest.queues import Queues
from local.loadtest.samples import Seen
from local.loadtest.server import Mail, OwnServer
from local.loadtest.stores import keys


class OwnTarget:
    """A server of the burst's own, looked at from behind.

    Args:
        server: the server.
        queues: its broker's; None where the broker is inside the server.
    """

    def __init__(self, server: OwnServer, queues: Queues | None = None) -> None:
        self.server, self.url = server, server.url
        self._rows = server.rows
        self._queues = queues
        #: What cannot be seen of it.
        self.unseen: tuple[str, ...] = ()
        self.slots = load(server.settings).convert_slots
        #: Which instances convert, and whether its functions sleep.
        self.converters = "convert" if server.services else "server"
        self.sleeps = server.idle_seconds is not None
        self.sees_mails = self.is_here = True

    def look(self, journal: Journal) -> None:
        """See samples.Target."""
        journal.see(self._rows.seen())

    def seen(self) -> Seen:
        """See samples.Target."""
        usage = self.server.usage()
        instances = {name: {"Running": each.instances} for name, each in usage.items()}
        return Seen(instances, usage, self._queues.depths() if self._queues else {})

    def gather(self, evidence: Evidence, began: float) -> None:
        """Add what lies behind the server, once nothing runs any more.

        Args:
            evidence: takes it.
            began: when the burst did, in seconds since 1970.
        """
        evidence.rows = self._rows.all()
        unsent = [f"the mail of {job_id} is owed" for job_id in self._rows.unsent()]
        evidence.busy = [*self._rows.busy(), *unsent]
        evidence.dead_letters = self._rows.dead_letters()
        evidence.mails = [Mail(each.job_id, each.run, each.outcome, each.at - began) for each in self.server.mails()]
        evidence.blobs = keys(self.server.settings["BLOBS_URL"])
        strange = [f"mail/{name}" for name in self.server.strange_mails()]
        evidence.litter = [*self.server.leftovers(), *strange]
        if self._queues is not None:
            evidence.queues = self._queues.settled()

    def asleep(self) -> bool:
        """See burst.Place; the gateway and the broker's programs never sleep."""
        return not self.server.programs().keys() - {"ingress", "dispatcher"}

    def starts(self) -> dict[str, list[float]]:
        """See burst.Place."""
        return self.server.waits_for_starts()

    @contextmanager
    def strikes(self, journal: Journal, *, seed: int) -> Iterator[list[Strike]]:  # noqa: ARG002 - faults come next
        """See burst.Place."""
        yield []

    def facts(self) -> dict[str, Any]:
        """See burst.Place."""
        what = "a process per function" if self.server.services else "one process"
        return {"server": what, "slots": self.slots, "scale_to_zero_seconds": self.server.idle_seconds}
