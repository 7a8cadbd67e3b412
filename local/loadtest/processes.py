"""Processes and what they use: those of a server, by function, and of servers beside it.

A child that lives shorter than the time between two looks is found in its parent's counters, once the parent has
waited for it; what a killed parent never waited for goes to the reaper (`reaper`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from local.loadtest.snapshot import Entry, Snapshot


@dataclass
class Usage:
    """What one function has used so far."""

    #: Processes that serve it right now.
    instances: int = 0
    cpu_seconds: float = 0.0
    #: Held right now by all of its processes, what they share counted for each (RSS).
    memory_bytes: int = 0


@dataclass
class OneTree:
    """The one-process run: the server and the ffmpegs that it starts."""

    _server: dict[tuple[int, float], float] = field(default_factory=dict)
    _ffmpeg: dict[tuple[int, float], float] = field(default_factory=dict)

    def look(self, root: Entry, there: Snapshot) -> dict[str, Usage]:
        """What runs below a server's process, and what it has used so far, the servers before it included.

        Args:
            root: the server, whose parent takes its orphans.
            there: every process.
        """
        children = there.below(root.pid)
        reaper = there.find(root.parent)
        orphans = [] if reaper is None else [each for each in there.children(reaper.pid) if each.pid != root.pid]
        # What the server's parent has waited for is orphans alone, as long as the server runs.
        ended = root.ended_cpu_seconds + (reaper.ended_cpu_seconds if reaper else 0.0)
        used = ended + sum(each.cpu_seconds for each in (*children, *orphans))
        self._server[root.key] = root.own_cpu_seconds
        # A child that ends while processes are read is in neither place; the next look has it.
        self._ffmpeg[root.key] = max(self._ffmpeg.get(root.key, 0.0), used)
        encoders = [each for each in children if each.name == "ffmpeg"]
        return {
            "server": Usage(1, sum(self._server.values()), root.memory_bytes),
            "ffmpeg": Usage(len(encoders), sum(self._ffmpeg.values()), sum(each.memory_bytes for each in children)),
        }


@dataclass
class _Function:
    name: str
    cpu_seconds: float = 0.0


@dataclass
class Families:
    """`--services`: a process and its descendants for each function."""

    #: Says what a direct child of the server is, by its pid; None for what is no function.
    name_of: Callable[[int], str | None]
    _functions: dict[tuple[int, float], _Function] = field(default_factory=dict)
    _roots: dict[tuple[int, float], float] = field(default_factory=dict)
    _orphans: dict[tuple[int, float], float] = field(default_factory=dict)

    def look(self, root: Entry, there: Snapshot) -> dict[str, Usage]:
        """What runs below a server's process, and what it has used so far.

        Args:
            root: the server, whose parent takes its orphans: encoders behind walls, which are convert's.
            there: every process.
        """
        reaper = there.find(root.parent)
        self._roots[root.key] = root.own_cpu_seconds
        if reaper is not None:
            self._orphans[reaper.key] = reaper.ended_cpu_seconds
        found = {"gateway": Usage(1, sum(self._roots.values()), root.memory_bytes)}
        for child in there.children(root.pid):
            self._see(child, there, found)
        for function in self._functions.values():
            found.setdefault(function.name, Usage()).cpu_seconds += function.cpu_seconds
        found.setdefault("convert", Usage()).cpu_seconds += sum(self._orphans.values())
        return found

    def _see(self, child: Entry, there: Snapshot, found: dict[str, Usage]) -> None:
        known = self._functions.get(child.key)
        if known is None:
            name = self.name_of(child.pid)
            if name is None:
                return
            known = self._functions[child.key] = _Function(name)
        usage, family = found.setdefault(known.name, Usage()), [child, *there.below(child.pid)]
        known.cpu_seconds = max(known.cpu_seconds, sum(each.cpu_seconds for each in family))
        usage.memory_bytes += sum(each.memory_bytes for each in family)
        # What has ended and was not waited for yet holds nothing.
        usage.instances += bool(child.memory_bytes)
        encoders = found.setdefault("ffmpeg", Usage())
        encoders.instances += sum(each.name == "ffmpeg" for each in family)


class Beside:
    """Servers that others have started, such as databases: only what they use is of interest."""

    def __init__(self) -> None:
        self._used: dict[tuple[int, float], float] = {}

    def look(self, servers: Iterable[int], there: Snapshot) -> float:
        """CPU seconds that they have used, one that has ended since included.

        Args:
            servers: their processes.
            there: every process.
        """
        for server in servers:
            found = there.find(server)
            for each in (*([found] if found else []), *there.below(server)):
                self._used[each.key] = each.own_cpu_seconds
        return sum(self._used.values())
