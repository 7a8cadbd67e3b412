"""The page: the files in `functions/web/static`, as nginx serves them in the cluster, byte for byte."""

import gzip
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Final

from flask import Flask, Response, g, request, send_from_directory
from werkzeug.exceptions import MethodNotAllowed, NotFound

from functions.common.app import problem

FILES: Final = Path(__file__).parents[2] / "functions/web/static"
#: By the ends of files' names: what machines have in their own tables differs.
TYPES: Final = {
    "html": "text/html",
    "txt": "text/plain",
    "css": "text/css",
    "js": "text/javascript",
    "json": "application/json",
    "webmanifest": "application/manifest+json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "webp": "image/webp",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
}
#: On every answer, as in knative/gateway/nginx.conf.template (a test compares them).
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
        "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}


#: What nginx compresses, and from which length on.
_COMPRESSED: Final = frozenset({"html", "txt", "css", "js", "json", "webmanifest", "svg"})
_LEAST_BYTES: Final = 1000


def _compressed(response: Response) -> Response:
    """The same answer as it travels to a client that takes gzip, whatever stands between."""
    text = {TYPES[end] for end in _COMPRESSED}
    if response.status_code != 200 or response.mimetype not in text or (response.content_length or 0) < _LEAST_BYTES:
        return response
    response.vary.add("Accept-Encoding")
    if request.method != "GET" or "Range" in request.headers or not request.accept_encodings.quality("gzip"):
        return response
    response.direct_passthrough = False
    response.set_data(gzip.compress(response.get_data(), mtime=0))
    response.headers["Content-Encoding"] = "gzip"
    etag, _ = response.get_etag()
    if etag is not None:
        # Other bytes of the same meaning (RFC 9110, section 8.8.1).
        response.set_etag(etag, weak=True)
    return response


def create_page(files: Path = FILES) -> Flask:
    """Make the WSGI app of every path that is no function's.

    Args:
        files: the folder that it serves.
    """
    app = Flask("page", static_folder=None)
    app.url_map.merge_slashes = False

    @app.before_request
    def begin() -> None:
        g.request_id = uuid.uuid4().hex

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        response.headers.update(_HEADERS)
        # Nobody saves the page under a name of ours.
        response.headers.pop("Content-Disposition", None)
        return _compressed(response)

    @app.route("/", defaults={"name": ""}, provide_automatic_options=False)
    @app.route("/<path:name>", provide_automatic_options=False)
    def file(name: str) -> Response:
        for each in (name, f"{name}index.html", f"{name}index.txt"):
            if each.endswith("/"):
                # A file with a slash behind it would be found as well.
                continue
            kind = TYPES.get(each.rpartition(".")[2], "application/octet-stream")
            with suppress(NotFound):
                return send_from_directory(files, each, mimetype=kind)
        raise NotFound

    @app.get("/healthz", provide_automatic_options=False)
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @app.errorhandler(NotFound)
    def missing(_error: Exception) -> Response:
        return problem(404, "Not Found", "There is no such thing here.")

    @app.errorhandler(MethodNotAllowed)
    def not_allowed(_error: Exception) -> Response:
        response = problem(405, "Method Not Allowed", "This method is not offered here.")
        response.headers["Allow"] = "GET, HEAD"
        return response

    return app
