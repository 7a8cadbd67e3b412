"""What the burst asks of a server over HTTP, as any account may: registering, jobs, results."""

import secrets
import time
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any, Final

import requests

_TIMEOUT_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 180.0
_PAGE: Final = 200
_CHUNK_BYTES: Final = 256 * 1024


class Refused(Exception):
    """The server refused what it has to do for a burst."""


class Account:
    """An account of the burst's own.

    Args:
        url: the server's origin.
        token: its access token.
        host: the name that the server has there, where the address is not it; empty for none.
    """

    def __init__(self, url: str, token: str, host: str = "") -> None:
        self.token = token
        self._url = url
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        _call(self._session, host)

    def jobs(self) -> Iterator[dict[str, Any]]:
        """All of its jobs, newest first.

        Raises:
            Refused: the server does not tell.
        """
        path: str | None = f"/jobs?limit={_PAGE}"
        while path:
            answer = _patiently(self._session, "GET", self._url + path)
            page = answer.json()
            yield from page["jobs"]
            path = page["next"]

    def download(self, job_id: str, into: IO[bytes]) -> int:
        """Write the MP3 of a job into a file; the status of the answer.

        Raises:
            Refused: nobody answers, or the answer breaks off.
        """
        url = f"{self._url}/download"
        with _patiently(self._session, "GET", url, params={"fid": job_id}, stream=True) as answer:
            try:
                into.writelines(answer.iter_content(_CHUNK_BYTES))
            except requests.RequestException as error:
                raise Refused(f"{url} breaks off ({type(error).__name__})") from error
            return answer.status_code


def register(url: str, host: str = "") -> Account:
    """Make an account, and log in; whoever is told to wait does.

    Args:
        url: the server's origin.
        host: see Account.

    Raises:
        Refused: the server takes nobody.
    """
    email, password = f"burst-{secrets.token_hex(8)}@example.com", secrets.token_urlsafe(16)
    with requests.Session() as session:
        _call(session, host)
        made = _patiently(session, "POST", f"{url}/register", data={"email": email, "password": password})
        # 409: it was made, and the connection broke before the answer came.
        if made.status_code not in (201, 409):
            raise Refused(f"no account could be made: {made.status_code} {made.text[:200]}")
        login = _patiently(session, "POST", f"{url}/login", auth=(email, password))
        if login.status_code != 200:
            raise Refused(f"nobody can log in: {login.status_code} {login.text[:200]}")
    return Account(url, login.text, host)


def _call(session: requests.Session, host: str) -> None:
    """Have every request of a session name a host."""
    if host:
        session.headers["Host"] = host


def moment(text: str | None) -> float | None:
    """Seconds since 1970 of a moment as the API writes it (RFC 3339)."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def _patiently(session: requests.Session, method: str, url: str, **arguments: Any) -> requests.Response:
    """Ask until the answer does not say when to ask again."""
    ends = time.monotonic() + _PATIENCE_SECONDS
    while True:
        wait_seconds = 1.0
        try:
            answer = session.request(method, url, timeout=_TIMEOUT_SECONDS, **arguments)
            wait = answer.headers.get("Retry-After")
            if wait is None or time.monotonic() > ends:
                return answer
            wait_seconds = float(wait) if wait.isdigit() else 1.0
        except requests.RequestException as error:
            if time.monotonic() > ends:
                raise Refused(f"{url} cannot be reached ({type(error).__name__})") from error
        time.sleep(min(wait_seconds, 10.0))
