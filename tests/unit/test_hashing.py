"""The SHA-256 beside the stream: the same digest, in bounded memory, and no thread stays."""

import hashlib
import threading
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.upload.hashing import BackgroundSha256


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=2000), max_size=30))
def test_the_same_digest(chunks: list[bytes]) -> None:
    """Chunks of any sizes give the digest of all their bytes in order."""
    with BackgroundSha256() as digest:
        for chunk in chunks:
            digest.update(chunk)
        assert digest.hexdigest() == hashlib.sha256(b"".join(chunks)).hexdigest()


def test_large_chunks() -> None:
    """Chunks that are hashed while the next arrive keep their order."""
    chunks = [bytes([number]) * 1_000_000 for number in range(16)]
    with BackgroundSha256() as digest:
        for chunk in chunks:
            digest.update(chunk)
        first = digest.hexdigest()
        assert first == hashlib.sha256(b"".join(chunks)).hexdigest()
        assert digest.hexdigest() == first
        digest.update(b"more")
        assert digest.hexdigest() == hashlib.sha256(b"".join([*chunks, b"more"])).hexdigest()


class StandsStill:
    """A hash whose updates wait until they are let."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def update(self, _chunk: bytes) -> None:
        """Wait."""
        assert self.go.wait(10)

    def hexdigest(self) -> str:
        """No digest."""
        return ""


def test_only_a_few_chunks_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hashing is slower than reading, reading waits, so that a file never piles up in memory."""
    still = StandsStill()
    monkeypatch.setattr(hashlib, "sha256", lambda: still)
    taken: list[int] = []
    full = threading.Event()
    with BackgroundSha256() as digest:

        def read() -> None:
            for number in range(20):
                if number == 6:
                    full.set()
                digest.update(b"x")
                taken.append(number)

        reader = threading.Thread(target=read)
        reader.start()
        assert not full.wait(0.3)
        assert len(taken) < 6
        still.go.set()
        reader.join(10)
    assert taken == list(range(20))


def hashing_threads() -> list[str]:
    """The threads that hash."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("sha256")]


@pytest.mark.parametrize("error", [None, KeyError("boom")])
def test_no_thread_stays(error: Exception | None) -> None:
    """After the block, however it was left, its thread has ended."""
    with suppress(KeyError), BackgroundSha256() as digest:
        for _ in range(10):
            digest.update(b"x" * 100_000)
        if error is not None:
            raise error
    assert hashing_threads() == []
