"""The page as people use it: by what they see and hear of it."""

from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.support.serving import PASSWORD


class Screen:
    """The page in one tab.

    Args:
        page: the tab.
        url: the server's origin.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    def open(self) -> None:
        """Go there."""
        self.page.goto(self.url)

    def sign_in(self, email: str, password: str = PASSWORD) -> None:
        """Fill the form in, and wait for what is behind it."""
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.page.locator("form.sign-in .go").click()
        expect(self.page.locator("#drop")).to_be_visible()
        expect(self.page.locator("form.sign-in")).to_have_count(0)

    def choose(self, *paths: Path) -> None:
        """Choose files by the button."""
        self.page.locator("#files").set_input_files([str(path) for path in paths])

    def drop(self, *files: tuple[str, bytes]) -> None:
        """Drop files of these names and bytes onto the page."""
        self.page.evaluate(
            """(files) => {
                const data = new DataTransfer();
                for (const [name, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name));
                for (const type of ["dragenter", "dragover", "drop"]) {
                    document.querySelector("#drop").dispatchEvent(
                        new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
                }
            }""",
            [(name, list(content)) for name, content in files],
        )

    def drop_paths(self, *paths: Path) -> None:
        """Drop files and folders of this machine onto the page, as a file manager does."""
        session = self.page.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})

    def row(self, name: str) -> Locator:
        """The row of a file, by a part of its name."""
        return self.page.locator(".row").filter(has=self.page.locator(".name", has_text=name))

    def names(self) -> Sequence[str]:
        """What the rows are called, from the top."""
        return self.page.locator(".row .name").all_text_contents()

    def ready(self, name: str) -> Locator:
        """Wait until a file is an MP3; its row."""
        row = self.row(name)
        expect(row.get_by_role("link", name="Download")).to_be_visible(timeout=120_000)
        return row
