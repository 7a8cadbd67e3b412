"""HTTP by hand: requests that stop halfway and readers that dawdle, which no decent client does."""

import socket
from collections.abc import Mapping
from http.client import HTTPResponse
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Wire:
    """One TCP connection to a server.

    Args:
        url: the server's origin.
        receive_bytes: size of the receive buffer; the system's own where None.
        timeout_seconds: how long any one wait may take.
    """

    def __init__(self, url: str, *, receive_bytes: int | None = None, timeout_seconds: float = 30) -> None:
        parts = urlsplit(url)
        self._host = parts.netloc
        self._socket = socket.socket()
        if receive_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self._socket.settimeout(timeout_seconds)
        self._socket.connect(("127.0.0.1", parts.port or 80))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up."""
        self._socket.close()

    @property
    def port(self) -> int:
        """Our end's TCP port."""
        port: int = self._socket.getsockname()[1]
        return port

    def head(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Send a request's first line and headers, and nothing of its body."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", *(f"{k}: {v}" for k, v in headers.items())]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def answer(self, method: str = "GET") -> HTTPResponse:
        """Wait for the status and headers; the body is the caller's to read."""
        response = HTTPResponse(self._socket, method=method)
        response.begin()
        return response

    def read(self, size_bytes: int) -> bytes:
        """What arrives next, at most so much; empty at the end, however it came."""
        try:
            return self._socket.recv(size_bytes)
        except ConnectionResetError:
            return b""
