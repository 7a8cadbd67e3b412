"""The page and what every answer carries: nginx and the one-process run serve the same files in the same way."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import requests
from werkzeug.test import Client

from local.server.page import FILES, TYPES, create_page
from tests.gateway.nginx import Nginx
from tests.gateway.stub import Stub, reply

SECURITY: Final = (
    *("X-Content-Type-Options", "Referrer-Policy", "X-Frame-Options", "Permissions-Policy"),
    *("Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy", "Content-Security-Policy"),
)
#: What a server says of itself and of the moment.
_OWN: Final = {"Server", "Date", "Connection", "ETag", "X-Request-Id", "Content-Length", "Vary"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with a file of each type."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "sub").mkdir()
    for name in ("index.html", "index.txt", "sub/index.txt", "sub/page.html", "what.xyz", "name with spaces.txt"):
        (folder / name).write_text(f"this is {name}")
    for end in TYPES:
        (folder / f"file.{end}").write_text(f"this is a {end} file\n" * 200)
    return folder


@pytest.fixture(scope="module")
def servers(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nginx, Client]]:
    """Both servers of that page."""
    env = {"PAGE_DIR": str(files), "UPSTREAM": "http://127.0.0.1:1"}
    with Nginx(tmp_path_factory.mktemp("nginx"), **env) as nginx:
        yield nginx, Client(create_page(files))


def headers_of(given: object) -> dict[str, str]:
    """Headers that have to agree."""
    return {name: value for name, value in dict(given).items() if name not in _OWN}  # type: ignore[call-overload]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    [
        *("/", "/index.txt", "/sub", "/sub/", "/sub/page.html", "/what.xyz", "/name%20with%20spaces.txt", "/nothing"),
        *(f"/file.{end}" for end in TYPES),
        *("/index.txt/", "/FILE.js", "/healthz", "/%C3%BC", f"/{'a' * 300}"),
    ],
)
def test_both_servers_answer_alike(servers: tuple[Nginx, Client], method: str, path: str) -> None:
    """Status, headers and body, whatever is asked for; problems differ by their request ids alone."""
    nginx, local = servers
    theirs = local.open(path, method=method, buffered=True)
    with requests.Session() as session:
        session.headers.clear()
        ours = session.request(method, nginx.url + path, headers={"Accept-Encoding": "identity"}, timeout=10)
    assert ours.status_code == theirs.status_code
    assert headers_of(ours.headers) == headers_of(theirs.headers)
    if ours.headers["Content-Type"] == "application/problem+json" and method != "HEAD":
        told, expected = ours.json(), theirs.get_json(force=True)
        assert {**told, "request_id": ""} == {**expected, "request_id": ""}
    else:
        assert ours.content == theirs.data


def test_the_page_that_there_is(gateway: Nginx) -> None:
    """`/` shows the project's own file, byte for byte, in both servers."""
    index = next(name for name in ("index.html", "index.txt") if (FILES / name).is_file())
    expected = (FILES / index).read_bytes()
    assert requests.get(gateway.url, timeout=10).content == expected
    assert Client(create_page()).get("/", buffered=True).data == expected


def test_what_has_not_changed_is_not_sent_again(servers: tuple[Nginx, Client]) -> None:
    """A browser that shows its ETag gets 304, from either."""
    nginx, local = servers
    etag = requests.get(f"{nginx.url}/file.js", timeout=10).headers["ETag"]
    assert requests.get(f"{nginx.url}/file.js", headers={"If-None-Match": etag}, timeout=10).status_code == 304
    etag = local.get("/file.js", buffered=True).headers["ETag"]
    assert local.get("/file.js", headers={"If-None-Match": etag}, buffered=True).status_code == 304


def test_files_are_compressed_and_answers_of_functions_are_not(gateway: Nginx, servers: tuple[Nginx, Client]) -> None:
    """Text of the page travels small, also to a proxy; what may hold a secret beside a stranger's words does not."""
    sent = {"Accept-Encoding": "gzip", "Via": "1.1 x"}
    nginx, local = servers
    answer = requests.get(f"{nginx.url}/file.js", headers=sent, timeout=10)
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert answer.text == "this is a js file\n" * 200
    same = local.get("/file.js", headers=sent, buffered=True)
    assert (same.headers["Content-Encoding"], same.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(same.data) == answer.content
    again = local.get("/file.js", headers={**sent, "If-None-Match": same.headers["ETag"]}, buffered=True)
    assert (again.status_code, again.data) == (304, b"")
    assert "Content-Encoding" not in requests.get(f"{gateway.url}/jobs", headers=sent, timeout=10).headers


@pytest.mark.parametrize("path", ["/", "/nothing", "/healthz", "/jobs", "/jobs/../x", "/download"])
@pytest.mark.parametrize("status", [200, 404, 502])
def test_security_headers(gateway: Nginx, stub: Stub, path: str, status: int) -> None:
    """Each is on every answer exactly once: the page's, functions', and nginx's own errors."""
    stub.answer = reply(status, b"x", "text/plain", X_Content_Type_Options="nosniff")
    got = requests.get(gateway.url + path, timeout=10)
    for name in SECURITY:
        assert len(got.raw.headers.getlist(name)) == 1, name
    assert got.headers["Server"] == "nginx"
    assert "Strict-Transport-Security" not in got.headers


@pytest.mark.parametrize("path", ["/", "/nothing", "/jobs"])
def test_https_alone_is_for_https_alone(gateway: Nginx, path: str) -> None:
    """Where the proxy in front says that the client came by https, it is told to stay with it."""
    answer = requests.get(gateway.url + path, headers={"X-Forwarded-Proto": "https"}, timeout=10)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
