"""What is RabbitMQ's own: how events lie in it, and what becomes of them when it, or a connection to it, goes away."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pika
import pytest
import requests
from cloudevents.http import CloudEvent

from functions.common import amqp, events
from functions.common.amqp import AmqpPublisher
from functions.common.errors import SettingError, Unavailable
from local.delivery import rules
from local.delivery.amqp import AmqpDispatcher, AmqpSource
from local.delivery.rules import Answer
from local.delivery.topology import Topology, with_connection
from local.delivery.triggers import Broker, Destination, Source
from tests.contract.test_broker import CONVERT, NOTIFY, event, settled
from tests.support.brokers import AmqpCarrier, vhost
from tests.support.endpoints import OK, Functions, serve, until
from tests.support.servers import url


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """A virtual host of this module."""
    with vhost() as made:
        yield made


@pytest.fixture
def functions() -> Iterator[Functions]:
    """A server on a free port, without functions yet."""
    with serve() as made:
        yield made


@pytest.fixture
def carrier(host: str, functions: Functions) -> Iterator[AmqpCarrier]:
    """A dispatcher, not yet started, and a publisher."""
    made = AmqpCarrier([CONVERT, NOTIFY], vhost_url=host, address=functions.address)
    yield made
    made.stop(5)


def on(host: str, do: Callable[[Any], Any]) -> Any:
    """Do something on a channel; what it gave."""
    given = []
    with_connection(host, lambda channel: given.append(do(channel)))
    return given[0]


def close_connections(host: str) -> int:
    """Have RabbitMQ close every connection to a virtual host; how many."""
    management = url("RABBITMQ_MANAGEMENT_URL")
    name = host.rpartition("/")[2]
    found = [each["name"] for each in requests.get(f"{management}/api/vhosts/{name}/connections", timeout=10).json()]
    for connection in found:
        requests.delete(f"{management}/api/connections/{connection}", timeout=10)
    return len(found)


def published(carrier: AmqpCarrier, sent: CloudEvent) -> bool:
    """Publish an event if that is possible; whether it was."""
    try:
        carrier.publish(sent)
    except Unavailable:
        return False
    return True


def test_a_message_as_the_facts_have_it(host: str, carrier: AmqpCarrier) -> None:
    """Attributes travel as headers without a prefix, the data as the body, and the message outlives a restart."""
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    sent = events.make(events.UPLOADED, job_id=event()["subject"], run=2, traceparent=trace)
    carrier.publish(sent)
    _, properties, body = on(host, lambda channel: channel.basic_get(carrier.topology.queue(CONVERT), auto_ack=True))
    attributes = {
        name: value for name, value in sent.get_attributes().items() if name not in ("datacontenttype", "time")
    }
    headers = {name: value for name, value in properties.headers.items() if name not in ("time", "x-delivery-count")}
    assert headers == {**attributes, "content-type": "application/json"}
    assert (properties.delivery_mode, properties.content_type) == (2, "application/json")
    assert amqp.from_message(properties.headers, body).get_data() == sent.get_data()


def test_names_and_kinds(host: str, carrier: AmqpCarrier) -> None:
    """Quorum queues, each with a dead-letter exchange and queue of its own, named after the manifests."""
    topology = Topology(Broker("video2mp3", "default"), [CONVERT])
    assert topology.exchange == amqp.EXCHANGE == "b.default.video2mp3"
    assert (topology.queue(CONVERT), topology.dead_letter_exchange(CONVERT), topology.dead_letter_queue(CONVERT)) == (
        "default.convert.video2mp3",
        "t.default.convert.dlx",
        "t.default.convert.dlq",
    )
    management, name = url("RABBITMQ_MANAGEMENT_URL"), host.rpartition("/")[2]
    queues = requests.get(f"{management}/api/queues/{name}", timeout=10).json()
    mine = {each["name"]: each for each in queues if carrier.topology.broker.namespace in each["name"]}
    assert len(mine) == 4
    assert {each["type"] for each in mine.values()} == {"quorum"}
    dead_letters = carrier.topology.dead_letter_exchange(CONVERT)
    assert mine[carrier.topology.queue(CONVERT)]["arguments"]["x-dead-letter-exchange"] == dead_letters


def test_declaring_again(host: str, carrier: AmqpCarrier) -> None:
    """A second dispatcher finds what the first one made, and what waits in it stays."""
    carrier.publish(event())
    carrier.topology.declare(host)
    assert carrier.depth() == 1


def test_something_else_by_our_name(host: str) -> None:
    """A queue of another kind that has a name of ours is a clear error that names it."""
    topology = Topology(Broker("other", "test"), [CONVERT])
    queue = topology.queue(CONVERT)
    on(host, lambda channel: channel.queue_declare(queue, durable=True))
    with pytest.raises(SettingError, match=queue):
        topology.declare(host)
    on(host, lambda channel: channel.queue_delete(queue))


@pytest.mark.parametrize("text", ["", "rabbit", "http://host", "amqp://host:port", "amqp://h/%2F?heartbeat=secret"])
def test_wrong_urls(text: str) -> None:
    """What is no AMQP URL is refused, without being repeated."""
    with pytest.raises(SettingError) as caught:
        amqp.parameters(text)
    assert "secret" not in str(caught.value)


def test_lost_connections(host: str, carrier: AmqpCarrier, functions: Functions) -> None:
    """Dispatcher and publisher connect again by themselves, and go on."""
    carrier.start()
    carrier.publish(event(1))
    settled(carrier, functions, 1)
    until(lambda: close_connections(host) >= 2, 30)

    until(lambda: published(carrier, event(2)))
    until(lambda: event(2)["id"] in functions.ids("/convert/") and carrier.depth() == 0)


def test_a_connection_lost_during_a_delivery(host: str, functions: Functions) -> None:
    """What was not acknowledged is delivered once more, and no late ack of the first delivery disturbs that."""
    patient = AmqpCarrier([replace(CONVERT, timeout_seconds=60)], vhost_url=host, address=functions.address)
    closed: list[int] = []

    def convert(_: Any) -> Answer:
        if not closed:
            until(lambda: close_connections(host) > 0, 30)
            closed.append(1)
        return OK

    functions.at["/convert/"] = convert
    patient.start()
    patient.publish(event())
    settled(patient, functions, 2)
    assert functions.ids("/convert/") == [event()["id"]] * 2
    assert closed == [1]
    patient.stop(5)


def test_everything_was_deleted(host: str, carrier: AmqpCarrier, functions: Functions) -> None:
    """Queues and exchanges that vanish are declared again, and what is published from then on is delivered."""
    carrier.start()
    carrier.publish(event(1))
    settled(carrier, functions, 1)

    def wipe(channel: Any) -> None:
        channel.exchange_delete(carrier.topology.exchange)
        for trigger in (CONVERT, NOTIFY):
            channel.queue_delete(carrier.topology.queue(trigger))

    on(host, wipe)

    until(lambda: published(carrier, event(2)))
    until(lambda: event(2)["id"] in functions.ids("/convert/") and carrier.depth() == 0)


def test_an_exchange_that_is_missing(host: str) -> None:
    """Whoever publishes before there is a broker is told so, each time, and nothing hangs."""
    with closing(AmqpPublisher(host, exchange="nowhere")) as publisher:
        for _ in range(3):
            with pytest.raises(Unavailable):
                publisher.publish(event())


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a RabbitMQ publishing is refused as something to be tried again."""
    monkeypatch.setattr(amqp, "_CONNECT_SECONDS", 0.5)
    with closing(AmqpPublisher("amqp://127.0.0.1:1/")) as publisher, pytest.raises(Unavailable) as caught:
        publisher.publish(event())
    assert caught.value.retry_after_seconds


