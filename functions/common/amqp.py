"""Events over AMQP 0-9-1: one connection that comes back by itself, and the publisher on it.

The connection's own thread does all of its I/O, heartbeats included, as pika wants it; others hand it calls.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import pika
from cloudevents.http import CloudEvent
from pika.channel import Channel
from pika.exceptions import AMQPError

from functions.common import events
from functions.common.errors import SettingError, Unavailable

#: The exchange of the broker in `eventing/broker.yaml`, as `local.delivery.topology` derives its name.
EXCHANGE: Final = "b.default.video2mp3"
#: Waits before a lost connection is tried again, the last of them for ever.
_WAITS_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
#: A connection that lived so long was a good one; one that ends at once, for want of a queue, is not.
_LASTING_SECONDS: Final = 10.0
_HEARTBEAT_SECONDS: Final = 30
_CONNECT_SECONDS: Final = 5.0
_PUBLISH_SECONDS: Final = 10.0
_PREFIX: Final = "ce-"
#: CloudEvents attributes travel under their own names, as eventing-rabbitmq has them, and not as `cloudEvents:id`.
_CONTENT_TYPE: Final = "content-type"

_log = logging.getLogger("amqp")


def parameters(url: str) -> pika.URLParameters:
    """How RabbitMQ is connected to.

    Raises:
        SettingError: the URL is none; the message does not repeat it.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
            raise ValueError
        made = pika.URLParameters(url)
    except (ValueError, TypeError, KeyError, AssertionError, SyntaxError):
        raise SettingError("this is no AMQP URL of the form amqp://user:password@host:5672/vhost") from None
    made.heartbeat = _HEARTBEAT_SECONDS
    made.connection_attempts = 1
    made.socket_timeout = made.stack_timeout = made.blocked_connection_timeout = _CONNECT_SECONDS
    made.client_properties = {"connection_name": "video2mp3"}
    return made


def to_message(event: CloudEvent) -> tuple[bytes, pika.BasicProperties]:
    """Put an event into a persistent message as eventing-rabbitmq does: attributes as headers, data as the body."""
    headers, body = events.encode(event)
    lower = {name.lower(): value for name, value in headers.items()}
    attributes = {name.removeprefix(_PREFIX): str(value) for name, value in lower.items() if name.startswith(_PREFIX)}
    content_type = lower.get(_CONTENT_TYPE, "")
    if content_type:
        attributes[_CONTENT_TYPE] = content_type
    return body, pika.BasicProperties(
        headers=attributes,
        content_type=content_type or None,
        delivery_mode=pika.DeliveryMode.Persistent.value,
        message_id=uuid.uuid4().hex,
    )


def from_message(given: Mapping[str, Any] | None, body: bytes) -> CloudEvent:
    """Take an event out of a message.

    Raises:
        events.MalformedEvent: there is none in it.
    """
    # What RabbitMQ and clients add of their own (x-death, x-delivery-count) is no attribute.
    ours = {name: value for name, value in (given or {}).items() if not name.startswith("x-")}
    content_type = str(ours.pop(_CONTENT_TYPE, ""))
    attributes = {f"{_PREFIX}{name}": str(value) for name, value in ours.items()}
    headers = {**attributes, **({"Content-Type": content_type} if content_type else {})}
    return events.check_portable(events.read(headers, body))


class Unroutable(Unavailable):
    """No queue takes the message."""


class Connection:
    """A connection that is opened again, with growing waits, whenever it is lost.

    Args:
        url: address of RabbitMQ.
        opened: told of each new connection, in the connection's thread.
        closed: told that it was lost, in the same thread.
        before: called before each attempt to connect; what it raises is a failed attempt.
    """

    def __init__(
        self,
        url: str,
        *,
        opened: Callable[[pika.SelectConnection], None],
        closed: Callable[[], None],
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._parameters = parameters(url)
        self._opened = opened
        self._closed = closed
        self._before = before
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._live: pika.SelectConnection | None = None
        self._tries = 0
        self._opened_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="amqp", daemon=True)

    def start(self) -> None:
        """Begin to connect; call it once."""
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Close the connection and stay away."""
        self._stopping.set()
        self.call(self._close)
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def call(self, function: Callable[[], None]) -> bool:
        """Have a function called in the connection's thread; False if there is no connection."""
        with self._lock:
            if self._live is None:
                return False
            self._live.ioloop.add_callback_threadsafe(function)
            return True

    def _run(self) -> None:
        while not self._stopping.is_set():
            error = self._attempt()
            if self._stopping.is_set():
                return
            if self._opened_at is not None and time.monotonic() - self._opened_at > _LASTING_SECONDS:
                self._tries = 0
            self._opened_at = None
            wait = _WAITS_SECONDS[min(self._tries, len(_WAITS_SECONDS) - 1)]
            self._tries += 1
            _log.warning("RabbitMQ is away (%s); connecting again in %g s", error, wait)
            self._stopping.wait(wait)

    def _attempt(self) -> object:
        """Live through one connection, from its attempt to its end; why it ended."""
        ended: list[object] = []
        connection: pika.SelectConnection | None = None

        def over(_connection: pika.SelectConnection, reason: object) -> None:
            ended.append(reason if str(reason) else type(reason).__name__)
            _connection.ioloop.stop()

        try:
            self._before()
            connection = pika.SelectConnection(
                self._parameters, on_open_callback=self._open, on_open_error_callback=over, on_close_callback=over
            )
            connection.ioloop.start()
        except (AMQPError, OSError, SettingError) as error:
            ended.append(error if str(error) else type(error).__name__)
        except Exception as error:  # noqa: BLE001 - without this thread nothing would ever be sent or taken again
            _log.exception("the connection to RabbitMQ broke off")
            ended.append(type(error).__name__)
        finally:
            with self._lock:
                was_open, self._live = self._live is not None, None
            if was_open:
                self._closed()
            if connection is not None:
                connection.ioloop.close()
        return ended[0] if ended else "closed"

    def _open(self, connection: pika.SelectConnection) -> None:
        self._opened_at = time.monotonic()
        with self._lock:
            self._live = connection
        if self._stopping.is_set():
            self._close()
        else:
            self._opened(connection)

    def _close(self) -> None:
        live = self._live
        if live is not None and live.is_open:
            live.close()


