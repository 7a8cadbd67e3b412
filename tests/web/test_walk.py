"""The way of people from the first visit to the MP3, in a real browser on real files."""

import shutil
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.serving import PASSWORD, Api, Served, eventually
from tests.web.screen import Screen


def test_from_the_first_visit_to_the_mp3(
    page: Page, server: Served, email: str, make: Callable[..., Path], silent: Path
) -> None:
    """Register, drop two videos, watch both end, play, download, retry a failed one, delete, undo, sign out."""
    screen = Screen(page, server.url)
    screen.open()
    page.get_by_role("button", name="Create an account").click()
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_text("Your MP3s will show up here.")).to_be_visible()

    first, second = make("first.mp4"), make("second.mp4")
    screen.drop((first.name, first.read_bytes()), (second.name, second.read_bytes()))
    row = screen.ready("first.mp3")
    screen.ready("second.mp3")
    expect(row.locator(".meta")).to_contain_text("0:02")

    row.get_by_role("button", name="Play first.mp3").click()
    slider = row.get_by_role("slider", name="Position in first.mp3")
    expect(slider).not_to_have_attribute("aria-valuenow", "0")

    with page.expect_download() as download:
        row.get_by_role("link", name="Download first.mp3").click()
    assert download.value.suggested_filename == "first.mp3"
    api = server.account(email)
    [job] = [job for job in api.call("GET", "/jobs").json()["jobs"] if job["filename"] == "first.mp4"]
    assert download.value.path().read_bytes() == api.download(job["id"])

    screen.choose(silent)
    failed = screen.row("silent.mkv")
    expect(failed.locator(".meta")).to_contain_text("The video has no sound")
    failed.get_by_role("button", name="Try again: silent.mkv").click()
    _runs(api, "silent.mkv", 2)
    expect(failed.locator(".meta")).to_contain_text("The video has no sound")

    row.get_by_role("button", name="Delete first.mp3").click()
    row.get_by_role("button", name="Undo").click()
    expect(row.get_by_role("link", name="Download")).to_be_visible()
    row.get_by_role("button", name="Delete first.mp3").click()
    expect(row).to_have_count(0)
    assert api.call("GET", f"/jobs/{job['id']}").status_code == 404

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.locator("#work")).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0


def _runs(api: Api, filename: str, run: int) -> None:
    def look() -> bool:
        jobs = api.call("GET", "/jobs").json()["jobs"]
        return any(job["filename"] == filename and job["run"] == run and job["state"] == "failed" for job in jobs)

    eventually(look)


def test_a_folder_is_dropped(screen: Screen, make: Callable[..., Path], tmp_path: Path) -> None:
    """It stands for the files in it and in its folders, but for hidden ones; one that is empty is told of."""
    (tmp_path / "summer/day two").mkdir(parents=True)
    (tmp_path / "winter").mkdir()
    for name in ("two.mp4", "one.mp4", "day two/three.mp4", ".hidden.mp4"):
        shutil.copy(make(), tmp_path / "summer" / name)
    screen.drop_paths(tmp_path / "winter")
    expect(screen.page.get_by_role("alert").filter(has_text="no files in this folder")).to_be_visible()
    screen.drop_paths(tmp_path / "summer", make("extra.mp4"))
    for name in ("one", "two", "three", "extra"):
        screen.ready(f"{name}.mp3")
    expect(screen.page.locator(".row")).to_have_count(4)
    expect(screen.page.locator("#trouble")).to_be_hidden()


def test_a_folder_is_dropped_without_a_line(screen: Screen, tmp_path: Path) -> None:
    """What reads folders is a part of the page by itself; if it does not come, the folder is not to blame."""
    (tmp_path / "summer").mkdir()
    screen.page.route("**/folders*.js", lambda route: route.abort())
    screen.drop_paths(tmp_path / "summer")
    expect(screen.page.get_by_role("alert").filter(has_text="could not be loaded")).to_be_visible()
