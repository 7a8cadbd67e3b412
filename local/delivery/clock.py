"""What Knative's PingSource does, inside one process: posts an event by a cron schedule."""

import json
import logging
import threading
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Final

from cloudevents.http import CloudEvent
from cronsim import CronSim

from local.delivery.http import HttpPost
from local.delivery.rules import Stopping, Verdict, ask, classify, waits_seconds
from local.delivery.triggers import Destination, Ping

#: Knative's own (eventing, pkg/adapter/mtping/runner.go): about 3 s in all; after that the next ping must do.
_WAITS_SECONDS: Final = waits_seconds("exponential", 0.05, 5)
#: Limit of one try: above the 90 s that recover's own Service is given.
TIMEOUT_SECONDS: Final = 120.0

_log = logging.getLogger("clock")


def _utc() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Posts a ping on its schedule, from a thread of its own.

    Args:
        ping: what, when and to whom.
        address: gives the URL of a destination.
        now: tells the time, with its zone.
    """

    def __init__(
        self, *, ping: Ping, address: Callable[[Destination], str], now: Callable[[], datetime] = _utc
    ) -> None:
        self._ping = ping
        self._address = address
        self._now = now
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)

    def start(self) -> None:
        """Begin to keep the schedule; call it once."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 1.0) -> None:
        """End waiting at once; a request in flight is left behind when the time is over."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def tick(self) -> bool:
        """Post one ping now; return whether it was taken."""
        event = self._event()
        url = self._address(self._ping.destination)
        try:
            with closing(HttpPost()) as post:
                answer = ask(lambda: post(url, event, TIMEOUT_SECONDS), _WAITS_SECONDS, wait=self._stopping.wait)
        except Stopping:
            return False
        taken = answer is not None and classify(answer.status) is Verdict.DONE
        if not taken:
            _log.error("ping %s was not taken (%s)", self._ping.name, answer.status if answer else "no answer")
        return taken

    def _event(self) -> CloudEvent:
        ping = self._ping
        attributes = {
            "type": "dev.knative.sources.ping",
            "source": f"/apis/v1/namespaces/default/pingsources/{ping.name}",
            "id": str(uuid.uuid4()),
            "datacontenttype": ping.content_type,
        }
        return CloudEvent(attributes, json.loads(ping.data) if ping.content_type == "application/json" else ping.data)

    def _run(self) -> None:
        due = self._now()
        while True:
            # After `due` too: a wait that ended early must not give the same ping twice.
            due = next(CronSim(self._ping.schedule, max(due, self._now())))
            if self._stopping.wait((due - self._now()).total_seconds()):
                return
            self.tick()
