"""A store that hangs when a test wants it to, as one behind a network may."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from functions.common.blobs import Blobs, BlobWriter, nothing


class HeldBlobs:
    """A store whose fetching and committing can be held; every other method is the store's own.

    Args:
        blobs: the store.
    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._gates = {"fetch": threading.Event(), "commit": threading.Event()}
        self.let_go()
        #: Set when somebody waits.
        self.reached = threading.Event()

    def hold(self, what: str) -> None:
        """Let whoever comes to it wait: `fetch` or `commit`."""
        self._gates[what].clear()

    def let_go(self) -> None:
        """Let all go on."""
        for gate in self._gates.values():
            gate.set()

    @contextmanager
    def create(self, key: str, *, file_name: str | None = None) -> Iterator[BlobWriter]:
        """See Blobs.create."""
        with self._blobs.create(key, file_name=file_name) as writer:
            yield _Writer(writer, lambda: self._pass("commit"))

    def open(self, key: str) -> BinaryIO:
        """See Blobs.open."""
        return self._blobs.open(key)

    def fetch(self, key: str, path: Path, *, check: Callable[[], None] = nothing) -> None:
        """See Blobs.fetch."""
        self._pass("fetch")
        self._blobs.fetch(key, path, check=check)

    def address(self, key: str, *, seconds: int) -> str | None:
        """See Blobs.address."""
        return self._blobs.address(key, seconds=seconds)

    def delete(self, key: str) -> None:
        """See Blobs.delete."""
        self._blobs.delete(key)

    def close(self) -> None:
        """See Blobs.close."""
        self._blobs.close()

    def _pass(self, what: str) -> None:
        if not self._gates[what].is_set():
            self.reached.set()
        self._gates[what].wait()


class _Writer:
    def __init__(self, writer: BlobWriter, pass_gate: Callable[[], None]) -> None:
        self._writer = writer
        self._pass_gate = pass_gate

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    def commit(self) -> None:
        self._pass_gate()
        self._writer.commit()
