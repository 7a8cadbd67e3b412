"""What a burst is asked for, and what it asks of the place where it is made and of whoever watches."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from local.loadtest import arrivals, media
from local.loadtest.api import Account
from local.loadtest.evidence import Evidence, Strike
from local.loadtest.journal import Journal
from local.loadtest.samples import Sample, Target


@dataclass(frozen=True)
class Wish:
    """What is asked for."""

    jobs: int
    arrivals: arrivals.Arrivals
    #: Where the report goes; made where it does not exist.
    output: Path
    #: A folder of recordings; None to have some made, as long as `lengths` says.
    recordings: Path | None = None
    lengths: media.Lengths = media.Lengths(1, 8)  # noqa: RUF009 - it cannot be changed
    #: Whether jobs differ in their options, too.
    various: bool = True
    accounts: int = 1
    seed: int = 1
    faults: bool = False
    #: How long nothing at all may happen before the burst is given up.
    patience_seconds: float = 300.0
    max_p95_seconds: float | None = None
    max_ratio: float | None = None


class Place(Target, Protocol):
    """Where a burst is made."""

    url: str
    #: The name that it has there, where the address is not it; empty for none.
    host: str
    #: Conversions that one converter does at once, and what converters are called among the instances.
    slots: int
    converters: str
    #: Whether its functions sleep when nobody needs them.
    sleeps: bool
    #: Whether a job's end is seen by its mail, and whether all of it runs on this machine.
    sees_mails: bool
    is_here: bool

    @property
    def unseen(self) -> tuple[str, ...]:
        """What cannot be seen of it, in sentences."""

    def use(self, accounts: Sequence[Account]) -> None:
        """Take the accounts whose jobs are looked at."""

    def asleep(self) -> bool:
        """Whether no function that sleeps runs any more."""

    def starts(self) -> dict[str, list[float]]:
        """How long somebody waited for each start of a function, in seconds, by function."""

    def gather(self, evidence: Evidence, began: float) -> None:
        """Add what lies behind the server; see OwnTarget.gather."""

    def strikes(self, journal: Journal, *, seed: int) -> AbstractContextManager[list[Strike]]:
        """Make faults for the time of a block; the list grows meanwhile."""

    def nudge(self) -> None:
        """Have what is owed be published at once, where that is possible."""

    def facts(self) -> dict[str, Any]:
        """What it is, by name."""


class View(Protocol):
    """Whoever watches."""

    def say(self, text: str) -> None:
        """Take a sentence."""

    def show(self, sample: Sample, journal: Journal) -> None:
        """Take a look; called by the sampler's thread."""
