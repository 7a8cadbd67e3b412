"""What may come to a function instead of an event that the project sent; see `FORGERIES`."""

from collections.abc import Mapping
from typing import Final

from functions.common import events
from functions.common.job import new_id

#: Headers of an event in structured mode.
STRUCTURED: Final[Mapping[str, str]] = {"Content-Type": "application/cloudevents+json"}
UPLOADED_HEADERS: Final[Mapping[str, str]] = {
    "Content-Type": "application/json",
    "ce-specversion": "1.0",
    "ce-type": events.UPLOADED,
    "ce-source": "/upload",
    "ce-id": "forged",
}


def body(job_id: object, run: object) -> bytes:
    """An event's data, spelt by hand."""
    return f'{{"job_id": "{job_id}", "run": {run}}}'.encode()


def structured(data: bytes) -> bytes:
    """A whole event in structured mode."""
    attributes = f'"specversion": "1.0", "id": "forged", "source": "/upload", "type": "{events.UPLOADED}"'
    return f'{{{attributes}, "data": '.encode() + data + b"}"


#: What may come instead of an event; `%s` stands for the id of a job that is queued.
FORGERIES: Final[Mapping[str, tuple[Mapping[str, str], bytes]]] = {
    "an unknown job": (UPLOADED_HEADERS, body(new_id(), 1)),
    "no id of a job": (UPLOADED_HEADERS, body("../../etc/passwd", 1)),
    "a later run": (UPLOADED_HEADERS, body("%s", 99)),
    "run 0": (UPLOADED_HEADERS, body("%s", 0)),
    "a run below 0": (UPLOADED_HEADERS, body("%s", -1)),
    "a run of 31 bits": (UPLOADED_HEADERS, body("%s", 2**31 - 1)),
    "a run of 63 bits": (UPLOADED_HEADERS, body("%s", 2**63)),
    "a run of 5,000 digits": (UPLOADED_HEADERS, body("%s", "9" * 5000)),
    "a run that is a fraction": (UPLOADED_HEADERS, body("%s", 1.0)),
    "a run that is true": (UPLOADED_HEADERS, body("%s", "true")),
    "a run that is a text": (UPLOADED_HEADERS, body("%s", '"1"')),
    "a foreign type": ({**UPLOADED_HEADERS, "ce-type": "com.example.deleted"}, body("%s", 1)),
    "no type": ({name: text for name, text in UPLOADED_HEADERS.items() if name != "ce-type"}, body("%s", 1)),
    "another version": ({**UPLOADED_HEADERS, "ce-specversion": "9.9"}, body("%s", 1)),
    "no event at all": ({"Content-Type": "application/json"}, body("%s", 1)),
    "an empty body": (UPLOADED_HEADERS, b""),
    "garbage": (UPLOADED_HEADERS, b"\x00\xff\xfe%s"),
    "a list": (UPLOADED_HEADERS, b"[]"),
    "60,000 brackets": (UPLOADED_HEADERS, b"[" * 60_000),
    "garbage in structured mode": (STRUCTURED, b"\x00\xff\xfe"),
    "60,000 brackets in structured mode": (STRUCTURED, b"[" * 60_000),
    "deep data in structured mode": (STRUCTURED, structured(b"[" * 20_000 + b"]" * 20_000)),
    "a later run in structured mode": (STRUCTURED, structured(body("%s", 2))),
    "a batch": ({"Content-Type": "application/cloudevents-batch+json"}, b"[{}]"),
}


def forged(name: str, job_id: str) -> tuple[dict[str, str], bytes]:
    """Headers and body of a forgery that is about this job."""
    headers, text = FORGERIES[name]
    return dict(headers), text.replace(b"%s", job_id.encode())
