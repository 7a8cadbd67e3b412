"""Two reports side by side: on the terminal, and as a page with both sets of pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from markupsafe import Markup
from rich.table import Table

from local.loadtest import page, plots
from local.loadtest.report import Report
from local.loadtest.summary import lines

#: Facts that explain why two reports differ.
_FACTS: Final = ("began", "server", "cpus", "jobs", "arrivals", "accounts", "seed", "faults")
#: Pictures are drawn anew for a page: a report's folder may have been moved without them.
_PAGE: Final = Markup("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
@media (prefers-color-scheme: dark) {{ body {{ background: #14181d; color: #e6e8eb }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem }}
table {{ border-collapse: collapse }}
th, td {{ padding: .25rem 1.25rem .25rem 0; text-align: left }}
td + td {{ text-align: right; font-variant-numeric: tabular-nums }}
.pair {{ display: grid; grid-template-columns: 1fr 1fr; gap: 1rem }}
img {{ max-width: 100% }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>{rows}</table>
{pictures}
</body>
</html>
""")


def rows(first: Report, second: Report) -> Iterator[tuple[str, str, str]]:
    """Name and both values: facts, then figures, then promises."""
    for name in _FACTS:
        yield name, str(first.facts.get(name, "-")), str(second.facts.get(name, "-"))
    theirs = dict(lines(second))
    ours = dict(lines(first))
    for name in dict.fromkeys((*ours, *theirs)):
        yield name, ours.get(name, "-"), theirs.get(name, "-")
    verdicts = {verdict.promise: verdict for verdict in second.verdicts}
    for verdict in first.verdicts:
        other = verdicts.get(verdict.promise)
        yield verdict.promise, _word(verdict.kept), _word(other.kept) if other else "-"


def table(first: Report, second: Report, names: tuple[str, str]) -> Table:
    """For the terminal; `names` are the reports'."""
    made = Table(box=None)
    for title in ("", *names):
        made.add_column(title, justify="right" if title else "left")
    for row in rows(first, second):
        made.add_row(*row)
    return made


def write(first: Report, second: Report, names: tuple[str, str], folder: Path) -> Path:
    """Write a page into an empty folder; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for number, report in enumerate((first, second)):
        (folder / str(number)).mkdir(exist_ok=True)
        drawn.append(plots.draw(report, folder / str(number)))
    pairs = Markup().join(
        Markup('<div class="pair">{}{}</div>\n').format(*(page.pictures(each[name], title) for each in drawn))
        for name, title in plots.titles().items()
    )
    cells = [("", *names), *rows(first, second)]
    body = Markup().join(Markup("<tr>{}</tr>\n").format(_cells(row)) for row in cells)
    path = folder / "compare.html"
    path.write_text(_PAGE.format(title=f"{names[0]} and {names[1]}", rows=body, pictures=pairs))
    return path


def _cells(row: tuple[str, ...]) -> Markup:
    return Markup().join(Markup("<td>{}</td>").format(cell) for cell in row)


def _word(kept: bool | None) -> str:
    return {True: "kept", False: "BROKEN", None: "unseen"}[kept]
