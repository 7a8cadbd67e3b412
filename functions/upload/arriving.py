"""A request's body that is read piece by piece, and ends where it breaks off."""

from collections.abc import Iterator
from typing import IO, Final

from werkzeug.exceptions import ClientDisconnected

_READ_BYTES: Final = 1024 * 1024
#: A look costs a read of its own.
_LOOK_BYTES: Final = 64 * 1024


class Arriving:
    """The bytes of a body.

    Args:
        stream: the body.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._seen = b""
        #: How much has come.
        self.read_bytes = 0
        #: Whether it ended before its end.
        self.is_broken = False

    def look(self, size: int) -> bytes:
        """The next bytes, at least so many where there are, which stay to be read; none at the end."""
        while len(self._seen) < size and (chunk := self._read(max(size, _LOOK_BYTES))):
            self._seen += chunk
        return self._seen

    def chunks(self, most_bytes: int) -> Iterator[bytes]:
        """The next bytes, so many at most."""
        left = most_bytes
        while left and (chunk := self._take(min(left, _READ_BYTES))):
            left -= len(chunk)
            yield chunk

    def _take(self, size: int) -> bytes:
        if not self._seen:
            return self._read(size)
        chunk, self._seen = self._seen[:size], self._seen[size:]
        return chunk

    def _read(self, size: int) -> bytes:
        if self.is_broken:
            return b""
        try:
            chunk = self._stream.read(size)
        except (ClientDisconnected, OSError):
            self.is_broken = True
            return b""
        self.read_bytes += len(chunk)
        return chunk
