"""Samples as functions of time: values between two looks, areas under them."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from local.loadtest.samples import Sample

Value = Callable[[Sample], float]


def at(samples: Sequence[Sample], moment: float, value: Value) -> float:
    """A value at a moment: on the straight line between the looks before and after it."""
    after = bisect_right([sample.at for sample in samples], moment)
    if after == 0 or after == len(samples):
        return value(samples[min(after, len(samples) - 1)])
    left, right = samples[after - 1], samples[after]
    share = (moment - left.at) / (right.at - left.at)
    return value(left) + share * (value(right) - value(left))


def between(samples: Sequence[Sample], begin: float, end: float, value: Value) -> float:
    """How much a counter grew from one moment to another."""
    return at(samples, end, value) - at(samples, begin, value) if samples else 0.0


def grown(samples: Sequence[Sample], value: Value) -> float:
    """How much a counter grew in all."""
    return value(samples[-1]) - value(samples[0]) if samples else 0.0


def area(samples: Sequence[Sample], value: Value) -> float:
    """A value times the seconds that it held; each look holds until the next."""
    return sum(value(left) * seconds for left, seconds in steps(samples))


def steps(samples: Sequence[Sample]) -> Iterator[tuple[Sample, float]]:
    """Each look but the last, and the seconds until the next."""
    return ((left, right.at - left.at) for left, right in pairwise(samples))
