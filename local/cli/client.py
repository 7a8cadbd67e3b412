"""A client of the HTTP API, for the command line and for tests."""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

_CHUNK_BYTES: Final = 1024 * 1024
#: The connection's own limit also holds for each piece that is sent, so pieces are small enough for slow lines.
_SENT_BYTES: Final = 64 * 1024
_TIMEOUT_SECONDS: Final = (20, 120)
_WAKE_SECONDS: Final = 2


class ApiError(Exception):
    """The server refused, or could not be reached; the message is for people."""


class Client:
    """Speaks to one server.

    Args:
        url: its origin.
        token: an access token, where there is one already.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url.rstrip("/") + "/"
        self._session = requests.Session()
        again = HTTPAdapter(max_retries=Retry(4, backoff_factor=0.5, status_forcelist=(502, 503, 504)))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, again)
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def wake(self) -> None:
        """Have the function that takes uploads start meanwhile, should it be asleep; nobody waits for it."""

        def ask() -> None:
            with suppress(requests.RequestException):
                requests.options(urljoin(self._url, "uploads"), timeout=_WAKE_SECONDS, allow_redirects=False)

        threading.Thread(target=ask, name="wake", daemon=True).start()

    def login(self, email: str, password: str) -> None:
        """Get a token for all later calls.

        Raises:
            ApiError: the server does not know the account.
        """
        token = self._call("POST", "login", auth=(email.encode(), password.encode())).text
        self._session.headers["Authorization"] = f"Bearer {token}"

    def upload(self, path: Path, options: Mapping[str, str], sent: Callable[[int], None]) -> dict[str, Any]:
        """Hand in a file; return its job.

        Args:
            path: the file.
            options: how to convert.
            sent: told the bytes sent so far.

        Raises:
            ApiError: it was refused.
        """
        # On this machine a name need not be text.
        name = os.fsencode(path.name).decode(errors="replace")
        with path.open("rb") as file:
            body = _Counted(file, path.stat().st_size, sent)
            answer = self._call("POST", "upload", data=body, params={**options, "filename": name})
        job: dict[str, Any] = answer.json()
        return job

    def job(self, job_id: str) -> dict[str, Any]:
        """One job.

        Raises:
            ApiError: there is none.
        """
        job: dict[str, Any] = self._call("GET", f"jobs/{job_id}").json()
        return job

    def jobs(self, *, limit: int) -> list[dict[str, Any]]:
        """The newest jobs.

        Raises:
            ApiError: the server refused.
        """
        listed: list[dict[str, Any]] = self._call("GET", "jobs", params={"limit": str(limit)}).json()["jobs"]
        return listed

    def act(self, job_id: str, action: str) -> None:
        """Cancel, retry or delete a job.

        Raises:
            ApiError: that does not fit its state.
        """
        if action == "delete":
            self._call("DELETE", f"jobs/{job_id}")
        else:
            self._call("POST", f"jobs/{job_id}/{action}")

    def follow(
        self, job_id: str, told: Callable[[dict[str, Any]], None], stopping: Callable[[], bool]
    ) -> dict[str, Any]:
        """Wait until a job has ended; return it.

        Raises:
            ApiError: there is no such job any more.
        """
        wait = 0.05
        while True:
            job = self.job(job_id)
            told(job)
            if stopping() or job["state"] in ("succeeded", "failed", "cancelled", "expired"):
                return job
            time.sleep(wait)
            wait = min(1.0, wait * 1.3)

    def download(self, job: Mapping[str, Any], target: IO[bytes], stopping: Callable[[], bool]) -> None:
        """Write a job's MP3 to an open file; what is cut off is fetched on by ranges.

        Raises:
            ApiError: it could not be had whole.
        """
        size_bytes = job["size_bytes"]
        while (begun := target.tell()) < size_bytes:
            headers = {"Range": f"bytes={begun}-"}
            answer = self._call("GET", f"download?fid={job['id']}", stream=True, headers=headers)
            with answer, suppress(requests.RequestException):
                for chunk in answer.iter_content(_CHUNK_BYTES):
                    target.write(chunk)
                    if stopping():
                        raise ApiError("The download was stopped.")
            if target.tell() == begun:
                raise ApiError("The download was cut off; try again.")

    def _call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            answer = self._session.request(
                method, urljoin(self._url, path), timeout=_TIMEOUT_SECONDS, allow_redirects=False, **arguments
            )
        except requests.RequestException as error:
            raise ApiError(f"The server at {self._url} cannot be reached ({type(error).__name__}).") from error
        if not answer.ok:
            raise ApiError(_detail(answer))
        return answer


class _Counted:
    """A file that tells how far it was read; requests asks it for its length."""

    def __init__(self, file: IO[bytes], size_bytes: int, sent: Callable[[int], None]) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._sent = sent

    def __len__(self) -> int:
        return self._size_bytes

    def read(self, _size: int = -1) -> bytes:
        # The HTTP client asks for 16 KiB at a time, which costs more than the bytes themselves.
        chunk = self._file.read(_SENT_BYTES)
        self._sent(self._file.tell())
        return chunk


def _detail(answer: requests.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {answer.status_code} {answer.reason}."
