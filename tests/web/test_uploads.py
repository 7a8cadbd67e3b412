"""Large files, lines that break, servers that go away, and sessions that end in the middle."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.media.encode import clip
from tests.support.serving import PASSWORD, Served, eventually, free_port
from tests.web.screen import Screen

_MB: Final = 1_000_000
_LARGE: Final = 500 * _MB
#: Less than a piece more than once in memory; read whole the file would be five times that.
_FLAT: Final = 100 * _MB


def silence(path: Path, size_bytes: int) -> Path:
    """A WAV file of silence that takes no room on the disk."""
    pcm = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, 48000, 192000, 4, 16)
    header = (
        struct.pack("<4sI4s", b"RIFF", size_bytes - 8, b"WAVE") + pcm + struct.pack("<4sI", b"data", size_bytes - 44)
    )
    with path.open("wb") as file:
        file.write(header)
        file.truncate(size_bytes)
    return path


class Memory:
    """What all processes of a browser hold at most.

    Args:
        browser: the browser.
    """

    def __init__(self, browser: Browser) -> None:
        self._session = browser.new_browser_cdp_session()
        self.least = self.most = self._now()

    def look(self) -> None:
        """Look once more."""
        self.most = max(self.most, self._now())

    def _now(self) -> int:
        found = self._session.send("SystemInfo.getProcessInfo")["processInfo"]
        return sum(psutil.Process(each["id"]).memory_info().rss for each in found)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of 500 MB."""
    return silence(tmp_path_factory.mktemp("large") / "lecture.wav", _LARGE)


class Uploads:
    """What a tab sends to /uploads.

    Args:
        page: the tab.
    """

    def __init__(self, page: Page) -> None:
        self.methods: list[str] = []
        self.requests: list[Request] = []
        page.on("request", self._sent)

    def _sent(self, request: Request) -> None:
        if "/uploads" in request.url:
            self.methods.append(request.method)
            self.requests.append(request)


def _part(screen: Screen, name: str, percent: int) -> None:
    """Wait until so much of an upload is there."""
    bar = screen.row(name).get_by_role("progressbar")
    eventually(lambda: float(bar.get_attribute("value") or 0) > percent, seconds=120)


