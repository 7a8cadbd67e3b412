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


@contextmanager
def slot(count: int) -> Iterator[None]:
    """Hold one of the process's slots.

    Raises:
        Unavailable: none came free in time.
    """
    slots = _slots(count)
    if not slots.acquire(timeout=WAIT_SECONDS):
        raise Unavailable("This converter is busy.", retry_after_seconds=5)
    try:
        yield
    finally:
        slots.release()


@cache
def _slots(count: int) -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(count)
