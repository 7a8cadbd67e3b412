"""Handing a request on to a function that is a process of its own, as nginx does in the cluster."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final

import urllib3
from urllib3.exceptions import HTTPError
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wsgi import ClosingIterator, get_input_stream

from local.server.problems import problem

#: Of one connection (RFC 9110, section 7.6.1), or made by each server itself.
_HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "date",
        "expect",
        "keep-alive",
        "proxy-connection",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_CHUNK_BYTES: Final = 256 * 1024
_CONNECT_SECONDS: Final = 5.0
_log = logging.getLogger("gateway")


class Proxy:
    """A WSGI app (PEP 3333) that is another server; nothing is gathered on the way, in either direction.

    Args:
        origin: the other server's, as `http://host:port`.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        # A connection that the server closed while it rested is opened again, before anything is sent.
        self._pool = urllib3.PoolManager(
            maxsize=64, timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=None), retries=False
        )

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        headers = {name: value for name, value in EnvironHeaders(environ) if name.lower() not in _HOP_BY_HOP}
        headers["X-Forwarded-For"] = environ.get("REMOTE_ADDR", "")
        query = environ.get("QUERY_STRING", "")
        path = environ["REQUEST_URI"].partition("?")[0]
        try:
            answer = self._pool.request(
                environ["REQUEST_METHOD"],
                f"{self._origin}{path}{'?' if query else ''}{query}",
                body=_body(environ),
                headers=headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
            )
        except (HTTPError, OSError, ClientDisconnected) as error:
            _log.warning("%s %s: the function does not answer (%s)", environ["REQUEST_METHOD"], path, error)
            return problem(
                503,
                "Service Unavailable",
                "The function does not answer right now; please try again.",
                headers={"Retry-After": "2"},
                retry_helps=True,
            )(environ, start_response)
        given = [(name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP]
        start_response(f"{answer.status} {answer.reason}", given)
        return ClosingIterator(_pieces(answer), answer.close)


def _body(environ: dict[str, Any]) -> Iterator[bytes] | None:
    if not environ.get("CONTENT_LENGTH") and not environ.get("wsgi.input_terminated"):
        return None
    stream = get_input_stream(environ)
    return iter(lambda: stream.read(_CHUNK_BYTES), b"")


def _pieces(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """What comes, as soon as it comes: an event stream must not wait until a buffer is full."""
    while piece := answer.read1(_CHUNK_BYTES):
        yield piece
    answer.release_conn()
