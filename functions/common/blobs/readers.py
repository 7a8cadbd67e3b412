"""A seekable stream over whatever can be read by ranges."""

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


def reader(
    read_range: Callable[[int, int], memoryview],
    *,
    size_bytes: int,
    buffer_bytes: int,
    close: Callable[[], None] | None = None,
) -> BinaryIO:
    """Make a stream; nothing is read before somebody asks it.

    Args:
        read_range: gives bytes from an offset on: at least one and at most as many as asked for.
        size_bytes: length of the whole.
        buffer_bytes: what is asked for at least, except at the end.
        close: called once, when the stream is closed.
    """
    return io.BufferedReader(_Ranges(read_range, size_bytes, close), buffer_bytes)


class _Ranges(io.RawIOBase):
    def __init__(
        self, read_range: Callable[[int, int], memoryview], size_bytes: int, close: Callable[[], None] | None
    ) -> None:
        self._read_range = read_range
        self._size = size_bytes
        self._position = 0
        self._close = close

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        view = memoryview(buffer).cast("B")
        size = min(len(view), self._size - self._position)
        if size <= 0:
            return 0
        data = self._read_range(self._position, size)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed and self._close is not None:
            self._close()
        super().close()
