"""The report as a page of its own: `report.html`, with the pictures inside, for light and dark screens."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from markupsafe import Markup

from local.loadtest import plots
from local.loadtest.report import Report
from local.loadtest.summary import function_lines, lines

FILE: Final = "report.html"
#: Broken promises that are shown; report.json has all of them.
_SHOWN: Final = 50

_PAGE: Final = Markup("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #d8dee4; --good: #00664b; --bad: #b04a00 }}
@media (prefers-color-scheme: dark) {{ :root {{ --line: #39424c; --good: #56d1a8; --bad: #ff9d5c }}
  body {{ background: #14181d; color: #e6e8eb }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
th, td {{ border-bottom: 1px solid var(--line); padding: .25rem 1.25rem .25rem 0; text-align: left }}
td.number {{ text-align: right; font-variant-numeric: tabular-nums }}
img {{ max-width: 100%; margin: 1rem 0 }}
.kept {{ color: var(--good) }} .broken {{ color: var(--bad); font-weight: 600 }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{facts}</p>
{verdict}
{tables}
{pictures}
</body>
</html>
""")
_PICTURE: Final = Markup(
    '<picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
    '<img src="{light}" alt="{title}"></picture>\n'
)


def write(report: Report, drawn: Mapping[str, Mapping[str, Path]], folder: Path) -> Path:
    """Write it; return the file.

    Args:
        report: what it shows.
        drawn: pictures by plot and theme.
        folder: where it goes.
    """
    path = folder / FILE
    titles = plots.titles()
    facts = report.facts
    path.write_text(
        _PAGE.format(
            title=f"{facts['jobs']} jobs, {facts['arrivals']}",
            facts=f"{facts['began']}, {facts['server']}, {facts['cpus']} processors, seed {facts['seed']}",
            verdict=_verdict(report),
            tables=_table(("", ""), lines(report)) + _table(_FUNCTIONS, function_lines(report)),
            pictures=Markup().join(pictures(drawn[name], title) for name, title in titles.items()),
        )
    )
    return path


_FUNCTIONS: Final = ("function", "most at once", "pod-seconds", "CPU seconds", "peak memory")


def pictures(drawn: Mapping[str, Path], title: str) -> Markup:
    """A picture that follows the screen's theme, with all of its bytes.

    Args:
        drawn: its files by theme.
        title: for those who do not see it.
    """
    data = {theme: f"data:image/png;base64,{b64encode(path.read_bytes()).decode()}" for theme, path in drawn.items()}
    return _PICTURE.format(title=title, **data)


def _verdict(report: Report) -> Markup:
    told = [_item(verdict.promise, verdict.kept, verdict.unseen, verdict.broken) for verdict in report.verdicts]
    told += [Markup('<li class="broken">missed: {}</li>\n').format(line) for line in report.missed]
    told += [Markup("<li>not seen: {}</li>\n").format(line) for line in report.unseen]
    if report.interrupted:
        told.append(Markup("<li>ended before its time: this is what was known by then</li>\n"))
    return Markup("<ul>\n{}</ul>").format(Markup().join(told))


def _item(promise: str, kept: bool | None, unseen: str, broken: tuple[str, ...]) -> Markup:
    if kept is None:
        return Markup("<li>{}: {}</li>\n").format(promise, unseen)
    if kept:
        return Markup('<li class="kept">kept: {}</li>\n').format(promise)
    items = Markup().join(Markup("<li>{}</li>\n").format(line) for line in broken[:_SHOWN])
    return Markup('<li class="broken">broken {} times: {}<ul>\n{}</ul></li>\n').format(len(broken), promise, items)


def _table(head: Iterable[str], rows: Iterable[tuple[str, ...]]) -> Markup:
    first = Markup().join(Markup("<th>{}</th>").format(name) for name in head)
    body = Markup().join(
        Markup("<tr><td>{}</td>{}</tr>\n").format(
            row[0], Markup().join(Markup('<td class="number">{}</td>').format(cell) for cell in row[1:])
        )
        for row in rows
    )
    return Markup("<table><tr>{}</tr>\n{}</table>\n").format(first, body)
