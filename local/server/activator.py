"""Functions that run only while somebody asks for them: what Knative's activator and autoscaler do, on one machine."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from local.server.gateway import InFlight
from local.server.problems import problem
from local.server.proxy import Proxy

#: How long a request waits for its function to start.
_START_SECONDS: Final = 60.0
_log = logging.getLogger("activator")


class Activator:
    """A WSGI app (PEP 3333) in front of a function, whose process somebody else starts and stops as this one says.

    Args:
        name: of the function.
        origin: where it listens while it runs.
        idle_seconds: how long it goes on running after the last request.
        answers: asked whether it can be reached.
    """

    def __init__(self, name: str, origin: str, *, idle_seconds: float, answers: Callable[[], bool]) -> None:
        self._name = name
        self._idle_seconds = idle_seconds
        self._answers = answers
        self._app = InFlight(self._handle, self._count)
        self._proxy = Proxy(origin)
        self._lock = threading.Lock()
        self._running = 0
        self._last = -idle_seconds

    def wanted(self) -> bool:
        """Whether the function has to run: somebody asks for it, or did a moment ago."""
        with self._lock:
            return self._running > 0 or time.monotonic() - self._last < self._idle_seconds

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request, as soon as the function runs."""
        return self._app(environ, start_response)

    def _handle(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        began = time.monotonic()
        at_zero = not self._answers()
        while not self._answers():
            if time.monotonic() - began > _START_SECONDS:
                refusal = problem(503, "Service Unavailable", "The function does not start.", retry_helps=True)
                return refusal(environ, start_response)
            time.sleep(0.02)
        waited = f"waited {time.monotonic() - began:.2f} s for its start" if at_zero else "found it running"
        _log.info("%s: %s %s %s", self._name, environ["REQUEST_METHOD"], environ["PATH_INFO"], waited)
        return self._proxy(environ, start_response)

    def _count(self, change: int) -> None:
        with self._lock:
            self._running += change
            self._last = time.monotonic()
