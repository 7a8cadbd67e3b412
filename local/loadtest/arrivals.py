"""When jobs arrive: all at once, at an even rate that fills a time, or as strangers' do (Poisson)."""

import random
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite


class Kind(StrEnum):
    """How arrivals are spread."""

    AT_ONCE = "at-once"
    RAMP = "ramp"
    POISSON = "poisson"


class NoArrivals(ValueError):
    """Arrivals are `at-once`, `ramp:SECONDS` or `poisson:RATE` (jobs a second)."""


@dataclass(frozen=True)
class Arrivals:
    """A way to arrive."""

    kind: Kind
    #: Seconds of a ramp, jobs per second of a Poisson process; 0 at once.
    value: float = 0.0

    def __str__(self) -> str:
        return self.kind.value if self.kind is Kind.AT_ONCE else f"{self.kind.value}:{self.value:g}"

    def offsets(self, jobs: int, *, seed: int) -> list[float]:
        """When each job arrives, in seconds after the first moment, in order.

        Args:
            jobs: how many.
            seed: of the Poisson process; the same seed gives the same moments.
        """
        match self.kind:
            case Kind.AT_ONCE:
                return [0.0] * jobs
            case Kind.RAMP:
                return [self.value * number / max(1, jobs - 1) for number in range(jobs)]
            case Kind.POISSON:
                chance = random.Random(f"arrivals {seed}")  # noqa: S311 - a test's moments, no secret
                moment, moments = 0.0, []
                for _ in range(jobs):
                    moments.append(moment)
                    moment += chance.expovariate(self.value)
                return moments


def parse(text: str) -> Arrivals:
    """Read what the command line says.

    Raises:
        NoArrivals: it is none of the known ways.
    """
    kind, _, value = text.partition(":")
    try:
        found = Arrivals(Kind(kind), float(value) if value else 0.0)
    except ValueError as error:
        raise NoArrivals(NoArrivals.__doc__) from error
    needs_value = found.kind is not Kind.AT_ONCE
    if not isfinite(found.value) or found.value < 0 or needs_value != bool(found.value):
        raise NoArrivals(NoArrivals.__doc__)
    return found
