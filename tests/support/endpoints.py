"""HTTP servers that stand for the functions that a broker delivers to."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cloudevents.http import CloudEvent

from functions.common import events
from local.delivery.rules import Answer
from local.delivery.triggers import Destination

OK = Answer(204, {}, b"")
Function = Callable[[CloudEvent], Answer]


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a condition, and fail where it does not come true."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.002)


@dataclass
class Functions:
    """HTTP server that stands for all functions: the first part of a path names one."""

    #: What answers at each path.
    at: dict[str, Function] = field(default_factory=dict)
    #: What came in, in order.
    received: list[tuple[str, CloudEvent]] = field(default_factory=list)
    port: int = 0

    def address(self, destination: Destination) -> str:
        """Give the URL of a destination, below the one port."""
        return f"http://127.0.0.1:{self.port}/{destination.service}{destination.path}"

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Note an event and let the function at that path answer."""
        received = events.read(headers, body)
        self.received.append((path, received))
        function = self.at.get(path)
        return function(received) if function else OK

    def ids(self, path: str) -> list[str]:
        """The ids of the events that came to a path."""
        return [str(each["id"]) for where, each in self.received if where == path]

    def paths(self) -> list[str]:
        """Where the events came to, in order."""
        return [path for path, _ in self.received]


@contextmanager
def serve() -> Iterator[Functions]:
    """A server on a free port, without functions yet."""
    functions = Functions()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = functions.answer(self.path, dict(self.headers), body)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that did not wait for its answer is no news."""

    with Server(("127.0.0.1", 0), Handler) as server:
        functions.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield functions
        server.shutdown()
        thread.join()
