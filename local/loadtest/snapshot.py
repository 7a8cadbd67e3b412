"""Every process of this machine at one moment, read in one pass: asking for each family anew would cost ten times that.

On Linux by /proc/PID/stat (proc(5)), elsewhere by psutil.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Entry:
    """One process."""

    pid: int
    parent: int
    name: str
    #: When it began, in the system's own units: with the pid it is nobody else's.
    began: float
    #: User and system time, its own and of children that ended and that it has waited for.
    own_cpu_seconds: float
    ended_cpu_seconds: float
    #: What it holds, what it shares included (RSS).
    memory_bytes: int

    @property
    def key(self) -> tuple[int, float]:
        """What tells it from every other, before and after."""
        return self.pid, self.began

    @property
    def cpu_seconds(self) -> float:
        """Both times."""
        return self.own_cpu_seconds + self.ended_cpu_seconds


class Snapshot:
    """The processes there were.

    Args:
        entries: all of them.
    """

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = {entry.pid: entry for entry in entries}
        self._children: dict[int, list[Entry]] = {}
        for entry in self._entries.values():
            self._children.setdefault(entry.parent, []).append(entry)

    def find(self, pid: int) -> Entry | None:
        """A process, if it was there."""
        return self._entries.get(pid)

    def children(self, pid: int) -> list[Entry]:
        """Those that a process started, or inherited."""
        return self._children.get(pid, [])

    def below(self, pid: int) -> list[Entry]:
        """Those and theirs."""
        return [each for child in self.children(pid) for each in (child, *self.below(child.pid))]


def take() -> Snapshot:
    """Look once."""
    return Snapshot(_by_proc() if (_PROC / "self/stat").exists() else _by_psutil())


def _by_proc() -> Iterator[Entry]:
    ticks, page_bytes = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for folder in os.scandir(_PROC):
        if folder.name.isdigit():
            # One that ends meanwhile is one less.
            with suppress(OSError), open(f"{folder.path}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - two hundred times a look
                yield parsed(file.read(), ticks, page_bytes)


def parsed(stat: str, ticks: int, page_bytes: int) -> Entry:
    """Read a line of /proc/PID/stat.

    Args:
        stat: the line.
        ticks: clock ticks of a second.
        page_bytes: size of a page.
    """
    # The name in parentheses may hold spaces and parentheses; the fields behind it begin with the third.
    head, _, tail = stat.rpartition(")")
    pid, _, name = head.partition(" (")
    fields = tail.split()
    own, ended = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
    return Entry(
        pid=int(pid),
        parent=int(fields[1]),
        name=name,
        began=float(fields[19]),
        own_cpu_seconds=own / ticks,
        ended_cpu_seconds=ended / ticks,
        memory_bytes=int(fields[21]) * page_bytes,
    )


def _by_psutil() -> Iterator[Entry]:
    for process in psutil.process_iter(["ppid", "name", "create_time", "cpu_times", "memory_info"]):
        times, memory = process.info["cpu_times"], process.info["memory_info"]
        # What belongs to others is not told.
        if times is not None and memory is not None:
            ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            began, parent = process.info["create_time"], process.info["ppid"]
            name, own = process.info["name"], times.user + times.system
            yield Entry(process.pid, parent, name, began, own, ended, memory.rss)
