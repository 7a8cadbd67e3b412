"""upload over HTTP: POST /upload at once, /uploads in pieces."""

from typing import TYPE_CHECKING

import flask
from flask import Request, Response
from werkzeug.routing import Map, Rule

from functions.common import logs, options
from functions.common.app import backends, dispatch, take_large_body, traceparent
from functions.common.bearer import principal
from functions.common.errors import Invalid
from functions.common.job import Job, describe
from functions.upload import tus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from functions.upload.intake import Field, File


def upload(request: Request) -> Response:
    """Answer one request."""
    if request.path.startswith("/uploads"):
        tus.prepare(request)
    return dispatch(_ROUTES, request)


def _upload(request: Request) -> Response:
    from functions.upload.service import Intake, Upload, too_large

    made = backends()
    wanted = Upload(
        owner=principal(request, made.verifier).account_id,
        texts=request.args,
        idempotency_key=_idempotency_key(request),
        traceparent=traceparent(),
        least_bytes=max(0, (request.content_length or 0) - (_FORM_BYTES if _is_form(request) else 0)),
    )
    # What can be refused is refused before the body is read.
    options.parse(wanted.texts)
    most = made.config.max_upload_bytes
    if most and wanted.least_bytes > most:
        raise too_large(most)
    intake = Intake(
        jobs=made.jobs,
        blobs=made.blobs,
        publisher=made.publisher,
        quotas=made.quotas,
        waker=made.waker,
        max_bytes=most,
        crash_at=made.config.crash_at,
    )
    job = intake.repeated(wanted) or intake.receive(wanted, _parts(request))
    return _accepted(job)


def _parts(request: Request) -> "Iterator[Field | File]":
    from functions.upload import intake

    # The stream is counted while it is read, so the small limit of other requests is lifted.
    take_large_body(request)
    if _is_form(request):
        boundary = request.mimetype_params.get("boundary")
        if not boundary:
            raise Invalid("The form has no boundary.")
        return intake.multipart(request.stream, boundary)
    return intake.raw(request.stream, request.args.get("filename", ""))


def _is_form(request: Request) -> bool:
    return request.mimetype == "multipart/form-data"


def _accepted(job: Job) -> Response:
    logs.add(job=job.id)
    response = flask.make_response(describe(job), 202)
    response.headers["Location"] = f"/jobs/{job.id}"
    # Relative, so that it holds behind any gateway (RFC 9110, section 10.2.2).
    response.autocorrect_location_header = False
    return response


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= 255:
        raise Invalid("Idempotency-Key has 1 to 255 characters.")
    return key


#: What a form adds around its file.
_FORM_BYTES = 64 * 1024
_ROUTES = Map([Rule("/upload", endpoint=_upload, methods=["POST"]), *tus.routes()], merge_slashes=False)
