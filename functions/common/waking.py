"""Waking the next step ahead of its event, so that its cold start overlaps with work instead of adding to it.

Nothing depends on it: a touch that fails, or comes for nothing, changes no job.
"""

import threading
import time
from contextlib import suppress
from typing import Final

#: A start takes about so long, with a margin.
AHEAD_SECONDS: Final = 5.0
#: One touch in this time is enough for a process: more of them would start more pods, for nothing.
AGAIN_SECONDS: Final = 30.0
_TIMEOUT_SECONDS: Final = 2.0
#: A rate that was measured for less says nothing.
_MEASURED_SECONDS: Final = 0.5


class Waker:
    """Touches one step's service. May be used from several threads.

    Args:
        url: its address; empty where nothing has to be woken.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._touched = -AGAIN_SECONDS

    def touch(self) -> None:
        """Ask for /healthz in the background, unless that was done a moment ago."""
        with self._lock:
            now = time.monotonic()
            if not self._url or now - self._touched < AGAIN_SECONDS:
                return
            self._touched = now
        threading.Thread(target=self._ask, name="wake", daemon=True).start()

    def _ask(self) -> None:
        # Loaded here, since whoever is woken for an event has better things to do first.
        import requests

        with suppress(requests.RequestException), requests.Session() as session:
            session.trust_env = False
            session.get(f"{self._url}/healthz", timeout=_TIMEOUT_SECONDS)


class Foresight:
    """One piece of work, shortly before whose end the next step is woken, once.

    Args:
        waker: touches that step.
    """

    def __init__(self, waker: Waker) -> None:
        self._waker = waker
        self._began = time.monotonic()
        self._woken = False

    def done(self, share: float) -> None:
        """Tell how much of the work is done, from 0 to 1."""
        spent = time.monotonic() - self._began
        sure = share >= 1 or (share > 0 and spent >= _MEASURED_SECONDS)
        if not self._woken and sure and spent / share - spent <= AHEAD_SECONDS:
            self._woken = True
            self._waker.touch()
