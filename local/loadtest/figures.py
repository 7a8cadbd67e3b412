"""The figures of a burst, computed from its jobs and samples."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

from local.loadtest import series
from local.loadtest.journal import Record
from local.loadtest.samples import Sample

#: The parts of a job's way, in order, and between which moments each lies.
PHASES: Final[dict[str, tuple[str, str]]] = {
    "upload": ("due", "accepted"),
    "queue": ("accepted", "started"),
    "convert": ("started", "finished"),
    "mail": ("finished", "mailed"),
}
#: Phases in which a pod or a process can take work.
READY: Final = ("Ready", "Running")
_PERCENTS: Final = (50, 95, 99, 100)


@dataclass(frozen=True)
class Function:
    """What one function took."""

    #: Most pods or processes at once.
    most: int
    #: Seconds that pods were there, added up.
    pod_seconds: float
    cpu_seconds: float
    #: The most that all of its processes held at once.
    peak_bytes: int


@dataclass(frozen=True)
class Figures:
    """A burst in numbers; seconds, unless the name says otherwise; None where nothing is known."""

    jobs: int
    succeeded: int
    #: From the first upload to the last mail, or to the last result where mails cannot be seen.
    total_seconds: float | None
    #: From the last 202 on, which is what the ratio is about.
    after_uploads_seconds: float | None
    #: Processor time of all of our processes in that time, over the processors: no order of work could be faster.
    bound_seconds: float | None
    #: The time over the bound, with the processor time of generator and sampler taken off.
    ratio: float | None
    #: The same with the processor time of strangers taken off as well: what an idle machine would have shown, about.
    ratio_alone: float | None
    jobs_per_second: float | None
    #: Percentiles of each phase, and of `total` (to the result), by percent.
    waits: dict[str, dict[str, float]]
    #: From the end of a conversion to its mail: two hops through the broker less the sending.
    hop_median_seconds: float | None
    #: From the end of a conversion to the beginning of the next one in its place.
    gap_median_seconds: float | None
    functions: dict[str, Function]
    #: Seconds that pods of the converter were there for each job, and the share of them without one.
    pod_seconds_per_job: float | None
    idle_share: float | None
    #: Pods or processes that were started meanwhile; who waited for them, and for how long in all.
    cold_starts: int
    cold_start_waits: int
    cold_start_seconds: float
    #: Processor time in the whole time: of generator and sampler, of databases and brokers, of strangers.
    own_cpu_seconds: float
    servers_cpu_seconds: float
    others_cpu_seconds: float | None
    #: The server's memory at its most in the last third over its most in the first.
    memory_growth: float | None

    def as_dict(self) -> dict[str, Any]:
        """As the report has it."""
        return asdict(self)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent are not above (nearest rank), of values in any order."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def waits(records: Iterable[Record], phase: str) -> list[float]:
    """How long each job that came through a phase was in it; a clock that differs makes nothing negative."""
    begins, ends = PHASES.get(phase, ("due", "finished"))
    pairs = ((getattr(record, begins), getattr(record, ends)) for record in records)
    return [max(0.0, end - begin) for begin, end in pairs if begin is not None and end is not None]


def reckon(
    records: Sequence[Record],
    samples: Sequence[Sample],
    *,
    cpus: int,
    slots: int,
    converters: str,
    starts: dict[str, list[float]],
    sees_mails: bool = True,
    same_machine: bool = True,
) -> Figures:
    """Compute all of them.

    Args:
        records: the jobs.
        samples: what was seen meanwhile.
        cpus: processors that the server may use.
        slots: conversions that one converter does at once.
        converters: which instances convert.
        starts: how long somebody waited for each start of a function.
        sees_mails: whether a job's end is its mail.
        same_machine: whether the server ran where the samples of the machine were taken.
    """
    succeeded = [record for record in records if record.state == "succeeded"]
    ends = [end for record in succeeded if (end := record.mailed if sees_mails else record.finished) is not None]
    begin = min((record.sent for record in records if record.sent is not None), default=0.0)
    end = max(ends, default=None)
    clock = max((record.accepted for record in records if record.accepted is not None), default=begin)
    total = None if end is None else end - begin
    bound = after = None
    ratio, alone = None, None
    if end is not None and end > clock and samples:
        after = end - clock
        bound = series.between(samples, clock, end, _ours) / cpus or None
        ratio, alone = _ratios(samples, clock, end, cpus, same_machine=same_machine)
    idle, each = _idle(samples, slots, converters, len(succeeded))
    return Figures(
        jobs=len(records),
        succeeded=len(succeeded),
        total_seconds=total,
        after_uploads_seconds=after,
        bound_seconds=bound,
        ratio=ratio,
        ratio_alone=alone,
        jobs_per_second=len(succeeded) / total if total else None,
        waits={phase: _percentiles(waits(succeeded, phase)) for phase in (*PHASES, "total")},
        hop_median_seconds=_median(waits(succeeded, "mail")),
        gap_median_seconds=_median(gaps(succeeded)),
        functions=_functions(samples),
        pod_seconds_per_job=each,
        idle_share=idle,
        cold_starts=_started(samples),
        cold_start_waits=sum(map(len, starts.values())),
        cold_start_seconds=sum(map(sum, starts.values())),
        own_cpu_seconds=series.grown(samples, lambda sample: sample.own_cpu_seconds),
        servers_cpu_seconds=series.grown(samples, _servers),
        others_cpu_seconds=_others(samples) if same_machine else None,
        memory_growth=_memory_growth(samples),
    )


def _ratios(
    samples: Sequence[Sample], begin: float, end: float, cpus: int, *, same_machine: bool
) -> tuple[float | None, float | None]:
    """The time over the bound: less what generator and sampler took, and less what strangers took, too."""
    ours = series.between(samples, begin, end, _ours)
    if not ours:
        return None, None
    there = (end - begin) * cpus
    if not same_machine:
        return there / ours, None
    own = series.between(samples, begin, end, lambda sample: sample.own_cpu_seconds)
    known = own + ours + series.between(samples, begin, end, _servers)
    strangers = max(0.0, series.between(samples, begin, end, _machine) - known)
    return (there - own) / ours, (there - own - strangers) / ours


def gaps(records: Iterable[Record]) -> list[float]:
    """How long the place of each conversion that ended stood empty before the next one began in it."""
    moments = [(record.started, 1) for record in records if record.started is not None]
    moments += [(record.finished, 0) for record in records if record.finished is not None]
    free: list[float] = []
    found = []
    for moment, begins in sorted(moments):
        if not begins:
            free.append(moment)
        elif free:
            found.append(moment - free.pop(0))
    return found


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": percentile(values, percent) for percent in _PERCENTS} if values else {}


def _median(values: Sequence[float]) -> float | None:
    return percentile(values, 50) if values else None


def _servers(sample: Sample) -> float:
    return sample.servers_cpu_seconds


def _machine(sample: Sample) -> float:
    return sample.machine_cpu_seconds


def _ours(sample: Sample) -> float:
    return sum(sample.cpu_seconds.values())


def running(sample: Sample, name: str) -> int:
    """Pods or processes of a function, in whatever phase."""
    return sum(sample.instances.get(name, {}).values())


def _functions(samples: Sequence[Sample]) -> dict[str, Function]:
    names = sorted({name for sample in samples for name in (*sample.instances, *sample.cpu_seconds)})
    return {name: _function(samples, name) for name in names}


def _function(samples: Sequence[Sample], name: str) -> Function:
    return Function(
        most=max(running(sample, name) for sample in samples),
        pod_seconds=round(series.area(samples, lambda sample: running(sample, name)), 2),
        cpu_seconds=round(series.grown(samples, lambda sample: sample.cpu_seconds.get(name, 0.0)), 2),
        peak_bytes=max(sample.memory_bytes.get(name, 0) for sample in samples),
    )


def _started(samples: Sequence[Sample]) -> int:
    """How often there was one more of a function than a look before; encoders are started for each job anyway."""
    names = {name for sample in samples for name in sample.instances} - {"ffmpeg"}
    return sum(
        max(0, running(right, name) - running(left, name)) for left, right in pairwise(samples) for name in names
    )


def _idle(samples: Sequence[Sample], slots: int, converters: str, jobs: int) -> tuple[float | None, float | None]:
    """The share of the converters' time without a job, and their seconds for each job."""
    there = series.area(samples, lambda sample: running(sample, converters) * slots)
    if not there or not jobs:
        return None, None
    used = series.area(
        samples, lambda sample: min(sample.jobs.get("converting", 0), running(sample, converters) * slots)
    )
    return 1 - used / there, there / slots / jobs


def _others(samples: Sequence[Sample]) -> float:
    known = (_ours, _servers, lambda sample: sample.own_cpu_seconds)
    return max(0.0, series.grown(samples, _machine) - sum(series.grown(samples, value) for value in known))


def _memory_growth(samples: Sequence[Sample]) -> float | None:
    """Of the largest part that is no encoder."""
    third = len(samples) // 3
    if not third:
        return None
    held = [sum(size for name, size in sample.memory_bytes.items() if name != "ffmpeg") for sample in samples]
    return max(held[-third:]) / max(held[:third]) if max(held[:third]) else None
