"""After the contract tests: a table of how many ran on which backend."""

import re
from collections import Counter
from typing import Final

import pytest

#: Backends as they stand in the tests' names, in the order of the columns.
_BACKENDS: Final = ("sqlite", "mysql", "postgresql", "directory", "gridfs", "s3")
_OUTCOMES: Final = ("passed", "failed", "error", "skipped")
_TEST: Final = re.compile(r"tests/contract/test_(?P<suite>\w+)\.py::\w+\[(?P<values>[^\]]*)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for outcome in _OUTCOMES:
        for report in terminalreporter.getreports(outcome):
            found = _TEST.match(report.nodeid)
            if found is None:
                continue
            for backend in set(found["values"].split("-")).intersection(_BACKENDS):
                counts.setdefault(found["suite"], {}).setdefault(backend, Counter())[outcome] += 1
    if not counts:
        return
    columns = [backend for backend in _BACKENDS if any(backend in row for row in counts.values())]
    terminalreporter.section("contract tests by backend")
    terminalreporter.write_line("".join(f"{word:22}" for word in ("suite", *columns)))
    for suite, row in sorted(counts.items()):
        cells = (row.get(backend, Counter()) for backend in columns)
        texts = [", ".join(f"{cell[outcome]} {outcome}" for outcome in _OUTCOMES if cell[outcome]) for cell in cells]
        terminalreporter.write_line("".join(f"{text or '-':22}" for text in (suite, *texts)))
