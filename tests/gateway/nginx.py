"""nginx as `knative/gateway/start` starts it, a process of its own."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil
import pytest
import requests

from tests.support.serving import eventually, free_port

ROOT: Final = Path(__file__).parents[2]
START: Final = ROOT / "knative/gateway/start"
_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"


def program() -> str:
    """The path of nginx; without it the test is skipped on a laptop, and fails where `CI` is set."""
    found = shutil.which("nginx", path=_PATH)
    if found is None:
        reason = "nginx is not installed; local/services up does so"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Nginx:
    """The gateway on a free port.

    Args:
        folder: where it writes.
        env: its settings.
    """

    def __init__(self, folder: Path, **env: str) -> None:
        program()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / "log"
        settings = {"PORT": str(self.port), "HOST": "127.0.0.1", "GATEWAY_DIR": str(folder / "run")}
        # It opens what it was given as standard output once more, so both have to append.
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [START],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": _PATH, "PAGE_DIR": str(ROOT / "functions/web/static"), **settings, **env},
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        """Wait until it answers."""
        eventually(self._ready)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it at once."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"nginx ended:\n{self.log()}"
        try:
            return requests.get(f"{self.url}/healthz", timeout=5).ok
        except requests.ConnectionError:
            return False

    def log(self) -> str:
        """All that it said so far."""
        return self._log.read_text(errors="replace")

    def line(self, **members: object) -> dict[str, Any]:
        """Wait for the log line with these members."""

        def look() -> dict[str, Any] | None:
            lines = [json.loads(line) for line in self.log().splitlines()]
            return next((line for line in lines if members.items() <= line.items()), None)

        return eventually(look) or {}

    def worker(self) -> psutil.Process:
        """The process that does the work."""
        [worker] = psutil.Process(self.process.pid).children()
        return worker


def refused(folder: Path, env: Mapping[str, str]) -> str:
    """What a start that must be refused says."""
    program()
    given = {"PATH": _PATH, "PAGE_DIR": str(folder), "GATEWAY_DIR": str(folder), "UPSTREAM": "http://127.0.0.1:9"}
    ended = subprocess.run([START], env={**given, **env}, capture_output=True, text=True, check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (1, "")
    return ended.stderr
