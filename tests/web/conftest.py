"""A browser and a server per module, an account and a browser context per test, and a few files to choose."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.media.encode import clip, encode
from tests.support.serving import Api, Served
from tests.web.chromium import launched
from tests.web.screen import Screen

_NUMBERS = itertools.count(1)
# A slow machine is no fault of the page.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Everything in one process."""
    with Served(tmp_path_factory.mktemp("web") / "state") as served:
        yield served


@pytest.fixture
def email() -> str:
    """An address that no other test has."""
    return f"web{next(_NUMBERS)}@example.com"


@pytest.fixture
def api(server: Served, email: str) -> Iterator[Api]:
    """The account of this address, beside the browser; whatever became of the test, its jobs go."""
    api = server.account(email)
    yield api
    for job in api.call("GET", "/jobs?limit=200").json()["jobs"]:
        api.call("DELETE", f"/jobs/{job['id']}")


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser without memories, in English."""
    context = browser.new_context(accept_downloads=True, locale="en-US", timezone_id="UTC")
    context.set_default_timeout(60_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab, in which nothing may go wrong unnoticed."""
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    yield page
    assert errors == []


@pytest.fixture
def screen(page: Page, server: Served, email: str, api: Api) -> Screen:
    """The page of an account that is signed in."""
    del api
    screen = Screen(page, server.url)
    screen.open()
    screen.sign_in(email)
    return screen


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a small video of a name."""
    folder = tmp_path_factory.mktemp("videos")

    def made(name: str = "holiday.mp4", *more: str, seconds: float = 2.0) -> Path:
        path = folder / name
        return path if path.exists() else clip(path, more=more, seconds=seconds)

    return made


@pytest.fixture(scope="session")
def silent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video without sound in a container that the page does not look into."""
    return clip(tmp_path_factory.mktemp("silent") / "silent.mkv", muxer="matroska", more=("-an",))


@pytest.fixture(scope="session")
def long_audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten hours of silence in a few megabytes: its conversion outlasts any test."""
    folder = tmp_path_factory.mktemp("long")
    silence = ("-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo", "-t", "60", "-c:a", "aac", "-b:a", "32k")
    minute = encode(folder / "minute.m4a", *silence)
    return encode(folder / "long.m4a", "-stream_loop", "599", "-i", minute, "-c", "copy")
