"""What clients are answered: functions' answers as they are, and nginx's own as problem documents."""

import json
import re
import socket
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.gateway.nginx import Nginx
from tests.gateway.stub import Stub, reply
from tests.support.wire import Wire

LENGTH = "POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n"
CHUNKED = "POST {} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{}"


def check(status: int, headers: HTTPMessage | Any, body: bytes) -> dict[str, Any]:
    """Make sure that this is a problem document of this status; its members."""
    assert headers["Content-Type"] == "application/problem+json", body
    told: dict[str, Any] = json.loads(body)
    assert list(told)[:3] == ["title", "status", "detail"]
    assert (told["status"], told["request_id"]) == (status, headers["X-Request-Id"])
    assert told["title"] != "Error"
    assert headers["X-Content-Type-Options"] == "nosniff"
    return told


def talk(gateway: Nginx, request: str) -> tuple[int, HTTPMessage, bytes]:
    """Send bytes that no library would; status, headers and body of the answer."""
    with Wire(gateway.url) as wire:
        wire.send(request.encode())
        answer = wire.answer()
        return answer.status, answer.headers, answer.read()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("NONSENSE\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET /jobs/../upload HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (CHUNKED.format("/upload", "no number\r\n"), 400),
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("GET /.problem HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("GET /" + "a" * 300 + " HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
        ("DELETE /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
        ("TRACE /jobs HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (LENGTH.format("/login", 1048577), 413),
        (LENGTH.format("/", 1048577), 413),
        ("GET /" + "a" * 9000 + " HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        ("GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + "a" * 9000 + "\r\n\r\n", 431),
        ("POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        ("GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    ],
)
def test_errors_of_nginx(gateway: Nginx, stub: Stub, request_: str, status: int) -> None:
    """Whatever nginx refuses by itself is told as functions tell it."""
    stub.answer = drain
    told, headers, body = talk(gateway, request_)
    assert told == status
    members = check(status, headers, body)
    assert "retry_helps" not in members
    if status == 405 and not request_.startswith("TRACE"):
        assert headers["Allow"] == "GET, HEAD"


def drain(handler: BaseHTTPRequestHandler) -> None:
    """Read what comes, and answer nothing."""
    while handler.rfile.read1(65_536):
        pass
    handler.close_connection = True


def test_a_body_that_upload_alone_may_have(gateway: Nginx, stub: Stub) -> None:
    """A length above 1 MiB reaches the paths of upload, all of them, and no other."""
    stub.answer = reply(202, b"{}")
    for path, status in (("/upload", 202), ("/upload/", 202), ("/uploads", 202), ("/uploads/x", 202), ("/jobs", 413)):
        assert talk(gateway, LENGTH.format(path, 5 * 1024**3))[0] == status
    assert [seen.function for seen in stub.seen] == ["upload"] * 4


@pytest.mark.parametrize(
    "request_", [LENGTH.format("/upload", 2001), CHUNKED.format("/upload", "7d1\r\n" + "a" * 2001)]
)
def test_an_operators_bound_of_uploads(tmp_path: Path, stub: Stub, request_: str) -> None:
    """GATEWAY_MAX_BODY holds for announced lengths and for chunks that are counted on the way."""
    stub.answer = drain
    with Nginx(tmp_path, **stub.env(), GATEWAY_MAX_BODY="2000") as gateway:
        status, headers, body = talk(gateway, request_)
        assert status == 413
        check(413, headers, body)
        stub.answer = reply(202, b"{}")
        assert talk(gateway, LENGTH.format("/upload", 2000))[0] == 202


@pytest.mark.parametrize("status", [200, 201, 204, 307, 400, 401, 404, 405, 409, 413, 415, 416, 422, 429, 500, 507])
@pytest.mark.parametrize("chunked", [False, True])
def test_answers_of_functions_pass(gateway: Nginx, stub: Stub, status: int, chunked: bool) -> None:
    """Status, headers and body arrive as the function wrote them, errors as well."""
    body = b"" if status == 204 else json.dumps({"title": "Mine", "status": status, "limit": 5}).encode()
    mine = {"X_Request_Id": "mine", "Retry_After": "77", "Allow": "POST", "Location": "/jobs/1", "X_Frame_Options": "X"}
    kind = "application/problem+json"
    stub.answer = reply(status, body, kind, **mine)
    sent: Any = iter(()) if chunked else b""
    answer = requests.post(f"{gateway.url}/jobs", data=sent, timeout=10, allow_redirects=False)
    assert (answer.status_code, answer.content, answer.headers["Content-Type"]) == (status, body, kind)
    for name, value in mine.items():
        assert answer.raw.headers.getlist(name.replace("_", "-")) == [value]
    assert answer.headers["Referrer-Policy"] == "no-referrer"


def away(answer: requests.Response) -> None:
    """Make sure that this is the 503 that asks to come again."""
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert check(503, answer.headers, answer.content)["retry_helps"] is True


@pytest.mark.parametrize("seconds", [{}, {"Retry_After": "77"}])
def test_a_functions_own_503(gateway: Nginx, stub: Stub, seconds: dict[str, str]) -> None:
    """What it says and when to come again arrives, by the header that stands for the body."""
    mine = {"title": "Mine", "status": 503, "detail": "The store is away.", "request_id": "abc"}
    stub.answer = reply(
        503, b"{}", "application/problem+json", X_Problem=json.dumps(mine), X_Request_Id="abc", **seconds
    )
    answer = requests.get(f"{gateway.url}/jobs", headers={"X-Request-Id": "abc"}, timeout=10)
    assert answer.headers["Retry-After"] == seconds.get("Retry_After", "2")
    assert check(503, answer.headers, answer.content) == mine
    assert "X-Problem" not in answer.headers


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_function_that_could_not_be_woken(gateway: Nginx, stub: Stub, method: str, status: int) -> None:
    """What Knative's proxies say in its place is told as one kind of answer."""
    stub.answer = reply(status, b"activator request timeout", "text/plain")
    away(requests.request(method, f"{gateway.url}/jobs", timeout=10))


def test_a_platforms_503_to_chunks_has_a_time_and_an_id(gateway: Nginx, stub: Stub) -> None:
    """Where nothing is intercepted the platform's words pass, with what clients go by."""
    stub.answer = reply(503, b"no healthy upstream", "text/plain")
    headers = {"X-Request-Id": "abc"}
    answer = requests.post(f"{gateway.url}/jobs", data=iter([b"x"]), headers=headers, timeout=10)
    assert (answer.status_code, answer.text) == (503, "no healthy upstream")
    assert (answer.headers["Retry-After"], answer.headers["X-Request-Id"]) == ("2", "abc")


def cut(handler: BaseHTTPRequestHandler) -> None:
    """Break the connection off without an answer."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


@pytest.mark.parametrize("data", [None, b"x", iter([b"x"])], ids=["no body", "length", "chunks"])
def test_a_function_that_breaks_off(gateway: Nginx, stub: Stub, data: Any) -> None:
    """503 with a time to try again."""
    stub.answer = cut
    away(requests.request("GET" if data is None else "POST", f"{gateway.url}/jobs", data=data, timeout=10))


def test_nobody_there(tmp_path: Path, stub: Stub) -> None:
    """Where nobody listens, or the name leads nowhere: 503 with a time to try again."""
    with Nginx(tmp_path, **{**stub.env(), "UPSTREAM": "http://127.0.0.1:1"}) as gateway:
        away(requests.get(f"{gateway.url}/jobs", timeout=10))
        away(requests.post(f"{gateway.url}/upload", data=b"x", timeout=10))
        assert requests.get(gateway.url, timeout=10).ok
    with Nginx(tmp_path, **{**stub.env(), "UPSTREAM": f"http://$function.elsewhere.test:{stub.port}"}) as gateway:
        away(requests.get(f"{gateway.url}/jobs", timeout=10))


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1_2.3", True), ("a" * 64, True), ("a" * 65, False), ("a b", False), ('a"', False)]
)
def test_request_ids(gateway: Nginx, stub: Stub, given: str, kept: bool) -> None:
    """A client's own is taken where functions take it; else nginx makes one, the same for client and function."""
    for path in ("/jobs", "/", "/nothing"):
        told = requests.get(gateway.url + path, headers={"X-Request-Id": given}, timeout=10).headers["X-Request-Id"]
        assert told == given if kept else re.fullmatch("[0-9a-f]{32}", told)
    assert (stub.seen[0].headers["X-Request-Id"] == given) is kept


def test_what_functions_are_told(gateway: Nginx, stub: Stub) -> None:
    """Of proxies nothing but one address, host and scheme, in nginx's words; of the client what it sent."""
    sent = {
        "Authorization": "Bearer x",
        "Range": "bytes=0-1",
        "Host": "video.example",
        "X-Forwarded-Host": "evil",
        "X-Forwarded-For": "6.6.6.6, 203.0.113.7, 10.1.2.3",
        "X-Forwarded-Proto": "https",
        "X-Real-IP": "6.6.6.6",
        "Forwarded": "for=6.6.6.6",
    }
    assert requests.get(f"{gateway.url}/jobs", headers=sent, timeout=10).ok
    told = stub.seen[0].headers
    assert {"Authorization": "Bearer x", "Range": "bytes=0-1"}.items() <= told.items()
    assert told["X-Forwarded-For"] == "203.0.113.7"
    assert told["X-Forwarded-Host"] == "video.example"
    assert told["X-Forwarded-Proto"] == "https"
    assert not {"X-Real-IP", "Forwarded"} & told.keys()


def test_no_function_steers_nginx(gateway: Nginx, stub: Stub) -> None:
    """A function that is made to send nginx's own headers changes nothing by them."""
    stub.answer = reply(200, b"mine", "text/plain", X_Accel_Redirect="/index.txt")
    assert requests.get(f"{gateway.url}/download", timeout=10).text == "mine"
