"""Making an account, signing in, and what the form says when that does not work."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.serving import PASSWORD, Api, Served
from tests.web.screen import Screen


@pytest.fixture
def form(page: Page, server: Served) -> Screen:
    """The page of somebody who is not signed in."""
    screen = Screen(page, server.url)
    screen.open()
    expect(page.get_by_label("Email")).to_be_visible()
    return screen


def _send(page: Page, email: str, password: str) -> None:
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_label("Password").press("Enter")


def test_a_wrong_password(page: Page, form: Screen, email: str, api: Api) -> None:
    """It is said in a sentence, the focus is on the password, and the browser asks nothing of its own."""
    del form, api
    _send(page, email, "not the password")
    expect(page.get_by_role("alert")).to_contain_text("Check both and try again.")
    expect(page.get_by_label("Password")).to_be_focused()
    _send(page, email, PASSWORD)
    expect(page.locator("#drop")).to_be_visible()


def test_passwords_of_any_letters(page: Page, form: Screen, email: str) -> None:
    """Whatever is typed arrives: letters of any script, and what Basic separates by."""
    del form
    page.get_by_role("button", name="Create an account").click()
    _send(page, email, "pä:ss wörd 密码 🎬")
    expect(page.locator("#drop")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    _send(page, email, "pä:ss wörd 密码 🎬")
    expect(page.locator("#drop")).to_be_visible()


def test_an_account_that_there_is_and_a_weak_password(page: Page, form: Screen, email: str, api: Api) -> None:
    """The server's sentence is shown, and the form stays as it was filled in."""
    del form, api
    page.get_by_role("button", name="Create an account").click()
    expect(page.get_by_text("At least 8 characters.")).to_be_visible()
    _send(page, email, PASSWORD)
    expect(page.get_by_role("alert")).to_have_text("There is an account with this address already.")
    expect(page.get_by_label("Email")).to_have_value(email)
    _send(page, "new@example.com", "new@example.com")
    expect(page.get_by_role("alert")).to_contain_text("assword")


def test_the_token_stays_in_the_tab(page: Page, screen: Screen) -> None:
    """A reload keeps the session; nothing that outlives the browser knows the token, and no address does."""
    token = page.evaluate("JSON.parse(sessionStorage.getItem('video2mp3 session')).token")
    screen.open()
    expect(page.locator("#drop")).to_be_visible()
    assert token not in page.evaluate("JSON.stringify(localStorage)")
    assert page.context.cookies() == []
    assert page.url == f"{screen.url}/"


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Served]:
    """A server on which nobody makes an account."""
    with Served(tmp_path / "state", env={"REGISTRATION": "closed"}) as served:
        yield served


def test_registration_may_be_closed(page: Page, closed: Served) -> None:
    """That is said, too."""
    screen = Screen(page, closed.url)
    screen.open()
    page.get_by_role("button", name="Create an account").click()
    _send(page, "someone@example.com", PASSWORD)
    expect(page.get_by_role("alert")).to_contain_text("egistration")
