"""What the gateway of `--services` hands on, between a real client and a real server."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from local.server.listener import Listener
from local.server.proxy import Proxy


@dataclass
class Origin:
    """The server behind, and what it was sent."""

    #: Method, target, headers and length of the body of each request.
    seen: list[tuple[str, str, dict[str, str], int]] = field(default_factory=list)
    #: How the next requests are answered, if not with 200 and `hello`.
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None
    #: Called before each read of a body.
    pause: Callable[[], None] = lambda: None
    url: str = ""
    port: int = 0


def body_bytes(request: BaseHTTPRequestHandler, pause: Callable[[], None]) -> int:
    """Read a body to its end; its length."""
    received = 0
    if "chunked" in request.headers.get("Transfer-Encoding", ""):
        while size := int(request.rfile.readline(), 16):
            received += len(request.rfile.read(size))
            request.rfile.readline()
        request.rfile.readline()
    left = int(request.headers.get("Content-Length", 0))
    while received < left:
        pause()
        received += len(request.rfile.read(min(1_000_000, left - received)))
    return received


@pytest.fixture
def origin() -> Iterator[Origin]:
    """A server behind a proxy."""
    made = Origin()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            received = body_bytes(self, made.pause)
            made.seen.append((self.command, self.path, dict(self.headers), received))
            if made.answer is not None:
                made.answer(self)
                return
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"hello")

        do_GET = do_HEAD = do_POST = do_DELETE = handle_one  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """What a test breaks off on purpose is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        listener = Listener("127.0.0.1", 0)
        listener.app = Proxy(f"http://127.0.0.1:{server.server_port}")
        made.port = listener.port
        made.url = f"http://127.0.0.1:{listener.port}"
        threads = [
            threading.Thread(target=each.serve_forever, kwargs={"poll_interval": 0.01}) for each in (server, listener)
        ]
        for thread in threads:
            thread.start()
        yield made
        for each, thread in zip((server, listener), threads, strict=True):
            each.shutdown()
            thread.join()
        listener.server_close()


def talk(port: int, data: bytes) -> bytes:
    """Send bytes that no library would, and read until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(data)
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
        return answer


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST"])
def test_a_request_and_its_answer(origin: Origin, method: str) -> None:
    """Method, target and headers arrive, and the answer comes back."""
    answer = requests.request(method, f"{origin.url}/jobs/1?after=%20x&b", headers={"X-Mine": "1"}, timeout=10)
    assert (answer.status_code, answer.headers["Content-Length"]) == (200, "5")
    assert answer.text == ("" if method == "HEAD" else "hello")
    [(seen, target, headers, _)] = origin.seen
    assert (seen, target, headers["X-Mine"]) == (method, "/jobs/1?after=%20x&b", "1")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body(origin: Origin, chunked: bool) -> None:
    """A body of any length passes, with its length or in chunks, as it came."""
    body = b"a" * 10_000_000
    sent = iter([body[:4_000_000], body[4_000_000:]]) if chunked else body
    assert requests.post(f"{origin.url}/upload", data=sent, timeout=30).ok
    [(_, _, headers, received)] = origin.seen
    assert received == len(body)
    assert ("Content-Length" in headers, "Transfer-Encoding" in headers) == (not chunked, chunked)


def test_a_body_that_pauses(origin: Origin) -> None:
    """A function may stop reading for longer than a connection may take to open."""
    paused: list[int] = []

    def pause() -> None:
        if not paused:
            paused.append(1)
            time.sleep(6)  # the fault was a limit of 5 s

    origin.pause = pause
    assert requests.post(f"{origin.url}/upload", data=b"a" * 40_000_000, timeout=60).ok


def test_length_and_chunks_at_once(origin: Origin) -> None:
    """What two servers could read in two ways is refused, and nothing of it is handed on."""
    smuggled = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    head = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = talk(origin.port, head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert origin.seen == []


def test_headers_of_one_connection(origin: Origin) -> None:
    """What a client says of its connection stays there; its address is our word, not its own."""
    given = {"Connection": "X-Hop", "X-Hop": "1", "TE": "trailers", "Upgrade": "x", "X-Forwarded-For": "6.6.6.6"}
    assert requests.get(origin.url, headers=given, timeout=10).ok
    [(_, _, headers, _)] = origin.seen
    assert not {"X-Hop", "TE", "Upgrade"} & headers.keys()
    assert headers["X-Forwarded-For"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/a%20b/%C3%BC?q=%C3%BC", "/a%20b/%C3%BC?q=%C3%BC"),
        (b"/x?q=\xc3\xbc", "/x?q=%C3%BC"),
        (b"http://localhost/jobs?x=1", "/jobs?x=1"),
    ],
)
def test_targets(origin: Origin, target: bytes, expected: str) -> None:
    """Both servers mean the same by a path."""
    talk(origin.port, b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % target)
    assert [seen for _, seen, _, _ in origin.seen] == [expected]


def test_events_come_as_they_are_sent(origin: Origin) -> None:
    """A piece of an event stream is not held back until there are more."""
    go = threading.Event()

    def stream(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"5\r\nfirst\r\n")
        handler.wfile.flush()
        go.wait(10)
        handler.wfile.write(b"6\r\nsecond\r\n0\r\n\r\n")

    origin.answer = stream
    with requests.get(origin.url, stream=True, timeout=10) as answer:
        pieces = answer.iter_content(1000)
        assert next(pieces) == b"first"
        go.set()
        assert b"".join(pieces) == b"second"


def test_an_answer_that_breaks_off(origin: Origin) -> None:
    """A client sees that it did."""

    def broken(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"hello")
        handler.close_connection = True

    origin.answer = broken
    with pytest.raises(requests.RequestException):
        assert len(requests.get(origin.url, timeout=10).content) == 100


def test_repeated_headers_and_redirections(origin: Origin) -> None:
    """Each of several headers of one name comes through, and a redirection is the client's to follow."""

    def answer(handler: Any) -> None:
        handler.send_response(307)
        handler.send_header("Location", "/elsewhere")
        handler.send_header("Set-Cookie", "a=1")
        handler.send_header("Set-Cookie", "b=2")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    origin.answer = answer
    got = requests.get(origin.url, timeout=10, allow_redirects=False)
    assert (got.status_code, got.headers["Location"]) == (307, "/elsewhere")
    assert got.raw.headers.getlist("Set-Cookie") == ["a=1", "b=2"]


def test_nobody_there() -> None:
    """503 with a time to try again."""
    listener = Listener("127.0.0.1", 0)
    listener.app = Proxy("http://127.0.0.1:1")
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    answer = requests.get(f"http://127.0.0.1:{listener.port}/x", timeout=10)
    listener.shutdown()
    thread.join()
    listener.server_close()
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()["status"]) == (503, "2", 503)


def test_a_method_of_nobody(origin: Origin) -> None:
    """What no server would take is refused."""
    assert talk(origin.port, b"G\x01T / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").startswith(
        b"HTTP/1.1 400 "
    )
