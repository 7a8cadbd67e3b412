"""A broker inside one process: the one-process run publishes to it, and it posts to the functions over HTTP.

At-least-once while the process lives. What it still holds when the process ends is gone, as with any event: the job
row is the source of truth, and recover publishes again.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from queue import SimpleQueue
from types import MappingProxyType
from typing import Final

from cloudevents.http import CloudEvent

from functions.common import logs
from functions.common.errors import Unavailable
from local.delivery.http import HttpPost
from local.delivery.rules import DEAD_LETTER_PARALLELISM, Delivery, Outcome, Run, limit
from local.delivery.triggers import Destination, Trigger

_NO_CAPS: Final[Mapping[str, int]] = MappingProxyType({})

#: Gets events until there are no more, and says after each that it is done with.
_Worker = Callable[[Callable[[], CloudEvent | None], Callable[[], None]], None]


class MemoryBroker:
    """Keeps a queue per trigger and delivers from it by the dispatcher's rules; a Publisher.

    Args:
        triggers: who gets what.
        address: gives the URL of a destination.
        parallelism: at least 1 for a service; caps what each of its triggers allows.
        timeouts: whether a try ends at its trigger's limit.
    """

    def __init__(
        self,
        *,
        triggers: Sequence[Trigger],
        address: Callable[[Destination], str],
        parallelism: Mapping[str, int] = _NO_CAPS,
        timeouts: bool = True,
    ) -> None:
        self._address = address
        self._timeouts = timeouts
        self._stopping = threading.Event()
        self._queues = {
            trigger.name: _Queue(trigger.name, limit(trigger, parallelism), self._worker(trigger, Delivery.run))
            for trigger in triggers
        }
        self._dead_letters = {
            trigger.name: _Queue(
                f"{trigger.name}-dead", DEAD_LETTER_PARALLELISM, self._worker(trigger, Delivery.run_dead_letter)
            )
            for trigger in triggers
        }
        self._triggers = triggers

    def publish(self, event: CloudEvent) -> None:
        """Take an event for each trigger of its type.

        Raises:
            Unavailable: there is none.
        """
        queues = [self._queues[trigger.name] for trigger in self._triggers if trigger.event_type == event["type"]]
        if not queues:
            raise Unavailable(f"No trigger takes events of type {event['type']}.")
        for queue in queues:
            queue.put(event)

    def close(self) -> None:
        """See Publisher.close; there are none."""

    def start(self) -> None:
        """Begin to deliver, also what was published before."""
        for queue in self._all():
            queue.start()

    def stop(self, timeout_seconds: float) -> None:
        """Stop delivering: waits end at once, requests in flight are left behind when the time is over."""
        deadline = time.monotonic() + timeout_seconds
        self._stopping.set()
        for queue in self._all():
            queue.stop()
        for queue in self._all():
            queue.join(deadline)

    def depth(self) -> int:
        """Count the deliveries that are queued or going on, dead letters among them."""
        return sum(queue.depth() for queue in self._all())

    def _all(self) -> "tuple[_Queue, ...]":
        return (*self._queues.values(), *self._dead_letters.values())

    def _worker(self, trigger: Trigger, run: Run) -> "_Worker":
        def work(events_: Callable[[], CloudEvent | None], done: Callable[[], None]) -> None:
            with closing(HttpPost(timeouts=self._timeouts)) as post:
                delivery = Delivery(
                    address=self._address,
                    post=post,
                    publish=self.publish,
                    bury=lambda letter, failed: self._dead_letters[failed.name].put(letter),
                    wait=self._stopping.wait,
                )
                while (event := events_()) is not None and not self._stopping.is_set():
                    with logs.context(event=event["id"], job=event.get("subject")):
                        if run(delivery, event, trigger) is not Outcome.STOPPED:
                            done()

        return work


class _Queue:
    """Events of one kind, and the threads that deliver them: none before there is work for it."""

    def __init__(self, name: str, limit: int, work: _Worker) -> None:
        self._name = name
        self._limit = limit
        self._work = work
        self._events: SimpleQueue[CloudEvent | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._started = False
        self._depth = 0
        self._workers: list[threading.Thread] = []

    def put(self, event: CloudEvent) -> None:
        with self._lock:
            self._depth += 1
            self._events.put(event)
            self._hire()

    def start(self) -> None:
        with self._lock:
            self._started = True
            self._hire()

    def stop(self) -> None:
        with self._lock:
            self._started = False
            for _ in self._workers:
                self._events.put(None)

    def join(self, deadline: float) -> None:
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def depth(self) -> int:
        with self._lock:
            return self._depth

    def _hire(self) -> None:
        while self._started and len(self._workers) < min(self._limit, self._depth):
            name = f"{self._name}-{len(self._workers)}"
            worker = threading.Thread(target=self._work, args=(self._events.get, self._done), name=name, daemon=True)
            self._workers.append(worker)
            worker.start()

    def _done(self) -> None:
        with self._lock:
            self._depth -= 1
