"""One progress bar per file at a terminal, one line per file elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

#: How much of a file's bar each phase takes, by what they usually cost.
_UPLOAD_SHARE: Final = 10


class Bars:
    """Shows how far each file is; may be told from several threads."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("[dim]{task.fields[phase]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw for the time of the block."""
        with self._progress:
            yield

    def add(self, name: str) -> "Bar":
        """Begin a bar."""
        return Bar(self._progress, self._progress.add_task(printable(name, 40), phase="waiting", total=100))


class Bar:
    """One file's bar."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def uploaded(self, share: float) -> None:
        """Tell how much of the file was handed in, 0 to 1."""
        self._progress.update(self._task, completed=share * _UPLOAD_SHARE, phase="uploading")

    def job(self, job: dict[str, Any]) -> None:
        """Tell what the job says of itself."""
        done = _UPLOAD_SHARE + (100 - _UPLOAD_SHARE) * job["percent"] / 100
        self._progress.update(self._task, completed=done, phase=job["phase"] or job["state"])

    def tell(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(text)

    def end(self, phase: str) -> None:
        """Tell how it ended."""
        self._progress.update(self._task, completed=100, phase=phase)


def console() -> Console:
    """Where progress and messages go: standard error."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def printable(name: str | Path, width: int = 200) -> str:
    """A stranger's name as a terminal may show it: no control characters, no markup."""
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(name))
    return escape(text if len(text) <= width else f"{text[: width - 1]}…")
