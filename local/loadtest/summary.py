"""A report in lines for people: on the terminal, on its page, beside another one."""

from local.loadtest.report import Report

_MEBIBYTE = 1024 * 1024


def number(value: float | None, unit: str = "", digits: int = 2) -> str:
    """A value with its unit, or a dash where nothing is known."""
    if value is None:
        return "-"
    return f"{value:,.{digits}f}{' ' if unit else ''}{unit}"


def lines(report: Report) -> list[tuple[str, str]]:
    """Each figure's name and value."""
    found = report.figures
    waits = [
        (f"{phase}: p50, p95, p99", ", ".join(number(each.get(f"p{percent}")) for percent in (50, 95, 99)) + " s")
        for phase, each in found.waits.items()
        if each
    ]
    return [
        ("jobs that succeeded", f"{found.succeeded} of {found.jobs}"),
        ("first upload to last mail", number(found.total_seconds, "s")),
        ("last 202 to last mail", number(found.after_uploads_seconds, "s")),
        ("bound: our CPU seconds over the processors", number(found.bound_seconds, "s")),
        ("that time over the bound", number(found.ratio)),
        ("the same, strangers' CPU taken off", number(found.ratio_alone)),
        ("throughput", number(found.jobs_per_second, "jobs/s")),
        *waits,
        ("end of a conversion to its mail, median", number(found.hop_median_seconds, "s", 3)),
        ("end of a conversion to the next in its place, median", number(found.gap_median_seconds, "s", 3)),
        ("converter's pod-seconds per job", number(found.pod_seconds_per_job, "s")),
        ("share of them idle", number(None if found.idle_share is None else found.idle_share * 100, "%", 0)),
        ("cold starts", str(found.cold_starts)),
        ("waits for them, and in all", f"{found.cold_start_waits}, {number(found.cold_start_seconds, 's')}"),
        ("faults", str(len(report.strikes))),
        ("CPU of generator and sampler", number(found.own_cpu_seconds, "s")),
        ("CPU of databases and brokers", number(found.servers_cpu_seconds, "s")),
        ("CPU of strangers on this machine", number(found.others_cpu_seconds, "s")),
        ("memory: last third's peak over the first's", number(found.memory_growth)),
    ]


def function_lines(report: Report) -> list[tuple[str, str, str, str, str]]:
    """For each function its name, most pods, pod-seconds, CPU seconds and peak memory."""
    return [
        (name, str(each.most), number(each.pod_seconds), number(each.cpu_seconds), _mebibytes(each.peak_bytes))
        for name, each in report.figures.functions.items()
    ]


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / _MEBIBYTE:,.0f} MiB" if size_bytes else "-"
