"""The body of a request as a stream that can neither be too long nor end early unnoticed.

Servers differ: gunicorn hides that a client went away in the middle, Werkzeug's stream must not be read past its
length, and the framework's own limit cuts a body of unknown length where it should refuse it.
"""

from typing import IO, Any

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.wsgi import get_content_length


class Body:
    """Reads a request's body; put into its WSGI environment (PEP 3333) in place of the server's stream.

    Args:
        environ: the environment of a request whose body nobody has read from.
        most_bytes: the longest body that is read; a longer one is refused, unread where it tells its length.
    """

    def __init__(self, environ: dict[str, Any], *, most_bytes: int) -> None:
        self._stream: IO[bytes] = environ["wsgi.input"]
        # Without a length and without a server that ends the stream by itself there is no body.
        self._expected = get_content_length(environ)
        if self._expected is None and not environ.get("wsgi.input_terminated"):
            self._expected = 0
        self._read = 0
        #: May be raised by whoever reads large bodies.
        self.most_bytes = most_bytes
        environ["wsgi.input"] = self
        environ["wsgi.input_terminated"] = True

    def read(self, size: int = -1) -> bytes:
        """Read up to so many bytes, all that are left if negative; none at the end.

        Raises:
            RequestEntityTooLarge: the body is longer than is read.
            ClientDisconnected: it ended before its end.
        """
        if (self._expected or 0) > self.most_bytes:
            raise RequestEntityTooLarge
        # One byte more than allowed tells a body that is too long from one that just fits.
        left = (self.most_bytes + 1 if self._expected is None else self._expected) - self._read
        wanted = left if size < 0 else min(size, left)
        try:
            chunk = self._stream.read(wanted) if wanted else b""
        except (OSError, ValueError) as error:
            raise ClientDisconnected from error
        self._read += len(chunk)
        if self._read > self.most_bytes:
            raise RequestEntityTooLarge
        if wanted and not chunk and self._expected is not None:
            raise ClientDisconnected
        return chunk
