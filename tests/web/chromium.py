"""The browser that tests drive: Debian's Chromium, by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright


def program() -> str:
    """The path of Chromium; without it the test is skipped on a laptop, and fails where `CI` is set."""
    found = shutil.which("chromium")
    if found is None:
        reason = "chromium is not installed; local/services up does so"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser without a window."""
    # Its own sandbox refuses to run as root, which is what containers of CI run as.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=arguments)
        try:
            yield browser
        finally:
            browser.close()
