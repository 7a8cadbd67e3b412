"""Publisher: one suite for whatever takes events from a function."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Final

import pytest
import requests

from functions.common import amqp, events
from functions.common.amqp import AmqpPublisher
from functions.common.errors import Unavailable
from functions.common.publisher import HttpPublisher, Publisher
from local.delivery.memory import MemoryBroker
from local.server.ingress import Ingress
from local.server.listener import Listener
from tests.contract.test_broker import CONVERT, event
from tests.support.brokers import AmqpCarrier, vhost
from tests.support.endpoints import Functions, serve, until


@dataclass(frozen=True)
class Place:
    """A publisher, and what its events come to."""

    publisher: Publisher
    functions: Functions


@contextmanager
def in_memory(functions: Functions) -> Iterator[Publisher]:
    """The broker inside one process."""
    broker = MemoryBroker(triggers=[CONVERT], address=functions.address)
    broker.start()
    yield broker
    broker.stop(5)


@contextmanager
def over_amqp(functions: Functions) -> Iterator[Publisher]:
    """RabbitMQ itself."""
    with vhost() as host:
        carrier = AmqpCarrier([CONVERT], vhost_url=host, address=functions.address)
        carrier.start()
        yield carrier.publisher
        carrier.stop(5)


@contextmanager
def over_http(functions: Functions) -> Iterator[Publisher]:
    """The ingress before RabbitMQ."""
    with over_amqp(functions) as publisher, served(publisher) as url:
        yield HttpPublisher(url)


@contextmanager
def served(publisher: Publisher) -> Iterator[str]:
    """The address of an ingress."""
    listener = Listener("127.0.0.1", 0)
    listener.app = Ingress(publisher)
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{listener.port}"
    listener.shutdown()
    thread.join()
    listener.server_close()


BACKENDS: Final = {"memory": in_memory, "ingress": over_http, "rabbitmq": over_amqp}


@pytest.fixture(params=BACKENDS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Each kind of publisher."""
    with ExitStack() as stack:
        functions = stack.enter_context(serve())
        yield Place(stack.enter_context(BACKENDS[request.param](functions)), functions)


def test_it_arrives_whole(place: Place) -> None:
    """Attributes and data are what they were."""
    trace = "00-" + "1" * 32 + "-" + "2" * 16 + "-01"
    sent = events.make(events.UPLOADED, job_id=event()["subject"], run=2, traceparent=trace)
    place.publisher.publish(sent)
    until(lambda: len(place.functions.received) == 1)
    [(_, received)] = place.functions.received
    assert received.get_attributes() == sent.get_attributes()
    assert received.get_data() == sent.get_data()


def test_several_threads(place: Place) -> None:
    """Each event of many threads arrives once."""
    threads = [threading.Thread(target=place.publisher.publish, args=(event(run),)) for run in range(1, 21)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: len(place.functions.received) == 20)
    assert len(set(place.functions.ids("/convert/"))) == 20


def test_proxies_of_the_environment_are_not_asked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker is reached directly, whatever the environment says of proxies."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    place.publisher.publish(event())
    until(lambda: len(place.functions.received) == 1)


def test_what_nobody_takes(place: Place) -> None:
    """An event without a trigger is refused, since it would be gone."""
    with pytest.raises(Unavailable):
        place.publisher.publish(event(type_=events.FAILED))


def test_close(place: Place) -> None:
    """Closing twice does no harm."""
    place.publisher.close()
    place.publisher.close()


@pytest.mark.parametrize("make", [HttpPublisher, lambda _: AmqpPublisher("amqp://127.0.0.1:1/")])
def test_nobody_there(make: Callable[[str], Publisher], monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away is something to be tried again."""
    monkeypatch.setattr(amqp, "_CONNECT_SECONDS", 0.5)
    with closing(make("http://127.0.0.1:1")) as publisher, pytest.raises(Unavailable):
        publisher.publish(event())


#: An event that no header could carry.
ODD: Final = b'{"specversion": "1.0", "id": "\\ud800", "source": "/s", "type": "t"}'


@pytest.fixture
def ingress() -> Iterator[tuple[str, MemoryBroker]]:
    """An ingress before a broker that delivers nothing."""
    broker = MemoryBroker(triggers=[CONVERT], address=lambda _: "http://127.0.0.1:1")
    with served(broker) as url:
        yield url, broker


def test_the_ingress_answers_202_when_it_is_published(ingress: tuple[str, MemoryBroker]) -> None:
    """Only then."""
    url, broker = ingress
    headers, body = events.encode(event())
    assert requests.post(url, data=body, headers=headers, timeout=10).status_code == 202
    assert broker.depth() == 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/", {}, b"{}", 400),
        ("POST", "/", {"ce-specversion": "1.0"}, b"{}", 400),
        ("POST", "/", {"Content-Type": "application/cloudevents+json"}, b"{", 400),
        ("POST", "/", {"Content-Type": "application/cloudevents+json"}, ODD, 400),
        ("POST", "/elsewhere", {}, b"{}", 404),
        ("GET", "/", {}, b"", 405),
        ("POST", "/", {}, b"x" * 300_000, 413),
        ("GET", "/healthz", {}, b"", 200),
    ],
)
def test_what_the_ingress_refuses(
    ingress: tuple[str, MemoryBroker], method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    """What is no event is told so by a problem document, and published nowhere."""
    url, broker = ingress
    answer = requests.request(method, url + path, data=body, headers=headers, timeout=10)
    assert answer.status_code == status
    assert broker.depth() == 0
    if status >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


def test_an_event_that_nobody_takes_is_503_at_the_ingress(ingress: tuple[str, MemoryBroker]) -> None:
    """With a time after which to try again."""
    headers, body = events.encode(event(type_=events.FAILED))
    answer = requests.post(ingress[0], data=body, headers=headers, timeout=10)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
