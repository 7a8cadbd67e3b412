"""The dispatcher over RabbitMQ: a queue per trigger, delivered by the rules, acknowledged when that is done.

As eventing-rabbitmq's, but for what loses events there: a queue hands over no more messages than are in delivery, so
that none waits beside a slow one until RabbitMQ's consumer timeout, and dead letters are confirmed before the ack.
"""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import pika
from cloudevents.http import CloudEvent
from pika.channel import Channel
from pika.exceptions import AMQPError

from functions.common import events, logs
from functions.common.amqp import AmqpPublisher, Connection, from_message
from functions.common.crash import crash_point
from local.delivery.http import HttpPost
from local.delivery.rules import DEAD_LETTER_PARALLELISM, Answer, Delivery, Outcome, Run, limit
from local.delivery.topology import Topology
from local.delivery.triggers import Destination, Source, Trigger

_NO_CAPS: Final[Mapping[str, int]] = MappingProxyType({})
_log = logging.getLogger("dispatcher")


class AmqpDispatcher:
    """Delivers what the broker's queues hold.

    Args:
        url: address of RabbitMQ.
        topology: the queues; they are made wherever they are missing, also after RabbitMQ lost its data.
        address: gives the URL of a destination.
        parallelism: at least 1 for a service; caps what each of its triggers allows.
        crash_at: fault tests' crash point.
    """

    def __init__(
        self,
        url: str,
        topology: Topology,
        *,
        address: Callable[[Destination], str],
        parallelism: Mapping[str, int] = _NO_CAPS,
        crash_at: str = "",
    ) -> None:
        self._url = url
        self._topology = topology
        self._address = address
        self._crash_at = crash_at
        self._publisher = AmqpPublisher(url, exchange=topology.exchange)
        self._stopping = threading.Event()
        self._posts = _Posts()
        self._in_delivery = 0
        self._lock = threading.Lock()
        self._consumers = [
            consumer
            for trigger in topology.triggers
            for consumer in (
                _Consumer(topology.queue(trigger), limit(trigger, parallelism), self._worker(trigger, Delivery.run)),
                _Consumer(
                    topology.dead_letter_queue(trigger),
                    DEAD_LETTER_PARALLELISM,
                    self._worker(trigger, Delivery.run_dead_letter),
                ),
            )
        ]
        self._connection = Connection(
            url, opened=self._opened, closed=lambda: None, before=lambda: topology.declare(url)
        )

    def start(self) -> None:
        """Declare the topology and begin to deliver, now or as soon as RabbitMQ is there.

        Raises:
            SettingError: something else has one of the topology's names.
        """
        try:
            self._topology.declare(self._url)
        except (AMQPError, OSError) as error:
            _log.warning("RabbitMQ is not there yet (%s)", error or type(error).__name__)
        self._connection.start()

    def stop(self, timeout_seconds: float) -> None:
        """Stop delivering: waits end at once; what is in flight is delivered again by whoever comes next."""
        self._stopping.set()
        self._connection.stop(timeout_seconds)
        for consumer in self._consumers:
            consumer.stop()
        self._posts.close()
        self._publisher.close(timeout_seconds)

    def in_delivery(self) -> int:
        """Count the events that were taken and are not done with."""
        with self._lock:
            return self._in_delivery

    def _opened(self, connection: pika.SelectConnection) -> None:
        for consumer in self._consumers:
            consumer.consume(connection, self._connection)

    def _count(self, change: int) -> None:
        with self._lock:
            self._in_delivery += change

    def _worker(self, trigger: Trigger, run: Run) -> Callable[[CloudEvent], Outcome]:
        def post(url: str, event: CloudEvent, timeout_seconds: float) -> Answer:
            answer = self._posts(url, event, timeout_seconds)
            crash_point("delivered-not-acked", self._crash_at)
            return answer

        def publish(event: CloudEvent) -> None:
            self._publisher.publish(event)
            crash_point("replied-not-acked", self._crash_at)

        def bury(letter: CloudEvent, failed: Trigger) -> None:
            self._publisher.publish_to(self._topology.dead_letter_exchange(failed), letter)

        delivery = Delivery(address=self._address, post=post, publish=publish, bury=bury, wait=self._stopping.wait)

        def work(event: CloudEvent) -> Outcome:
            self._count(+1)
            try:
                with logs.context(event=event["id"], job=event.get("subject")):
                    return run(delivery, event, trigger)
            finally:
                self._count(-1)

        return work


