"""Publishing to the other system's RabbitMQ, by pika."""

import logging
from typing import Any, Final

import pika
from pika.exceptions import NackError

from functions.common.amqp import parameters
from functions.common.errors import SettingError, Unavailable

#: Limit of one publication, from connecting to RabbitMQ's confirmation.
LIMIT_SECONDS: Final = 20
# A line for each step of a connection is too many.
logging.getLogger("pika").setLevel(logging.WARNING)


class Queue:
    """A queue that messages are put into; each publication has a connection of its own.

    Args:
        url: of the RabbitMQ, `amqp://` or `amqps://`.
        name: the queue.

    Raises:
        SettingError: the URL is none; the message does not repeat it.
    """

    def __init__(self, url: str, name: str) -> None:
        try:
            self._parameters = parameters(url)
        except SettingError as error:
            raise SettingError(f"BRIDGE_AMQP_URL: {error}") from error
        self._name = name

    def publish(self, body: bytes) -> None:
        """Put a message into the queue; on return RabbitMQ has it and keeps it.

        The queue is the other system's, which may have given it any properties. Only where there is none it is made,
        as that system makes it.

        Raises:
            Unavailable: the message may not have arrived.
        """
        error = _Publication(self._parameters, self._name, body).run()
        if error is not None:
            raise Unavailable("The other system's RabbitMQ did not take the message.") from error


class _Publication:
    """One message on one connection, under one time limit.

    pika's blocking connection would wait for a confirmation for as long as the server is alive.
    """

    def __init__(self, parameters: "pika.URLParameters", queue: str, body: bytes) -> None:
        self._queue = queue
        self._body = body
        self._error: BaseException | None = TimeoutError(f"RabbitMQ did not confirm it within {LIMIT_SECONDS} s")
        self._returned = False
        self._connection: Any = pika.SelectConnection(
            parameters,
            on_open_callback=self._opened,
            on_open_error_callback=lambda _connection, error: self._end(error),
            on_close_callback=lambda _connection, error: self._end(error),
        )
        self._channel: Any = None
        self._over = False

    def run(self) -> BaseException | None:
        """Do it; what went wrong, or None."""
        loop = self._connection.ioloop
        loop.call_later(LIMIT_SECONDS, loop.stop)
        try:
            loop.start()
        finally:
            loop.close()
        return self._error

    def _opened(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(lambda _channel, error: self._end(error))
        channel.add_on_return_callback(self._unroutable)
        channel.confirm_delivery(self._confirmed, callback=self._publish)

    def _publish(self, _frame: Any) -> None:
        self._returned = False
        self._channel.basic_publish(
            exchange="",
            routing_key=self._queue,
            body=self._body,
            properties=pika.BasicProperties(delivery_mode=2, content_type="application/json"),
            mandatory=True,
        )

    def _unroutable(self, *_: Any) -> None:
        self._returned = True

    def _confirmed(self, frame: Any) -> None:
        if self._returned:
            # What cannot be routed is returned before it is confirmed. The answer may come, so this is the second try.
            self._channel.queue_declare(self._queue, durable=True, callback=self._publish)
        elif isinstance(frame.method, pika.spec.Basic.Nack):
            self._end(NackError([]))
        else:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        """Close the connection, and the loop with it."""
        if not self._over:
            self._over = True
            self._error = error
        if self._connection.is_open:
            self._connection.close()
        elif self._connection.is_closed:
            self._connection.ioloop.stop()
