"""The generator as the burst sees it: a child process whose lines go into the journal."""

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from local.loadtest.journal import Journal

_ROOT: Final = Path(__file__).parents[2]
_STOP_SECONDS: Final = 5.0


class Load:
    """Uploads as the plan says.

    Args:
        plan: what `plan.write` wrote.
        journal: takes what happens.
        log: takes what else is said.
    """

    def __init__(self, plan: Path, journal: Journal, log: Path) -> None:
        self._journal = journal
        self._ready = threading.Event()
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "local.loadtest.generator", str(plan)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=_ROOT,
                # Ctrl-C is for us, who end it.
                start_new_session=True,
            )
        self._log = log
        self._listener = threading.Thread(target=self._listen, name="generator", daemon=True)

    def __enter__(self) -> Self:
        """Wait until it can begin.

        Raises:
            RuntimeError: it ended.
        """
        self._listener.start()
        while not self._ready.wait(0.05):
            if self._process.poll() is not None:
                raise RuntimeError(f"the generator ended:\n{self._log.read_text()[-2000:]}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, whatever it is at."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._process.kill()
        self._process.wait()
        self._listener.join()

    def begin(self) -> None:
        """Have it upload."""
        if self._process.stdin is not None:
            self._process.stdin.write("go\n")
            self._process.stdin.flush()

    def process(self) -> psutil.Process | None:
        """It, as long as it runs."""
        with suppress(psutil.Error):
            return psutil.Process(self._process.pid)
        return None

    def ended(self) -> bool:
        """Whether it has had its last word."""
        return self._journal.uploads_ended is not None or self._process.poll() is not None

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            # What locust itself prints is no line of ours.
            if line.startswith('{"what"'):
                self._journal.hear(line)
                if '"ready"' in line:
                    self._ready.set()
