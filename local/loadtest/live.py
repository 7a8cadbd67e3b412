"""What is told while a burst runs: a live view on a terminal, else a line now and then."""

import sys
import time
from typing import Final

from local.loadtest.journal import Journal
from local.loadtest.samples import Sample

_EVERY_SECONDS: Final = 5.0


class Lines:
    """Writes lines to the standard error."""

    def __init__(self) -> None:
        self._last = 0.0

    def say(self, text: str) -> None:
        """See burst.View."""
        sys.stderr.write(f"{text}\n")

    def show(self, sample: Sample, journal: Journal) -> None:  # noqa: ARG002 - the live view wants it
        """See burst.View."""
        if time.monotonic() - self._last >= _EVERY_SECONDS:
            self._last = time.monotonic()
            told = ", ".join(f"{name} {count}" for name, count in sample.jobs.items() if count)
            self.say(f"{sample.at:6.1f} s  {told}")
