"""What a burst's figures are computed from."""

from typing import Any

import pytest

from local.loadtest import series
from local.loadtest.figures import gaps, percentile, reckon, waits
from local.loadtest.journal import Record
from local.loadtest.samples import Sample


def record(number: int, **more: Any) -> Record:
    """A job that was taken at 1 s, converted from 2 s to 3 s, and told of at 4 s."""
    made = Record(number, "s", "clip.mp4", {}, 0, 2.0, 0.0, sent=0.0, accepted=1.0, id=f"job-{number}")
    made.state, made.started, made.finished, made.mailed = "succeeded", 2.0, 3.0, 4.0
    for name, value in more.items():
        setattr(made, name, value)
    return made


def sample(at: float, *, ours: float = 0.0, own: float = 0.0, machine: float = 0.0, **more: Any) -> Sample:
    """A look at one converter."""
    told: dict[str, Any] = {
        "jobs": {},
        "instances": {"convert": {"Running": 1}},
        "memory_bytes": {"convert": 100},
        "queues": {},
        "servers_cpu_seconds": 0.0,
    }
    return Sample(
        at=at, cpu_seconds={"convert": ours}, own_cpu_seconds=own, machine_cpu_seconds=machine, **{**told, **more}
    )


def reckoned(records: list[Record], samples: list[Sample], **more: Any) -> Any:
    """Figures on two processors."""
    told: dict[str, Any] = {"cpus": 2, "slots": 1, "converters": "convert", "starts": {}}
    return reckon(records, samples, **{**told, **more})


def test_percentiles_are_values_that_were_there() -> None:
    """The nearest rank, in any order, of one value too."""
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, percent) for percent in (1, 20, 21, 50, 95, 100)] == [1, 1, 2, 3, 5, 5]
    assert percentile([7.0], 50) == 7.0


def test_waits_of_each_phase() -> None:
    """From when the job was due, so that a generator that is late hides nothing; clocks make nothing negative."""
    late = record(0, due=-2.0, started=0.5)
    assert [waits([late], phase) for phase in ("upload", "queue", "convert", "mail", "total")] == [
        [3.0],
        [0.0],
        [2.5],
        [1.0],
        [5.0],
    ]
    assert waits([record(1, mailed=None)], "mail") == []


def test_the_clock_starts_with_the_last_202() -> None:
    """The ratio is the time from there to the last mail over our CPU time in it, generator and sampler taken off."""
    samples = [sample(0.0), sample(1.0, ours=9.0, own=3.0), sample(4.0, ours=13.0, own=4.0, machine=7.0)]
    found = reckoned([record(0), record(1, accepted=0.5)], samples)
    assert (found.total_seconds, found.after_uploads_seconds) == (4.0, 3.0)
    assert found.bound_seconds == pytest.approx(2.0)
    # 3 s of two processors, less 1 s of our own looking, over 4 s of work.
    assert found.ratio == pytest.approx(5 / 4)
    # Of the 7 s that the machine worked, 2 s were strangers'.
    assert found.ratio_alone == pytest.approx(3 / 4)


def test_a_server_elsewhere_shares_no_processor_with_us() -> None:
    """Nothing of our own machine is taken off."""
    samples = [sample(0.0), sample(1.0, own=3.0), sample(4.0, ours=4.0, own=4.0, machine=90.0)]
    found = reckoned([record(0)], samples, same_machine=False)
    assert found.ratio == pytest.approx(6 / 4)
    assert (found.ratio_alone, found.others_cpu_seconds) == (None, None)


def test_a_burst_without_any_result_has_figures_all_the_same() -> None:
    """What is not known is None."""
    found = reckoned([record(0, state=None, started=None, finished=None, mailed=None)], [])
    assert (found.succeeded, found.total_seconds, found.ratio, found.idle_share) == (0, None, None, None)
    assert found.waits["total"] == {}


def test_the_place_of_a_conversion_that_ended() -> None:
    """How long it stood empty; the first conversions took no place of others."""
    records = [
        record(0, started=0.0, finished=2.0),
        record(1, started=0.0, finished=3.0),
        record(2, started=2.5, finished=5.0),
        record(3, started=3.25, finished=5.0),
    ]
    assert gaps(records) == [0.5, 0.25]
    # Of two that stand empty, the one that did so first is taken first.
    both = [record(0, started=0.0, finished=1.0), record(1, started=0.0, finished=2.0), record(2, started=3.0)]
    assert gaps(both)[:1] == [2.0]


def test_pod_seconds_and_what_of_them_was_idle() -> None:
    """Four seconds of one pod for two jobs, of which one second had work."""
    samples = [sample(0.0), sample(1.0, jobs={"converting": 1}), sample(2.0), sample(4.0)]
    found = reckoned([record(0), record(1)], samples)
    assert found.functions["convert"].pod_seconds == 4.0
    assert found.pod_seconds_per_job == 2.0
    assert found.idle_share == 0.75


def test_cold_starts_and_memory() -> None:
    """Every start that somebody waited for counts; memory of the last third is held against the first."""
    samples = [
        sample(float(at), memory_bytes={"convert": size, "ffmpeg": 999}) for at, size in enumerate((100, 90, 130))
    ]
    found = reckoned([record(0)], samples, starts={"convert": [2.0, 1.0], "notify": [0.5]})
    assert (found.cold_start_waits, found.cold_start_seconds) == (3, 3.5)
    assert found.memory_growth == 1.3
    assert found.functions["convert"].peak_bytes == 130


def test_values_between_two_looks() -> None:
    """On the line between them; before the first and after the last they stand still."""
    samples = [sample(1.0, ours=10.0), sample(3.0, ours=20.0)]
    assert [series.at(samples, at, lambda each: each.cpu_seconds["convert"]) for at in (0, 1, 2, 3, 9)] == [
        10,
        10,
        15,
        20,
        20,
    ]


def test_starts_are_counted_by_function() -> None:
    """One more than a look before is one that was started; encoders are none."""
    counts = ({"convert": 0, "ffmpeg": 0}, {"convert": 2, "ffmpeg": 2}, {"convert": 1}, {"convert": 2, "notify": 1})
    looks = [{name: {"Running": count} for name, count in each.items()} for each in counts]
    samples = [sample(float(at), instances=each) for at, each in enumerate(looks)]
    assert reckoned([record(0)], samples).cold_starts == 4
