"""The rules of delivery, carried in memory and over RabbitMQ: the same suite on both, against a real HTTP server."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from cloudevents.http import CloudEvent

from functions.common import events
from functions.common.errors import Unavailable
from local.delivery import rules
from local.delivery.rules import LOST_ON_KNATIVE, Answer
from local.delivery.triggers import Destination, Trigger
from tests.support.brokers import AmqpCarrier, Carrier, Make, in_memory, vhost
from tests.support.endpoints import OK, Functions, serve, until

JOB = "01890a5d-ac96-774b-bcce-b302099a8057"
RECOVER = Destination("recover", "/dead-letters")
CONVERT = Trigger(
    name="convert",
    event_type=events.UPLOADED,
    subscriber=Destination("convert", "/"),
    parallelism=3,
    retry=2,
    backoff_policy="exponential",
    backoff_delay_seconds=0.005,
    timeout_seconds=5.0,
    dead_letter_sink=RECOVER,
)
NOTIFY = replace(CONVERT, name="notify", event_type=events.SUCCEEDED, subscriber=Destination("notify", "/"))


def event(run: int = 1, type_: str = events.UPLOADED) -> CloudEvent:
    """An event of our own."""
    return events.make(type_, job_id=JOB, run=run)


@pytest.fixture
def functions() -> Iterator[Functions]:
    """A server on a free port, without functions yet."""
    with serve() as made:
        yield made


@pytest.fixture(scope="module", params=["memory", "rabbitmq"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes carriers of one kind."""
    with ExitStack() as stack:
        if request.param == "memory":
            yield in_memory
        else:
            yield partial(AmqpCarrier, vhost_url=stack.enter_context(vhost()))


@pytest.fixture
def start(functions: Functions, make: Make) -> Iterator[Callable[..., Carrier]]:
    """Makes and starts carriers that deliver to these functions, and stops them in the end."""
    carriers: list[Carrier] = []

    def begin(*triggers: Trigger, **options: Any) -> Carrier:
        carrier = make(triggers, **{"address": functions.address, **options})
        carriers.append(carrier)
        carrier.start()
        return carrier

    yield begin
    for carrier in carriers:
        carrier.stop(5)


Start = Callable[..., Carrier]


def settled(carrier: Carrier, functions: Functions, count: int) -> None:
    """Wait until so many events came in and nothing is left to deliver."""
    until(lambda: len(functions.received) >= count and carrier.depth() == 0)
    assert len(functions.received) == count, functions.paths()


