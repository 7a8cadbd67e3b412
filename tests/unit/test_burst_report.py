"""A burst's report: written, read, drawn, shown, and put beside another one."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from local.loadtest import compare, page, plots, report
from local.loadtest.command import code
from local.loadtest.evidence import Strike
from local.loadtest.journal import Record, Refusal
from local.loadtest.proof import Verdict
from local.loadtest.report import NoReport, Report
from local.loadtest.samples import Sample
from tests.unit.test_burst_figures import reckoned, record, sample


def made() -> Report:
    """A small one."""
    records: list[Record] = [record(0), record(1, refusals=[Refusal(0.1, 429, "5", "later")])]
    samples: list[Sample] = [sample(float(at), ours=at, jobs={"queued": 2 - at % 2}) for at in range(5)]
    return Report(
        facts={"began": "now", "server": "one process", "cpus": 2, "jobs": 2, "arrivals": "at-once", "seed": 1},
        figures=reckoned(records, samples),
        verdicts=(Verdict("all is kept", ()), Verdict("all is <seen>", (), "nobody looked")),
        records=tuple(records),
        samples=tuple(samples),
        strikes=(Strike(2.0, 2.5, "broker"),),
        unseen=("mails",),
        missed=("slow",),
    )


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    """Folder and file, figures, jobs and all."""
    path = report.write(made(), tmp_path)
    assert report.read(tmp_path) == report.read(path) == made()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 99}'])
def test_what_is_no_report_is_refused(tmp_path: Path, text: str) -> None:
    """By its name, without a trace."""
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(NoReport, match=re.escape(str(tmp_path))):
        report.read(tmp_path)


def test_every_plot_is_drawn_on_both_grounds(tmp_path: Path) -> None:
    """Four pictures, light and dark, which differ; a burst of which nothing is known is drawn as well."""
    drawn = plots.draw(made(), tmp_path)
    assert drawn.keys() == plots.titles().keys()
    for themes in drawn.values():
        light, dark = themes["light"].read_bytes(), themes["dark"].read_bytes()
        assert light.startswith(b"\x89PNG")
        assert light != dark
    nothing = replace(made(), records=(), samples=(), strikes=(), figures=reckoned([], []))
    assert plots.draw(nothing, tmp_path).keys() == drawn.keys()


def test_the_page_needs_no_other_file(tmp_path: Path) -> None:
    """Pictures are inside, words are escaped, broken and unseen promises are told apart."""
    bad = replace(made(), verdicts=(*made().verdicts, Verdict("none is lost", ("job-1 is lost",))))
    text = page.write(bad, plots.draw(bad, tmp_path), tmp_path).read_text()
    assert text.count("data:image/png;base64,") == 8
    assert not re.search(r'(src|srcset|href)="(?!data:)', text)
    assert "all is &lt;seen&gt;: nobody looked" in text
    assert "job-1 is lost" in text
    assert 'class="kept">kept: all is kept' in text


def test_exit_codes() -> None:
    """Loss goes before a missed bound, and somebody's Ctrl-C before both."""
    missed = replace(made(), missed=("too slow",))
    lost = replace(missed, verdicts=(Verdict("none is lost", ("job-1 is lost",)),))
    codes = [code(each) for each in (replace(made(), missed=()), missed, lost, replace(lost, interrupted=True))]
    assert codes == [0, 2, 1, 130]


def test_two_reports_side_by_side(tmp_path: Path) -> None:
    """Facts, figures and promises of both, and a page with both sets of pictures."""
    other = replace(
        made(),
        facts={**made().facts, "server": "a process per function"},
        verdicts=(Verdict("all is kept", ("job-1 is lost",)),),
    )
    console = Console(width=200)
    with console.capture() as capture:
        console.print(compare.table(made(), other, ("before", "after")))
    text = capture.get()
    assert re.search(r"before\s+after", text)
    assert re.search(r"server\s+one process\s+a process per function", text)
    assert re.search(r"all is kept\s+kept\s+BROKEN", text)
    written = compare.write(made(), other, ("before", "after"), tmp_path).read_text()
    assert written.count("data:image/png;base64,") == 16


def test_the_report_has_moments_and_no_secrets(tmp_path: Path) -> None:
    """Each job has its times, and each refusal its own."""
    told = json.loads(report.write(made(), tmp_path).read_text())
    assert told["jobs"][1]["refusals"] == [{"at": 0.1, "status": 429, "retry_after": "5", "why": "later"}]
    assert {"due", "sent", "accepted", "started", "finished", "mailed"} <= told["jobs"][0].keys()
    assert "token" not in json.dumps(told)
