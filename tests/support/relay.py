"""A TCP relay in front of a server, which counts what passes, and can be held and cut."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Relay:
    """Passes connections on to a server of this machine.

    Args:
        port: where that server listens.
        at: where to listen; any free port if 0.
    """

    def __init__(self, port: int, *, at: int = 0) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", at))
        self.port: int = self._listener.getsockname()[1]
        #: Bytes that the server sent.
        self.sent_bytes = 0
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._is_cut = False
        self._flows = threading.Event()
        self._flows.set()
        self._lock = threading.Lock()
        self._start(self._accept)

    def hold(self) -> None:
        """Take connections and bytes, and pass nothing on, as a server does that hangs."""
        self._flows.clear()

    def let_go(self) -> None:
        """Pass on what was held, and all that comes."""
        self._flows.set()

    def cut(self) -> None:
        """Break every connection and take no more of them."""
        with self._lock:
            self._is_cut = True
            sockets = [self._listener, *self._sockets]
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.let_go()

    def close(self) -> None:
        """Cut, and wait for the threads to end."""
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self._sockets += [client, server]
                    if self._is_cut:
                        client.close()
                        server.close()
                        return
                self._start(self._pump, client, server, False)
                self._start(self._pump, server, client, True)

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if counted:
                    with self._lock:
                        self.sent_bytes += len(data)
                self._flows.wait()
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay(port: int, *, at: int = 0) -> Iterator[Relay]:
    """A relay for the time of the block."""
    made = Relay(port, at=at)
    try:
        yield made
    finally:
        made.close()