def test_an_event_arrives_whole(functions: Functions, start: Start) -> None:
    """A subscriber gets id, source, subject, trace and data of what was published."""
    sent = events.make(events.UPLOADED, job_id=JOB, run=2, traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    broker = start(CONVERT)
    broker.publish(sent)
    settled(broker, functions, 1)
    [(path, received)] = functions.received
    assert path == "/convert/"
    assert received.get_attributes() == sent.get_attributes()
    assert received.get_data() == {"job_id": JOB, "run": 2}


def test_each_trigger_of_the_type_gets_it(functions: Functions, start: Start) -> None:
    """An event goes to all triggers of its type and to no other."""
    second = replace(CONVERT, name="audit", subscriber=Destination("audit", "/"))
    broker = start(CONVERT, second, NOTIFY)
    broker.publish(event())
    settled(broker, functions, 2)
    assert sorted(path for path, _ in functions.received) == ["/audit/", "/convert/"]


@pytest.mark.parametrize(("caps", "limit"), [({}, 3), ({"convert": 2}, 2), ({"convert": 9, "notify": 1}, 3)])
def test_parallelism_is_reached_and_kept(functions: Functions, start: Start, caps: dict[str, int], limit: int) -> None:
    """As many events are in delivery at once as the trigger and the cap allow, and no more."""
    busy, most, gate = 0, 0, threading.Event()
    lock = threading.Lock()

    def convert(_: CloudEvent) -> Answer:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        gate.wait(5)
        with lock:
            busy -= 1
        return OK

    functions.at["/convert/"] = convert
    broker = start(CONVERT, parallelism=caps)
    for run in range(1, 10):
        broker.publish(event(run))
    until(lambda: busy == limit and broker.depth() == 9)
    gate.set()
    settled(broker, functions, 9)
    assert most == limit


@pytest.mark.parametrize("status", [409, 503])
def test_tried_again_and_then_dead_lettered(functions: Functions, start: Start, status: int) -> None:
    """An event that is never taken ends at the dead-letter sink, with what went wrong."""
    functions.at["/convert/"] = lambda _: Answer(status, {}, b"")
    broker = start(CONVERT)
    broker.publish(event())
    settled(broker, functions, 4)
    assert functions.paths() == ["/convert/"] * 3 + ["/recover/dead-letters"]
    letter = functions.received[-1][1]
    assert letter["id"] == event()["id"]
    assert letter["knativeerrordest"] == functions.address(CONVERT.subscriber)
    assert letter["knativeerrorcode"] == str(status)


def test_nobody_listens(functions: Functions, start: Start) -> None:
    """A subscriber that can't be reached has no status to report."""

    def address(destination: Destination) -> str:
        return functions.address(destination) if destination == RECOVER else "http://127.0.0.1:1/"

    broker = start(CONVERT, address=address)
    broker.publish(event())
    settled(broker, functions, 1)
    assert [(path, each["knativeerrorcode"]) for path, each in functions.received] == [("/recover/dead-letters", "-1")]


def test_the_same_event_again(functions: Functions, start: Start) -> None:
    """Two events with one id are two deliveries: telling repeats apart is the functions' work."""
    broker = start(CONVERT)
    broker.publish(event())
    broker.publish(event())
    settled(broker, functions, 2)
    assert functions.ids("/convert/") == [event()["id"]] * 2


def test_a_failing_event_holds_its_slot_only(functions: Functions, start: Start) -> None:
    """While one event waits to be tried again, the other slots go on."""
    functions.at["/convert/"] = lambda each: Answer(503, {}, b"") if each["id"] == event(1)["id"] else OK
    broker = start(replace(CONVERT, backoff_delay_seconds=60.0, parallelism=2))
    for run in range(1, 5):
        broker.publish(event(run))
    until(lambda: len(functions.received) == 4 and broker.depth() == 1)
    assert len(set(functions.ids("/convert/"))) == 4


def test_proxies_of_the_environment_are_not_asked(
    functions: Functions, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions are reached directly, whatever the environment says of proxies."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    broker = start(CONVERT)
    broker.publish(event())
    settled(broker, functions, 1)
    assert functions.ids("/convert/") == [event()["id"]]


def test_no_trigger_of_the_type(functions: Functions, start: Start) -> None:
    """Whoever publishes an event that nobody wants is told so, since it would be gone."""
    broker = start(CONVERT)
    with pytest.raises(Unavailable):
        broker.publish(event(type_=events.FAILED))
    assert (broker.depth(), functions.received) == (0, [])


@pytest.mark.parametrize("status", [307, 400, 422])
def test_a_refusal_is_dead_lettered(
    functions: Functions, start: Start, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """A redirection, which is not followed, and a plain 4xx are dead-lettered at once, and cried out about."""
    functions.at["/convert/"] = lambda _: Answer(status, {"Location": "/elsewhere/"}, b"")
    broker = start(CONVERT)
    broker.publish(event())
    settled(broker, functions, 2)
    assert functions.paths() == ["/convert/", "/recover/dead-letters"]
    assert functions.received[-1][1]["knativeerrorcode"] == str(status)
    assert LOST_ON_KNATIVE in caplog.text
    caplog.clear()


def test_a_dead_letter_waits_for_its_sink(functions: Functions, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that is away, or refuses, gets the dead letter again until it takes it."""
    monkeypatch.setattr(rules, "DEAD_LETTER_WAITS_SECONDS", (0.001,))
    functions.at["/convert/"] = lambda _: Answer(500, {}, b"")
    script = [503, 400, 500, 503, 503, 204]
    functions.at["/recover/dead-letters"] = lambda _: Answer(script.pop(0), {}, b"")
    broker = start(replace(CONVERT, retry=0))
    broker.publish(event())
    settled(broker, functions, 7)
    assert functions.ids("/recover/dead-letters") == [event()["id"]] * 6


def test_a_reply_is_an_event(functions: Functions, start: Start) -> None:
    """What a function answers goes to the triggers of its type."""
    functions.at["/convert/"] = lambda _: Answer(200, *events.encode(event(type_=events.SUCCEEDED)))
    broker = start(CONVERT, NOTIFY)
    broker.publish(event())
    settled(broker, functions, 2)
    assert functions.ids("/notify/") == [event(type_=events.SUCCEEDED)["id"]]


def test_a_reply_that_nobody_takes(functions: Functions, start: Start) -> None:
    """The original is dead-lettered then, so that somebody hears of it."""
    functions.at["/convert/"] = lambda _: Answer(200, *events.encode(event(type_=events.FAILED)))
    broker = start(CONVERT)
    broker.publish(event())
    settled(broker, functions, 2)
    assert functions.paths() == ["/convert/", "/recover/dead-letters"]


def test_a_mistake_of_our_own_ends_no_worker(
    functions: Functions, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes wrong in an unknown way is logged and dead-lettered; the next event is delivered."""

    def address(destination: Destination) -> str:
        if not caplog.records:
            raise LookupError(destination.service)
        return functions.address(destination)

    broker = start(replace(CONVERT, parallelism=1), address=address)
    broker.publish(event(1))
    broker.publish(event(2))
    settled(broker, functions, 2)
    assert functions.ids("/recover/dead-letters") == [event(1)["id"]]
    assert functions.ids("/convert/") == [event(2)["id"]]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_time_limit(functions: Functions, start: Start) -> None:
    """A try ends at the trigger's limit and another follows."""
    release = threading.Event()

    def slow_at_first(_: CloudEvent) -> Answer:
        if len(functions.received) == 1:
            release.wait(10)
        return OK

    functions.at["/convert/"] = slow_at_first
    broker = start(replace(CONVERT, timeout_seconds=0.3))
    broker.publish(event())
    settled(broker, functions, 2)
    release.set()


def test_stop_during_a_wait(functions: Functions, start: Start) -> None:
    """A wait of minutes ends at once; the event is neither done nor dead-lettered."""
    functions.at["/convert/"] = lambda _: Answer(503, {}, b"")
    broker = start(replace(CONVERT, name="waiting", backoff_delay_seconds=600.0))
    broker.publish(event())
    until(lambda: len(functions.received) == 1)
    broker.stop(5)
    until(lambda: broker.depth() == 1)
    assert functions.paths() == ["/convert/"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("waiting")]


def test_stop_during_a_request(functions: Functions, start: Start) -> None:
    """A request in flight is left behind when the time is over, and what is queued stays queued."""
    gate = threading.Event()

    def held(_: CloudEvent) -> Answer:
        gate.wait(30)
        return OK

    functions.at["/convert/"] = held
    broker = start(replace(CONVERT, parallelism=1))
    for run in (1, 2):
        broker.publish(event(run))
    until(lambda: len(functions.received) == 1)
    broker.stop(0.1)
    assert broker.depth() >= 2
    gate.set()


def test_what_is_published_before_the_start_waits(functions: Functions, make: Make) -> None:
    """Nothing is delivered before start(), and nothing of it is forgotten."""
    broker = make([CONVERT], address=functions.address)
    broker.publish(event())
    assert (broker.depth(), functions.received) == (1, [])
    broker.start()
    settled(broker, functions, 1)
    broker.stop(5)
