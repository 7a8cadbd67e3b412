"""What the C library does with memory that was freed."""

from contextlib import suppress
from functools import cache
from typing import Final

# Of malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_MIB: Final = 1024 * 1024


@cache
def bound_what_is_kept() -> None:
    """Have blocks of 4 MiB and more go back to the system when freed, and keep only a few of the smaller ones.

    glibc (mallopt(3)) raises the first size to that of the largest block that was ever freed, and keeps blocks for each
    thread: one password hash left the process 19 MiB larger for good, the chunks of a few uploads 30. Giving those
    chunks back too would cost a third of an upload's speed, in page faults.
    """
    import ctypes

    with suppress(AttributeError):  # other C libraries have no such settings
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 4 * _MIB)
        mallopt(_M_TRIM_THRESHOLD, 8 * _MIB)
        mallopt(_M_ARENA_MAX, 2)
