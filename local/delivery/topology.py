"""What RabbitMQ holds of the broker: exchanges, queues and bindings, named after the manifests.

The shape is eventing-rabbitmq's: a headers exchange, and for each trigger a quorum queue with a dead-letter exchange
and queue of its own. Names lack the objects' uids, since there is no cluster that gives any.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from functions.common.amqp import parameters
from functions.common.errors import SettingError
from local.delivery.triggers import Broker, Trigger

#: Quorum queues of RabbitMQ 4 give a message up after 20 deliveries, which a restarting dispatcher may reach.
_MOST_DELIVERIES: Final = 1_000_000


@dataclass(frozen=True)
class Topology:
    """Names, and the way to make them real."""

    broker: Broker
    triggers: Sequence[Trigger]

    @property
    def exchange(self) -> str:
        """Where events are published."""
        return f"b.{self.broker.namespace}.{self.broker.name}"

    def queue(self, trigger: Trigger) -> str:
        """What a trigger's events wait in."""
        return f"{self.broker.namespace}.{trigger.name}.{self.broker.name}"

    def dead_letter_exchange(self, trigger: Trigger) -> str:
        """Where a trigger's dead letters are published."""
        return f"t.{self.broker.namespace}.{trigger.name}.dlx"

    def dead_letter_queue(self, trigger: Trigger) -> str:
        """What a trigger's dead letters wait in."""
        return f"t.{self.broker.namespace}.{trigger.name}.dlq"

    def declare(self, url: str) -> None:
        """Make what is missing, and check what is there.

        Args:
            url: address of RabbitMQ.

        Raises:
            SettingError: something else has one of these names.
            pika.exceptions.AMQPError: RabbitMQ cannot be reached.
        """
        with_connection(url, self._declare)

    def _declare(self, channel: BlockingChannel) -> None:
        try:
            channel.exchange_declare(self.exchange, "headers", durable=True)
            for trigger in self.triggers:
                exchange, dead_letters = self.dead_letter_exchange(trigger), self.dead_letter_queue(trigger)
                binding = {"x-match": "all", "x-knative-trigger": trigger.name}
                channel.exchange_declare(exchange, "headers", durable=True)
                channel.queue_declare(dead_letters, durable=True, arguments=_QUORUM)
                channel.queue_bind(dead_letters, exchange, arguments=binding)
                arguments = {**_QUORUM, "x-dead-letter-exchange": exchange}
                channel.queue_declare(self.queue(trigger), durable=True, arguments=arguments)
                channel.queue_bind(
                    self.queue(trigger), self.exchange, arguments={**binding, "type": trigger.event_type}
                )
        except ChannelClosedByBroker as error:
            raise SettingError(
                f"RabbitMQ has something else by a name of ours ({error.reply_text}):"
                " remove it, or give us a vhost of our own"
            ) from error


_QUORUM: Final[dict[str, Any]] = {"x-queue-type": "quorum", "x-delivery-limit": _MOST_DELIVERIES}


def with_connection(url: str, do: Callable[[BlockingChannel], None]) -> None:
    """Do something on a connection of its own.

    Raises:
        pika.exceptions.AMQPError: RabbitMQ cannot be reached.
    """
    connection = pika.BlockingConnection(parameters(url))
    try:
        do(connection.channel())
    finally:
        if connection.is_open:
            connection.close()
