"""The broker's way in, as eventing-rabbitmq's ingress: events by HTTP, answered when RabbitMQ has them."""

import logging
from collections.abc import Iterable
from typing import Any, Final

from werkzeug.exceptions import ClientDisconnected
from werkzeug.wrappers import Request, Response

from functions.common import events
from functions.common.errors import Unavailable
from functions.common.publisher import Publisher
from local.server.problems import problem

#: Events carry references only.
_MOST_BYTES: Final = 256 * 1024
_log = logging.getLogger("ingress")


class Ingress:
    """A WSGI app (PEP 3333) that takes events at `POST /`.

    202: RabbitMQ has it. 400: it is no event. 503: it may not have arrived, or no trigger takes it; unlike the real
    ingress, which takes what nobody wants and drops it.

    Args:
        publisher: hands events to RabbitMQ.
    """

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.path == "/healthz":
            return Response("ok\n")
        if request.path != "/":
            return problem(404, "Not Found", "Events are posted to /.")
        if request.method != "POST":
            return problem(405, "Method Not Allowed", "Events are posted.", headers={"Allow": "POST"})
        if request.content_length is None or request.content_length > _MOST_BYTES:
            return problem(413, "Content Too Large", f"An event has at most {_MOST_BYTES} bytes, and says how many.")
        try:
            event = events.read(dict(request.headers), request.get_data())
            self._publisher.publish(events.check_portable(event))
        except ClientDisconnected:
            return problem(400, "Bad Request", "The body ended before its end.")
        except events.MalformedEvent as error:
            return problem(400, "Bad Request", f"This is no CloudEvent: {error}.")
        except Unavailable as error:
            _log.warning("%s", error.detail)
            return problem(503, "Service Unavailable", error.detail, headers={"Retry-After": "5"})
        return Response(status=202)
