"""A client of the HTTP API, for the command line and for tests."""

import os
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

_CHUNK_BYTES: Final = 1024 * 1024
#: The connection's own limit also holds for each piece that is sent, so pieces are small enough for slow lines.
_SENT_BYTES: Final = 64 * 1024
_TIMEOUT_SECONDS: Final = (20, 120)
_WAKE_SECONDS: Final = 2


#: The first bytes of an upload come with its announcement, the others by requests of that size: each of them has to
#: end within ten minutes.
_FIRST_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 32 * 1024 * 1024
_TUS: Final = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
#: Statuses after which an upload goes on from where it stands; 0 is for no answer at all.
_PASSING: Final = frozenset({0, 400, 409, 423, 429, 500, 502, 503, 504})
_MOST_FAILURES: Final = 10
_LONGEST_PAUSE_SECONDS: Final = 10.0


class ApiError(Exception):
    """The server refused, or could not be reached.

    Args:
        message: for people.
        status: of the answer, 0 where there was none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """Speaks to one server.

    Args:
        url: its origin.
        token: an access token, where there is one already.
        near: whether it is on this machine, so that no request of it breaks off or has to end in time.
    """

    def __init__(self, url: str, token: str = "", *, near: bool = False) -> None:
        self._near = near
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
        texts = {**options, "filename": os.fsencode(path.name).decode(errors="replace")}
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            if self._near:
                job: dict[str, Any] = self._call(
                    "POST", "upload", data=_Counted(file, size_bytes, sent), params=texts
                ).json()
                return job
            return self.job(self._upload_in_pieces(file, size_bytes, texts, sent))

    def _upload_in_pieces(
        self, file: IO[bytes], size_bytes: int, texts: Mapping[str, str], sent: Callable[[int], None]
    ) -> str:
        """Send a file by tus, over connections that may break; the id of its job."""
        most = self._call("OPTIONS", "uploads").headers.get("Tus-Max-Size")
        if most is not None and size_bytes > int(most):
            raise ApiError(f"The file is larger than this server takes ({int(most):,} bytes).")
        metadata = ",".join(f"{name} {b64encode(text.encode()).decode()}" for name, text in texts.items())
        # What is refused is refused by the first bytes: behind Knative an early answer still takes the whole body.
        first = _Counted(file, min(_FIRST_BYTES, size_bytes), sent)
        headers = {**_TUS, "Upload-Length": str(size_bytes), "Upload-Metadata": metadata}
        answer = self._call("POST", "uploads", data=first, headers=headers)
        path = urlsplit(answer.headers["Location"]).path.lstrip("/")
        try:
            self._upload_rest(path, file, size_bytes, sent, offset=int(answer.headers["Upload-Offset"]))
        except BaseException:
            with suppress(ApiError):
                self._call("DELETE", path, headers=_TUS)
            raise
        return path.rpartition("/")[2]

    def _upload_rest(
        self, path: str, file: IO[bytes], size_bytes: int, sent: Callable[[int], None], *, offset: int
    ) -> None:
        failures = 0
        while offset < size_bytes:
            file.seek(offset)
            piece = _Counted(file, min(_PIECE_BYTES, size_bytes - offset), sent)
            try:
                answer = self._call("PATCH", path, data=piece, headers={**_TUS, "Upload-Offset": str(offset)})
                failures = 0
            except ApiError as error:
                failures += 1
                if error.status not in _PASSING or failures > _MOST_FAILURES:
                    raise
                time.sleep(min(_LONGEST_PAUSE_SECONDS, 2**failures / 4))
                try:
                    answer = self._call("HEAD", path, headers=_TUS)
                except ApiError as lost:
                    if lost.status not in _PASSING:
                        raise
                    continue
            offset = int(answer.headers["Upload-Offset"])

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
            raise ApiError(_detail(answer), answer.status_code)
        return answer


class _Counted:
    """The next bytes of a file, which tells how far it was read; requests asks it for their length."""

    def __init__(self, file: IO[bytes], size_bytes: int, sent: Callable[[int], None]) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._ends = file.tell() + size_bytes
        self._sent = sent

    def __len__(self) -> int:
        return self._size_bytes

    def read(self, _size: int = -1) -> bytes:
        # The HTTP client asks for 16 KiB at a time, which costs more than the bytes themselves.
        chunk = self._file.read(min(_SENT_BYTES, self._ends - self._file.tell()))
        self._sent(self._file.tell())
        return chunk


def _detail(answer: requests.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The server answered {answer.status_code} {answer.reason}."