def test_half_a_gigabyte_over_a_line_that_breaks(browser: Browser, screen: Screen, large: Path) -> None:
    """The upload goes on by itself where it stopped, and the browser never holds the file."""
    page, uploads = screen.page, Uploads(screen.page)
    memory = Memory(browser)
    screen.choose(large)
    row = screen.row("lecture.wav")
    _part(screen, "lecture.wav", 20)
    page.context.set_offline(True)
    expect(row.locator(".meta")).to_contain_text("The connection is gone")
    memory.look()
    page.context.set_offline(False)

    def whole() -> bool:
        memory.look()
        return "Uploading" not in row.locator(".meta").inner_text() and "gone" not in row.locator(".meta").inner_text()

    eventually(whole, seconds=240)
    expect(row.locator(".meta")).to_contain_text("Converting", timeout=60_000)
    [creation] = [request for request in uploads.requests if request.method == "POST"]
    # As much as a look at the file needs, since an early refusal may take all of it.
    assert creation.all_headers()["content-length"] == str(64 * 1024)
    assert "HEAD" in uploads.methods
    assert memory.most - memory.least < _FLAT
    row.get_by_role("button", name="Cancel").click()
    expect(row.locator(".meta")).to_have_text("Cancelled")
    row.get_by_role("button", name="Delete").click()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory that outlives its server."""
    return tmp_path / "state"


@pytest.fixture
def served() -> Iterator[list[Served]]:
    """Servers of one port, one after the other; the test appends to them."""
    started: list[Served] = []
    yield started
    for each in started:
        each.kill()


def test_a_server_that_comes_back_with_other_keys(
    page: Page, state: Path, served: list[Served], tmp_path: Path, email: str
) -> None:
    """Killed in the middle of uploads, it refuses the token: signing in again is enough, and nothing begins anew."""
    options = ("--port", str(free_port()))
    served.append(Served(state, options=options))
    served[0].wait_ready()
    served[0].account(email)
    screen = Screen(page, served[0].url)
    screen.open()
    screen.sign_in(email)
    first, second = silence(tmp_path / "first.wav", 200 * _MB), silence(tmp_path / "second.wav", 200 * _MB)
    uploads = Uploads(page)
    screen.choose(first, second)
    _part(screen, "first.wav", 20)
    served[0].kill()
    expect(screen.row("first.wav").locator(".meta")).to_contain_text("The connection is gone")
    (state / "keys.json").unlink()
    served.append(Served(state, options=options))
    served[1].wait_ready()

    expect(page.get_by_text("your session ended")).to_be_visible(timeout=60_000)
    expect(screen.row("first.wav").locator(".meta")).to_have_text("Goes on when you have signed in.")
    expect(page.get_by_label("Email")).to_have_value(email)
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    for name in ("first.wav", "second.wav"):
        expect(screen.row(name).locator(".meta")).to_contain_text("onvert", timeout=120_000)
    assert uploads.methods.count("POST") == 2


def test_a_session_that_is_over(page: Page, state: Path, served: list[Served], tmp_path: Path, email: str) -> None:
    """A token of seconds: what is chosen after its end waits for the next sign-in, and goes on by itself."""
    served.append(Served(state, env={"TOKEN_SECONDS": "20"}))
    served[0].wait_ready()
    served[0].account(email)
    screen = Screen(page, served[0].url)
    page.clock.install()
    screen.open()
    screen.sign_in(email)
    page.clock.fast_forward(20_000)
    screen.choose(clip(tmp_path / "late.mp4"))
    expect(page.get_by_text("your session ended")).to_be_visible()
    expect(screen.row("late.mp4").locator(".meta")).to_have_text("Goes on when you have signed in.")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    screen.ready("late.mp3")


def test_an_upload_goes_on_after_the_page_was_left(screen: Screen, large: Path) -> None:
    """The next visit says what is unfinished; the same file goes on where it stopped, with the options it had."""
    page = screen.page
    page.locator("#options summary").click()
    page.get_by_label("Sound").select_option("bitrate=64")
    screen.choose(large)
    _part(screen, "lecture.wav", 15)
    page.on("dialog", lambda dialog: dialog.accept())
    screen.open()
    expect(page.get_by_text("“lecture.wav” was not uploaded to its end.")).to_be_visible()
    uploads = Uploads(page)
    screen.choose(large)
    _part(screen, "lecture.wav", 30)
    assert "POST" not in uploads.methods
    assert uploads.methods[:3] == ["OPTIONS", "HEAD", "PATCH"]
    expect(page.get_by_text("was not uploaded to its end")).to_be_hidden()

    # Cancelled, it is gone on both sides.
    with page.expect_response(lambda response: response.request.method == "DELETE") as given_up:
        screen.row("lecture.wav").get_by_role("button", name="Cancel lecture.wav").click()
    assert given_up.value.status == 204
    expect(screen.row("lecture.wav")).to_have_count(0)
    screen.open()
    expect(page.get_by_text("was not uploaded to its end")).to_be_hidden()


def test_an_upload_that_was_left_is_discarded(screen: Screen, large: Path) -> None:
    """What nobody wants to go on with is given up on both sides."""
    page = screen.page
    screen.choose(large)
    _part(screen, "lecture.wav", 5)
    # A tab that is at it is left alone by others.
    other = Screen(page.context.new_page(), screen.url)
    other.open()
    expect(other.page.get_by_text("Your MP3s will show up here.")).to_be_visible()
    expect(other.page.get_by_text("was not uploaded to its end")).to_be_hidden()
    other.page.close()
    page.on("dialog", lambda dialog: dialog.accept())
    screen.open()
    with page.expect_response(lambda response: response.request.method == "DELETE") as given_up:
        page.get_by_role("button", name="Discard it").click()
    assert given_up.value.status == 204
    expect(page.get_by_text("was not uploaded to its end")).to_be_hidden()
    expect(page.get_by_role("button", name="Choose videos")).to_be_focused()


def test_a_file_that_changes_while_it_is_sent(screen: Screen, tmp_path: Path) -> None:
    """It is told apart from a line that is gone, and not waited for."""
    path = silence(tmp_path / "changing.wav", 300 * _MB)
    screen.choose(path)
    _part(screen, "changing.wav", 15)
    silence(path, 200 * _MB)
    expect(screen.row("changing.wav").locator(".meta")).to_contain_text("This file could not be read.")


def test_two_at_once(screen: Screen, tmp_path: Path) -> None:
    """Of many files two are on their way, and the others wait for their turn; all of them arrive."""
    page = screen.page
    page.route("**/uploads", lambda route: route.abort())
    screen.choose(*(clip(tmp_path / f"{name}.mp4") for name in "abc"))
    for name in "ab":
        expect(screen.row(f"{name}.mp4").locator(".meta")).to_contain_text("The connection is gone")
    expect(screen.row("c.mp4").locator(".meta")).to_have_text("Waiting for its turn to upload")
    expect(page).to_have_title("0% · video2mp3")
    page.unroute("**/uploads")
    for name in "ab":
        screen.row(f"{name}.mp4").get_by_role("button", name="Try again").click()
    for name in "abc":
        screen.ready(f"{name}.mp3")
    assert list(screen.names()) == ["c.mp3", "b.mp3", "a.mp3"]
