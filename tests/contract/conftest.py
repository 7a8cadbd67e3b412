"""After the contract tests: a table of how many ran on which backend."""

import re
from collections import Counter
from typing import Final

import pytest

#: Backends as they stand in the tests' names, in the order of the lines.
_BACKENDS: Final = (
    *("sqlite", "mysql", "postgresql"),
    *("directory", "gridfs", "s3"),
    *("memory", "ingress", "rabbitmq"),
    *("mailbox", "plain", "starttls", "tls"),
)
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
    terminalreporter.section("contract tests by backend")
    for suite, row in sorted(counts.items()):
        for backend in (backend for backend in _BACKENDS if backend in row):
            outcomes = ", ".join(f"{row[backend][outcome]} {outcome}" for outcome in _OUTCOMES if row[backend][outcome])
            terminalreporter.write_line(f"{suite:12} {backend:12} {outcomes}")
