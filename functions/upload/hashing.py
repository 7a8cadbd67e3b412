"""Hashing a stream beside the thread that reads and writes it: the hash alone would take as long as both."""

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self

_AHEAD: Final = 4


class BackgroundSha256:
    """A SHA-256 that is computed in a thread of its own, at most a few chunks behind."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sha256")
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def update(self, chunk: bytes) -> None:
        """Add bytes, which must not change afterwards; waits while too many are in line."""
        self._pending.append(self._pool.submit(self._hash.update, chunk))
        if len(self._pending) > _AHEAD:
            self._pending.popleft().result()

    def hexdigest(self) -> str:
        """The digest of all that was added, in lower-case hex."""
        while self._pending:
            self._pending.popleft().result()
        return self._hash.hexdigest()
