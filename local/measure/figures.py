"""What a benchmark says: pairs of measurements, the figures made of them, their bounds, and how both are shown."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypeVar

from rich.table import Table

T = TypeVar("T")

#: A sample of our side and one of the other, taken one right after the other.
Pair = tuple[float, float]


@dataclass(frozen=True)
class Bound:
    """What a figure must keep."""

    value: float
    #: Whether the figure must not exceed the value; otherwise it must reach it.
    at_most: bool = True

    def holds(self, figure: float) -> bool:
        """Whether a figure keeps it."""
        return figure <= self.value if self.at_most else figure >= self.value

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.value:g}"


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    name: str
    #: Unit of `ours` and `theirs`.
    unit: str
    #: Median of our side.
    ours: float
    #: Median of what it is measured against; None for a figure that stands alone.
    theirs: float | None
    #: What the bound is about: the median of the pairs' ratios, or `ours` where there is nothing beside it.
    value: float
    #: The least and the greatest of what `value` is the median of.
    spread: tuple[float, float]
    bound: Bound | None
    samples: int

    @property
    def kept(self) -> bool | None:
        """Whether it keeps its bound; None without one."""
        return None if self.bound is None else self.bound.holds(self.value)

    def as_dict(self) -> dict[str, Any]:
        """The figure as JSON."""
        bound = None if self.bound is None else str(self.bound)
        return {**asdict(self), "bound": bound, "kept": self.kept}


def compared(name: str, unit: str, pairs: Sequence[Pair], bound: Bound | None) -> Figure:
    """Make the figure of a comparison; a disturbance that both sides of a pair felt leaves its ratio as it is.

    Args:
        name: what was compared.
        unit: of the samples.
        pairs: at least one, none with a zero on the other side.
        bound: of the ratio, ours to theirs.
    """
    ratios = [ours / theirs for ours, theirs in pairs]
    return Figure(
        name=name,
        unit=unit,
        ours=median(ours for ours, _ in pairs),
        theirs=median(theirs for _, theirs in pairs),
        value=median(ratios),
        spread=(min(ratios), max(ratios)),
        bound=bound,
        samples=len(pairs),
    )


def alone(name: str, unit: str, samples: Sequence[float], bound: Bound | None = None) -> Figure:
    """Make a figure that has nothing beside it, of at least one sample."""
    middle = median(samples)
    return Figure(name, unit, middle, None, middle, (min(samples), max(samples)), bound, len(samples))


def interleaved(repeats: int, *sides: Callable[[], T]) -> Iterator[tuple[T, ...]]:
    """Measure sides in turns, every other time the last one first; yield what belongs together in the sides' order."""
    for repeat in range(repeats):
        if repeat % 2 == 0:
            yield tuple(side() for side in sides)
        else:
            yield tuple([side() for side in reversed(sides)][::-1])


def table(figures: Sequence[Figure]) -> Table:
    """Draw figures for people."""
    names = ("figure", "unit", "ours", "theirs", "ratio", "least - most", "bound", "")
    drawn = Table(*names, box=None, pad_edge=False)
    for column in drawn.columns[2:6]:
        column.justify = "right"
    for figure in figures:
        lone = figure.theirs is None
        drawn.add_row(
            figure.name,
            figure.unit,
            _number(figure.ours),
            "" if figure.theirs is None else _number(figure.theirs),
            "" if lone else f"{figure.value:.3f}",
            " - ".join(_number(edge) if lone else f"{edge:.3f}" for edge in figure.spread),
            "" if figure.bound is None else str(figure.bound),
            {None: "", True: "[green]kept", False: "[bold red]missed"}[figure.kept],
        )
    return drawn


def _number(value: float) -> str:
    """Three significant digits, or whole where there are more."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
