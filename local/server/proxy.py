"""Handing a request on to a function that is a process of its own, as nginx does in the cluster."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError
from werkzeug.datastructures import EnvironHeaders
from werkzeug.exceptions import ClientDisconnected
from werkzeug.wrappers import Response
from werkzeug.wsgi import ClosingIterator, get_content_length, get_input_stream

from local.server.problems import problem

#: Of one connection (RFC 9110, section 7.6.1), or made by each server itself.
_NOT_HANDED_ON: Final = frozenset(
    (
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("content-length", "date", "expect", "server"),
    )
)
_CHUNK_BYTES: Final = 256 * 1024
#: A function may pause while a body is sent, for instance because its store does; the way to it is on this machine.
_STILL_SECONDS: Final = 120.0
#: What needs no encoding in a target, besides what was encoded already (RFC 3986, section 3.3 and 3.4).
_PATH_SAFE: Final = "/:@!$&'()*+,;=~"
_QUERY_SAFE: Final = f"{_PATH_SAFE}?%[]"
_log = logging.getLogger("gateway")


class Proxy:
    """A WSGI app (PEP 3333) that is another server; nothing is gathered on the way, in either direction.

    Args:
        origin: the other server's, as `http://host:port`.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        timeout = urllib3.Timeout(connect=_STILL_SECONDS, read=None)
        # As many as the gateway has: beyond that number connections are used once.
        self._pool = urllib3.PoolManager(maxsize=512, timeout=timeout)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        return self._answer(environ)(environ, start_response)

    def _answer(self, environ: dict[str, Any]) -> Response:
        method, length = environ["REQUEST_METHOD"], get_content_length(environ)
        chunked = bool(environ.get("wsgi.input_terminated"))
        if chunked and "CONTENT_LENGTH" in environ:
            # Which of both holds is what a smuggler would have two servers disagree on (RFC 9112, section 6.1).
            return problem(400, "Bad Request", "A body has a length or comes in chunks, not both.")
        headers = _handed_on(EnvironHeaders(environ))
        headers["X-Forwarded-For"] = environ.get("REMOTE_ADDR", "")
        if length is not None and not chunked:
            headers["Content-Length"] = str(length)
        stream = get_input_stream(environ)
        try:
            answer = self._pool.request(
                method,
                self._origin + _target(environ),
                body=iter(lambda: stream.read(_CHUNK_BYTES), b"") if chunked or length else None,
                headers=headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
                # A connection may be closed at the moment that it is used again.
                retries=_ONCE_MORE if method in ("GET", "HEAD") else False,
            )
        except ClientDisconnected:
            return problem(400, "Bad Request", "The body ended before its end.")
        except (HTTPError, OSError) as error:
            _log.warning("%s %s: the function does not answer (%s)", method, environ["PATH_INFO"], error)
            return problem(
                503,
                "Service Unavailable",
                "The function does not answer right now; please try again.",
                headers={"Retry-After": "2"},
                retry_helps=True,
            )
        except ValueError:
            return problem(400, "Bad Request", "This is no request that could be handed on.")
        response = Response(status=f"{answer.status} {answer.reason}", direct_passthrough=True)
        response.headers.clear()
        for name, value in answer.headers.items():
            if name.lower() == "content-length" or name.lower() not in _NOT_HANDED_ON:
                response.headers.add(name, value)
        response.response = ClosingIterator(_pieces(answer), answer.close)
        return response


_ONCE_MORE: Final = urllib3.Retry(total=1, redirect=0, status=0, other=0)


def _handed_on(given: EnvironHeaders) -> urllib3.HTTPHeaderDict:
    named = {name.strip().lower() for name in given.get("Connection", "").split(",")}
    headers = urllib3.HTTPHeaderDict()
    for name, value in given:
        if name.lower() not in _NOT_HANDED_ON and name.lower() not in named:
            headers.add(name, value)
    return headers


def _target(environ: dict[str, Any]) -> str:
    """Path and query as the gateway saw them, so that both servers mean the same by them."""
    path, query = (environ.get(name, "").encode("latin-1") for name in ("PATH_INFO", "QUERY_STRING"))
    return quote(path, safe=_PATH_SAFE) + (f"?{quote(query, safe=_QUERY_SAFE)}" if query else "")


def _pieces(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """What comes, as soon as it comes: an event stream must not wait until a buffer is full."""
    while piece := answer.read1(_CHUNK_BYTES):
        yield piece
    answer.release_conn()
