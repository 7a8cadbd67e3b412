"""The CloudEvents that travel between the steps, made and read in one place.

An event is a nudge: it names a job and its run, and nothing that is not also in the job's row. Any event may be
forged, repeated, late or lost.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloudevents.conversion import to_binary
from cloudevents.exceptions import GenericException
from cloudevents.http import CloudEvent, from_http

UPLOADED: Final = "io.github.video2mp3.video.uploaded.v1"
SUCCEEDED: Final = "io.github.video2mp3.conversion.succeeded.v1"
FAILED: Final = "io.github.video2mp3.conversion.failed.v1"

#: W3C Trace Context, section 3.2.
TRACEPARENT: Final = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_PORTABLE: Final = re.compile(r"[\x20-\x7e]{0,1024}\Z")
_JOB_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_SOURCES: Final = {UPLOADED: "/upload", SUCCEEDED: "/convert", FAILED: "/convert"}
_OUTCOMES: Final = {UPLOADED: "uploaded", SUCCEEDED: "succeeded", FAILED: "failed"}


class MalformedEvent(ValueError):
    """What arrived is no event of ours; sending it again cannot help."""


@dataclass(frozen=True)
class Notice:
    """What an event says: look at this job."""

    #: One of UPLOADED, SUCCEEDED, FAILED, or a foreign type.
    type: str
    id: str
    job_id: str
    run: int
    #: W3C trace context of the request that began it all, or None.
    traceparent: str | None


def make(type_: str, *, job_id: str, run: int, traceparent: str | None = None, reason: str | None = None) -> CloudEvent:
    """Make the event of this type for one run of a job; the same arguments always give the same id."""
    attributes = {
        "type": type_,
        "source": _SOURCES[type_],
        "id": f"{job_id}.{run}.{_OUTCOMES[type_]}",
        "subject": job_id,
        "datacontenttype": "application/json",
    }
    if traceparent:
        attributes["traceparent"] = traceparent
    data: dict[str, object] = {"job_id": job_id, "run": run}
    if reason is not None:
        data["reason"] = reason
    return CloudEvent(attributes, data)


def read(headers: Mapping[str, str], body: bytes) -> CloudEvent:
    """Read an event in binary or structured HTTP mode (CloudEvents HTTP binding 1.0.2, section 3).

    Raises:
        MalformedEvent: it is none.
    """
    try:
        return from_http(headers, body)
    except (GenericException, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedEvent(str(error)) from error


def check_portable(event: CloudEvent) -> CloudEvent:
    """Make sure that an event can be carried on, by headers of HTTP and of AMQP; return it.

    Raises:
        MalformedEvent: an attribute is too long, or not printable ASCII; it could never be delivered.
    """
    for name, value in event.get_attributes().items():
        if value is not None and not _PORTABLE.match(str(value)):
            raise MalformedEvent(f"attribute {name[:50]!r} is too long, or not printable ASCII")
    return event


def notice(event: CloudEvent) -> Notice:
    """Take from an event what a step may look at.

    Raises:
        MalformedEvent: the data is not what our events carry.
    """
    data = event.get_data()
    if not isinstance(data, dict):
        raise MalformedEvent("data is not a JSON object")
    job_id, run = data.get("job_id"), data.get("run")
    if not isinstance(job_id, str) or not _JOB_ID.match(job_id):
        raise MalformedEvent("data has no job_id of ours")
    if not isinstance(run, int) or isinstance(run, bool) or not 0 < run < 2**31:
        raise MalformedEvent("data has no run")
    trace = str(event.get_attributes().get("traceparent"))
    return Notice(
        type=str(event["type"]),
        id=str(event["id"]),
        job_id=job_id,
        run=run,
        traceparent=trace if TRACEPARENT.match(trace) else None,
    )


def encode(event: CloudEvent) -> tuple[dict[str, str], bytes]:
    """Encode an event in binary HTTP mode: headers and body."""
    headers, body = to_binary(event)
    return dict(headers), body
