"""The TCP server of the one-process run: werkzeug's, with an end to waiting and to the number of connections."""

import io
import json
import logging
import socket
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, cast

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler
from werkzeug.wrappers import Response

from functions.common.errors import Unavailable
from local.server.farewell import Farewell

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_READ_BYTES: Final = 4 * 1024 * 1024
#: What the kernel takes of an answer before the client reads; a third of it has to go for the next bytes to go in.
_SENT_BYTES: Final = 128 * 1024
_log = logging.getLogger("server")


class Listener(ThreadedWSGIServer):
    """Serves an app, a thread for each connection. Its app may be set once its address is known.

    Werkzeug's server reads bodies as a stream and, unlike its better-known peers, drains a refused one in bounded
    memory; it serves this machine's own user alone.

    Args:
        host: where to listen.
        port: the same; 0 for any free one.
        head_seconds: how long a request's first line and headers may take in all.
        still_seconds: how long a client may stand still that sends a body or reads an answer.
        most_connections: how many are served at once; one more is answered 503.
        farewell_seconds: how long that one may take to read it.
    """

    #: Connections that wait to be accepted, of which the kernel may allow fewer; one for which there is no room there
    #: is reset, seconds later, and not told why.
    request_queue_size = 4096

    def __init__(
        self,
        host: str,
        port: int,
        *,
        head_seconds: float = 30,
        still_seconds: float = 120,
        most_connections: int = 512,
        farewell_seconds: float = 30,
    ) -> None:
        self.head_seconds = head_seconds
        self.still_seconds = still_seconds
        self._places = threading.BoundedSemaphore(most_connections)
        self._farewell = Farewell(farewell_seconds)
        super().__init__(host, port, Response("starting\n", status=503), handler=_Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, if there is a place."""
        if not self._places.acquire(blocking=False):
            self._farewell.tell(request, _full())
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def server_close(self) -> None:
        """Listen no longer."""
        super().server_close()
        self._farewell.close()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, then give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


def _full() -> bytes:
    """The answer to a connection too many, before anything of it was read."""
    request_id = uuid.uuid4().hex
    members = {"title": Unavailable.title(), "status": 503, "detail": "Too many connections are open at once."}
    body = json.dumps({**members, "retry_helps": True, "request_id": request_id})
    return (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 5\r\n"
        f"X-Request-Id: {request_id}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode()


class Incoming(io.RawIOBase):
    """What a client sends: the head within a time of its own, the body without standing still.

    Args:
        connection: to the client.
        head_seconds: how long the head may take, from now on.
        still_seconds: how long each wait may take afterwards, for sending too.
    """

    def __init__(self, connection: socket.socket, *, head_seconds: float, still_seconds: float) -> None:
        self._connection = connection
        self._still_seconds = still_seconds
        self._head_ends: float | None = time.monotonic() + head_seconds

    def head_ends(self) -> None:
        """Say that the head was read."""
        self._head_ends = None
        self._connection.settimeout(self._still_seconds)

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """See io.RawIOBase; a body breaks off where nothing more comes, however that came about.

        Raises:
            ConnectionAbortedError: the head took too long.
        """
        try:
            if self._head_ends is not None:
                # A limit for each wait alone would let a byte now and then hold the connection.
                self._connection.settimeout(max(0.001, self._head_ends - time.monotonic()))
            return self._connection.recv_into(buffer)
        except OSError as error:
            if self._head_ends is None:
                return 0
            # A head that breaks off would be taken for a whole one. The server logs a TimeoutError, but browsers open
            # connections that they may need one day.
            raise ConnectionAbortedError("The client took too long.") from error


class Outgoing(io.BufferedIOBase):
    """What a client reads, as long as it does not stand still.

    Args:
        connection: to the client, its time limit set.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def writable(self) -> bool:
        """See io.BufferedIOBase."""
        return True

    def write(self, data: "ReadableBuffer") -> int:
        """Send all of it; `sendall` has one time limit for the whole, which would cut slow readers.

        Raises:
            ConnectionAbortedError: the client took too long.
        """
        with memoryview(data).cast("B") as view:
            sent = 0
            try:
                while sent < len(view):
                    sent += self._connection.send(view[sent:])
            except TimeoutError as error:
                raise ConnectionAbortedError("The client took too long.") from error
            return sent


class _Reader(io.BufferedReader):
    """Never takes more than a few megabytes at once, as draining a refused body would."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size, _READ_BYTES) if size else size)


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        server = cast(Listener, self.server)
        self.connection = self.request
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENT_BYTES)
        self._incoming = Incoming(self.connection, head_seconds=server.head_seconds, still_seconds=server.still_seconds)
        self.rfile = _Reader(self._incoming, 64 * 1024)
        self.wfile = Outgoing(self.connection)

    def parse_request(self) -> bool:
        whole = super().parse_request()
        self._incoming.head_ends()
        return whole

    def make_environ(self) -> dict[str, Any]:
        environ = super().make_environ()
        # Werkzeug encodes what is not ASCII once more; PEP 3333 has the bytes as they came, as Latin-1.
        environ["QUERY_STRING"] = self.path.partition("?")[2]
        return environ

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - werkzeug's name
        # Requests are logged by the apps, without their query strings.
        if type == "error":
            _log.error(message, *args)
