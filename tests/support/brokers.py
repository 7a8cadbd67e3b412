"""Brokers of a test's own, in memory and on the real RabbitMQ."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import quote

import requests
from cloudevents.http import CloudEvent

from functions.common.amqp import AmqpPublisher
from local.delivery.amqp import AmqpDispatcher
from local.delivery.memory import MemoryBroker
from local.delivery.topology import Topology, with_connection
from local.delivery.triggers import Broker, Destination, Trigger
from tests.support.servers import url


class Carrier(Protocol):
    """What carries events from those who publish them to the functions."""

    def publish(self, event: CloudEvent) -> None:
        """Publish an event."""

    def start(self) -> None:
        """Begin to deliver."""

    def stop(self, timeout_seconds: float) -> None:
        """End delivering."""

    def depth(self) -> int:
        """How many events wait or are in delivery; after a stop also those that will be delivered again."""


#: Makes a carrier of these triggers that delivers to the functions at these addresses.
Make = Callable[..., Carrier]


class AmqpCarrier:
    """A dispatcher and a publisher on RabbitMQ."""

    def __init__(self, triggers: Sequence[Trigger], *, vhost_url: str, **options: Any) -> None:
        self.url = vhost_url
        self.topology = Topology(Broker("video2mp3", secrets.token_hex(8)), triggers)
        self.topology.declare(self.url)
        self.publisher = AmqpPublisher(self.url, exchange=self.topology.exchange)
        self.dispatcher = AmqpDispatcher(self.url, self.topology, **options)

    def publish(self, event: CloudEvent) -> None:
        """See Carrier."""
        self.publisher.publish(event)

    def start(self) -> None:
        """See Carrier."""
        self.dispatcher.start()

    def stop(self, timeout_seconds: float) -> None:
        """See Carrier."""
        self.dispatcher.stop(timeout_seconds)
        self.publisher.close()

    def depth(self) -> int:
        """See Carrier."""
        ready = 0

        def count(channel: Any) -> None:
            nonlocal ready
            for trigger in self.topology.triggers:
                for queue in (self.topology.queue(trigger), self.topology.dead_letter_queue(trigger)):
                    ready += channel.queue_declare(queue, passive=True).method.message_count

        with_connection(self.url, count)
        return ready + self.dispatcher.in_delivery()


@contextmanager
def vhost() -> Iterator[str]:
    """The AMQP URL of a virtual host without anything in it, which is gone afterwards."""
    name, management = f"test-{secrets.token_hex(8)}", url("RABBITMQ_MANAGEMENT_URL")
    user = management.partition("//")[2].partition(":")[0]
    requests.put(f"{management}/api/vhosts/{name}", timeout=10).raise_for_status()
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    requests.put(f"{management}/api/permissions/{name}/{user}", json=everything, timeout=10).raise_for_status()
    try:
        yield f"{url('AMQP_URL').rpartition('/')[0]}/{quote(name)}"
    finally:
        requests.delete(f"{management}/api/vhosts/{name}", timeout=30).raise_for_status()


def in_memory(triggers: Sequence[Trigger], *, address: Callable[[Destination], str], **options: Any) -> Carrier:
    """A carrier inside this process."""
    return MemoryBroker(triggers=triggers, address=address, **options)
