"""The TCP server of the one-process run: who is cut, who is not, and how many are served at once."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import pytest

from local.server.listener import Incoming, Listener, Outgoing
from tests.support.serving import eventually
from tests.support.wire import Wire

BODY: Final = b"x" * 3_000_000


class Paced(socket.socket):
    """A connection to a client that needs so many seconds for each piece; its time passes at once."""

    def __init__(self, seconds: float, piece: int = 1) -> None:
        super().__init__()
        self.now = 0.0
        self._seconds = seconds
        self._piece = piece

    def _wait(self) -> None:
        limit = self.gettimeout()
        if limit is not None and limit < self._seconds:
            raise TimeoutError
        self.now += self._seconds

    def recv_into(self, buffer: Any, *_: Any) -> int:
        """See socket.socket."""
        self._wait()
        buffer[:1] = b"x"
        return 1

    def send(self, data: Any, *_: Any) -> int:
        """See socket.socket."""
        self._wait()
        return min(len(data), self._piece)


def incoming(connection: Paced, monkeypatch: pytest.MonkeyPatch) -> Incoming:
    """What such a client sends, with the limits of the real server."""
    monkeypatch.setattr("local.server.listener.time.monotonic", lambda: connection.now)
    return Incoming(connection, head_seconds=30, still_seconds=120)


def test_a_head_has_a_time_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten bytes, one every three seconds, may arrive; with the one that would come after 30 s it is cut."""
    with Paced(3) as connection:
        stream = incoming(connection, monkeypatch)
        assert [stream.read(1) for _ in range(10)] == [b"x"] * 10
        with pytest.raises(ConnectionAbortedError):
            stream.read(1)


def test_a_slow_body_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte every two minutes is slow but steady, for hours; who needs longer for one has gone away."""
    with Paced(120) as connection:
        stream = incoming(connection, monkeypatch)
        stream.head_ends()
        assert b"".join(stream.read(1) for _ in range(100)) == b"x" * 100
    with Paced(121) as connection:
        stream = incoming(connection, monkeypatch)
        stream.head_ends()
        assert stream.read(1) == b""


def test_a_slow_reader_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is taken piece by piece goes out whole, however long all of it takes."""
    with Paced(120, piece=7) as connection:
        incoming(connection, monkeypatch).head_ends()
        assert Outgoing(connection).write(b"x" * 1000) == 1000
        assert connection.now == 143 * 120
    with Paced(121, piece=7) as connection:
        incoming(connection, monkeypatch).head_ends()
        with pytest.raises(ConnectionAbortedError):
            Outgoing(connection).write(b"x" * 1000)


class App:
    """Answers what it is asked for, and says how each request ended."""

    def __init__(self) -> None:
        self.closed = threading.Semaphore(0)
        self.let = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/hold":
            self.let.wait(30)
        if environ["PATH_INFO"] == "/read":
            size = int(environ["CONTENT_LENGTH"])
            read = environ["wsgi.input"].read(size)
            return _Closing([b"whole" if len(read) == size else b"broken off"], self.closed.release)
        return _Closing([BODY] if environ["PATH_INFO"] == "/large" else [b"ok"], self.closed.release)


class _Closing(list[bytes]):
    """An answer that tells when the server is done with it."""

    def __init__(self, parts: list[bytes], closed: Callable[[], None]) -> None:
        super().__init__(parts)
        self.close = closed


@contextmanager
def listening(**limits: Any) -> Iterator[tuple[str, App]]:
    """A listener with these limits; where it is, and its app."""
    app = App()
    server = Listener("127.0.0.1", 0, **limits)
    server.app = app
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}", app
    finally:
        app.let.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: "])
