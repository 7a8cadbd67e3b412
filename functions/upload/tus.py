"""Resumable uploads over HTTP: tus 1.0.0 with creation, creation-with-upload, expiration and termination.

The id of an upload is that of its job. See https://tus.io/protocols/resumable-upload.
"""

from base64 import b64decode
from typing import TYPE_CHECKING, Final
from uuid import UUID

import flask
from flask import Request, Response
from werkzeug.http import http_date
from werkzeug.routing import Rule

from functions.common import logs
from functions.common.app import backends, take_large_body, traceparent
from functions.common.bearer import principal
from functions.common.errors import Malformed, ServiceError, WrongType, WrongVersion
from functions.common.filenames import clean_name
from functions.common.job import MICROSECONDS, Job, State

if TYPE_CHECKING:
    from functions.upload.resumable import Uploads

_VERSION: Final = "1.0.0"
_BYTES: Final = "application/offset+octet-stream"
_LONGEST_METADATA: Final = 8192
_LONGEST_NUMBER: Final = 18


def prepare(request: Request) -> None:
    """Read what every request has that speaks tus, and have every answer say so.

    Raises:
        WrongVersion: it speaks another version.
    """
    flask.after_this_request(_say_version)
    # Some ways to here let nothing but GET and POST through.
    request.environ["REQUEST_METHOD"] = request.headers.get("X-HTTP-Method-Override", request.method).upper()
    if request.environ["REQUEST_METHOD"] != "OPTIONS" and request.headers.get("Tus-Resumable") != _VERSION:
        raise WrongVersion(f"Resumable uploads are made by tus {_VERSION}; say so by Tus-Resumable.")


def _say_version(response: Response) -> Response:
    response.headers["Tus-Resumable"] = response.headers["Tus-Version"] = _VERSION
    return response


def offer(_request: Request, **_path: UUID) -> Response:
    """Tell what is spoken here; by this a client also wakes the function."""
    response = Response(status=204)
    response.headers["Tus-Extension"] = "creation,creation-with-upload,expiration,termination"
    most = backends().config.max_upload_bytes
    if most:
        response.headers["Tus-Max-Size"] = str(most)
    return response


def create(request: Request) -> Response:
    """Begin an upload, maybe with its first bytes."""
    from functions.upload.resumable import Announced

    owner = _owner(request)
    if "Upload-Defer-Length" in request.headers:
        raise Malformed("The length of an upload is announced with it: Upload-Length.")
    metadata = request.headers.get("Upload-Metadata")
    texts = _texts(metadata or "")
    uploads = _uploads()
    job = uploads.create(
        Announced(
            owner=owner,
            size_bytes=_number(request, "Upload-Length"),
            # Clients differ in what they call it.
            filename=clean_name(texts.get("filename") or texts.get("name") or ""),
            texts=texts,
            metadata=metadata,
            traceparent=traceparent(),
        )
    )
    logs.add(job=job.id)
    if request.mimetype == _BYTES:
        try:
            job = _receive(request, uploads, job, offset=0)
        except ServiceError:
            # Nobody was told of it.
            uploads.discard(job)
            raise
    response = _state(job, 201)
    response.headers["Location"] = f"/uploads/{job.id}"
    # Relative, so that it holds behind any gateway (RFC 9110, section 10.2.2).
    response.autocorrect_location_header = False
    return response


def show(request: Request, job_id: UUID) -> Response:
    """Tell how much of an upload is stored."""
    job = _find(request, job_id)
    response = _state(job, 200)
    response.headers["Upload-Length"] = str(job.source_bytes)
    if job.upload_metadata is not None:
        response.headers["Upload-Metadata"] = job.upload_metadata
    response.headers["Cache-Control"] = "no-store"
    return response


def append(request: Request, job_id: UUID) -> Response:
    """Add bytes to an upload; its last ones make the job."""
    job = _find(request, job_id)
    offset = _number(request, "Upload-Offset")
    if request.mimetype != _BYTES:
        raise WrongType(f"Bytes of an upload are sent as {_BYTES}.")
    return _state(_receive(request, _uploads(), job, offset=offset), 204)


def remove(request: Request, job_id: UUID) -> Response:
    """Take an upload away that is not complete."""
    job = _find(request, job_id)
    _uploads().give_up(job)
    return Response(status=204)


def _uploads() -> "Uploads":
    from functions.upload.pieces import Pieces
    from functions.upload.resumable import Uploads

    made = backends()
    return Uploads(
        jobs=made.jobs,
        pieces=Pieces(made.database),
        blobs=made.blobs,
        publisher=made.publisher,
        quotas=made.quotas,
        waker=made.waker,
        max_bytes=made.config.max_upload_bytes,
        crash_at=made.config.crash_at,
    )


def _find(request: Request, job_id: UUID) -> Job:
    logs.add(job=str(job_id))
    return _uploads().find(str(job_id), _owner(request))


def _owner(request: Request) -> str:
    return principal(request, backends().verifier).account_id


def _receive(request: Request, uploads: "Uploads", job: Job, *, offset: int) -> Job:
    from functions.upload.arriving import Arriving

    # Whoever reads it counts.
    take_large_body(request)
    body = Arriving(request.stream)
    job = uploads.receive(job, offset=offset, body=body, length=request.content_length)
    if body.is_broken:
        raise Malformed("The upload was interrupted.")
    return job


def _state(job: Job, status: int) -> Response:
    response = Response(status=status)
    response.headers["Upload-Offset"] = str(job.received_bytes)
    if job.state is State.RECEIVING and job.due is not None:
        response.headers["Upload-Expires"] = http_date(job.due / MICROSECONDS)
    return response


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER):
        raise Malformed(f"{name} must be a whole number of bytes.")
    return int(text)


def _texts(metadata: str) -> dict[str, str]:
    """The pairs of an Upload-Metadata header, by their keys.

    Raises:
        Malformed: it cannot be read.
    """
    if len(metadata) > _LONGEST_METADATA:
        raise Malformed("Upload-Metadata is too long.")
    texts = {}
    for pair in filter(None, (pair.strip() for pair in metadata.split(","))):
        key, _, value = pair.partition(" ")
        try:
            texts[key] = b64decode(value.strip(), validate=True).decode()
        except ValueError as error:
            raise Malformed("Upload-Metadata has pairs of a key and its value in Base64 of UTF-8.") from error
    return texts


def routes() -> list[Rule]:
    """What the upload function serves below /uploads; new each time, since a rule belongs to one map."""
    one = "/uploads/<uuid:job_id>"
    return [
        Rule("/uploads", endpoint=offer, methods=["OPTIONS"]),
        Rule("/uploads", endpoint=create, methods=["POST"]),
        Rule(one, endpoint=offer, methods=["OPTIONS"]),
        Rule(one, endpoint=show, methods=["HEAD"]),
        Rule(one, endpoint=append, methods=["PATCH"]),
        Rule(one, endpoint=remove, methods=["DELETE"]),
    ]
