"""Looks at everything at once, again and again, each with its moment."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

import psutil

from local.loadtest.journal import Journal
from local.loadtest.processes import Usage

EVERY_SECONDS: Final = 0.5
#: Of one processor, for all the looking: where looks are dear, there are fewer of them.
_SHARE: Final = 0.04


@dataclass(frozen=True)
class Sample:
    """One look."""

    #: Seconds since the burst began.
    at: float
    #: Jobs by their standing (journal.STATES).
    jobs: dict[str, int]
    #: Pods of each function by phase; processes are `Running`.
    instances: dict[str, dict[str, int]]
    #: Used by each function so far.
    cpu_seconds: dict[str, float]
    #: Held by each function.
    memory_bytes: dict[str, int]
    #: Messages that wait or are in delivery, by queue.
    queues: dict[str, int]
    #: Processor time of the generator and of whoever looks.
    own_cpu_seconds: float
    #: Of the databases, stores and brokers that the burst uses, where they are known.
    servers_cpu_seconds: float
    #: Of everything on this machine.
    machine_cpu_seconds: float

    def as_dict(self) -> dict[str, Any]:
        """As the report has it."""
        return asdict(self)


@dataclass(frozen=True)
class Seen:
    """What a target shows of itself at one moment, besides its jobs."""

    instances: dict[str, dict[str, int]] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)
    servers_cpu_seconds: float = 0.0


class Target(Protocol):
    """A server that a burst is made on."""

    def look(self, journal: Journal) -> None:
        """Tell the journal how its jobs stand."""

    def seen(self) -> Seen:
        """What runs, what that uses, and what waits."""


class Sampler:
    """Samples a target in a thread of its own.

    Args:
        target: what is looked at.
        journal: takes what is seen of the jobs.
        generator: the process that makes the load; None where there is none.
        told: gets each sample.
    """

    def __init__(
        self,
        target: Target,
        journal: Journal,
        *,
        generator: Callable[[], psutil.Process | None],
        told: Callable[[Sample], None] = lambda _sample: None,
    ) -> None:
        self._target, self._journal, self._generator, self._told = target, journal, generator, told
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="sampler", daemon=True)
        self._generator_cpu_seconds = 0.0
        self.samples: list[Sample] = []
        #: Looks that failed, since what was looked at did not answer.
        self.failed = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, with one last look."""
        self._ends.set()
        self._thread.join()
        self.once()

    def _sample(self) -> None:
        while not self._ends.is_set():
            began = time.thread_time()
            self.once()
            self._ends.wait(max(EVERY_SECONDS, (time.thread_time() - began) / _SHARE))

    def once(self) -> None:
        """Look once; where jobs cannot be seen they stand as they stood, and a look that sees nothing is left out."""
        # Drivers of databases and of the management API have their own words for a server that is away.
        try:
            self._target.look(self._journal)
        except Exception:  # noqa: BLE001 - a fault may have taken away what is looked at
            self.failed += 1
        try:
            seen = self._target.seen()
        except Exception:  # noqa: BLE001 - the same
            self.failed += 1
            return
        with self._journal.lock:
            began = self._journal.began
        sample = Sample(
            at=round(time.time() - began, 3) if began else 0.0,
            jobs=dict(self._journal.standings()),
            instances=seen.instances,
            cpu_seconds={name: round(usage.cpu_seconds, 3) for name, usage in seen.usage.items()},
            memory_bytes={name: usage.memory_bytes for name, usage in seen.usage.items()},
            queues=seen.queues,
            own_cpu_seconds=round(self._own_cpu_seconds(), 3),
            servers_cpu_seconds=round(seen.servers_cpu_seconds, 2),
            machine_cpu_seconds=round(machine_cpu_seconds(), 2),
        )
        if began:
            self.samples.append(sample)
        self._told(sample)

    def _own_cpu_seconds(self) -> float:
        generator = self._generator()
        if generator is not None:
            with suppress(psutil.Error):
                self._generator_cpu_seconds = _cpu_seconds(generator)
        return self._generator_cpu_seconds + _cpu_seconds(psutil.Process())


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def machine_cpu_seconds() -> float:
    """Processor time that anything on this machine has used since its start, or that a virtual one's host took."""
    times = psutil.cpu_times()
    # Linux counts guests as part of `user`.
    busy = sum(times) - times.idle - getattr(times, "iowait", 0.0)
    return float(busy - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0))
