"""The broker and the clock of the one-process run, against a real HTTP server."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cloudevents.http import CloudEvent

from functions.common import events
from local.delivery.clock import Clock
from local.delivery.memory import MemoryBroker
from local.delivery.rules import Answer
from local.delivery.triggers import Destination, Ping, Trigger

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
PING = Ping("recover", "*/5 * * * *", '{"a": 1}', "application/json", Destination("recover", "/"))
OK = Answer(204, {}, b"")
Function = Callable[[CloudEvent], Answer]


def event(run: int = 1, type_: str = events.UPLOADED) -> CloudEvent:
    """An event of our own."""
    return events.make(type_, job_id=JOB, run=run)


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait for a condition, and fail where it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


@dataclass
class Functions:
    """HTTP server that stands for all functions: the first part of a path names one."""

    #: What answers at each path.
    at: dict[str, Function] = field(default_factory=dict)
    #: What came in, in order.
    received: list[tuple[str, CloudEvent]] = field(default_factory=list)
    port: int = 0

    def address(self, destination: Destination) -> str:
        """Give the URL of a destination, below the one port."""
        return f"http://127.0.0.1:{self.port}/{destination.service}{destination.path}"

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Note an event and let the function at that path answer."""
        received = events.read(headers, body)
        self.received.append((path, received))
        function = self.at.get(path)
        return function(received) if function else OK

    def ids(self, path: str) -> list[str]:
        """The ids of the events that came to a path."""
        return [str(each["id"]) for where, each in self.received if where == path]


@pytest.fixture
def functions() -> Iterator[Functions]:
    """A server on a free port, without functions yet."""
    functions = Functions()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = functions.answer(self.path, dict(self.headers), body)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        functions.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield functions
        server.shutdown()
        thread.join()


@pytest.fixture
def start(functions: Functions) -> Iterator[Callable[..., MemoryBroker]]:
    """Makes and starts brokers that deliver to these functions, and stops them in the end."""
    brokers: list[MemoryBroker] = []

    def make(*triggers: Trigger, broker_class: type[MemoryBroker] = MemoryBroker, **options: Any) -> MemoryBroker:
        broker = broker_class(triggers=triggers, **{"address": functions.address, **options})
        brokers.append(broker)
        broker.start()
        return broker

    yield make
    for broker in brokers:
        broker.stop(5)


Start = Callable[..., MemoryBroker]


