"""How many conversions one process runs at once, whatever arrives.

The platform's own limit (containerConcurrency) is not enough: it counts requests, and a request that was cut frees
its place while ffmpeg still works for it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from functions.common.errors import Unavailable

#: Longer than that, and the dispatcher's own retries are the better queue.
WAIT_SECONDS: Final = 60.0


class Slots:
    """The slots of a process.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._count = count
        self._changed = threading.Condition()

    @contextmanager
    def held(self, *, alone: bool) -> Iterator[None]:
        """Hold one slot, or all of them where the work may take its process down.

        Raises:
            Unavailable: none came free in time.
        """
        wanted = self._count if alone else 1
        with self._changed:
            if not self._changed.wait_for(lambda: self._free >= wanted, WAIT_SECONDS):
                raise Unavailable("This converter is busy.", retry_after_seconds=5)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


@cache
def slots(count: int) -> Slots:
    """The process's slots."""
    return Slots(count)
