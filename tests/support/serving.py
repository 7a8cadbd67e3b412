"""Servers as processes of their own, each in a process group that a test can end as a power cut would."""

import os
import re
import signal
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import psutil
import requests

from local.delivery.rules import LOST_ON_KNATIVE
from tests.support import command
from tests.support.command import COMMAND

PASSWORD: Final = "Admin123"
_LARGE_BYTES: Final = 64 * 1024 * 1024
_PIECE_BYTES: Final = 1024 * 1024
T = TypeVar("T")


def eventually(look: Callable[[], T], *, seconds: float = 30) -> T:
    """Look again and again until the answer is true, and return it; fail if it never is.

    A look may cost as much as what is waited for, so the longer it takes, the more seldom it is asked.
    """
    began = time.monotonic()
    while True:
        found = look()
        if found:
            return found
        waited = time.monotonic() - began
        assert waited < seconds, f"never came true: {look}"
        time.sleep(min(max(0.02, waited / 5), 0.25))


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Served:
    """`video2mp3 serve`, everything in one process or one function alone, on a free port and a given state directory.

    Args:
        state: the state directory, which outlives the process.
        function: only this function, under gunicorn.
        services: a process per function instead, on the servers that the settings name.
        options: further words of the command.
        env: settings besides those of the state directory.
        afresh: as a program that loads itself, where a test is about that or about memory; else a fork of one that has.
    """

    process: command.Started

    def __init__(
        self,
        state: Path,
        *,
        function: str | None = None,
        services: bool = False,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        afresh: bool = False,
    ) -> None:
        self.state = state
        self.log_path = state.with_name(f"{state.name}-{function or 'all'}-{time.monotonic_ns()}.log")
        port = free_port() if function else 0
        what = ["--services"] if services else [function] if function else []
        arguments = ["serve", *what, "--port", str(port), "--state", str(state), *options]
        clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
        # All tests come from one address.
        clean |= {"REQUESTS_PER_MINUTE": "0", "LOGINS_PER_MINUTE": "0"}
        with self.log_path.open("wb") as log:
            if afresh:
                self.process = subprocess.Popen(
                    [COMMAND, *arguments], stdout=log, stderr=log, env={**clean, **(env or {})}, start_new_session=True
                )
            else:
                self.process = command.start(arguments, env={**clean, **(env or {})}, output=log)
        self.url = f"http://localhost:{port}" if function else ""

    def __enter__(self) -> Self:
        """Wait until it answers."""
        self.wait_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, whatever became of the test.

        Raises:
            AssertionError: a function refused an event in a way that loses it on Knative.
        """
        self.kill()
        assert kind is not None or LOST_ON_KNATIVE not in self.log()

    def wait_ready(self) -> None:
        """Wait until /healthz answers; fail at once if the process ended."""
        eventually(self._ready, seconds=90)

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"the server ended:\n{self.log()}"
        if not self.url:
            found = re.search(r"serves on (http://localhost:\d+)", self.log())
            self.url = found[1] if found else ""
        if not self.url:
            return False
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/healthz", timeout=5).ok
        return False

    def log(self) -> str:
        """What it has logged so far."""
        return self.log_path.read_text(errors="replace")

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = 20) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def ended(self, *, seconds: float = 30) -> int:
        """Wait until it ended by itself; its exit code."""
        return self.process.wait(seconds)

    def kill(self) -> None:
        """End it and all that it started at once, as a power cut would."""
        with suppress(psutil.NoSuchProcess):
            # Gunicorn's workers and the programs of --services are in sessions of their own.
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def programs(self) -> dict[str, psutil.Process]:
        """What `--services` started: the process of each function, of ingress and dispatcher, by its name."""
        found = {}
        for process in psutil.Process(self.process.pid).children():
            try:
                words = process.cmdline()
            except psutil.NoSuchProcess:
                continue
            if "--name" in words:
                found[words[words.index("--name") + 1].removeprefix("video2mp3-")] = process
            elif "broker" in words:
                found[words[words.index("broker") + 1]] = process
        return found

    def account(self, email: str = "someone@example.com") -> "Api":
        """A client of a registered account; the account may exist already."""
        requests.post(f"{self.url}/register", data={"email": email, "password": PASSWORD}, timeout=30)
        token = requests.post(f"{self.url}/login", auth=(email, PASSWORD), timeout=30).text
        return Api(self.url, token)


class Sized:
    """A body that comes in pieces and whose length is known all the same.

    Args:
        pieces: all of it.
        size_bytes: how long they are together.
    """

    def __init__(self, pieces: Iterator[bytes], size_bytes: int) -> None:
        self._pieces = pieces
        self._size_bytes = size_bytes

    def __len__(self) -> int:
        """Bytes in all."""
        return self._size_bytes

    def __iter__(self) -> Iterator[bytes]:
        """The pieces."""
        return self._pieces


class Api:
    """The HTTP API as one account sees it.

    Args:
        url: the server's origin.
        token: an access token, or empty for none.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send one request, with the token."""
        headers = {**self.headers, **arguments.pop("headers", {})}
        return requests.request(
            method,
            self.url + path,
            headers=headers,
            timeout=arguments.pop("timeout", 60),
            allow_redirects=False,
            **arguments,
        )

    def upload(self, path: Path, *, name: str | None = None, **fields: str) -> requests.Response:
        """Upload a file as a form, or a large one as a raw body, since requests builds forms in memory."""
        with path.open("rb") as file:
            if path.stat().st_size > _LARGE_BYTES:
                # Of a file the client would read 16 KiB at a time.
                body = Sized(iter(partial(file.read, _PIECE_BYTES), b""), path.stat().st_size)
                return self.call("POST", "/upload", data=body, params={**fields, "filename": name or path.name})
            return self.call("POST", "/upload", files={"file": (name or path.name, file)}, data=fields)

    def upload_id(self, path: Path, *, name: str | None = None, **fields: str) -> str:
        """Upload a file that must be taken; its job's id."""
        answer = self.upload(path, name=name, **fields)
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def upload_in_pieces(self, path: Path, *, piece_bytes: int) -> str:
        """Upload a file by tus, in pieces of so many bytes; its job's id."""
        content = path.read_bytes()
        name = b64encode(path.name.encode()).decode()
        tus = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
        begin = {**tus, "Upload-Length": str(len(content)), "Upload-Metadata": f"filename {name}"}
        answer = self.call("POST", "/uploads", data=content[:piece_bytes], headers=begin)
        assert answer.status_code == 201, answer.text
        where = answer.headers["Location"]
        for offset in range(piece_bytes, len(content), piece_bytes):
            piece = content[offset : offset + piece_bytes]
            answer = self.call("PATCH", where, data=piece, headers={**tus, "Upload-Offset": str(offset)})
            assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(offset + len(piece))), answer.text
        return where.rpartition("/")[2]

    def job(self, job_id: str) -> dict[str, Any]:
        """A job that must exist."""
        answer = self.call("GET", f"/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def ended(self, job_id: str, *, seconds: float = 60) -> dict[str, Any]:
        """Wait until a job has ended."""

        def look() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["state"] in ("succeeded", "failed", "cancelled", "expired") else None

        return eventually(look, seconds=seconds) or {}

    def download(self, job_id: str) -> bytes:
        """The MP3 of a job that must have succeeded."""
        answer = self.call("GET", f"/download?fid={job_id}")
        assert answer.status_code == 200, answer.text
        return answer.content
