"""The one-process run and `--services` as a target: what its rows, processes and queues show."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import psutil
import requests

from functions.common.config import load
from local.loadtest import snapshot
from local.loadtest.api import Account
from local.loadtest.evidence import Evidence, Strike
from local.loadtest.faults import of_one_process, of_services, striking
from local.loadtest.journal import Journal
from local.loadtest.processes import Beside
from local.loadtest.rooms import Rooms
from local.loadtest.samples import Seen
from local.loadtest.server import Mail, OwnServer
from local.loadtest.stores import keys

#: One sweep takes no longer.
_SWEEP_SECONDS: Final = 90.0
_AGAIN_SECONDS: Final = 0.5


class OwnTarget:
    """A server of the burst's own, looked at from behind.

    Args:
        server: the server.
        rooms: where it keeps what it has, with a process per function; None for its own folder.
    """

    def __init__(self, server: OwnServer, rooms: Rooms | None = None) -> None:
        self.server, self.url = server, server.url
        self._rows = server.rows
        self._rooms, self._beside = rooms, Beside()
        self._queues = rooms.queues if rooms else None
        self.host = ""
        self.slots = load(server.settings).convert_slots
        #: Which instances convert, and whether its functions sleep.
        self.converters = "convert" if server.services else "server"
        self.sleeps = server.idle_seconds is not None
        self.sees_mails = self.is_here = True

    @property
    def unseen(self) -> tuple[str, ...]:
        """See terms.Place."""
        return () if self._rooms else ("queued events: the broker is inside the server, and its rows tell as much",)

    def use(self, accounts: Sequence[Account]) -> None:  # noqa: ARG002 - the rows tell of every account
        """See terms.Place."""
        self.server.begin()

    def look(self, journal: Journal) -> None:
        """See samples.Target."""
        asked = journal.ids()
        journal.see(self._rows.seen(), asked=asked)

    def seen(self) -> Seen:
        """See samples.Target."""
        there = snapshot.take()
        usage = self.server.usage(there)
        instances = {name: {"Running": each.instances} for name, each in usage.items()}
        depths: dict[str, int] = {}
        if self._queues is not None:
            # A broker that was killed is away for a while.
            with suppress(requests.RequestException):
                depths = self._queues.depths()
        return Seen(instances, usage, depths, self._beside.look(self._rooms.servers(), there) if self._rooms else 0.0)

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
        evidence.blobs = keys(self.server.settings)
        strange = [f"mail/{name}" for name in self.server.strange_mails()]
        evidence.litter = [*self.server.leftovers(), *strange]
        if self._queues is not None:
            evidence.queues = self._queues.settled()

    def asleep(self) -> bool:
        """See terms.Place; the gateway and the broker's programs never sleep."""
        return not self.server.programs().keys() - {"ingress", "dispatcher"}

    def starts(self) -> dict[str, list[float]]:
        """See terms.Place."""
        return self.server.waits_for_starts()

    @contextmanager
    def strikes(self, journal: Journal, *, seed: int) -> Iterator[list[Strike]]:
        """See terms.Place."""
        blows = of_services(self.server, self._rooms) if self._rooms else of_one_process(self.server)
        with striking(blows, self._rows, journal, seed=seed) as made:
            yield made
        self._sweep_until_tidy()

    def nudge(self) -> None:
        """See terms.Place: with a process per function, have recover do what it does every five minutes."""
        recover = self.server.programs().get("recover")
        if recover is not None:
            with suppress(requests.RequestException, psutil.Error):
                port = recover.environ()["PORT"]
                requests.post(f"http://127.0.0.1:{port}/", json={}, timeout=_SWEEP_SECONDS)

    def _sweep_until_tidy(self) -> None:
        """Have what earlier attempts left be removed, as time would."""
        if self._rooms is None:
            # Its start sweeps, and nobody can ask for it otherwise.
            self.server.stop()
            self.server.start()
        ends = time.monotonic() + _SWEEP_SECONDS
        while self._rows.unswept() and time.monotonic() < ends:
            self.nudge()
            time.sleep(_AGAIN_SECONDS)

    def facts(self) -> dict[str, Any]:
        """See terms.Place."""
        what = "a process per function" if self.server.services else "one process"
        return {"server": what, "slots": self.slots, "scale_to_zero_seconds": self.server.idle_seconds}
