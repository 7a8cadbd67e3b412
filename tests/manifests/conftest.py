"""For the tests of the overlays: the programs that read them, and after the tests a table of what the overlays hold."""

import os
from typing import Final

import pytest

from local.manifests import check

#: The name under which a test says what an overlay holds.
HOLDS: Final = "overlay"


@pytest.fixture(scope="session")
def programs() -> None:
    """kustomize, kubeconform, kn and the schemas; without them a test is skipped, and fails where `CI` is set."""
    if not check.is_installed():
        reason = "kustomize, kubeconform, kn or schemas are missing; python -m local.manifests --install makes them"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    tables = [
        str(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == HOLDS
    ]
    if tables:
        terminalreporter.section("documents by overlay")
        for table in sorted(tables):
            terminalreporter.write_line(table)
