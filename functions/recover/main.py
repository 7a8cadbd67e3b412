"""recover over HTTP: the clock's ping at /, the broker's dead letters at /dead-letters."""

import logging
from typing import TYPE_CHECKING

from flask import Request, Response
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.routing import Map, Rule

from functions.common import events, logs
from functions.common.app import backends, dispatch, event_reply

if TYPE_CHECKING:
    from functions.recover.service import Recovery

_log = logging.getLogger(__name__)


def recover(request: Request) -> Response:
    """Answer one request."""
    return dispatch(_ROUTES, request)


def _ping(_request: Request) -> Response:
    # Whoever pings only makes us look at the rows, so what the ping says is not read.
    _recovery().sweep()
    return event_reply(None)


def _dead_letter(request: Request) -> Response:
    try:
        event = events.read(dict(request.headers), request.get_data())
    except (events.MalformedEvent, RequestEntityTooLarge) as error:
        _log.warning("a malformed dead letter was dropped: %s", error)
        return event_reply(None)
    logs.add(event=str(event["id"]), job=str(event.get("subject") or ""))
    _recovery().dead_letter(event)
    return event_reply(None)


def _recovery() -> "Recovery":
    from functions.recover.overdue import Overdue
    from functions.recover.service import Recovery

    made = backends()
    return Recovery(overdue=Overdue(made.database), jobs=made.jobs, blobs=made.blobs, publisher=made.publisher)


_ROUTES = Map(
    [
        Rule("/", endpoint=_ping, methods=["POST"]),
        Rule("/dead-letters", endpoint=_dead_letter, methods=["POST"]),
    ],
    merge_slashes=False,
)
