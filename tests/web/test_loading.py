"""What the first visit costs, and how it signs in."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.support.serving import Served, eventually
from tests.web.screen import Screen

_MOST_BYTES = 60_000
_MOST_REQUESTS = 15


class Traffic:
    """What a tab that has nothing in its cache receives, headers included.

    Args:
        page: the tab.
    """

    def __init__(self, page: Page) -> None:
        self.urls: list[str] = []
        self.size_bytes = 0
        self.messages: list[str] = []
        page.on("console", lambda message: self.messages.append(message.text))
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        session.on("Network.requestWillBeSent", lambda event: self.urls.append(event["request"]["url"]))
        session.on("Network.loadingFinished", self._finished)

    def _finished(self, event: dict[str, Any]) -> None:
        self.size_bytes += event["encodedDataLength"]

    def check(self, url: str) -> None:
        """Hold it to the limits; everything came from this one origin, without an error."""
        assert self.messages == []
        assert all(each.startswith(f"{url}/") for each in self.urls)
        assert len(self.urls) <= _MOST_REQUESTS
        assert self.size_bytes <= _MOST_BYTES


def test_the_first_load_is_small(page: Page, server: Served) -> None:
    """Everything comes from the one origin, in few and small answers, without an error."""
    traffic = Traffic(page)
    Screen(page, server.url).open()
    expect(page.get_by_label("Email")).to_be_visible()
    page.wait_for_load_state("networkidle")
    traffic.check(server.url)


def test_the_first_load_of_who_is_signed_in_is_small(page: Page, screen: Screen) -> None:
    """With the history and the event stream it is still within both limits."""
    expect(page.get_by_text("Your MP3s will show up here.")).to_be_visible()
    traffic = Traffic(page)
    with page.expect_response("**/jobs/events"):
        screen.open()
    expect(page.get_by_text("Your MP3s will show up here.")).to_be_visible()
    traffic.check(screen.url)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Served]:
    """A server of one test: each of its addresses works once."""
    with Served(tmp_path / "state") as served:
        yield served


def _address(server: Served, number: int) -> str:
    """The address of that number that the terminal shows for this machine's owner."""

    def look() -> str | None:
        shown = re.findall(r"http://\S+/#sign-in=[\w-]+", server.log())
        return shown[number] if len(shown) > number else None

    return eventually(look) or ""


def test_the_first_visit_at_home_goes_straight_to_work(page: Page, home: Served) -> None:
    """The address that the terminal shows signs in, is small, and leaves no secret behind."""
    traffic = Traffic(page)
    page.goto(_address(home, 0))
    expect(page.get_by_text("Your MP3s will show up here.")).to_be_visible()
    expect(page.get_by_text("owner@localhost")).to_be_visible()
    assert page.url == f"{home.url}/"
    assert page.evaluate("history.length") == 2  # the empty page that each tab begins with, and this one
    traffic.check(home.url)


def test_an_address_that_was_used(page: Page, home: Served) -> None:
    """The ordinary form comes with a word about it; the next address works, in the same tab."""
    first = _address(home, 0)
    requests.post(f"{home.url}/sign-in", json={"secret": first.rpartition("=")[2]}, timeout=30).raise_for_status()
    page.goto(first)
    expect(page.get_by_text("This address was used already.")).to_be_visible()
    expect(page.get_by_label("Password")).to_be_visible()
    page.goto(_address(home, 1))
    expect(page.get_by_text("Your MP3s will show up here.")).to_be_visible()
    assert page.url == f"{home.url}/"
