"""What stands behind nginx: one HTTP server that is every function, and the name server that leads to it."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DOMAIN = "functions.test"


@dataclass(frozen=True)
class Seen:
    """A request as a function saw it."""

    function: str
    method: str
    target: str
    headers: dict[str, str]


@dataclass
class Stub:
    """Every function, each by its name."""

    seen: list[Seen] = field(default_factory=list)
    #: How requests are answered, if not by 200 and `hello`.
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None
    #: Names that lead here.
    names: set[str] = field(default_factory=set)
    port: int = 0
    dns_port: int = 0

    def env(self) -> dict[str, str]:
        """Settings of a gateway before these functions."""
        return {
            "UPSTREAM": f"http://$function.{DOMAIN}:{self.port}",
            "RESOLVER": f"127.0.0.1:{self.dns_port}",
            "TRUSTED_PROXIES": "10.0.0.0/8 127.0.0.0/8",
        }


def reply(
    status: int, body: bytes, kind: str = "application/problem+json", **headers: str
) -> Callable[[BaseHTTPRequestHandler], None]:
    """An answer that is the same for every request."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return answer


@contextmanager
def serve(*functions: str) -> Iterator[Stub]:
    """These functions, for the time of the block."""
    stub = Stub(names={f"{name}.{DOMAIN}" for name in functions})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            function = self.headers["Host"].partition(".")[0]
            stub.seen.append(Seen(function, self.command, self.path, dict(self.headers)))
            (stub.answer or reply(200, json.dumps("hello").encode(), "application/json"))(self)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, request: object, client_address: object) -> None:
            """What a test breaks off on purpose is no news."""

    with Server(("127.0.0.1", 0), Handler) as server, socket.socket(type=socket.SOCK_DGRAM) as names:
        names.bind(("127.0.0.1", 0))
        stub.port, stub.dns_port = server.server_port, names.getsockname()[1]
        web = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        dns = threading.Thread(target=_resolve, args=(names, stub))
        web.start()
        dns.start()
        try:
            yield stub
        finally:
            server.shutdown()
            names.sendto(b"", names.getsockname())
            web.join()
            dns.join()


def _resolve(names: socket.socket, stub: Stub) -> None:
    """Answer questions for addresses until an empty one comes (RFC 1035, section 4.1)."""
    while True:
        question, client = names.recvfrom(512)
        if not question:
            return
        with suppress(IndexError, struct.error):
            labels, at = [], 12
            while size := question[at]:
                labels.append(question[at + 1 : at + 1 + size].decode())
                at += 1 + size
            [kind] = struct.unpack_from("!H", question, at + 1)
            known = ".".join(labels) in stub.names
            address = struct.pack("!HHHIH4s", 0xC00C, 1, 1, 1, 4, bytes((127, 0, 0, 1))) if known and kind == 1 else b""
            head = question[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, bool(address), 0, 0)
            names.sendto(head + question[12 : at + 5] + address, client)
