"""bridge over HTTP: a message of another system's queue comes in and becomes a job; a success goes back to it."""

from typing import TYPE_CHECKING, Final, cast

from flask import Request, Response

from functions.common import events
from functions.common.app import backends, event_of, event_reply, notice_of, traceparent
from functions.common.errors import Unavailable

if TYPE_CHECKING:
    from functions.bridge.service import Bridge
    from functions.common.blobs.gridfs import GridFsBlobs

#: Type that a RabbitmqSource gives to a message that is no CloudEvent.
_MESSAGE: Final = "dev.knative.rabbitmq.event"


def bridge(request: Request) -> Response:
    """Answer one event."""
    event = event_of(request)
    if event is not None and event["type"] == _MESSAGE:
        _bridge().take(event.get_data(), traceparent=traceparent())
    elif event is not None:
        notice = notice_of(event, events.SUCCEEDED)
        if notice is not None:
            _bridge().tell(notice)
    return event_reply(None)


def _bridge() -> "Bridge":
    from functions.bridge.rows import Rows
    from functions.bridge.service import Bridge

    made = backends()
    if not made.config.bridge_amqp_url or not made.config.blobs_url.startswith("mongodb"):
        # Alone it would not have started; beside the other functions in one process it has nothing to do.
        raise Unavailable("This installation has no bridge.")
    from functions.bridge.rabbitmq import Queue

    return Bridge(
        jobs=made.jobs,
        rows=Rows(made.database),
        blobs=cast("GridFsBlobs", made.blobs),
        publisher=made.publisher,
        queue=Queue(made.config.bridge_amqp_url, "mp3"),
        crash_at=made.config.crash_at,
    )