def test_an_event_arrives_whole(functions: Functions, start: Start) -> None:
    """A subscriber gets id, source, subject, trace and data of what was published."""
    sent = events.make(events.UPLOADED, job_id=JOB, run=2, traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01")
    broker = start(CONVERT)
    broker.publish(sent)
    until(lambda: broker.depth() == 0)
    [(path, received)] = functions.received
    assert path == "/convert/"
    assert received.get_attributes() == sent.get_attributes()
    assert received.get_data() == {"job_id": JOB, "run": 2}


def test_each_trigger_of_the_type_gets_it(functions: Functions, start: Start) -> None:
    """An event goes to all triggers of its type and to no other."""
    second = replace(CONVERT, name="audit", subscriber=Destination("audit", "/"))
    broker = start(CONVERT, second, NOTIFY)
    broker.publish(event())
    until(lambda: broker.depth() == 0)
    assert sorted(path for path, _ in functions.received) == ["/audit/", "/convert/"]


def test_no_trigger_of_the_type(functions: Functions, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """An event that nobody wants is dropped, and that is logged."""
    broker = start(CONVERT)
    broker.publish(event(type_=events.FAILED))
    assert (broker.depth(), functions.received) == (0, [])
    [record] = caplog.records
    assert (record.levelno, events.FAILED in record.message) == (logging.WARNING, True)


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
    until(lambda: busy == limit)
    time.sleep(0.05)
    assert (busy, broker.depth()) == (limit, 9)
    gate.set()
    until(lambda: broker.depth() == 0)
    assert (most, len(functions.received)) == (limit, 9)


def test_no_thread_without_work(start: Start) -> None:
    """Workers are started when there is work that none is free for, then kept; they never hold up an exit."""

    def workers() -> list[tuple[str, bool]]:
        return [(thread.name, thread.daemon) for thread in threading.enumerate() if thread.name.startswith("lane")]

    broker = start(replace(CONVERT, name="lane"), replace(NOTIFY, name="lane-of-notify"))
    assert workers() == []
    for run in (1, 2):
        broker.publish(event(run))
        until(lambda: broker.depth() == 0)
    assert workers() == [("lane-0", True)]


def test_what_is_published_before_the_start_waits(functions: Functions) -> None:
    """Nothing is delivered before start(), and nothing of it is forgotten."""
    broker = MemoryBroker(triggers=[CONVERT], address=functions.address)
    broker.publish(event())
    time.sleep(0.05)
    assert (broker.depth(), functions.received) == (1, [])
    broker.start()
    until(lambda: broker.depth() == 0)
    assert len(functions.received) == 1
    broker.stop(5)


@pytest.mark.parametrize("status", [409, 503])
def test_tried_again_and_then_dead_lettered(functions: Functions, start: Start, status: int) -> None:
    """An event that is never taken ends at the dead-letter sink, with what went wrong."""
    functions.at["/convert/"] = lambda _: Answer(status, {}, b"")
    broker = start(CONVERT)
    broker.publish(event())
    until(lambda: broker.depth() == 0)
    assert [path for path, _ in functions.received] == ["/convert/"] * 3 + ["/recover/dead-letters"]
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
    until(lambda: broker.depth() == 0)
    assert [(path, each["knativeerrorcode"]) for path, each in functions.received] == [("/recover/dead-letters", "-1")]


def test_a_refusal_is_lost(functions: Functions, start: Start) -> None:
    """A redirection, which is not followed, and a plain 4xx end the delivery without a dead letter."""
    refusals = [Answer(307, {"Location": "/elsewhere/"}, b""), Answer(422, {}, b"")]
    functions.at["/convert/"] = lambda _: refusals.pop(0)
    broker = start(CONVERT)
    for run in (1, 2):
        broker.publish(event(run))
        until(lambda: broker.depth() == 0)
    assert [path for path, _ in functions.received] == ["/convert/"] * 2


@pytest.mark.parametrize("timeouts", [True, False])
def test_time_limit(functions: Functions, start: Start, timeouts: bool) -> None:
    """A try ends at the trigger's limit and another follows, unless the limits are off."""
    release = threading.Event()

    def slow_at_first(_: CloudEvent) -> Answer:
        if len(functions.received) == 1:
            release.wait(0.7)
        return OK

    functions.at["/convert/"] = slow_at_first
    broker = start(replace(CONVERT, timeout_seconds=0.3), timeouts=timeouts)
    broker.publish(event())
    until(lambda: broker.depth() == 0)
    assert len(functions.received) == (2 if timeouts else 1)
    release.set()


def test_a_reply_is_published_before_the_event_is_done(functions: Functions, start: Start) -> None:
    """While a reply is handed over, the broker still holds the event that it answers."""
    headers, body = events.encode(event(type_=events.SUCCEEDED))
    functions.at["/convert/"] = lambda _: Answer(200, headers, body)
    depths: list[int] = []

    class Watched(MemoryBroker):
        def publish(self, event: CloudEvent) -> None:
            depths.append(self.depth())
            super().publish(event)

    broker = start(CONVERT, NOTIFY, broker_class=Watched)
    broker.publish(event())
    until(lambda: broker.depth() == 0)
    assert functions.ids("/notify/") == [event(type_=events.SUCCEEDED)["id"]]
    assert depths == [0, 1]


def test_the_same_event_again(functions: Functions, start: Start) -> None:
    """Two events with one id are two deliveries: telling repeats apart is the functions' work."""
    broker = start(CONVERT)
    broker.publish(event())
    broker.publish(event())
    until(lambda: broker.depth() == 0)
    assert functions.ids("/convert/") == [event()["id"]] * 2


def test_a_failing_event_holds_its_slot_only(functions: Functions, start: Start) -> None:
    """While one event waits to be tried again, the other slots go on."""
    functions.at["/convert/"] = lambda each: Answer(503, {}, b"") if each["id"] == event(1)["id"] else OK
    broker = start(replace(CONVERT, backoff_delay_seconds=60.0, parallelism=2))
    for run in range(1, 5):
        broker.publish(event(run))
    until(lambda: len(functions.received) == 4 and broker.depth() == 1)
    time.sleep(0.05)
    assert (len(functions.received), broker.depth()) == (4, 1)


def test_a_mistake_of_our_own_ends_no_worker(
    functions: Functions, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """What goes wrong in an unknown way is logged and given up; the worker goes on with the next event."""

    def address(destination: Destination) -> str:
        if not caplog.records:
            raise LookupError(destination.service)
        return functions.address(destination)

    broker = start(replace(CONVERT, parallelism=1), address=address)
    broker.publish(event(1))
    broker.publish(event(2))
    until(lambda: broker.depth() == 0)
    assert functions.ids("/convert/") == [event(2)["id"]]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_stop_during_a_wait(functions: Functions, start: Start) -> None:
    """A wait of minutes ends at once; the event is neither done nor dead-lettered."""
    functions.at["/convert/"] = lambda _: Answer(503, {}, b"")
    broker = start(replace(CONVERT, name="waiting", backoff_delay_seconds=600.0))
    broker.publish(event())
    until(lambda: len(functions.received) == 1)
    began = time.monotonic()
    broker.stop(5)
    assert time.monotonic() - began < 2
    assert broker.depth() == 1
    assert len(functions.received) == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("waiting")]


def test_stop_during_a_request(functions: Functions, start: Start) -> None:
    """A request in flight is left behind when the time is over, and what is queued stays queued."""
    gate = threading.Event()

    def held(_: CloudEvent) -> Answer:
        gate.wait(10)
        return OK

    functions.at["/convert/"] = held
    broker = start(replace(CONVERT, parallelism=1))
    for run in (1, 2):
        broker.publish(event(run))
    until(lambda: len(functions.received) == 1)
    began = time.monotonic()
    broker.stop(0.1)
    assert time.monotonic() - began < 2
    assert broker.depth() == 2
    gate.set()
    until(lambda: broker.depth() == 1)
    time.sleep(0.05)
    assert (broker.depth(), len(functions.received)) == (1, 1)


def test_nothing_is_delivered_after_the_stop(functions: Functions, start: Start) -> None:
    """What is published to a stopped broker is held, not delivered."""
    broker = start(CONVERT)
    broker.stop(1)
    broker.publish(event())
    time.sleep(0.05)
    assert (broker.depth(), functions.received) == (1, [])


def test_proxies_of_the_environment_are_not_asked(
    functions: Functions, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Functions are reached directly, whatever the environment says of proxies."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    broker = start(CONVERT)
    broker.publish(event())
    until(lambda: broker.depth() == 0)
    assert functions.ids("/convert/") == [event()["id"]]


def test_a_tick_is_a_ping(functions: Functions) -> None:
    """A tick posts what a PingSource posts, each with an id of its own."""
    clock = Clock(ping=PING, address=functions.address)
    assert clock.tick()
    assert clock.tick()
    (path, ping), (_, other) = functions.received
    assert path == "/recover/"
    assert ping["type"] == "dev.knative.sources.ping"
    assert ping["source"] == "/apis/v1/namespaces/default/pingsources/recover"
    assert ping["datacontenttype"] == "application/json"
    assert ping.get_data() == {"a": 1}
    assert ping["id"] != other["id"]


def test_a_tick_of_plain_text(functions: Functions) -> None:
    """Data that is no JSON is sent as it stands."""
    assert Clock(ping=replace(PING, data="hello", content_type="text/plain"), address=functions.address).tick()
    assert functions.received[0][1].get_data() in ("hello", b"hello")


def test_a_tick_is_tried_again(functions: Functions) -> None:
    """A function that is just starting gets the same ping a moment later."""
    script = [Answer(503, {}, b""), OK]
    functions.at["/recover/"] = lambda _: script.pop(0)
    assert Clock(ping=PING, address=functions.address).tick()
    assert len(set(functions.ids("/recover/"))) == 1
    assert len(functions.received) == 2


def test_a_tick_that_is_refused(functions: Functions, caplog: pytest.LogCaptureFixture) -> None:
    """A ping that is not taken is logged; the next one is the retry."""
    functions.at["/recover/"] = lambda _: Answer(400, {}, b"")
    assert not Clock(ping=PING, address=functions.address).tick()
    assert (caplog.records[-1].levelno, "400" in caplog.text) == (logging.ERROR, True)


def test_the_clock_keeps_its_schedule(functions: Functions) -> None:
    """A ping comes at the next full five minutes, and once only when the wait ended a moment early."""
    minute = datetime(2026, 1, 1, 12, 4, 59, 900_000, tzinfo=UTC)
    clock = Clock(ping=PING, address=functions.address, now=lambda: minute)
    clock.start()
    time.sleep(0.02)
    assert functions.received == []
    until(lambda: len(functions.received) == 1)
    time.sleep(0.2)
    assert len(functions.received) == 1
    clock.stop()


def test_the_clock_goes_on(functions: Functions) -> None:
    """After a ping the clock waits for the next, and for the one after that."""
    first = datetime(2026, 1, 1, 12, 4, 59, 990_000, tzinfo=UTC)
    clock = Clock(
        ping=PING, address=functions.address, now=lambda: first + len(functions.received) * timedelta(minutes=5)
    )
    clock.start()
    until(lambda: len(functions.received) >= 3)
    clock.stop()


def test_pings_that_were_missed_are_not_made_up_for(functions: Functions) -> None:
    """After an hour of sleep one ping comes at its time, not twelve at once."""
    first = datetime(2026, 1, 1, 12, 4, 59, 990_000, tzinfo=UTC)
    clock = Clock(
        ping=PING, address=functions.address, now=lambda: first + timedelta(hours=1 if functions.received else 0)
    )
    clock.start()
    until(lambda: len(functions.received) == 2)
    time.sleep(0.1)
    assert len(functions.received) == 2
    clock.stop()


def test_the_clock_stops_at_once(functions: Functions) -> None:
    """Neither the wait for the next ping nor the waits between its tries hold up the end."""
    functions.at["/recover/"] = lambda _: Answer(503, {}, b"")
    clock = Clock(ping=PING, address=functions.address)
    clock.start()
    began = time.monotonic()
    clock.stop()
    assert not clock.tick()
    assert time.monotonic() - began < 1
    assert len(functions.received) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "clock"]


def test_a_clock_that_never_ran_can_be_stopped(functions: Functions) -> None:
    """Whoever cleans up need not know how far the start came."""
    clock = Clock(ping=PING, address=functions.address)
    clock.stop()
    assert functions.received == []
