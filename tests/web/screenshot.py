"""One picture of the page with files in several states: `python -m tests.web.screenshot page.png [WIDTH] [dark]`.

Not a test: the picture is for people, such as the one in the README.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, expect

from tests.media.encode import encode, sound
from tests.support.serving import Served
from tests.web.chromium import launched
from tests.web.screen import Screen

_HEIGHT: Final = 760
#: What lies in the list: name, seconds, pitch.
_FILES: Final = (
    ("Lecture 7, signals and systems.mp4", 91, 180),
    ("Choir rehearsal.mov", 43, 440),
    ("Birthday in Sölden 2024.mp4", 187, 330),
)


@contextmanager
def staged(width: int, theme: str) -> Iterator[Page]:
    """The page of somebody who has some files, and one that is being converted.

    Args:
        width: of the window, in CSS pixels.
        theme: light or dark.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        Served(Path(folder) / "state", env={"CONVERT_SLOTS": "1"}) as server,
        launched() as browser,
    ):
        api = server.account("ada@example.com")
        for name, seconds, frequency_hz in _FILES:
            path = encode(Path(folder) / "file.m4a", *_swelling(seconds, frequency_hz))
            api.ended(api.upload_id(path, name=name))
        minute = encode(Path(folder) / "minute.m4a", *sound(60))
        long = encode(Path(folder) / "long.m4a", "-stream_loop", "99", "-i", minute, "-c", "copy")
        api.upload_id(long, name="Podcast, raw recording.mkv")
        page = browser.new_page(
            viewport={"width": width, "height": _HEIGHT},
            color_scheme="dark" if theme == "dark" else "light",
            locale="en-US",
        )
        screen = Screen(page, server.url)
        screen.open()
        screen.sign_in("ada@example.com")
        screen.row("Podcast").get_by_role("button", name="Cancel").wait_for()
        expect(screen.row("Podcast").locator("progress[value]")).to_be_visible(timeout=60_000)
        row = screen.row("Birthday")
        row.get_by_role("button", name="Play").click()
        expect(row.get_by_role("slider")).not_to_have_attribute("aria-valuenow", "0")
        row.get_by_role("slider").press("PageUp")
        row.get_by_role("button", name="Pause").click()
        # Nothing is in the hand of anybody.
        page.mouse.click(2, 2)
        yield page


def _swelling(seconds: int, frequency_hz: int) -> tuple[str, ...]:
    """A sound that comes and goes, so that there is something to see of it."""
    loudness = "volume='0.15+0.85*abs(sin(t*0.11)*sin(t*0.031+1))*(0.6+0.4*sin(t*1.7))':eval=frame"
    return (*sound(seconds, frequency_hz=frequency_hz, sample_rate_hz=22050), "-af", loudness)


def main() -> None:
    """Make the picture that the command line asks for."""
    path, width, theme = (*sys.argv[1:], *("page.png", "1100", "light")[len(sys.argv) - 1 :])
    with staged(int(width), theme) as page:
        page.screenshot(path=path)


if __name__ == "__main__":
    main()
