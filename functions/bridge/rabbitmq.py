"""Publishing to the other system's RabbitMQ."""

import uuid
from contextlib import closing

import pika
from pika.exceptions import AMQPError

from functions.common.amqp import AmqpPublisher, Unroutable, parameters
from functions.common.errors import SettingError, Unavailable


class Queue:
    """A queue that messages are put into; each publication has a connection of its own.

    Args:
        url: of the RabbitMQ, `amqp://` or `amqps://`.
        name: the queue.

    Raises:
        SettingError: the URL is none; the message does not repeat it.
    """

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        try:
            self._parameters = parameters(url)
        except SettingError as error:
            raise SettingError(f"BRIDGE_AMQP_URL: {error}") from error

    def publish(self, body: bytes) -> None:
        """Put a message into the queue; on return RabbitMQ has it and keeps it.

        The queue is the other system's, which may have given it any properties. Only where there is none it is made,
        as that system makes it.

        Raises:
            Unavailable: the message may not have arrived.
        """
        properties = pika.BasicProperties(
            delivery_mode=pika.DeliveryMode.Persistent.value,
            content_type="application/json",
            message_id=uuid.uuid4().hex,
        )
        with closing(AmqpPublisher(self._url)) as publisher:
            try:
                publisher.send("", self._name, body, properties)
            except Unroutable:
                self._declare()
                publisher.send("", self._name, body, properties)

    def _declare(self) -> None:
        try:
            with closing(pika.BlockingConnection(self._parameters)) as connection:
                connection.channel().queue_declare(self._name, durable=True)
        except AMQPError as error:
            raise Unavailable("The other system's RabbitMQ does not take its queue.") from error
