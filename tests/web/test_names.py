"""Names that strangers gave their files are words and nothing else, and break no layout."""

from typing import Final

from playwright.sync_api import Page, expect

from tests.support.serving import Api
from tests.web.screen import Screen

_NAMES: Final = (
    "<img src=x onerror=alert(1)>.mp4",
    "<script>alert(2).mp4",
    '"><svg onload=alert(3)>.mp4',
    "javascript:alert(4).mp4",
    "right\u202egpj.4pm.mp4",
    "مقطع فيديو من العطلة.mp4",
    "סרטון חופשה 2024.mp4",
    "🎬👨‍👩‍👧‍👦🏖️ summer.mp4",
    "a" * 196 + ".mp4",
    "日本語のとても長い名前" * 12 + ".mp4",
    "${7*7} {{7*7}} %s %n.mp4",
)


def test_hostile_names_are_words(page: Page, screen: Screen, api: Api) -> None:
    """As uploads and as jobs they are shown as text, run nothing, ask for nothing, and need no sideways scrolling."""
    dialogs: list[str] = []
    asked: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.on("request", lambda request: asked.append(request.url))
    page.set_viewport_size({"width": 320, "height": 700})
    screen.drop(*((name, b"\0\1nothing that anybody reads") for name in _NAMES))
    expect(page.locator(".row.failed")).to_have_count(len(_NAMES))
    _stands(page)

    screen.open()
    expect(page.locator(".row.failed")).to_have_count(len(_NAMES))
    _stands(page)
    # The server takes direction marks out, and says nothing else for it.
    expected = {name.replace("\u202e", "") for name in _NAMES}
    assert set(screen.names()) == expected == {job["filename"] for job in api.call("GET", "/jobs").json()["jobs"]}
    assert page.locator(".row .name *:not(bdi)").count() == 0
    assert dialogs == []
    assert all(url.startswith(screen.url) for url in asked)


def _stands(page: Page) -> None:
    for width in (320, 768):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        outside = """() => [...document.querySelectorAll(".row *")].filter((each) => {
            const { left, right } = each.getBoundingClientRect();
            return right > innerWidth || left < 0;
        }).length"""
        assert page.evaluate(outside) == 0
