"""A broker inside one process: the one-process run publishes to it, and it posts to the functions over HTTP.

At-least-once while the process lives. What it still holds when the process ends is gone, as with any event: the job
row is the source of truth, and recover publishes again.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from types import MappingProxyType
from typing import Final

import requests
from cloudevents.http import CloudEvent

from functions.common import events, logs
from local.delivery.rules import Answer, Delivery, NoAnswer, Outcome
from local.delivery.triggers import Destination, Trigger

_NO_CAPS: Final[Mapping[str, int]] = MappingProxyType({})

_log = logging.getLogger("broker")


class HttpPost:
    """Posts events over HTTP, for one thread; see rules.Post.

    Args:
        timeouts: whether to keep the limits that are given.
    """

    def __init__(self, *, timeouts: bool = True) -> None:
        self._timeouts = timeouts
        self._session = requests.Session()
        # Functions are neighbours: no proxy and no .netrc stands between.
        self._session.trust_env = False

    def __call__(self, url: str, event: CloudEvent, timeout_seconds: float) -> Answer:
        """See rules.Post."""
        headers, body = events.encode(event)
        limit = timeout_seconds if self._timeouts else None
        try:
            answer = self._session.post(url, data=body, headers=headers, timeout=limit, allow_redirects=False)
        except requests.RequestException as error:
            raise NoAnswer(type(error).__name__) from error
        return Answer(answer.status_code, answer.headers, answer.content)

    def close(self) -> None:
        """Close the connections that are kept alive."""
        self._session.close()


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
        self._lanes = [
            _Lane(trigger, _limit(trigger, parallelism), self._connect, self._stopping) for trigger in triggers
        ]

    def publish(self, event: CloudEvent) -> None:
        """Take an event for each trigger of its type; without one it is dropped, as RabbitMQ drops it."""
        lanes = [lane for lane in self._lanes if lane.trigger.event_type == event["type"]]
        if not lanes:
            _log.warning("no trigger takes %s: %s is dropped", event["type"], event["id"])
        for lane in lanes:
            lane.put(event)

    def start(self) -> None:
        """Begin to deliver, also what was published before."""
        for lane in self._lanes:
            lane.start()

    def stop(self, timeout_seconds: float) -> None:
        """Stop delivering: waits end at once, requests in flight are left behind when the time is over."""
        deadline = time.monotonic() + timeout_seconds
        self._stopping.set()
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join(deadline)

    def depth(self) -> int:
        """Count the deliveries that are queued or going on."""
        return sum(lane.depth() for lane in self._lanes)

    def _connect(self) -> tuple[Delivery, HttpPost]:
        post = HttpPost(timeouts=self._timeouts)
        return Delivery(address=self._address, post=post, publish=self.publish, wait=self._stopping.wait), post


def _limit(trigger: Trigger, caps: Mapping[str, int]) -> int:
    return min(trigger.parallelism, caps.get(trigger.subscriber.service, trigger.parallelism))


class _Lane:
    """The queue of one trigger, and the threads that deliver from it: none before there is work for it."""

    def __init__(
        self,
        trigger: Trigger,
        limit: int,
        connect: Callable[[], tuple[Delivery, HttpPost]],
        stopping: threading.Event,
    ) -> None:
        self.trigger = trigger
        self._limit = limit
        self._connect = connect
        self._stopping = stopping
        self._queue: SimpleQueue[CloudEvent | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._started = False
        self._depth = 0
        self._workers: list[threading.Thread] = []

    def put(self, event: CloudEvent) -> None:
        with self._lock:
            self._depth += 1
            self._queue.put(event)
            self._hire()

    def start(self) -> None:
        with self._lock:
            self._started = True
            self._hire()

    def stop(self) -> None:
        with self._lock:
            self._started = False
            for _ in self._workers:
                self._queue.put(None)

    def join(self, deadline: float) -> None:
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def depth(self) -> int:
        with self._lock:
            return self._depth

    def _hire(self) -> None:
        while self._started and len(self._workers) < min(self._limit, self._depth):
            name = f"{self.trigger.name}-{len(self._workers)}"
            worker = threading.Thread(target=self._work, name=name, daemon=True)
            self._workers.append(worker)
            worker.start()

    def _work(self) -> None:
        delivery, post = self._connect()
        try:
            while (event := self._queue.get()) is not None and not self._stopping.is_set():
                self._deliver(event, delivery)
        finally:
            post.close()

    def _deliver(self, event: CloudEvent, delivery: Delivery) -> None:
        outcome = Outcome.DROPPED
        try:
            with logs.context(event=event["id"], job=event.get("subject")):
                outcome = delivery.run(event, self.trigger)
        except Exception:  # noqa: BLE001 - one event must not end the worker of all that follow
            _log.exception("delivering %s failed: the event is gone", event["id"])
        if outcome is not Outcome.STOPPED:
            with self._lock:
                self._depth -= 1
