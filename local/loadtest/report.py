"""The report of a burst: one value, written as JSON, drawn and shown by its neighbours, read again by `compare`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from local.loadtest.evidence import Strike
from local.loadtest.figures import Figures, Function
from local.loadtest.journal import Record, Refusal
from local.loadtest.proof import Verdict
from local.loadtest.samples import Sample

FILE: Final = "report.json"
_VERSION: Final = 1


class NoReport(ValueError):
    """There is no report of a burst."""


@dataclass(frozen=True)
class Report:
    """All that is known of one burst."""

    #: What was asked for, as the command line says it, and where: facts for people, by name.
    facts: dict[str, Any]
    figures: Figures
    verdicts: tuple[Verdict, ...]
    records: tuple[Record, ...]
    samples: tuple[Sample, ...]
    strikes: tuple[Strike, ...] = ()
    #: What could not be seen from where the burst was made, in sentences.
    unseen: tuple[str, ...] = ()
    #: Bounds of the command line that were missed, in sentences.
    missed: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def broken(self) -> list[str]:
        """Every broken promise."""
        return [line for verdict in self.verdicts for line in verdict.broken]


def write(report: Report, folder: Path) -> Path:
    """Write it down; return the file."""
    path = folder / FILE
    told = {
        "version": _VERSION,
        "facts": report.facts,
        "figures": report.figures.as_dict(),
        "proof": [{**asdict(verdict), "kept": verdict.kept} for verdict in report.verdicts],
        "missed": report.missed,
        "interrupted": report.interrupted,
        "unseen": report.unseen,
        "faults": [asdict(strike) for strike in report.strikes],
        "jobs": [record.as_dict() for record in report.records],
        "samples": [sample.as_dict() for sample in report.samples],
    }
    path.write_text(json.dumps(told, indent=1) + "\n")
    return path


def read(folder: Path) -> Report:
    """Read a report's folder, or its file.

    Raises:
        NoReport: there is none, or one of another version.
    """
    path = folder / FILE if folder.is_dir() else folder
    try:
        told = json.loads(path.read_text())
        if told["version"] != _VERSION:
            raise NoReport(f"{path} was written by another version of this program")
        return _report(told)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, NoReport):
            raise
        raise NoReport(f"{path} is no report of a burst") from error


def _report(told: dict[str, Any]) -> Report:
    figures = told["figures"]
    functions = {name: Function(**each) for name, each in figures.pop("functions").items()}
    return Report(
        facts=told["facts"],
        figures=Figures(**figures, functions=functions),
        verdicts=tuple(Verdict(each["promise"], tuple(each["broken"]), each["unseen"]) for each in told["proof"]),
        records=tuple(_record(each) for each in told["jobs"]),
        samples=tuple(Sample(**each) for each in told["samples"]),
        strikes=tuple(Strike(**each) for each in told["faults"]),
        unseen=tuple(told["unseen"]),
        missed=tuple(told["missed"]),
        interrupted=told["interrupted"],
    )


def _record(told: dict[str, Any]) -> Record:
    refusals: Sequence[dict[str, Any]] = told.pop("refusals")
    return Record(**told, refusals=[Refusal(**each) for each in refusals])
