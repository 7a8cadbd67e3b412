"""Connections that are turned away: each is answered at once and closed once its client can have read why."""

import selectors
import socket
import threading
import time
from contextlib import suppress
from queue import SimpleQueue
from typing import Final

_LOOK_SECONDS: Final = 0.1
_READ_BYTES: Final = 256 * 1024
#: So many at once; whoever is one more is cut off.
_MOST: Final = 1024


class Farewell:
    """Reads what clients still send and throws it away, in one thread for all of them.

    A connection that is closed with bytes unread is reset, and its client then loses an answer that it has not read yet
    (RFC 9112, section 9.6).

    Args:
        seconds: how long a client may take to read why.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._leaving: SimpleQueue[socket.socket | None] = SimpleQueue()
        self._places = threading.BoundedSemaphore(_MOST)
        self._buffer = bytearray(_READ_BYTES)
        threading.Thread(target=self._run, name="farewell", daemon=True).start()

    def tell(self, connection: socket.socket, answer: bytes) -> None:
        """Send an answer, as far as it goes out at once; the connection is ours from now on, and closed in a while."""
        connection.setblocking(False)
        with suppress(OSError):
            connection.send(answer)
            connection.shutdown(socket.SHUT_WR)
        if self._places.acquire(blocking=False):
            self._leaving.put(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Cut off whoever is left."""
        self._leaving.put(None)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            while self._take(selector):
                for key, _ in selector.select(_LOOK_SECONDS):
                    if isinstance(key.fileobj, socket.socket) and not self._more(key.fileobj):
                        self._end(selector, key)
                now = time.monotonic()
                for key in [key for key in selector.get_map().values() if key.data < now]:
                    self._end(selector, key)
            for key in list(selector.get_map().values()):
                self._end(selector, key)

    def _take(self, selector: selectors.BaseSelector) -> bool:
        """Take whoever has come, and wait for somebody if there is nobody; whether to go on."""
        while not selector.get_map() or not self._leaving.empty():
            connection = self._leaving.get()
            if connection is None:
                return False
            selector.register(connection, selectors.EVENT_READ, time.monotonic() + self._seconds)
        return True

    def _more(self, connection: socket.socket) -> bool:
        """Read what has come; whether more may come."""
        try:
            return bool(connection.recv_into(self._buffer))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _end(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        selector.unregister(key.fileobj)
        if isinstance(key.fileobj, socket.socket):
            key.fileobj.close()
        self._places.release()