def test_half_a_head_is_cut(said: bytes, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Who sends nothing, or no more than the beginning, is hung up on without an answer and without a word."""
    with listening(head_seconds=0.05) as (url, app), Wire(url) as wire:
        wire.send(said)
        assert wire.read(1000) == b""
        assert not app.closed.acquire(blocking=False)
    assert (capfd.readouterr(), caplog.text) == (("", ""), "")


def test_a_head_is_not_all_that_is_waited_for() -> None:
    """The time for a head is over once it was read: an answer, or a body, may take longer."""
    with listening(head_seconds=1) as (url, app), Wire(url) as wire:
        wire.head("GET", "/hold", {})
        with Wire(url) as later:
            assert later.read(1) == b"", "the time for a head has passed"
        app.let.set()
        assert wire.answer().read() == b"ok"


def test_half_a_body_is_cut() -> None:
    """Who stands still in the middle of a body counts as gone; the app sees the end, and its answer is closed."""
    with listening(still_seconds=0.05) as (url, app), Wire(url) as wire:
        wire.head("POST", "/read", {"Content-Length": "1000"})
        wire.send(b"x" * 500)
        assert wire.answer("POST").read() == b"broken off"
        assert wire.read(1) == b""
        assert app.closed.acquire(timeout=30)


def test_half_of_a_refused_body_is_cut() -> None:
    """Who is answered early and then neither sends the rest nor hangs up is waited for no longer than that."""
    with listening(still_seconds=0.05) as (url, app), Wire(url) as wire:
        wire.head("POST", "/", {"Content-Length": "1000000000"})
        wire.send(b"x" * 1000)
        assert wire.answer("POST").status == 200
        assert app.closed.acquire(timeout=30)


def test_who_reads_nothing_is_cut() -> None:
    """An answer that nobody takes is given up."""
    with listening(still_seconds=0.05) as (url, app), Wire(url, receive_bytes=4096) as wire:
        wire.head("GET", "/large", {})
        assert app.closed.acquire(timeout=30)
        received = iter(lambda: wire.read(65_536), b"")
        assert sum(map(len, received)) < len(BODY)


def test_connections_are_bounded() -> None:
    """One connection too many is told to come again at once, unread; when another has ended there is a place."""
    with listening(most_connections=2) as (url, app), ExitStack() as stack:
        first, second = (stack.enter_context(Wire(url)) for _ in range(2))
        first.head("GET", "/hold", {})
        # The third is accepted after the second, so whatever became of that is known by then.
        with Wire(url) as third:
            answer = third.answer()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            told = json.loads(answer.read())
            assert (told["status"], told["request_id"]) == (503, answer.headers["X-Request-Id"])
        app.let.set()
        assert first.answer().read() == b"ok"
        second.head("GET", "/", {})
        assert second.answer().read() == b"ok"
        assert eventually(lambda: answered(url)) == b"ok"


def test_a_crowd_at_the_door_is_answered() -> None:
    """Connections that come faster than they are accepted wait, and each has an answer."""
    app = App()
    app.let.set()
    server = Listener("127.0.0.1", 0)
    server.app = app
    with ExitStack() as stack:
        stack.callback(server.server_close)
        crowd = [stack.enter_context(Wire(f"http://127.0.0.1:{server.port}")) for _ in range(400)]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            for one in crowd:
                one.head("GET", "/", {"Connection": "close"})
            assert {one.answer().status for one in crowd} <= {200, 503}
        finally:
            server.shutdown()
            thread.join()


def test_whoever_still_sends_can_read_why_it_is_turned_away() -> None:
    """A connection too many may send all of its request before it looks for an answer, and is not cut off."""
    with listening(most_connections=1) as (url, app), ExitStack() as stack:
        stack.enter_context(Wire(url)).head("GET", "/hold", {})
        others = [stack.enter_context(Wire(url)) for _ in range(20)]
        for other in others:
            other.head("POST", "/", {"Content-Length": str(len(BODY))})
        for other in others:
            other.send(BODY)
        assert [other.answer().status for other in others] == [503] * len(others)
        app.let.set()


def test_whoever_never_ends_is_cut_off() -> None:
    """A client that was turned away and keeps its connection open loses it after a while."""
    with listening(most_connections=1, farewell_seconds=0.2) as (url, app), Wire(url) as first, Wire(url) as second:
        first.head("GET", "/hold", {})
        assert second.answer().status == 503

        def is_cut() -> bool:
            try:
                second.send(b"x")
            except OSError:
                return True
            return False

        assert eventually(is_cut)
        app.let.set()


def answered(url: str) -> bytes | None:
    """What a further connection is answered, None while there is no place for it."""
    with Wire(url) as wire:
        try:
            wire.head("GET", "/", {})
            answer = wire.answer()
        except ConnectionError:
            return None
        return answer.read() if answer.status == 200 else None


def test_a_thread_that_cannot_be_started_keeps_no_place(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where the system has no more threads the connection is closed, and its place is free for the next."""

    def no_more(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with listening(most_connections=1) as (url, _):
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_more)
            for _ in range(3):
                with Wire(url) as wire:
                    assert wire.read(1) == b""
        with Wire(url) as wire:
            wire.head("GET", "/", {})
            assert wire.answer().read() == b"ok"
    assert "can't start new thread" in capfd.readouterr().err