class AmqpSource:
    """Posts what a queue of somebody else's holds, as a RabbitmqSource does; what fails is held, not dropped.

    Args:
        url: address of their RabbitMQ.
        source: which queue, and whom it is posted to.
        address: gives the URL of a destination.
    """

    def __init__(self, url: str, source: Source, *, address: Callable[[Destination], str]) -> None:
        self._source = source
        self._stopping = threading.Event()
        self._posts = _Posts()
        delivery = Delivery(
            address=address, post=self._posts, publish=_nothing, bury=_nothing, wait=self._stopping.wait
        )

        def work(event: CloudEvent) -> Outcome:
            with logs.context(event=event["id"]):
                return delivery.run_source(event, source)

        self._consumer = _Consumer(source.queue, source.parallelism, work, read=self._event)
        self._connection = Connection(
            url, opened=lambda connection: self._consumer.consume(connection, self._connection), closed=lambda: None
        )

    def start(self) -> None:
        """Begin to consume, now or as soon as RabbitMQ and the queue are there."""
        self._connection.start()

    def stop(self, timeout_seconds: float) -> None:
        """Stop: what is in flight comes again."""
        self._stopping.set()
        self._connection.stop(timeout_seconds)
        self._consumer.stop()
        self._posts.close()

    def _event(self, properties: pika.BasicProperties, body: bytes) -> CloudEvent:
        """The event of a message that is none itself (eventing-rabbitmq, pkg/adapter)."""
        attributes = {
            "type": "dev.knative.rabbitmq.event",
            "source": f"/apis/v1/namespaces/default/rabbitmqsources/{self._source.name}#{self._source.queue}",
            "id": _printable(properties.message_id) or str(uuid.uuid4()),
        }
        if _printable(properties.content_type):
            attributes["datacontenttype"] = properties.content_type
        return CloudEvent(attributes, body)


def _printable(text: str | None) -> str | None:
    """What somebody else's program gave, if a header can hold it."""
    return text if text and text.isascii() and text.isprintable() else None


def _nothing(*_: object) -> None:
    """What a source has no use for."""


class _Posts:
    """Posts events over HTTP from any thread, each with connections of its own; see rules.Post."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._all: list[HttpPost] = []

    def __call__(self, url: str, event: CloudEvent, timeout_seconds: float) -> Answer:
        if not hasattr(self._mine, "post"):
            self._mine.post = HttpPost()
            self._all.append(self._mine.post)
        answer: Answer = self._mine.post(url, event, timeout_seconds)
        return answer

    def close(self) -> None:
        for post in self._all:
            post.close()


def _from_message(properties: pika.BasicProperties, body: bytes) -> CloudEvent:
    return from_message(properties.headers, body)


class _Consumer:
    """One queue, and the threads that deliver from it: none before there is work for them."""

    def __init__(
        self,
        queue: str,
        limit: int,
        work: Callable[[CloudEvent], Outcome],
        *,
        read: Callable[[pika.BasicProperties, bytes], CloudEvent] = _from_message,
    ) -> None:
        self._queue = queue
        self._limit = limit
        self._work = work
        self._read = read
        self._pool = ThreadPoolExecutor(limit, thread_name_prefix=queue)

    def consume(self, connection: pika.SelectConnection, calls: Connection) -> None:
        """Begin to consume on a new connection; called in its thread."""

        def opened(channel: Channel) -> None:
            channel.add_on_close_callback(closed)
            # The queue was deleted under it.
            channel.add_on_cancel_callback(lambda _frame: channel.close())
            channel.basic_qos(
                prefetch_count=self._limit,
                callback=lambda _frame: channel.basic_consume(self._queue, partial(self._got, calls)) and None,
            )

        def closed(_channel: Channel, reason: Exception) -> None:
            # A new connection declares everything again.
            if connection.is_open:
                _log.warning("%s: the channel was closed (%s)", self._queue, reason)
                connection.close()

        connection.channel(on_open_callback=opened)

    def stop(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _got(
        self, calls: Connection, channel: Channel, method: Any, properties: pika.BasicProperties, body: bytes
    ) -> None:
        try:
            event = self._read(properties, body)
        except events.MalformedEvent as error:
            # It goes to the dead-letter queue, and from there nowhere.
            _log.error("%s holds what is no event: %s", self._queue, error)
            channel.basic_reject(method.delivery_tag, requeue=False)
            return
        self._pool.submit(self._deliver, calls, channel, method.delivery_tag, event)

    def _deliver(self, calls: Connection, channel: Channel, tag: int, event: CloudEvent) -> None:
        if not channel.is_open:
            # It waited here while its connection was lost, and comes once more.
            return
        outcome = self._work(event)
        if outcome is Outcome.STOPPED:
            return

        def settle() -> None:
            if not channel.is_open:
                return
            if outcome is Outcome.REFUSED:
                channel.basic_reject(tag, requeue=False)
            else:
                channel.basic_ack(tag)

        # On a connection that was lost meanwhile it counts for nothing, and the event comes once more.
        calls.call(settle)
