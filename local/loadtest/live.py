"""What is told while a burst runs: a live view on a terminal, else a line now and then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from local.loadtest.figures import percentile, running, waits
from local.loadtest.journal import STATES, Journal
from local.loadtest.samples import Sample

_EVERY_SECONDS: Final = 5.0
#: Before so many jobs have ended, nobody knows how long the others take.
_ENOUGH: Final = 3


class Lines:
    """Writes lines to the standard error."""

    def __init__(self) -> None:
        self._last = 0.0

    def say(self, text: str) -> None:
        """See terms.View."""
        sys.stderr.write(f"{text}\n")

    def show(self, sample: Sample, journal: Journal) -> None:
        """See terms.View."""
        if time.monotonic() - self._last >= _EVERY_SECONDS:
            self._last = time.monotonic()
            told = ", ".join(f"{name} {count}" for name, count in sample.jobs.items() if count)
            self.say(f"{sample.at:6.1f} s  {told}; {time_left(sample, journal)}")


class Screen:
    """Shows a picture of the moment.

    Args:
        live: where.
    """

    def __init__(self, live: Live) -> None:
        self._live = live

    def say(self, text: str) -> None:
        """See terms.View."""
        self._live.console.print(f"[dim]{text}")

    def show(self, sample: Sample, journal: Journal) -> None:
        """See terms.View."""
        self._live.update(picture(sample, journal))


@contextmanager
def view() -> Iterator[Lines | Screen]:
    """Whatever the standard error can show, for the time of a block."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Lines()
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield Screen(live)


def picture(sample: Sample, journal: Journal) -> Group:
    """Jobs by state, what runs, what waits, and how long it takes."""
    with journal.lock:
        records = list(journal.records)
    jobs = Table(title="jobs", title_justify="left", box=None, show_header=False)
    for name in STATES:
        if count := sample.jobs.get(name, 0):
            jobs.add_row(name, str(count), ProgressBar(total=len(records), completed=count, width=30))
    what = Table(title="runs", title_justify="left", box=None, show_header=False)
    for name in sorted(sample.instances):
        what.add_row(name, str(running(sample, name)))
    queues = Table(title="events", title_justify="left", box=None, show_header=False)
    for name, count in sorted(sample.queues.items()):
        queues.add_row(name, str(count))
    side_by_side = Table.grid(padding=(0, 4))
    side_by_side.add_row(jobs, what, queues)
    took = waits((record for record in records if record.state == "succeeded"), "total")
    middle = f"p50 {percentile(took, 50):.1f} s, p95 {percentile(took, 95):.1f} s" if took else "no MP3 yet"
    return Group(side_by_side, Text(f"{sample.at:.0f} s; upload to MP3: {middle}; {time_left(sample, journal)}"))


def time_left(sample: Sample, journal: Journal) -> str:
    """How long the rest takes if it goes on like this, in words."""
    done = sum(sample.jobs.get(name, 0) for name in ("succeeded", "mailed", "failed"))
    left = len(journal.records) - done
    if done < _ENOUGH or not left:
        return "time left unknown" if left else "all ended"
    return f"about {sample.at / done * left:.0f} s left"
