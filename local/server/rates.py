"""How often one address may ask the one-process run; in the cluster nginx counts."""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

_MINUTE_SECONDS: Final = 60
#: Paths that make somebody's password be hashed.
_LOGINS: Final = frozenset({"/login", "/register", "/password"})


class Rates:
    """Counts the requests of each address, minute by minute.

    Args:
        requests_per_minute: how many are answered; 0 for any number.
        logins_per_minute: how many of them may have to do with a password; 0 for any number.
        clock: seconds that only grow.
    """

    def __init__(
        self, *, requests_per_minute: int, logins_per_minute: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = {"requests": requests_per_minute, "logins": logins_per_minute}
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = 0.0
        self._counts: Counter[tuple[str, str]] = Counter()

    def wait_seconds(self, address: str, *, method: str, path: str) -> int:
        """Count a request; 0, or how long its sender has to wait since it was one too many."""
        if path == "/healthz":
            return 0
        minute, second = divmod(self._clock(), _MINUTE_SECONDS)
        kinds = ("requests", "logins") if method == "POST" and path in _LOGINS else ("requests",)
        with self._lock:
            if minute != self._minute:
                # What was counted before is of no use any more, so addresses do not pile up.
                self._minute = minute
                self._counts.clear()
            for kind in kinds:
                self._counts[kind, address] += 1
            over = any(0 < self._limits[kind] < self._counts[kind, address] for kind in kinds)
        return math.ceil(_MINUTE_SECONDS - second) if over else 0
