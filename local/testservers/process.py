"""Server processes that outlive the program that starts them, each known by a pid file."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil


class Process:
    """One server process.

    Args:
        folder: where its pid file and its log are.
        name: of both.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._pid_file = folder / f"{name}.pid"
        self._log = folder / f"{name}.log"
        self._child: subprocess.Popen[bytes] | None = None

    def start(
        self, command: Sequence[str], *, env: Mapping[str, str], folder: Path | None = None, user: str | None = None
    ) -> None:
        """Start it, in a session of its own.

        Args:
            command: its argv.
            env: settings besides PATH and the language.
            folder: its working directory.
            user: whom it runs as; None for ourselves.
        """
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "HOME") if name in os.environ}
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**kept, **env},
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                start_new_session=True,
            )
        # A pid is given again one day; with the moment of its creation it is nobody else's.
        self._pid_file.write_text(f"{self._child.pid} {psutil.Process(self._child.pid).create_time()}")

    @property
    def found(self) -> psutil.Process | None:
        """The process, if it runs."""
        with suppress(OSError, ValueError, psutil.Error):
            pid, created = self._pid_file.read_text().split()
            process = psutil.Process(int(pid))
            if process.create_time() == float(created) and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None

    def stop(self, *, seconds: float = 20) -> None:
        """Ask it to end, and end it if it does not."""
        process = self.found
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
                with suppress(psutil.TimeoutExpired):
                    process.wait(seconds)
        self.kill()

    def kill(self) -> None:
        """End it and its children at once, as a power cut would; returns when they are gone."""
        process = self.found
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                family = [process, *process.children(recursive=True)]
                for member in family:
                    with suppress(psutil.NoSuchProcess):
                        member.kill()
                psutil.wait_procs(family, timeout=10)
        if self._child is not None:
            # Who started it in this program has to take note of its end.
            self._child.wait()
            self._child = None

    def last_words(self, *, lines: int = 15) -> str:
        """The end of its log."""
        with suppress(OSError):
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])
        return ""