def test_what_is_no_event(host: str, carrier: AmqpCarrier, functions: Functions) -> None:
    """A message that is no event ends in no loop, and those behind it are delivered."""
    queue = carrier.topology.queue(CONVERT)
    on(host, lambda channel: channel.basic_publish("", queue, b"hello"))
    carrier.publish(event())
    carrier.start()
    settled(carrier, functions, 1)


def test_what_rabbitmq_dead_letters_itself(host: str, carrier: AmqpCarrier, functions: Functions) -> None:
    """An event that RabbitMQ gave up by its own rules reaches the dead-letter sink too, less its own headers."""
    carrier.publish(event())
    on(
        host,
        lambda channel: channel.basic_reject(channel.basic_get(carrier.topology.queue(CONVERT))[0].delivery_tag, False),
    )
    carrier.start()
    settled(carrier, functions, 1)
    [(path, letter)] = functions.received
    assert (path, letter["id"]) == ("/recover/dead-letters", event()["id"])
    assert not [name for name in letter.get_attributes() if name.startswith("x")]


def test_no_more_are_taken_than_are_delivered(host: str, carrier: AmqpCarrier, functions: Functions) -> None:
    """What waits, waits in RabbitMQ, where another dispatcher can have it."""
    gate: list[int] = []

    def convert(_: Any) -> Answer:
        until(lambda: bool(gate), 30)
        return OK

    functions.at["/convert/"] = convert
    for run in range(1, 8):
        carrier.publish(event(run))
    carrier.start()
    until(lambda: len(functions.received) == CONVERT.parallelism)
    queue = carrier.topology.queue(CONVERT)
    ready = on(host, lambda channel: channel.queue_declare(queue, passive=True).method.message_count)
    assert ready == 7 - CONVERT.parallelism
    gate.append(1)
    settled(carrier, functions, 7)


