"""The pictures of a report, each on light and on dark ground (matplotlib)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from local.loadtest import colours
from local.loadtest.colours import THEMES, Theme
from local.loadtest.figures import PHASES, READY, percentile, running, waits
from local.loadtest.report import Report

_DOTS_PER_INCH: Final = 110
_DASHES: Final = ("-", "--", "-.", ":")
_SLOWEST: Final = 30
_TITLES: Final = {
    "pods": "What runs, and when jobs arrive",
    "states": "Jobs by state",
    "waits": "What each job waited for",
    "slowest": f"The {_SLOWEST} slowest jobs",
}


def draw(report: Report, folder: Path) -> dict[str, dict[str, Path]]:
    """Draw all of them; the files by plot and theme.

    Args:
        report: what is drawn.
        folder: where NAME-THEME.png goes.
    """
    # No screen is wanted, and matplotlib would look for one.
    mpl.use("Agg")
    return {
        name: {theme.name: _drawn(plot, name, report, theme, folder) for theme in THEMES}
        for name, plot in _PLOTS.items()
    }


def titles() -> dict[str, str]:
    """What each plot is called, in the order in which they are shown."""
    return dict(_TITLES)


def _drawn(plot: Callable[[Figure, Report], None], name: str, report: Report, theme: Theme, folder: Path) -> Path:
    path = folder / f"{name}-{theme.name}.png"
    with _themed(theme):
        figure = Figure(figsize=(9.0, 5.0), layout="constrained")
        plot(figure, report)
        figure.suptitle(_TITLES[name], x=0.01, ha="left", fontsize=13, fontweight="bold")
        figure.savefig(path, dpi=_DOTS_PER_INCH)
    return path


@contextmanager
def _themed(theme: Theme) -> Iterator[None]:
    # The names of its settings are a type of their own, too long to be built up from parts.
    settings: Any = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), theme.text)
    settings |= dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), theme.ground)
    settings |= {"axes.edgecolor": theme.grid, "grid.color": theme.grid, "axes.grid": True, "axes.axisbelow": True}
    settings |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10, "legend.frameon": False}
    with mpl.rc_context(settings):
        yield


def _pods(figure: Figure, report: Report) -> None:
    # A lane for each function: a dozen lines that are all 0 or 1 would hide each other.
    names = list(reversed(report.figures.functions))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(max(3.0, 0.45 * len(names)), 1.2))
    moments = [sample.at for sample in report.samples]
    for lane, name in enumerate(names):
        _lane(above, lane, name, moments, report)
    _faults(above, report)
    above.set_yticks([lane + 0.4 for lane in range(len(names))], names)
    above.tick_params(axis="y", length=0)
    above.set_ylim(0, max(1, len(names)))
    above.grid(visible=False, axis="y")
    above.set_ylabel("pods" if report.facts.get("namespace") else "processes")
    _arrivals(below, report)


def _lane(axes: Axes, lane: int, name: str, moments: Sequence[float], report: Report) -> None:
    """One function: how many there are, and in a lighter shade those of them that are not ready."""
    colour = colours.SERIES[lane % len(colours.SERIES)]
    most = max(1, report.figures.functions[name].most)
    there = [running(sample, name) for sample in report.samples]
    ready = [sum(sample.instances.get(name, {}).get(phase, 0) for phase in READY) for sample in report.samples]
    for counts, alpha in ((there, 0.35), (ready, 1.0)):
        heights = [lane + 0.85 * count / most for count in counts]
        axes.fill_between(moments, lane, heights, step="post", color=colour, alpha=alpha, linewidth=0)
    axes.annotate(
        f"at most {max(there, default=0)}",
        (1.0, lane + 0.4),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
    )


def _arrivals(axes: Axes, report: Report) -> None:
    sent = sorted(record.sent for record in report.records if record.sent is not None)
    taken = sorted(record.accepted for record in report.records if record.accepted is not None)
    end = report.samples[-1].at if report.samples else 1.0
    for moments, label, dash in ((sent, "sent", "-"), (taken, "answered 202", "--")):
        axes.step([0.0, *moments, end], [*range(len(moments) + 1), len(moments)], dash, where="post", label=label)
    for line, colour in zip(axes.lines, (colours.ARRIVALS, colours.SERIES[2]), strict=False):
        line.set_color(colour)
    _faults(axes, report)
    axes.set_ylabel("uploads")
    _seconds(axes)
    _legend(axes)


def _states(figure: Figure, report: Report) -> None:
    axes = figure.subplots()
    names = [name for name in colours.STATES if any(sample.jobs.get(name) for sample in report.samples)]
    moments = [sample.at for sample in report.samples]
    heights = [[sample.jobs.get(name, 0) for sample in report.samples] for name in names]
    if names:
        axes.stackplot(moments, heights, labels=names, colors=[colours.STATES[name] for name in names])
    _faults(axes, report)
    axes.set_ylabel("jobs")
    axes.set_ylim(0, max(1, len(report.records)))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _seconds(axes)
    _legend(axes)


def _waits(figure: Figure, report: Report) -> None:
    left, right = figure.subplots(1, 2)
    succeeded = [record for record in report.records if record.state == "succeeded"]
    found = {phase: values for phase in PHASES if (values := waits(succeeded, phase))}
    percents = (50, 95, 99)
    for number, percent in enumerate(percents):
        places = [place + (number - 1) * 0.27 for place in range(len(found))]
        values = [percentile(each, percent) for each in found.values()]
        shades = [colours.PHASES[phase] for phase in found]
        bars = left.bar(places, values, width=0.25, color=shades, alpha=1 - number * 0.3)
        left.bar_label(bars, [_short(value) for value in values], fontsize=7, padding=1)
    left.set_xticks(range(len(found)), list(found))
    left.set_ylabel("seconds")
    left.set_xlabel("bars: p50, p95, p99")
    left.margins(y=0.06)
    left.grid(visible=False, axis="x")
    for number, (phase, values) in enumerate(found.items()):
        right.ecdf(values, label=phase, color=colours.PHASES[phase], linestyle=_DASHES[number], linewidth=2)
    if whole := waits(succeeded, "total"):
        right.ecdf(whole, label="upload to MP3", color=mpl.rcParams["text.color"], linewidth=1.2)
    right.set_xlabel("seconds")
    right.set_ylabel("share of jobs that waited no longer")
    right.set_xlim(left=0)
    _legend(right)


def _short(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _slowest(figure: Figure, report: Report) -> None:
    axes = figure.subplots()
    ended = [record for record in report.records if record.finished is not None and record.accepted is not None]
    chosen = sorted(ended, key=lambda record: (record.finished or 0.0) - record.due)[-_SLOWEST:]
    chosen.sort(key=lambda record: (record.due, record.started or 0.0))
    for phase, (begins, ends) in PHASES.items():
        spans = [(getattr(record, begins), getattr(record, ends)) for record in chosen]
        bars = [(row, begin, end) for row, (begin, end) in enumerate(spans) if begin is not None and end is not None]
        rows, lefts = [row for row, _, _ in bars], [begin for _, begin, _ in bars]
        widths = [max(0.0, end - begin) for _, begin, end in bars]
        axes.barh(rows, widths, left=lefts, height=0.8, color=colours.PHASES[phase], label=phase)
    names = [f"{record.name} ({record.source_seconds:.0f} s)" for record in chosen]
    axes.set_yticks(range(len(chosen)), names, fontsize=7)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    _seconds(axes)
    _legend(axes)


def _faults(axes: Axes, report: Report) -> None:
    for number, strike in enumerate(report.strikes):
        label = "fault" if number == 0 else None
        # What stands behind may have any colour.
        axes.axvline(strike.at, color=mpl.rcParams["text.color"], linewidth=1, linestyle=":", label=label)


def _seconds(axes: Axes) -> None:
    axes.set_xlabel("seconds since the first upload began")
    axes.set_xlim(left=0)


def _legend(axes: Axes) -> None:
    if not axes.get_legend_handles_labels()[1]:
        return
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, fontsize=9)


_PLOTS: Final = {"pods": _pods, "states": _states, "waits": _waits, "slowest": _slowest}
