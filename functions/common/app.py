"""The one factory of every function's WSGI app, for the images, `video2mp3 serve` and the one-process run.

It is functions-framework's app, less the hook that reads each unread request body into memory, and with what every
function owes its callers: problem+json errors, request ids, /healthz, bodies that are refused unread, one log line
per request.
"""

import logging
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import flask
import functions_framework
from cloudevents.http import CloudEvent
from flask import Flask, Request, Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge
from werkzeug.routing import Map

from functions.common import events, logs
from functions.common.backends import Backends
from functions.common.body import Body
from functions.common.config import load
from functions.common.errors import ServiceError, Unauthorized
from functions.common.events import Notice

#: Largest body of a request that carries no media; a larger one is refused unread.
SMALL_BODY_BYTES: Final = 64 * 1024
_FUNCTIONS: Final = Path(__file__).parents[1]
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_log = logging.getLogger("request")


def create_app(function: str, backends: Backends) -> Flask:
    """Make the WSGI app of a function.

    Args:
        function: its folder below `functions`.
        backends: what it is connected to.
    """
    make: Callable[[str, str], Flask] = functions_framework.create_app
    app = make(function, str(_FUNCTIONS / function / "main.py"))
    app.after_request_funcs[None].remove(functions_framework.read_request)
    app.extensions["backends"] = backends
    app.url_map.merge_slashes = False
    app.add_url_rule("/healthz", view_func=_healthz, methods=["GET"])
    app.before_request(_begin)
    app.after_request(_finish)
    # functions-framework's own handler of 500 would send the text of a stranger's exception.
    app.register_error_handler(500, _unexpected)
    app.register_error_handler(Exception, _unexpected)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(ServiceError, _service_error)
    # Assigning the attribute is the way that Flask's documentation names for wrapping an app.
    app.wsgi_app = _LogContext(app.wsgi_app)  # type: ignore[method-assign]
    return app


def from_environment(env: Mapping[str, str] = os.environ) -> Flask:
    """Make the app of the function that `FUNCTION_TARGET` names, by the environment's settings.

    Raises:
        SettingError: a setting is missing or wrong.
    """
    function = env["FUNCTION_TARGET"]
    config = load(env, function=function)
    logs.setup(config.log_format)
    return create_app(function, Backends(config))


def backends() -> Backends:
    """The backends of the app that answers the present request."""
    return cast(Backends, flask.current_app.extensions["backends"])


def dispatch(routes: Map, request: Request) -> Response:
    """Call the view that a function's own route table names for this request.

    Raises:
        werkzeug.exceptions.HTTPException: there is none (404, 405).
    """
    view, arguments = routes.bind_to_environ(request.environ).match()
    return cast(Response, view(request, **arguments))


def event_of(request: Request) -> CloudEvent | None:
    """The event that a request delivers; None for what is none, which is logged.

    Such a thing is answered 2xx all the same: it would not get better by being sent again, and the dispatcher takes
    most other answers for success anyway.

    Raises:
        werkzeug.exceptions.HTTPException: the request is no POST to /.
    """
    if request.path != "/":
        raise NotFound
    if request.method != "POST":
        raise MethodNotAllowed(["POST"])
    try:
        event = events.read(dict(request.headers), request.get_data())
    except (events.MalformedEvent, RequestEntityTooLarge) as error:
        _log.warning("a malformed event was dropped: %s", error)
        return None
    logs.add(event=str(event["id"]))
    return event


def notice_of(event: CloudEvent, *types: str) -> Notice | None:
    """The notice in an event; None for what is no event of ours of these types, which is logged."""
    try:
        notice = events.notice(event)
    except events.MalformedEvent as error:
        _log.warning("a malformed event was dropped: %s", error)
        return None
    logs.add(job=notice.job_id)
    if notice.traceparent is not None:
        logs.add(trace=notice.traceparent[3:35])
    if notice.type not in types:
        _log.warning("an event of type %s was dropped", notice.type)
        return None
    return notice