class AmqpPublisher:
    """Publishes to the broker's exchange, and knows that RabbitMQ has what it published.

    Each message is persistent, mandatory and confirmed; many may be on their way at once. Connects when first used.

    Args:
        url: address of RabbitMQ.
        exchange: name of the exchange, which must exist.
    """

    def __init__(self, url: str, *, exchange: str = EXCHANGE) -> None:
        self._exchange = exchange
        self._connection = Connection(url, opened=self._opened, closed=self._closed)
        self._lock = threading.Lock()
        self._started = False
        self._ready = threading.Event()
        self._channel: Channel | None = None
        # Of the present channel: what is not confirmed yet, by delivery tag, with the id of the message.
        self._waiting: dict[int, tuple[str, Future[None]]] = {}
        self._sent = 0

    def publish(self, event: CloudEvent) -> None:
        """See Publisher.publish."""
        self.publish_to(self._exchange, event)

    def publish_to(self, exchange: str, event: CloudEvent) -> None:
        """Publish to another exchange.

        Raises:
            Unroutable: no queue takes it.
            Unavailable: it may not have arrived.
        """
        self.send(exchange, "", *to_message(event))

    def send(self, exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties) -> None:
        """Publish any message, which needs a `message_id` of its own.

        Raises:
            Unroutable: no queue takes it.
            Unavailable: it may not have arrived.
        """
        done: Future[None] = Future()
        with self._lock:
            if not self._started:
                self._started = True
                self._connection.start()
        if not (
            self._ready.wait(_CONNECT_SECONDS)
            and self._connection.call(partial(self._send, done, exchange, routing_key, body, properties))
        ):
            raise Unavailable("RabbitMQ cannot be reached.", retry_after_seconds=5)
        try:
            done.result(_PUBLISH_SECONDS)
        except FutureTimeout as error:
            raise Unavailable("RabbitMQ does not confirm the message.", retry_after_seconds=5) from error

    def close(self, timeout_seconds: float = 5.0) -> None:
        """Close the connection."""
        if self._started:
            self._connection.stop(timeout_seconds)

    # All of the following happens in the connection's thread.

    def _opened(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Channel) -> None:
        self._channel, self._sent = channel, 0
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _frame: self._ready.set())

    def _channel_closed(self, channel: Channel, reason: Exception) -> None:
        # For instance by an exchange that is missing: the next publication finds a new channel.
        self._fail(reason)
        if not channel.connection.is_closing and not channel.connection.is_closed:
            self._opened(channel.connection)

    def _closed(self) -> None:
        self._fail(ConnectionError("the connection was lost"))

    def _fail(self, reason: Exception) -> None:
        self._ready.clear()
        self._channel = None
        waiting, self._waiting = self._waiting, {}
        for _, future in waiting.values():
            _refuse(future, reason)

    def _send(
        self, done: "Future[None]", exchange: str, routing_key: str, body: bytes, properties: pika.BasicProperties
    ) -> None:
        if self._channel is None or not self._channel.is_open:
            _refuse(done, ConnectionError("the channel was lost"))
            return
        try:
            self._channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)
        except Exception as error:  # noqa: BLE001 - one message that cannot be encoded must not take the others with it
            _refuse(done, error)
            return
        self._sent += 1
        self._waiting[self._sent] = (str(properties.message_id), done)

    def _returned(self, _channel: Channel, method: Any, properties: pika.BasicProperties, _body: bytes) -> None:
        # What cannot be routed is returned before it is confirmed.
        for message_id, future in self._waiting.values():
            if message_id == properties.message_id and not future.done():
                future.set_exception(Unroutable(f"No queue takes the message ({method.reply_text})."))

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        tags = (
            [tag for tag in self._waiting if tag <= method.delivery_tag] if method.multiple else [method.delivery_tag]
        )
        for tag in tags:
            _, future = self._waiting.pop(tag, ("", None))
            if future is None or future.done():
                continue
            if isinstance(method, pika.spec.Basic.Ack):
                future.set_result(None)
            else:
                _refuse(future, ConnectionError("RabbitMQ did not take it"))


def _refuse(future: "Future[None]", reason: Exception) -> None:
    if not future.done():
        error = Unavailable(f"The message could not be handed to RabbitMQ: {reason}.", retry_after_seconds=5)
        error.__cause__ = reason
        future.set_exception(error)
