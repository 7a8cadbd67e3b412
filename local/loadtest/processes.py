"""Processes and what they use: those of a server, by function, and of the burst itself.

A child that lives shorter than the time between two looks is found in its parent's counters, once the parent has
waited for it; what a killed parent never waited for is lost, and small.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil


@dataclass
class Usage:
    """What one function has used so far."""

    #: Processes that serve it right now.
    instances: int = 0
    cpu_seconds: float = 0.0
    #: Held right now by all of its processes, what they share counted for each (RSS).
    memory_bytes: int = 0


def total_cpu_seconds(process: psutil.Process, *, reaped: bool = True) -> float:
    """User and system time of a process and, if wanted, of its children that have ended."""
    times = process.cpu_times()
    return float(times.user + times.system) + (ended_cpu_seconds(process) if reaped else 0.0)


def ended_cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process's children that have ended, and that it has waited for."""
    times = process.cpu_times()
    # macOS does not tell of children.
    return float(getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0))


class OneTree:
    """The one-process run: the server and the ffmpegs that it starts."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {"server": 0.0, "ffmpeg": 0.0}
        self._now: dict[str, float] = {"server": 0.0, "ffmpeg": 0.0}
        self._root: tuple[int, float] | None = None

    def look(self, root: psutil.Process) -> dict[str, Usage]:
        """What runs below a server's process, and what it has used so far, the servers before it included.

        Args:
            root: the server, whose parent takes its orphans (`reaper`).
        """
        found = {"server": Usage(instances=1), "ffmpeg": Usage()}
        key = (root.pid, root.create_time())
        if key != self._root:
            self._before = {name: self._before[name] + used for name, used in self._now.items()}
            self._now = dict.fromkeys(self._now, 0.0)
            self._root = key
        own, found["server"].memory_bytes = total_cpu_seconds(root, reaped=False), root.memory_info().rss
        family = _family(root.parent() or root)
        children = ended_cpu_seconds(root) + sum(ended_cpu_seconds(each) for each in family[:1])
        for child in family[1:]:
            if child == root:
                continue
            with suppress(psutil.Error):
                children += total_cpu_seconds(child)
                found["ffmpeg"].memory_bytes += child.memory_info().rss
                found["ffmpeg"].instances += child.name() == "ffmpeg"
        # A child that ends between two of these lines is in neither; the next look has it.
        self._now = {"server": own, "ffmpeg": max(self._now["ffmpeg"], children)}
        for name, usage in found.items():
            usage.cpu_seconds = self._before[name] + self._now[name]
        return found


def _family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


@dataclass
class _Function:
    name: str
    cpu_seconds: float = 0.0


@dataclass
class Families:
    """`--services`: a process and its descendants for each function."""

    #: Says what a direct child of the server is; None for what is no function.
    name_of: Callable[[psutil.Process], str | None]
    _functions: dict[tuple[int, float], _Function] = field(default_factory=dict)
    _roots: dict[tuple[int, float], float] = field(default_factory=dict)
    _orphans: dict[tuple[int, float], float] = field(default_factory=dict)

    def look(self, root: psutil.Process) -> dict[str, Usage]:
        """What runs below a server's process, and what it has used so far.

        Args:
            root: the server, whose parent takes its orphans (`reaper`): encoders behind walls, of convert.
        """
        found: dict[str, Usage] = {}
        reaper = root.parent()
        self._roots[root.pid, root.create_time()] = total_cpu_seconds(root, reaped=False)
        if reaper is not None:
            self._orphans[reaper.pid, reaper.create_time()] = ended_cpu_seconds(reaper)
        found["gateway"] = Usage(1, 0.0, root.memory_info().rss)
        for child in root.children():
            with suppress(psutil.Error):
                self._see(child, found)
        for function in self._functions.values():
            found.setdefault(function.name, Usage()).cpu_seconds += function.cpu_seconds
        found["gateway"].cpu_seconds = sum(self._roots.values())
        found.setdefault("convert", Usage()).cpu_seconds += sum(self._orphans.values())
        return found

    def _see(self, child: psutil.Process, found: dict[str, Usage]) -> None:
        key = (child.pid, child.create_time())
        known = self._functions.get(key)
        if known is None:
            name = self.name_of(child)
            if name is None:
                return
            known = self._functions[key] = _Function(name)
        usage = found.setdefault(known.name, Usage())
        cpu_seconds = 0.0
        for process in _family(child):
            with suppress(psutil.Error):
                cpu_seconds += total_cpu_seconds(process)
                usage.memory_bytes += process.memory_info().rss
                if process.name() == "ffmpeg":
                    found.setdefault("ffmpeg", Usage()).instances += 1
        usage.instances += child.status() != psutil.STATUS_ZOMBIE
        known.cpu_seconds = max(known.cpu_seconds, cpu_seconds)


class Beside:
    """Servers that others have started, such as databases: only what they use is of interest."""

    def __init__(self) -> None:
        self._used: dict[tuple[int, float], float] = {}

    def look(self, servers: Iterable[psutil.Process]) -> float:
        """What they have used since they were first seen, in CPU seconds; one that ended counts on."""
        for server in servers:
            with suppress(psutil.Error):
                for process in _family(server):
                    with suppress(psutil.Error):
                        self._used[process.pid, process.create_time()] = total_cpu_seconds(process, reaped=False)
        return sum(self._used.values())
