"""How many processors this process may use, and how its conversions share them."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from math import ceil
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def usable(cgroup: Path = _CGROUP) -> int:
    """Processors that the scheduler lets us have: those of our affinity, less where a cgroup's quota says so.

    Args:
        cgroup: where the container's own cgroup is mounted (version 2: cpu.max; version 1: cpu.cfs_quota_us).
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return allowed if quota is None else max(1, min(allowed, ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Processors by the cgroup's quota, None for no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


class Processors:
    """The processors of a process.

    Every conversion has one, whether it is free or not; those that are idle speed up whoever comes first.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._used = 0
        self._lock = threading.Lock()

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """Use one, and more if there are."""
        share = Share(self)
        share.used = self.take(1, at_least=1)
        try:
            yield share
        finally:
            with self._lock:
                self._used -= share.used

    def take(self, most: int, *, at_least: int = 0) -> int:
        """Take some; how many."""
        with self._lock:
            taken = max(at_least, min(most, self._count - self._used))
            self._used += taken
        return taken


class Share:
    """What one conversion has of the processors.

    Args:
        processors: the whole.
    """

    def __init__(self, processors: Processors) -> None:
        self.used = 0
        self._processors = processors

    def more(self, most: int) -> int:
        """Take up to so many idle ones; how many there were."""
        taken = self._processors.take(most)
        self.used += taken
        return taken


@cache
def processors(count: int) -> Processors:
    """The process's processors; 0 stands for all that are usable."""
    return Processors(count or usable())
