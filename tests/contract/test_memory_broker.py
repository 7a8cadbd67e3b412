"""What only the broker inside one process does."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cloudevents.http import CloudEvent

from functions.common import events
from local.delivery.memory import MemoryBroker
from local.delivery.rules import Answer
from local.delivery.triggers import Trigger
from tests.contract.test_broker import CONVERT, NOTIFY, event
from tests.support.endpoints import OK, Functions, serve, until


@pytest.fixture
def functions() -> Iterator[Functions]:
    """A server on a free port, without functions yet."""
    with serve() as made:
        yield made


def started(
    functions: Functions, *triggers: Trigger, kind: type[MemoryBroker] = MemoryBroker, timeouts: bool = True
) -> MemoryBroker:
    """A broker that delivers to these functions."""
    broker = kind(triggers=triggers, address=functions.address, timeouts=timeouts)
    broker.start()
    return broker


def test_no_thread_without_work(functions: Functions) -> None:
    """Workers are started when there is work that none is free for, then kept; they never hold up an exit."""

    def workers() -> list[tuple[str, bool]]:
        return [(thread.name, thread.daemon) for thread in threading.enumerate() if thread.name.startswith("lane")]

    broker = started(functions, replace(CONVERT, name="lane"), replace(NOTIFY, name="lane-of-notify"))
    assert workers() == []
    for run in (1, 2):
        broker.publish(event(run))
        until(lambda: broker.depth() == 0)
    assert workers() == [("lane-0", True)]
    broker.stop(5)


def test_without_time_limits(functions: Functions) -> None:
    """A run that converts one's own files waits as long as a file takes."""
    release = threading.Event()

    def slow(_: CloudEvent) -> Answer:
        release.wait(0.3)
        return OK

    functions.at["/convert/"] = slow
    broker = started(functions, replace(CONVERT, timeout_seconds=0.1), timeouts=False)
    broker.publish(event())
    until(lambda: broker.depth() == 0)
    assert len(functions.received) == 1
    broker.stop(5)


def test_a_reply_is_published_before_the_event_is_done(functions: Functions) -> None:
    """While a reply is handed over, the broker still holds the event that it answers."""
    functions.at["/convert/"] = lambda _: Answer(200, *events.encode(event(type_=events.SUCCEEDED)))
    depths: list[int] = []

    class Watched(MemoryBroker):
        def publish(self, event: CloudEvent) -> None:
            depths.append(self.depth())
            super().publish(event)

    broker = started(functions, CONVERT, NOTIFY, kind=Watched)
    broker.publish(event())
    until(lambda: broker.depth() == 0)
    assert functions.ids("/notify/") == [event(type_=events.SUCCEEDED)["id"]]
    assert depths == [0, 1]
    broker.stop(5)


def test_nothing_is_delivered_after_the_stop(functions: Functions) -> None:
    """What is published to a stopped broker is held, not delivered."""
    broker = started(functions, CONVERT)
    broker.stop(1)
    broker.publish(event())
    assert (broker.depth(), functions.received) == (1, [])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(CONVERT.name)]
