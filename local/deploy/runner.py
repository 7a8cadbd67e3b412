"""Running kubectl, kn and minikube: each command is shown before it runs, or instead of it."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from typing import Final

from rich.console import Console

#: What a person is told to look at, after how many lines of a program's own words.
_WORDS_LINES: Final = 20


class DeployError(Exception):
    """It cannot go on; the text says why, and which command tells more."""


class Runner:
    """Runs programs on the current kubectl context.

    Args:
        output: where each step is told.
        dry_run: only tell.
    """

    def __init__(self, output: Console, *, dry_run: bool) -> None:
        self.dry_run = dry_run
        self._output = output
        self._steps = 0

    def step(self, title: str) -> None:
        """Say what comes next."""
        self._steps += 1
        self._output.print(f"\n[bold]{self._steps}. {title}[/bold]")

    def say(self, text: str) -> None:
        """Tell something about the present step."""
        self._output.print(f"   {text}", markup=False)

    def run(self, *command: str, given: str | None = None, shown: str = "", why: Sequence[str] = ()) -> str:
        """Run a command that changes something; what it printed.

        Args:
            command: its words.
            given: its standard input, which is never shown: it may hold secrets.
            shown: what stands behind the command where it is told.
            why: the words of a command that tells more, should this one fail.

        Raises:
            DeployError: it failed.
        """
        self._output.print(f"   $ {shlex.join(command)}{f'   # {shown}' if shown else ''}", markup=False, style="dim")
        return "" if self.dry_run else self._run(command, given, why)

    def ask(self, *command: str, why: Sequence[str] = ()) -> str:
        """What a command that changes nothing prints; nothing in a dry run.

        Raises:
            DeployError: it failed.
        """
        return "" if self.dry_run else self._run(command, None, why)

    def _run(self, command: Sequence[str], given: str | None, why: Sequence[str]) -> str:
        if shutil.which(command[0]) is None:
            raise DeployError(
                f"{command[0]} is not installed, or not on PATH; docs/deploy.md says where it comes from."
            )
        ended = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if ended.returncode:
            words = "\n".join((ended.stderr.strip() or ended.stdout.strip()).splitlines()[-_WORDS_LINES:])
            more = f"\nTo see why: {shlex.join(why)}" if why else ""
            raise DeployError(f"This failed: {shlex.join(command)}\n{words}{more}")
        return ended.stdout
