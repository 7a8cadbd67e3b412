"""For everybody: no complaint of axe in any state and theme, and all of it by the keyboard alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.serving import PASSWORD, Api, Served, eventually
from tests.support.traces import change
from tests.web.screen import Screen


def _complaints(page: Page) -> list[str]:
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    return [f"{each['id']}: {node['html']}" for each in found.response["violations"] for node in each["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(
    page: Page,
    server: Served,
    email: str,
    api: Api,
    make: Callable[..., Path],
    silent: Path,
    long_audio: Path,
    theme: str,
) -> None:
    """Signed out, registering, empty, with jobs of every state, playing, deleting, with the session ended."""
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    screen = Screen(page, server.url)
    screen.open()
    expect(page.get_by_label("Email")).to_be_visible()
    assert _complaints(page) == []
    page.get_by_role("button", name="Create an account").click()
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("alert").filter(has_text="There is an account")).to_be_visible()
    assert _complaints(page) == []
    page.get_by_role("button", name="Sign in").click()
    screen.sign_in(email)
    expect(page.get_by_text("Your MP3s will show up here.")).to_be_visible()
    page.locator("#options summary").click()
    expect(page.get_by_label("Sound")).to_be_visible()
    assert _complaints(page) == []

    screen.choose(make(), silent)
    row = screen.ready("holiday.mp3")
    row.get_by_role("button", name="Play").click()
    expect(row.get_by_role("slider")).to_be_visible()
    expect(screen.row("silent.mkv").locator(".meta")).to_contain_text("no sound")
    screen.drop(("notes.txt", b"words"))
    for _ in range(3):
        api.upload_id(long_audio)
    expect(page.locator(".row", has_text="long.m4a")).to_have_count(3)
    last = page.locator(".row", has_text="long.m4a").first
    last.get_by_role("button", name="Cancel").click()
    expect(last.locator(".meta")).to_have_text("Cancelled")
    expect(page.locator(".row.running")).to_have_count(2)
    screen.row("silent.mkv").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    assert _complaints(page) == []
    page.evaluate("""async () => {
        const { session } = await import("/session.js");
        session.end(session.token);
    }""")
    expect(page.get_by_text("your session ended")).to_be_visible()
    assert _complaints(page) == []


def test_axe_finds_nothing_in_what_is_no_longer_kept(page: Page, tmp_path: Path, make: Callable[..., Path]) -> None:
    """A job whose time is over stays in the list, as such."""
    state = tmp_path / "state"
    with Served(state) as server:
        api = server.account("late@example.com")
        api.ended(api.upload_id(make()))
        assert server.stop() == 0
    assert change(state, "UPDATE jobs SET expires = 1") == 1
    with Served(state) as server:
        screen = Screen(page, server.url)
        screen.open()
        screen.sign_in("late@example.com")
        expect(screen.row("holiday.mp4").locator(".meta")).to_contain_text("No longer kept")
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            assert _complaints(page) == []


def test_nothing_moves_for_whoever_wants_that(page: Page, screen: Screen) -> None:
    """A bar that knows no share goes to and fro, and stands still for whoever asked the system for that."""
    screen.page.locator("main").evaluate("(main) => main.append(document.createElement('progress'))")
    bar = page.locator("main > progress")
    first = bar.screenshot()
    eventually(lambda: bar.screenshot() != first)
    page.emulate_media(reduced_motion="reduce")
    assert len({bar.screenshot() for _ in range(5)}) == 1


def test_colours_that_the_system_forces(page: Page, screen: Screen, make: Callable[..., Path]) -> None:
    """In a contrast theme, which takes our grounds away, a bar has an outline, and axe still finds nothing."""
    screen.choose(make())
    screen.ready("holiday.mp3")
    page.locator("main").evaluate("(main) => main.append(document.createElement('progress'))")
    bar = page.locator("main > progress")
    expect(bar).to_have_css("border-top-width", "0px")
    page.emulate_media(forced_colors="active")
    expect(bar).to_have_css("border-top-width", "1px")
    bar.evaluate("(bar) => bar.remove()")
    assert _complaints(page) == []


def test_all_of_it_by_the_keyboard(page: Page, server: Served, email: str, api: Api, make: Callable[..., Path]) -> None:
    """Sign in, choose, play, seek, delete, undo, search, sign out: Tab, Enter, Space and arrows are enough."""
    del api
    path = make()
    # Listening from the beginning: what begins together with the key press may come too late.
    page.on("filechooser", lambda chooser: chooser.set_files(path))
    screen = Screen(page, server.url)
    screen.open()
    expect(page.get_by_label("Email")).to_be_visible()
    keys = page.keyboard
    _tab_to(page, "Email")
    keys.type(email)
    keys.press("Tab")
    keys.type(PASSWORD)
    keys.press("Enter")
    expect(page.locator("#drop")).to_be_visible()

    _tab_to(page, "Choose videos")
    keys.press("Enter")
    row = screen.ready("holiday.mp3")

    _tab_to(page, "Play holiday.mp3")
    keys.press("Enter")
    expect(row.get_by_role("button", name="Pause holiday.mp3")).to_be_focused()
    keys.press("Space")
    expect(row.get_by_role("button", name="Play holiday.mp3")).to_be_focused()
    slider = row.get_by_role("slider")
    _tab_to(page, "Position in holiday.mp3")
    keys.press("End")
    expect(slider).to_have_attribute("aria-valuenow", "2")
    keys.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "0:00 of 0:02")
    keys.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuenow", "2")

    _tab_to(page, "Delete holiday.mp3", back=True)
    keys.press("Enter")
    expect(row.get_by_role("button", name="Undo: keep holiday")).to_be_focused()
    keys.press("Enter")
    expect(row.get_by_role("button", name="Delete holiday.mp3")).to_be_focused()
    keys.press("Enter")
    # When it is gone the focus is on what stays.
    expect(row).to_have_count(0)
    expect(page.get_by_role("heading", name="Your MP3s")).to_be_focused()
    _tab_to(page, "Sign out", back=True)
    keys.press("Enter")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def _tab_to(page: Page, name: str, *, back: bool = False) -> None:
    """Press Tab until what is called so has the focus, and see that this shows."""
    told = """() => {
        const { activeElement } = document;
        const label = activeElement.ariaLabel || activeElement.labels?.[0]?.textContent || activeElement.textContent;
        return label.trim();
    }"""
    for _ in range(30):
        page.keyboard.press("Shift+Tab" if back else "Tab")
        if page.evaluate(told) == name:
            break
    else:
        raise AssertionError(f"Tab never comes to {name}")
    ringed = """() => [document.activeElement, document.activeElement.closest("label")].some(
        (each) => each && getComputedStyle(each).outlineStyle !== "none")"""
    assert page.evaluate(ringed)


def test_the_page_is_read_without_scripts(server: Served, page: Page) -> None:
    """Whoever has no scripts is told so, and of the other way."""
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(server.url)
    expect(plain.locator("noscript p")).to_be_visible()
    plain.locator("noscript a").click()
    expect(plain.get_by_text("hand in a video, get an MP3")).to_be_visible()
    context.close()
