"""The table at the end: how long each thing took, and how many pods there were."""

from collections.abc import Mapping
from typing import Final

from tests.cluster.traffic import Times

HEAD: Final = f"{'seconds from POST to':<36}{'202':>7}{'converting':>12}{'end':>8}{'mail':>8}   pods at most; notes"


def line(what: str, times: Times | None, pods: Mapping[str, int] | None = None, notes: str = "") -> str:
    """One line of it."""
    seconds = times or Times(accepted=float("nan"))
    row = f"{what:<36}{_number(seconds.accepted):>7}{_number(seconds.converting):>12}"
    row += f"{_number(seconds.ended):>8}{_number(seconds.mailed):>8}"
    counts = ", ".join(f"{name} {count}" for name, count in (pods or {}).items())
    return f"{row}   {'; '.join(part for part in (counts, notes) if part)}".rstrip()


def _number(seconds: float | None) -> str:
    return "-" if seconds is None or seconds != seconds else f"{seconds:.1f}"
