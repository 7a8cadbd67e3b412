"""The clock of local runs, against a real HTTP server."""

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from local.delivery.clock import Clock
from local.delivery.rules import Answer
from local.delivery.triggers import Destination, Ping
from tests.support.endpoints import OK, Functions, serve, until

PING = Ping("recover", "*/5 * * * *", '{"a": 1}', "application/json", Destination("recover", "/"))


@pytest.fixture
def functions() -> Iterator[Functions]:
    """A server on a free port, without functions yet."""
    with serve() as made:
        yield made


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
