"""Listening on the page: waveforms, finding places, links that are too old, and being told when something is done."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.serving import Api, eventually
from tests.web.screen import Screen

_STRETCHES: Final = 400
#: As many pairs of bytes as there are stretches: the first half silent, the second half loud.
_PEAKS: Final = bytes(_STRETCHES) + struct.pack("bb", -100, 90) * (_STRETCHES // 2)
_WAVEFORM: Final = struct.pack("<iIiiIi", 2, 1, 48000, 256, _STRETCHES, 1) + _PEAKS
#: How many dots of the left and right quarter of the canvas are drawn, and in how many colours.
_DRAWN: Final = """(canvas) => {
    const { width, height } = canvas;
    const pen = canvas.getContext("2d");
    const colours = (left) => {
        const { data } = pen.getImageData(left, 0, width / 4, height);
        const found = new Map();
        for (let at = 0; at < data.length; at += 4) {
            const [red, green, blue, alpha] = data.subarray(at, at + 4);
            if (alpha === 255) found.set([red, green, blue].join(), (found.get([red, green, blue].join()) ?? 0) + 1);
        }
        return found;
    };
    const [left, right] = [colours(0), colours(width * 0.75)];
    const sum = (all) => [...all.values()].reduce((total, each) => total + each, 0);
    return { left: sum(left), right: sum(right), same: [...left.keys()][0] === [...right.keys()][0] };
}"""


@pytest.fixture
def listening(page: Page, screen: Screen, api: Api, make: Callable[..., Path]) -> Screen:
    """The page with a finished file in its history, whose waveform is that one."""
    api.ended(api.upload_id(make("song.mp4", seconds=8.0)))

    def describe(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        for job in told.get("jobs", [told]):
            job["links"]["waveform"] = f"/waveform?fid={job['id']}&signature=x"
        route.fulfill(response=answer, body=json.dumps(told))

    # The stream would tell of it without that link.
    page.route("**/jobs/events", lambda route: route.fulfill(status=503, headers={"Retry-After": "60"}))
    page.route("**/jobs?**", describe)
    page.route("**/jobs/*-*", describe)
    page.route("**/waveform?**", lambda route: route.fulfill(body=_WAVEFORM, content_type="application/octet-stream"))
    screen.open()
    return screen


def test_the_waveform_shows_what_is_loud_and_where_one_is(page: Page, listening: Screen) -> None:
    """Silence is flat and noise is tall, at any width; a click goes there, and what was played has a colour."""
    row = listening.row("song.mp3")
    row.get_by_role("button", name="Play song.mp3").click()
    slider = row.get_by_role("slider")
    canvas = slider.locator("canvas")
    expect(row.locator(".seek.wave")).to_be_visible()
    for width in (1200, 330):
        page.set_viewport_size({"width": width, "height": 700})
        eventually(lambda: (drawn := canvas.evaluate(_DRAWN))["right"] > 5 * drawn["left"] > 0)
    row.get_by_role("button", name="Pause song.mp3").click()
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuenow", "0")
    eventually(lambda: canvas.evaluate(_DRAWN)["same"])
    box = slider.bounding_box()
    assert box is not None
    slider.click(position={"x": box["width"] / 2, "y": 5})
    expect(slider).to_have_attribute("aria-valuenow", "4")
    eventually(lambda: not canvas.evaluate(_DRAWN)["same"])
    row.get_by_role("button", name="Play song.mp3").click()
    expect(slider).to_have_attribute("aria-valuenow", "6")


@pytest.mark.parametrize(
    "answer",
    [b"", _WAVEFORM[:100], b"<html>", struct.pack("<i", 1) + _WAVEFORM[4:]],
    ids=str.split("empty short text older"),
)
def test_without_a_waveform_there_is_a_plain_bar(page: Page, listening: Screen, answer: bytes) -> None:
    """What is no waveform, or comes in part, changes nothing about listening."""
    page.unroute("**/waveform?**")
    page.route("**/waveform?**", lambda route: route.fulfill(body=answer))
    row = listening.row("song.mp3")
    with page.expect_response("**/waveform?**"):
        row.get_by_role("button", name="Play song.mp3").click()
    expect(row.get_by_role("slider")).not_to_have_attribute("aria-valuenow", "0")
    expect(row.locator(".seek.wave")).to_have_count(0)
    row.get_by_role("slider").press("End")
    expect(row.get_by_role("button", name="Play song.mp3")).to_be_visible()


def test_only_one_plays(page: Page, listening: Screen, make: Callable[..., Path]) -> None:
    """Whoever begins another file ends the one before."""
    listening.choose(make("other.mp4", seconds=8.0))
    listening.ready("other.mp3").get_by_role("button", name="Play other.mp3").click()
    expect(page.get_by_role("button", name="Pause other.mp3")).to_be_visible()
    page.get_by_role("button", name="Play song.mp3").click()
    expect(page.get_by_role("button", name="Pause song.mp3")).to_be_visible()
    expect(page.get_by_role("button", name="Play other.mp3")).to_be_visible()


def test_links_that_are_too_old(page: Page, screen: Screen, api: Api, make: Callable[..., Path]) -> None:
    """A page that stood open for an hour fetches a fresh link first; one that is refused is replaced in passing."""
    api.ended(api.upload_id(make("song.mp4", seconds=8.0)))
    row = screen.ready("song.mp3")
    page.evaluate("""() => {
        const now = performance.now.bind(performance);
        performance.now = () => now() + 60 * 60 * 1000;
    }""")
    with page.expect_request("**/jobs/*-*"), page.expect_download() as download:
        row.get_by_role("link", name="Download song.mp3").click()
    assert download.value.suggested_filename == "song.mp3"

    refused: list[str] = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        if len(refused) > 1:
            route.fallback()
        else:
            route.fulfill(status=403)

    page.route("**/download?**", refuse)
    with page.expect_request("**/jobs/*-*"):
        row.get_by_role("button", name="Play song.mp3").click()
    expect(row.get_by_role("slider")).not_to_have_attribute("aria-valuenow", "0")
    assert len(refused) >= 2


def test_a_notification_only_if_it_is_wanted(page: Page, screen: Screen, make: Callable[..., Path]) -> None:
    """Nothing is asked at load; who presses the button is told of what ends while the page is not in sight."""
    page.add_init_script("""
        window.told = [];
        window.Notification = class {
            static permission = "default";
            static async requestPermission() { told.push("asked"); this.permission = "granted"; }
            constructor(title, { body }) { told.push(`${title}: ${body}`); }
        };
    """)
    screen.open()
    expect(page.get_by_text("Your MP3s will show up here.")).to_be_visible()
    page.route("**/uploads", lambda route: route.abort())
    screen.choose(make("late.mp4"))
    expect(screen.row("late.mp4").locator(".meta")).to_contain_text("The connection is gone")
    assert page.evaluate("told") == []
    page.get_by_role("button", name="Notify me when done").click()
    expect(page.get_by_role("button", name="Notify me when done")).to_be_hidden()
    assert page.evaluate("told") == ["asked"]
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    page.unroute("**/uploads")
    screen.row("late.mp4").get_by_role("button", name="Try again").click()
    screen.ready("late.mp3")
    assert page.evaluate("told") == ["asked", "Your MP3 is ready: late.mp3"]
    expect(page).to_have_title("✓ 1 ready · video2mp3")


def test_the_waveform_of_a_real_file(screen: Screen, make: Callable[..., Path]) -> None:
    """A file that was made while one looked on has its waveform at once."""
    screen.choose(make("real.mp4", seconds=8.0))
    row = screen.ready("real.mp3")
    expect(row.locator(".seek.wave")).to_be_visible()
    drawn = row.locator("canvas").evaluate(_DRAWN)
    assert min(drawn["left"], drawn["right"]) > 0
