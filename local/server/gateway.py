"""The way in, as nginx is in the cluster: one origin, its paths routed by `knative/gateway/paths.map`."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from werkzeug.wrappers import Request, Response
from werkzeug.wsgi import ClosingIterator

from functions.common.errors import TooMany
from local.server.problems import problem
from local.server.rates import Rates

WSGIApp = Callable[..., Iterable[bytes]]

_ROOT: Final = Path(__file__).parents[2]
_LINE: Final = re.compile(r"~(\S+)\s+(\w+);")
_OUR_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def load_paths(path: Path = _ROOT / "knative/gateway/paths.map") -> tuple[tuple[re.Pattern[str], str], ...]:
    """Read the path table: which function answers what, first match first.

    Raises:
        ValueError: a line is not understood.
    """
    table = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            match = _LINE.fullmatch(text)
            if match is None:
                raise ValueError(f"{path}:{number}: not a line of the form `~REGEX FUNCTION;`")
            table.append((re.compile(match[1]), match[2]))
    return tuple(table)


class Gateway:
    """Routes the public paths to functions; refuses what a foreign page sends, and what comes too often.

    Args:
        functions: WSGI app of each function.
        page: answers every path that no function has.
        rates: how often each address may ask.
        own: answers paths that only a run on this machine has, by these.
    """

    def __init__(
        self,
        functions: Mapping[str, WSGIApp],
        page: WSGIApp,
        rates: Rates,
        *,
        own: Mapping[str, WSGIApp] | None = None,
    ) -> None:
        self._functions = functions
        self._page = page
        self._own = own or {}
        self._rates = rates
        self._paths = load_paths()

    def __call__(self, environ: dict[str, object], start_response: object) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        request = Request(environ)
        refusal = _refusal(request) or self._too_often(request)
        if refusal is not None:
            return refusal(environ, start_response)  # type: ignore[arg-type]  # werkzeug types PEP 3333 more narrowly
        for pattern, function in self._paths:
            if pattern.search(request.path):
                return self._functions[function](environ, start_response)
        return self._own.get(request.path, self._page)(environ, start_response)

    def _too_often(self, request: Request) -> Response | None:
        seconds = self._rates.wait_seconds(request.remote_addr or "", method=request.method, path=request.path)
        if not seconds:
            return None
        detail = "Too many requests came from this address; please wait."
        response = problem(TooMany.status, TooMany.title(), detail, retry_helps=True)
        response.headers["Retry-After"] = str(seconds)
        return response


class Internal:
    """The functions' own addresses, as the cluster's service names: `/FUNCTION/path` is that function's `/path`."""

    def __init__(self, functions: Mapping[str, WSGIApp]) -> None:
        self._functions = functions

    def __call__(self, environ: dict[str, object], start_response: object) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        _, name, rest = f"{environ['PATH_INFO']}/".split("/", 2)
        app = self._functions.get(name)
        if app is None or _refusal(Request(environ)) is not None:
            return Response(status=404)(environ, start_response)  # type: ignore[arg-type]  # as above
        environ["PATH_INFO"] = "/" + rest.removesuffix("/")
        environ["SCRIPT_NAME"] = f"/{name}"
        return app(environ, start_response)


class InFlight:
    """Counts the requests that are being answered, so that a stop can wait for them."""

    def __init__(self, app: WSGIApp, changed: Callable[[int], None]) -> None:
        self._app = app
        self._changed = changed

    def __call__(self, environ: dict[str, object], start_response: object) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        self._changed(+1)
        try:
            return ClosingIterator(self._app(environ, start_response), lambda: self._changed(-1))
        except BaseException:
            self._changed(-1)
            raise


def _refusal(request: Request) -> Response | None:
    """An answer for requests that were not meant for this machine's own pages and programs.

    A page of another site can make a browser send requests here, under its own Origin, or under a Host of its own
    that it had the name service point here (DNS rebinding).
    """
    if {".", ".."} & set(request.path.split("/")):
        # Programs differ in what they make of them, and a path must mean the same to all that see it.
        return problem(400, "Bad Request", "A path has no segments `.` and `..` here.")
    host = urlsplit(f"//{request.host}").hostname
    if host not in _OUR_HOSTS:
        return problem(421, "Misdirected Request", "This server answers to localhost alone.")
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"{request.scheme}://{request.host}":
        return problem(403, "Forbidden", "Requests of other sites' pages are refused.")
    return None
