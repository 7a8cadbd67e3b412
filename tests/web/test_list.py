"""The list of files: in step with the server and with other tabs, searched, paged, and cleared by hand."""

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, expect

from tests.support.serving import Api, eventually
from tests.web.screen import Screen

#: Rows of one page, and one more.
_MORE_THAN_A_PAGE = 31


def _fails(api: Api, name: str) -> str:
    """A job that ends at once, since its file is nothing that can be read."""
    answer = api.call("POST", "/upload", params={"filename": name}, data=b"\0\1nothing that anybody reads")
    job_id: str = answer.json()["id"]
    return job_id


def test_two_tabs_are_in_step_over_one_stream(
    context: BrowserContext, screen: Screen, api: Api, make: Callable[..., Path]
) -> None:
    """A second tab is signed in by the first; both show what happens, and one of them has the stream."""
    streams: list[str] = []
    first = screen.page
    second = Screen(context.new_page(), screen.url)
    second.page.on("request", lambda request: streams.append(request.url))
    second.open()
    expect(second.page.get_by_text("Your MP3s will show up here.")).to_be_visible()
    screen.choose(make())
    second.ready("holiday.mp3")
    screen.ready("holiday.mp3")
    second.row("holiday").get_by_role("button", name="Delete").click()
    second.row("holiday").get_by_role("button", name="Undo").click()
    expect(first.get_by_role("link", name="Download holiday.mp3")).to_be_visible()
    second.row("holiday").get_by_role("button", name="Delete").click()
    expect(screen.row("holiday")).to_have_count(0)
    assert f"{screen.url}/jobs/events" not in streams

    # Who is left takes the stream over.
    with second.page.expect_response("**/jobs/events"):
        first.close()
    _fails(api, "later.mp4")
    expect(second.row("later.mp4").locator(".meta")).to_contain_text("damaged")

    third = Screen(context.new_page(), screen.url)
    third.open()
    third.page.get_by_role("button", name="Sign out").click()
    expect(second.page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(second.page.locator(".row")).to_have_count(0)


def test_a_page_that_is_left_deletes_what_was_to_be_deleted(screen: Screen, api: Api) -> None:
    """Leaving within the time for undo does not bring the file back."""
    job_id = _fails(api, "unwanted.mp4")
    screen.row("unwanted").get_by_role("button", name="Delete").click()
    assert api.call("GET", f"/jobs/{job_id}").status_code == 200
    screen.page.goto("about:blank")
    eventually(lambda: api.call("GET", f"/jobs/{job_id}").status_code == 404)


def test_search_and_pages(screen: Screen, api: Api) -> None:
    """A page at a time, newest first; a search finds what no page shows yet, and says how many there are."""
    page = screen.page
    for number in range(_MORE_THAN_A_PAGE):
        api.ended(_fails(api, f"Episode {number}.mp4"))
    screen.open()
    expect(page.locator(".row")).to_have_count(_MORE_THAN_A_PAGE - 1)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".row")).to_have_count(_MORE_THAN_A_PAGE)
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    assert list(screen.names()) == [f"Episode {number}.mp4" for number in reversed(range(_MORE_THAN_A_PAGE))]

    page.get_by_role("searchbox", name="Search by name").fill("episode 1")
    expect(page.locator(".row")).to_have_count(11)
    expect(page.get_by_role("status")).to_contain_text("11 files found.")
    _fails(api, "Other.mp4")
    _fails(api, "EPISODE 100.mp4")
    expect(screen.row("EPISODE 100.mp4")).to_be_visible()
    expect(screen.row("Other.mp4")).to_have_count(0)
    page.get_by_role("searchbox").fill("100%")
    expect(page.get_by_text("No file has this in its name.")).to_be_visible()
    page.get_by_role("searchbox").fill("")
    expect(screen.row("Other.mp4")).to_be_visible()
    expect(page.locator(".row")).to_have_count(_MORE_THAN_A_PAGE - 1)


def test_without_a_stream_the_page_asks_now_and_then(page: Page, screen: Screen, api: Api) -> None:
    """Where no stream is to be had, what happens is shown all the same."""
    page.route("**/jobs/events", lambda route: route.fulfill(status=503, headers={"Retry-After": "10"}))
    screen.open()
    expect(page.get_by_text("Your MP3s will show up here.")).to_be_visible()
    _fails(api, "seen.mp4")
    expect(screen.row("seen.mp4").locator(".meta")).to_contain_text("damaged")
    api.call("DELETE", f"/jobs/{api.call('GET', '/jobs').json()['jobs'][0]['id']}")
    expect(screen.row("seen.mp4")).to_have_count(0)


def test_a_running_job_is_cancelled_and_tried_again(screen: Screen, api: Api, long_audio: Path) -> None:
    """Its percent moves; cancelled it can be tried again, and the title tells how far all is."""
    screen.choose(long_audio)
    row = screen.row("long.m4a")
    expect(row.locator(".meta")).to_contain_text("Converting ", timeout=60_000)
    row.get_by_role("button", name="Cancel long.m4a").click()
    expect(row.locator(".meta")).to_have_text("Cancelled")
    expect(screen.page).to_have_title("video2mp3")
    row.get_by_role("button", name="Try again: long.m4a").click()
    expect(row.get_by_role("progressbar", name="Progress of long.m4a")).to_be_visible(timeout=30_000)
    # The button that was pressed is gone; the next one has the focus.
    expect(row.get_by_role("button", name="Cancel long.m4a")).to_be_focused()
    expect(screen.page).not_to_have_title("video2mp3")
    row.get_by_role("button", name="Cancel long.m4a").click()
    expect(row.locator(".meta")).to_have_text("Cancelled")
    del api


def test_download_all(screen: Screen, api: Api, make: Callable[..., Path]) -> None:
    """Every finished file comes, each under its own name."""
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        screen.choose(make(name))
        screen.ready(name.replace("mp4", "mp3"))
    names = []
    screen.page.on("download", lambda download: names.append(download.suggested_filename))
    screen.page.get_by_role("button", name="Download all (3)").click()
    expect(screen.page.get_by_role("button", name="Download all (3)")).to_be_visible()
    for _ in range(3):
        if len(names) < 3:
            screen.page.wait_for_event("download")
    assert sorted(names) == ["a.mp3", "b.mp3", "c.mp3"]
    del api
