"""When the next step is woken."""

import threading
import time

import pytest

from functions.common.waking import AGAIN_SECONDS, Foresight, Waker


class Clock:
    """Time that passes when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


class Touches(Waker):
    """Counts touches instead of sending them."""

    def __init__(self) -> None:
        super().__init__("http://convert")
        self.count = 0

    def _ask(self) -> None:
        self.count += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock of the test's own."""
    return Clock(monkeypatch)


@pytest.mark.parametrize(
    ("steps", "touched"),
    [
        # Seconds since the work began, and its share that is done by then.
        ([(60.0, 0.5)], 0),
        ([(60.0, 0.5), (115.0, 0.95)], 0),
        ([(60.0, 0.5), (115.5, 0.96)], 1),
        # What is short is woken for as soon as its speed is known.
        ([(0.1, 0.3)], 0),
        ([(0.1, 0.3), (0.6, 0.4)], 1),
        # A first piece that came from a buffer says nothing of the line.
        ([(0.01, 0.1), (10.0, 0.2)], 0),
        ([(0.2, 1.0)], 1),
        # How much there is may be unknown until the end.
        ([(60.0, 0.0)], 0),
        ([(60.0, 0.0), (61.0, 1.0)], 1),
    ],
)
def test_when_work_is_about_to_end(clock: Clock, steps: list[tuple[float, float]], touched: int) -> None:
    """Five seconds before the end by the speed so far, and not sooner."""
    touches = Touches()
    ahead = Foresight(touches)
    for seconds, share in steps:
        clock.now = 1000.0 + seconds
        ahead.done(share)
    wait_for_touches()
    assert touches.count == touched


def test_one_piece_of_work_is_one_touch(clock: Clock) -> None:
    """However long the last seconds turn out to be."""
    touches = Touches()
    ahead = Foresight(touches)
    for seconds in range(1, 300):
        clock.now = 1000.0 + seconds
        ahead.done(1 - 1 / (seconds + 1))
    ahead.done(1)
    wait_for_touches()
    assert touches.count == 1


def test_one_touch_in_a_while(clock: Clock) -> None:
    """Many pieces of work that end together are one touch; later ones another."""
    touches = Touches()
    for _ in range(20):
        Foresight(touches).done(1)
    clock.now += AGAIN_SECONDS
    Foresight(touches).done(1)
    wait_for_touches()
    assert touches.count == 2


def test_nothing_to_wake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address nobody is asked, and no thread is begun."""
    monkeypatch.setattr(threading, "Thread", None)
    Foresight(Waker("")).done(1)


def wait_for_touches() -> None:
    """Wait until every touch that was begun has ended."""
    for thread in threading.enumerate():
        if thread.name == "wake":
            thread.join()
