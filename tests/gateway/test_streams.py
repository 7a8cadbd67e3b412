"""Nothing is gathered on the way: events and bodies pass as they come, and a stop waits for them."""

import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests

from tests.gateway.nginx import Nginx
from tests.gateway.stub import Stub, reply
from tests.support.serving import eventually
from tests.support.wire import Wire

_WAIT_SECONDS = 20


def test_events_come_as_they_are_sent(gateway: Nginx, stub: Stub) -> None:
    """The first event arrives while the stream is still open."""
    go = threading.Event()

    def stream(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"8\r\ndata: 1\n\r\n")
        handler.wfile.flush()
        assert go.wait(_WAIT_SECONDS)
        handler.wfile.write(b"8\r\ndata: 2\n\r\n0\r\n\r\n")

    stub.answer = stream
    with requests.get(f"{gateway.url}/jobs/events", stream=True, timeout=_WAIT_SECONDS) as answer:
        pieces = answer.iter_content(1000)
        assert next(pieces) == b"data: 1\n"
        go.set()
        assert b"".join(pieces) == b"data: 2\n"


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_come_as_they_are_sent(gateway: Nginx, stub: Stub, chunked: bool) -> None:
    """A function reads the first bytes of an upload before its client has sent the last; chunks stay chunks."""
    came: list[bytes] = []

    def take(handler: BaseHTTPRequestHandler) -> None:
        while not came or not came[-1].endswith(b"end" + b"\r\n0\r\n\r\n" * chunked):
            came.append(handler.rfile.read1(65_536))
        reply(202, b"{}")(handler)

    stub.answer = take
    first, last = b"a" * 1000, b"b" * 1000 + b"end"
    with Wire(gateway.url) as wire:
        length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(first + last))}
        wire.head("POST", "/upload", length)
        wire.send(b"%x\r\n%s\r\n" % (len(first), first) if chunked else first)
        eventually(lambda: b"".join(came).count(b"a") == len(first))
        wire.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(last), last) if chunked else last)
        assert wire.answer().status == 202
    [seen] = stub.seen
    assert ("Content-Length" in seen.headers, "Transfer-Encoding" in seen.headers) == (not chunked, chunked)


def test_a_refusal_comes_before_the_body(gateway: Nginx, stub: Stub) -> None:
    """What a function answers at once arrives, though most of the body has not been sent."""
    stub.answer = reply(413, b'{"title": "Mine"}')
    with Wire(gateway.url) as wire:
        wire.head("POST", "/upload", {"Content-Length": "1000000000"})
        wire.send(b"a" * 1000)
        answer = wire.answer()
        assert (answer.status, answer.read()) == (413, b'{"title": "Mine"}')


def test_downloads_pass_whole(gateway: Nginx, stub: Stub) -> None:
    """Many megabytes arrive as they were."""
    body = bytes(range(256)) * 100_000
    stub.answer = reply(200, body, "audio/mpeg", Accept_Ranges="bytes")
    answer = requests.get(f"{gateway.url}/download?fid=x", timeout=_WAIT_SECONDS)
    assert (answer.content == body, answer.headers["Content-Length"]) == (True, str(len(body)))


def test_a_slow_reader_costs_no_room(gateway: Nginx, stub: Stub) -> None:
    """A download goes no faster than its reader takes it, so nginx has nothing to put aside."""
    sent = threading.Event()

    def send(handler: BaseHTTPRequestHandler) -> None:
        reply(200, bytes(64_000_000), "audio/mpeg")(handler)
        sent.set()

    stub.answer = send
    with Wire(gateway.url, receive_bytes=4096) as wire:
        wire.head("GET", "/download", {})
        answer = wire.answer()
        # Too short a wait could only let a fault pass.
        assert not sent.wait(1)
        assert len(answer.read()) == 64_000_000
        assert sent.wait(_WAIT_SECONDS)


def test_a_download_that_breaks_off(gateway: Nginx, stub: Stub) -> None:
    """A client sees that there should have been more."""

    def broken(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"hello")
        handler.close_connection = True

    stub.answer = broken
    with pytest.raises(requests.RequestException):
        requests.get(f"{gateway.url}/download", timeout=_WAIT_SECONDS)


def test_a_stop_waits_for_open_requests(tmp_path: Path, stub: Stub) -> None:
    """After SIGQUIT, which the image names as its signal, an answer that is due still arrives; nothing new is taken."""
    go, asked = threading.Event(), threading.Event()

    def late(handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        assert go.wait(_WAIT_SECONDS)
        reply(200, b"done")(handler)

    stub.answer = late
    with Nginx(tmp_path, **stub.env()) as gateway, Wire(gateway.url) as wire:
        wire.head("GET", "/jobs", {})
        assert asked.wait(_WAIT_SECONDS)
        gateway.process.send_signal(signal.SIGQUIT)
        eventually(lambda: not takes_connections(gateway))
        assert gateway.process.poll() is None
        go.set()
        assert wire.answer().read() == b"done"
        assert gateway.process.wait(_WAIT_SECONDS) == 0


def takes_connections(gateway: Nginx) -> bool:
    """Whether it listens."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", gateway.port)) == 0
