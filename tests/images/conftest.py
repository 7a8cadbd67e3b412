"""The images, built once for all tests here, and after the tests a table of sizes and seconds."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from local.installation import SetupError
from tests.images.builder import BASE, TARGETS, BuildError, Image, base_tar, prepare, store

#: The name under which a test says what was measured.
MEASURED: Final = "images"


@dataclass(frozen=True)
class Built:
    """What the tests run."""

    #: By target.
    images: dict[str, Image]
    #: What they stand on.
    base: Image
    install_seconds: float
    debian_seconds: float


@pytest.fixture(scope="session")
def built() -> Iterator[Built]:
    """The images.

    What building takes is installed where that needs no question; elsewhere these tests are skipped, and fail where
    `CI` is set.
    """
    began = time.monotonic()
    try:
        prepare()
        installed = time.monotonic()
        tar = base_tar()
    except (SetupError, BuildError) as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(error))
    seconds = (installed - began, time.monotonic() - installed)
    with store() as place:
        base = place.load(tar, BASE)
        yield Built({target: place.build(target) for target in TARGETS}, base, *seconds)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    reports = terminalreporter.getreports("passed")
    lines = [str(value) for report in reports for name, value in report.user_properties if name == MEASURED]
    if lines:
        terminalreporter.section("images")
        for line in lines:
            terminalreporter.write_line(line)