def event_notice(request: Request, *types: str) -> Notice | None:
    """The notice in a request that delivers an event of one of these types; None for anything else, which is logged.

    Raises:
        werkzeug.exceptions.HTTPException: the request is no POST to /.
    """
    event = event_of(request)
    return None if event is None else notice_of(event, *types)


def event_reply(event: CloudEvent | None) -> Response:
    """The answer that tells the broker that an event is dealt with, with the event that follows from it."""
    if event is None:
        return Response(status=204)
    headers, body = events.encode(event)
    return Response(body, status=200, headers=headers)


def problem(status: int, title: str, detail: str, members: Mapping[str, object] | None = None) -> Response:
    """Make a problem document (RFC 9457)."""
    body = {
        "title": title,
        "status": status,
        "detail": detail,
        **(members or {}),
        "request_id": _request_id(),
    }
    response = flask.jsonify(body)
    response.status_code = status
    response.content_type = "application/problem+json"
    if status == 503:
        # The gateway replaces the body of every 503, since it cannot tell ours from the platform's (knative/gateway).
        response.headers["X-Problem"] = flask.json.dumps(body)
    return response


def take_large_body(request: Request) -> None:
    """Let a request's body be of any length; whoever reads it counts."""
    cast(Body, request.environ["wsgi.input"]).most_bytes = sys.maxsize


def traceparent() -> str:
    """The trace context of the present request: the caller's, or one that begins here (W3C Trace Context)."""
    return cast(str, flask.g.traceparent)


def _healthz() -> Response:
    return Response("ok\n", mimetype="text/plain")


def _request_id() -> str:
    return cast(str, flask.g.get("request_id", ""))


def _begin() -> None:
    Body(flask.request.environ, most_bytes=SMALL_BODY_BYTES)
    given = flask.request.headers.get("X-Request-Id", "")
    flask.g.request_id = given if _REQUEST_ID.match(given) else uuid.uuid4().hex
    flask.g.began = time.monotonic()
    trace = flask.request.headers.get("traceparent", "")
    flask.g.traceparent = (
        trace if events.TRACEPARENT.match(trace) else f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"
    )
    logs.add(request=flask.g.request_id, trace=flask.g.traceparent[3:35])


def _finish(response: Response) -> Response:
    response.headers["X-Request-Id"] = _request_id()
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if flask.request.path != "/healthz":
        _log.info(
            "%s %s %s",
            flask.request.method,
            flask.request.path,
            response.status_code,
            extra={
                "function": flask.current_app.name,
                "ms": round((time.monotonic() - flask.g.began) * 1000),
            },
        )
    return response


def _service_error(error: ServiceError) -> Response:
    if error.__cause__ is not None and error.status >= 500:
        _log.warning("%s", error.detail, exc_info=error)
    members = {**error.members, "retry_helps": error.retry_helps}
    response = problem(error.status, error.title(), error.detail, members)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = f'{error.challenge} realm="video2mp3"'
    return response


def _http_error(error: HTTPException) -> Response:
    if error.response is not None:
        return cast(Response, error.response)
    response = problem(error.code or 500, error.name, _DETAILS.get(error.code or 500, error.name + "."))
    for name, value in error.get_headers():
        if name.lower() in ("allow", "content-range", "location", "retry-after"):
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    _log.error("unexpected error", exc_info=error)
    return problem(500, "Internal Server Error", "Something went wrong here; it has been logged.")


_DETAILS: Final = {
    404: "There is no such thing here.",
    405: "This method is not offered here.",
    413: "The body of this request is too large.",
    416: "The file has no such range.",
}


class _LogContext:
    """Gives each request log ids of its own, until its answer begins."""

    def __init__(self, wsgi_app: Any) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: Any, start_response: Any) -> Any:
        with logs.context(request="-"):
            return self._wsgi_app(environ, start_response)