def test_two_dispatchers_share(host: str, carrier: AmqpCarrier, functions: Functions) -> None:
    """Both deliver at the same time, and each event goes to one of them."""
    second = AmqpDispatcher(host, carrier.topology, address=functions.address)
    together = threading.Barrier(2 * CONVERT.parallelism)

    def convert(_: Any) -> Answer:
        # As many as only both of them together have in delivery.
        together.wait(20)
        return OK

    functions.at["/convert/"] = convert
    carrier.start()
    second.start()
    for run in range(1, 31):
        carrier.publish(event(run))
    settled(carrier, functions, 30)
    assert len(set(functions.ids("/convert/"))) == 30
    second.stop(5)


@pytest.mark.parametrize("odd", ["\ud800", 10**23, "x" * 100_000])
def test_a_message_that_cannot_be_sent(carrier: AmqpCarrier, odd: object) -> None:
    """It is refused by itself: those before and after it arrive."""
    carrier.publish(event(1))
    properties = pika.BasicProperties(message_id="1", headers={"type": odd}, content_type="x" * 300)
    with pytest.raises(Unavailable):
        carrier.publisher.send(carrier.topology.exchange, "", b"", properties)
    carrier.publish(event(2))
    assert carrier.depth() == 2


def test_a_name_that_does_not_resolve(functions: Functions) -> None:
    """A dispatcher that is started before RabbitMQ's name is known waits for it."""
    topology = Topology(Broker("video2mp3", "test"), [CONVERT])
    early = AmqpDispatcher("amqp://rabbitmq.invalid:5672/", topology, address=functions.address)
    early.start()
    early.stop(5)


