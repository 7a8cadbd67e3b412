"""How often one address may ask the one-process run; in the cluster nginx counts."""

import math
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from limits.strategies import RateLimiter

#: Paths that make somebody's password be hashed.
_LOGINS: Final = frozenset({"/login", "/register", "/password"})


class Rates:
    """Counts the requests of each address, minute by minute.

    Args:
        requests_per_minute: how many are answered; 0 for any number.
        logins_per_minute: how many of them may have to do with a password; 0 for any number.
    """

    def __init__(self, *, requests_per_minute: int, logins_per_minute: int) -> None:
        self._limits = {"requests": requests_per_minute, "logins": logins_per_minute}
        # The storage of limits 5.8 may start its one timer twice where two threads come at once (its issue 352).
        self._lock = threading.Lock()

    def wait_seconds(self, address: str, *, method: str, path: str) -> int:
        """Count a request; 0, or how long its sender has to wait since it was one too many."""
        if path == "/healthz":
            return 0
        kinds = ("requests", "logins") if method == "POST" and path in _LOGINS else ("requests",)
        return max(self._hit(kind, address) for kind in kinds)

    def _hit(self, kind: str, address: str) -> int:
        if not self._limits[kind]:
            return 0
        from limits import RateLimitItemPerMinute

        limit = RateLimitItemPerMinute(self._limits[kind])
        with self._lock:
            if self._limiter.hit(limit, kind, address):
                return 0
            resets = self._limiter.get_window_stats(limit, kind, address).reset_time
        return max(1, math.ceil(resets - time.time()))

    @cached_property
    def _limiter(self) -> "RateLimiter":
        from limits.storage import MemoryStorage
        from limits.strategies import FixedWindowRateLimiter

        return FixedWindowRateLimiter(MemoryStorage())
