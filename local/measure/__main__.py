"""`python -m local.measure`, which `local/benchmark` starts: runs benchmarks, prints a table, writes JSON.

Exit codes: 0 measured, 1 measured and a bound was missed (with --strict only), 2 wrong usage.
"""

import json
import signal
import sys
import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from local.measure import burst, convert, gateway, hop, machine, memory, start, stores, thorough, upload
from local.measure.figures import Figure, table


class Part(StrEnum):
    """What can be measured."""

    CONVERT = "convert"
    UPLOAD = "upload"
    GATEWAY = "gateway"
    START = "start"
    BURST = "burst"
    HOP = "hop"
    STORES = "stores"
    MEMORY = "memory"


_MEASURES: Final[dict[Part, Callable[..., list[Figure]]]] = {
    Part.CONVERT: convert.measure,
    Part.UPLOAD: upload.measure,
    Part.GATEWAY: gateway.measure,
    Part.START: start.measure,
    Part.BURST: burst.measure,
    Part.HOP: hop.measure,
    Part.STORES: stores.measure,
    Part.MEMORY: memory.measure,
}

#: Columns of the table where it goes to a file.
_WIDTH: Final = 120


def main(
    parts: Annotated[list[Part] | None, typer.Argument(help="What to measure; everything if nothing is said.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Where JSON goes too.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: shows that it works, measures nothing.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with 1 where a bound is missed.")] = False,
    recordings: Annotated[
        list[Path] | None,
        typer.Option("--thorough", metavar="FILE", help="Compare joins in this recording instead; repeatable."),
    ] = None,
) -> None:
    """Measure this project beside bare tools on this machine, in turns; ratios are medians of the pairs.

    Other work on the machine disturbs them: the columns `least - most` say how much they differed.
    """
    notes, out = Console(stderr=True, highlight=False), Console(highlight=False)
    if not out.is_terminal:
        out.width = _WIDTH
    before = machine.facts()
    out.print(", ".join(f"{name} {value}" for name, value in before.items()), soft_wrap=True)
    figures: list[Figure] = []
    if recordings:
        with tempfile.TemporaryDirectory(prefix="video2mp3-measure-") as folder:
            figures += thorough.measure(Path(folder), recordings, say=lambda text: notes.print(f"[dim]{text}"))
    for part in [] if recordings else parts or list(Part):

        def say(text: str, part: Part = part) -> None:
            notes.print(f"[dim]{part}: {text}")

        with tempfile.TemporaryDirectory(prefix="video2mp3-measure-") as folder:
            figures += _MEASURES[part](Path(folder), quick=quick, say=say)
    out.print(table(figures))
    if json_path is not None:
        report = {
            "machine": before,
            "load_after": machine.facts()["load"],
            "quick": quick,
            "figures": [figure.as_dict() for figure in figures],
        }
        json_path.write_text(json.dumps(report, indent=2) + "\n")
    missed = [figure.name for figure in figures if figure.kept is False]
    raise typer.Exit(1 if strict and missed else 0)


def _ended(number: int, _frame: object) -> None:
    """Leave no server and no file behind."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _ended)
    typer.run(main)
