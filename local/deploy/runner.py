"""Running kubectl, kn and minikube: each command is shown before it runs, or instead of it."""

import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console

#: How much of a program's own words is told.
_WORDS_LINES: Final = 20
_LOOK_SECONDS: Final = 2.0
#: After so long a person wants to know what is being waited for.
_TELL_SECONDS: Final = 30.0

Document = dict[str, Any]


class DeployError(Exception):
    """It cannot go on; the text says why, and which command tells more."""


class Runner:
    """Runs programs on one kubectl context.

    Args:
        output: where each step is told.
        dry_run: only tell.
        context: which context; the current one where none is named, which another terminal may change meanwhile.
    """

    def __init__(self, output: Console, *, dry_run: bool, context: str = "") -> None:
        self.dry_run = dry_run
        self.context = context
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
        words = self._pinned(command)
        self._output.print(f"   $ {shlex.join(words)}{f'   # {shown}' if shown else ''}", markup=False, style="dim")
        return "" if self.dry_run else self._run(words, given, why)

    def ask(self, *command: str) -> str:
        """What a command that changes nothing prints; nothing in a dry run.

        Raises:
            DeployError: it failed.
        """
        return "" if self.dry_run else self._run(self._pinned(command), None, ())

    def items(self, *command: str) -> list[Document]:
        """The objects that `kubectl get ... -o json` prints, one or several; none in a dry run.

        Raises:
            DeployError: it failed.
        """
        text = self.ask(*command, "-o", "json")
        if not text:
            return []
        document: Document = json.loads(text)
        return list(document["items"]) if document["kind"].endswith("List") else [document]

    def wait(
        self,
        what: str,
        left: Callable[[], Mapping[str, str]],
        *,
        seconds: float,
        why: Callable[[str], Sequence[str]],
    ) -> None:
        """Wait until nothing is left to wait for, telling now and then what is.

        Args:
            what: what is waited for, for the person.
            left: looks; the names of what is not there yet, with what is known of each.
            seconds: how long.
            why: the words of a command that tells more of a name.

        Raises:
            DeployError: something never came.
        """
        self.say(f"waiting for {what}")
        if self.dry_run:
            return
        began = told = time.monotonic()
        while missing := left():
            now = time.monotonic()
            lines = [f"{name}: {state}" for name, state in missing.items()]
            if now - began > seconds:
                more = shlex.join(self._pinned(why(next(iter(missing)))))
                text = "\n".join((f"Waited {seconds:.0f} s in vain for {what}:", *lines, f"To see why: {more}"))
                raise DeployError(text)
            if now - told > _TELL_SECONDS:
                told = now
                self.say("; ".join(lines))
            time.sleep(_LOOK_SECONDS)

    def _pinned(self, command: Sequence[str]) -> list[str]:
        program, *words = command
        context = ["--context", self.context] if self.context and program in ("kubectl", "kn") else []
        return [program, *context, *words]

    def _run(self, command: Sequence[str], given: str | None, why: Sequence[str]) -> str:
        if shutil.which(command[0]) is None:
            raise DeployError(f"{command[0]} is not installed, or not on PATH (docs/deploy.md).")
        ended = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if ended.returncode:
            words = "\n".join((ended.stderr.strip() or ended.stdout.strip()).splitlines()[-_WORDS_LINES:])
            more = f"\nTo see why: {shlex.join(self._pinned(why))}" if why else ""
            raise DeployError(f"This failed: {shlex.join(command)}\n{words}{more}")
        for line in ended.stderr.splitlines():
            if line.startswith("Warning:"):
                self.say(line)
        return ended.stdout


def condition(document: Document, type_: str) -> tuple[str, str]:
    """The status of one of an object's conditions ("True", "False", "Unknown"), and its reason and message."""
    status = document.get("status", {})
    if (
        status.get("observedGeneration", 0) < document["metadata"].get("generation", 0)
        and "observedGeneration" in status
    ):
        return "Unknown", "the change was not looked at yet"
    found: list[Document] = status.get("conditions", [])
    for each in found:
        if each["type"] == type_:
            words = ": ".join(each[name] for name in ("reason", "message") if each.get(name))
            return str(each["status"]), words
    return "Unknown", "nothing is known of it yet"
