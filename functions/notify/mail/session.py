"""One conversation with an SMTP server that ends in time, however slowly the server talks; used by smtp."""

import io
import smtplib
import socket
import ssl
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, Self

#: How long to wait for the answer to QUIT; by then the mail is in safe hands, or lost to this attempt.
_QUIT_SECONDS: Final = 1.0
#: One write to the socket; between two of them the clock is looked at.
_CHUNK_BYTES: Final = 16_384


class Session(smtplib.SMTP):
    """smtplib's client with one time limit for everything from the look-up of the name to the last reply.

    A socket's own timeout begins anew with each byte that arrives, so here every read and write gets only what is
    left of the whole. A TLS handshake is limited as a whole by the timeout set before it.

    Args:
        host: name or address, also the name that the server's certificate must carry.
        port: the server's port.
        tls: encrypts from the first byte; None to begin in the clear.
        limit_seconds: how long the session may take, in all.

    Raises:
        OSError: smtplib's errors and TimeoutError are among them.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None, limit_seconds: float) -> None:
        self._deadline = time.monotonic() + limit_seconds
        self._implicit_tls = tls
        # A name of its own would cost look-ups; the real one is known once connected.
        super().__init__(host, port, local_hostname="localhost")
        if self.sock:
            self.local_hostname = _address_literal(self.sock)

    def __exit__(self, *_: object) -> None:
        """Say goodbye without waiting long, and whatever comes of it."""
        self._deadline = time.monotonic() + _QUIT_SECONDS
        try:
            with suppress(OSError):
                self.quit()
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def remaining_seconds(self) -> float:
        """How much time is left, more than 0.

        Raises:
            TimeoutError: none is.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the mail server took too long")
        return left

    def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> tuple[int, bytes]:
        """Connect and read the greeting; called by smtplib's constructor."""
        del source_address
        self.file = None
        self.sock = self._open(host, port)
        if self._implicit_tls:
            self._limit()
            self.sock = self._implicit_tls.wrap_socket(self.sock, server_hostname=host)
        return self.getreply()

    def send(self, s: Any) -> None:
        """Send a command or the message; called by smtplib."""
        data = s.encode(self.command_encoding) if isinstance(s, str) else bytes(s)
        for start in range(0, len(data), _CHUNK_BYTES):
            self._limit()
            super().send(data[start : start + _CHUNK_BYTES])

    def getreply(self) -> tuple[int, bytes]:
        """Read one reply; called by smtplib."""
        if self.file is None and self.sock:
            self.file = io.BufferedReader(_Incoming(self, self.sock))
        reply = super().getreply()
        if self.sock:  # for a handshake that may follow; a reply that has come counts even if time is now up
            self.sock.settimeout(max(self._deadline - time.monotonic(), 0.001))
        return reply

    def _limit(self) -> None:
        """Give the socket's next operation the time left; where none is, close, for nothing may follow a half."""
        try:
            left = self.remaining_seconds()
        except TimeoutError:
            self.close()
            raise
        if self.sock:
            self.sock.settimeout(left)

    def _open(self, host: str, port: int) -> socket.socket:
        """Try each address of the host, none for longer than its share of the time left."""
        found = _look_up(host, port, self.remaining_seconds())
        failure: OSError = OSError("the name has no address")
        for tried, address in enumerate(found):
            try:
                share = self.remaining_seconds() / (len(found) - tried)
                return socket.create_connection(address, timeout=share)
            except OSError as error:
                failure = error
        raise failure


class _Incoming(io.RawIOBase):
    """What arrives at a session's socket, each read limited by the time left."""

    def __init__(self, session: Session, sock: socket.socket) -> None:
        self._session = session
        self._sock = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._session.remaining_seconds())
        return self._sock.recv_into(buffer)


def _look_up(host: str, port: int, limit_seconds: float) -> list[tuple[str, int]]:
    """Find a host's addresses in a thread that is left behind, since getaddrinfo knows no time limit."""
    answer: Future[list[tuple[str, int]]] = Future()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            answer.set_exception(error)
        else:
            answer.set_result([(str(address[0]), port) for *_, address in found])

    threading.Thread(target=ask, name="mail-look-up", daemon=True).start()
    try:
        return answer.result(limit_seconds)
    except TimeoutError as error:
        raise TimeoutError("the name of the mail server was not found in time") from error


def _address_literal(sock: socket.socket) -> str:
    """Our address as EHLO wants it where there is no name (RFC 5321, section 4.1.3)."""
    address = str(sock.getsockname()[0]).partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
