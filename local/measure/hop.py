"""One hop of an event, from publishing to delivery, beside a bare pika publish and consume on the same RabbitMQ."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from statistics import median, quantiles
from typing import Any, Final

import pika
from werkzeug.wrappers import Request, Response

from functions.common import events
from functions.common.amqp import AmqpPublisher, parameters
from functions.common.publisher import HttpPublisher
from local.delivery.amqp import AmqpDispatcher
from local.delivery.topology import Topology, with_connection
from local.delivery.triggers import Broker, load_triggers
from local.measure.figures import Figure, compared, interleaved
from local.server.ingress import Ingress
from local.server.listener import Listener
from local.testservers.fleet import Fleet

_EVENTING: Final = Path(__file__).parents[2] / "eventing"
_HOST: Final = "127.0.0.1"
_LIMIT_SECONDS: Final = 10.0


def measure(_folder: Path, *, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Measure events one by one: what a job waits for between two steps when nothing else waits.

    Args:
        quick: whether to see only that it works.
        say: told what is going on.
    """
    url = Fleet().urls().get("AMQP_URL")
    if url is None:
        say("left out: RabbitMQ does not run. local/services up starts it.")
        return []
    count = 10 if quick else 200
    with _ours(url) as ours, _bare(url) as bare:
        for side in (ours, bare):
            _series(side, 10)
        say(f"{count} events a turn")
        turns = list(interleaved(2 if quick else 6, lambda: _series(ours, count), lambda: _series(bare, count)))
    return [
        compared(f"event hop, {name}", "ms", [(read(one), read(other)) for one, other in turns], None)
        for name, read in (("median", median), ("99th percentile", lambda times: quantiles(times, n=100)[98]))
    ]


def _series(hop: Callable[[int], float], count: int) -> list[float]:
    return [hop(number) for number in range(count)]


@contextmanager
def _ours(url: str) -> Iterator[Callable[[int], float]]:
    """An event from a function to a function: HTTP to the ingress, RabbitMQ, HTTP from the dispatcher."""
    arrived: SimpleQueue[float] = SimpleQueue()

    @Request.application
    def function(_request: Request) -> Response:
        arrived.put(time.perf_counter())
        return Response(status=204)

    topology = Topology(Broker("benchmark", secrets.token_hex(8)), load_triggers(_EVENTING / "triggers"))
    publisher = AmqpPublisher(url, exchange=topology.exchange)
    with _served(function) as subscriber, _served(Ingress(publisher)) as ingress, closing(publisher):
        dispatcher = AmqpDispatcher(url, topology, address=lambda _destination: subscriber)
        dispatcher.start()
        events_out = HttpPublisher(ingress)

        def hop(number: int) -> float:
            event = events.make(events.UPLOADED, job_id="01890a5d-ac96-774b-bcce-b302099a8057", run=number + 1)
            began = time.perf_counter()
            events_out.publish(event)
            return (arrived.get(timeout=_LIMIT_SECONDS) - began) * 1000

        try:
            yield hop
        finally:
            dispatcher.stop(2.0)
            with_connection(url, lambda channel: _remove(channel, topology))


@contextmanager
def _bare(url: str) -> Iterator[Callable[[int], float]]:
    """The same message, confirmed, into a quorum queue and out of it, from one thread of pika's to another."""
    queue, arrived = f"benchmark-{secrets.token_hex(8)}", SimpleQueue[float]()
    publishing, consuming = (pika.BlockingConnection(parameters(url)) for _ in range(2))
    channel = publishing.channel()
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    channel.confirm_delivery()
    consumer = consuming.channel()

    def got(_channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        arrived.put(time.perf_counter())
        consumer.basic_ack(method.delivery_tag)

    consumer.basic_consume(queue, got)
    thread = threading.Thread(target=consumer.start_consuming)
    thread.start()
    properties = pika.BasicProperties(delivery_mode=2)

    def hop(_number: int) -> float:
        began = time.perf_counter()
        channel.basic_publish(
            "", queue, b'{"job_id": "01890a5d-ac96-774b-bcce-b302099a8057"}', properties, mandatory=True
        )
        return (arrived.get(timeout=_LIMIT_SECONDS) - began) * 1000

    try:
        yield hop
    finally:
        consuming.add_callback_threadsafe(consumer.stop_consuming)
        thread.join()
        channel.queue_delete(queue)
        for connection in (publishing, consuming):
            connection.close()


@contextmanager
def _served(app: Any) -> Iterator[str]:
    listener = Listener(_HOST, 0)
    listener.app = app
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://{_HOST}:{listener.port}"
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


def _remove(channel: Any, topology: Topology) -> None:
    for trigger in topology.triggers:
        channel.queue_delete(topology.queue(trigger))
        channel.queue_delete(topology.dead_letter_queue(trigger))
        channel.exchange_delete(topology.dead_letter_exchange(trigger))
    channel.exchange_delete(topology.exchange)