def test_many_publishers_at_once(carrier: AmqpCarrier) -> None:
    """Confirms find their publications when many are on their way."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda run: carrier.publish(event(run)), range(1, 301)))
    assert carrier.depth() == 300


SOURCE = Source(
    name="theirs",
    queue="video",
    parallelism=2,
    retry=1,
    backoff_policy="exponential",
    backoff_delay_seconds=0.001,
    destination=Destination("bridge", "/"),
)


@pytest.fixture
def theirs(host: str) -> Iterator[str]:
    """The queue of another system, on its own RabbitMQ."""
    on(host, lambda channel: channel.queue_declare("video", durable=True))
    yield host
    on(host, lambda channel: channel.queue_delete("video"))


def left(host: str) -> int:
    """How many messages wait in their queue."""
    return int(on(host, lambda channel: channel.queue_declare("video", passive=True).method.message_count))


@contextmanager
def consuming(host: str, functions: Functions) -> Iterator[None]:
    """A source for the time of the block."""
    source = AmqpSource(host, SOURCE, address=functions.address)
    source.start()
    try:
        yield
    finally:
        source.stop(5)


def test_a_source_posts_messages_as_events(theirs: str, functions: Functions) -> None:
    """Each message is an event of Knative's type, with the body as its data; it is gone when it is taken."""
    message = b'{"video_fid": "x"}'
    on(theirs, lambda channel: channel.basic_publish("", "video", message))
    with consuming(theirs, functions):
        until(lambda: len(functions.received) == 1)
    [(path, received)] = functions.received
    assert (path, received["type"]) == ("/bridge/", "dev.knative.rabbitmq.event")
    assert received["source"] == "/apis/v1/namespaces/default/rabbitmqsources/theirs#video"
    assert received.get_data() in (message, message.decode(), {"video_fid": "x"})


def test_a_source_holds_what_fails(theirs: str, functions: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that is not taken is tried again and again; one that is refused for good is not."""
    monkeypatch.setattr(rules, "DEAD_LETTER_WAITS_SECONDS", (0.001,))
    answers = [503, 503, 409, 204]
    functions.at["/bridge/"] = lambda _: Answer(answers.pop(0), {}, b"")
    on(theirs, lambda channel: channel.basic_publish("", "video", b"1"))
    with consuming(theirs, functions):
        until(lambda: len(functions.received) == 4)
        functions.at["/bridge/"] = lambda _: Answer(400, {}, b"")
        on(theirs, lambda channel: channel.basic_publish("", "video", b"2"))
        until(lambda: len(functions.received) == 5)
        functions.at["/bridge/"] = lambda _: OK
        on(theirs, lambda channel: channel.basic_publish("", "video", b"3"))
        until(lambda: len(functions.received) == 6)
    # The stop may have come between the last answer and its ack.
    assert left(theirs) <= 1


def publish_to_theirs(properties: pika.BasicProperties, channel: Any) -> None:
    """Put a message into the other system's queue."""
    channel.basic_publish("", "video", b"1", properties)


def test_a_source_with_odd_messages(theirs: str, functions: Functions) -> None:
    """What no header could hold is left out, and holds nobody up."""
    for number in range(4):
        odd = pika.BasicProperties(message_id=f"\N{SNOWMAN}{number}", content_type="text/\N{SNOWMAN}")
        on(theirs, partial(publish_to_theirs, odd))
    with consuming(theirs, functions):
        until(lambda: len(functions.received) == 4)
    assert len({received["id"] for _, received in functions.received}) == 4


def test_a_source_stopped_in_a_delivery(theirs: str, functions: Functions) -> None:
    """What it was at is in the queue again."""
    gate = threading.Event()

    def bridge(_: Any) -> Answer:
        gate.wait(30)
        return OK

    functions.at["/bridge/"] = bridge
    on(theirs, lambda channel: channel.basic_publish("", "video", b"1"))
    with consuming(theirs, functions):
        until(lambda: len(functions.received) == 1)
    until(lambda: left(theirs) == 1)
    gate.set()


def test_a_source_waits_for_its_queue(host: str, functions: Functions, caplog: pytest.LogCaptureFixture) -> None:
    """A queue that the other system has not made yet is waited for, and its messages come when it is there."""
    with consuming(host, functions):
        until(lambda: "video" in caplog.text)
        on(host, lambda channel: channel.queue_declare("video", durable=True))
        on(host, lambda channel: channel.basic_publish("", "video", b"1"))
        until(lambda: len(functions.received) == 1, 30)
    on(host, lambda channel: channel.queue_delete("video"))
