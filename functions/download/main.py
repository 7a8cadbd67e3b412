"""download over HTTP: GET and HEAD /download, whole or by range, for the owner or by signed link."""

from typing import TYPE_CHECKING, cast

from flask import Request, Response
from werkzeug.routing import Map, Rule
from werkzeug.utils import send_file
from werkzeug.wsgi import FileWrapper

from functions.common import logs
from functions.common.app import backends, dispatch
from functions.common.bearer import principal
from functions.common.errors import NotFound
from functions.common.job import MICROSECONDS, Job, mp3_name

if TYPE_CHECKING:
    from functions.common.job import Stored

_CHUNK_BYTES = 256 * 1024


def download(request: Request) -> Response:
    """Answer one request."""
    return dispatch(_ROUTES, request)


def _download(request: Request) -> Response:
    from functions.download import service

    made = backends()
    job_id = request.args.get("fid") or request.args.get("id") or ""
    signature = request.args.get("signature")
    owner = None
    if signature is None:
        owner = principal(request, made.verifier).account_id
    if not job_id:
        raise NotFound
    if signature is not None:
        made.links.check(job_id, signature)
    job = service.find(job_id, owner=owner, jobs=made.jobs)
    logs.add(job=job.id)
    stream = service.open_result(job, blobs=made.blobs)
    response = send_file(
        stream,
        # Without the server's own file wrapper, which cannot seek to a range.
        {name: value for name, value in request.environ.items() if name != "wsgi.file_wrapper"},
        mimetype="audio/mpeg",
        as_attachment=True,
        download_name=mp3_name(job.filename),
        last_modified=(job.finished or 0) / MICROSECONDS,
        etag=cast("Stored", job.result).sha256,
        conditional=False,
        max_age=0,
        response_class=Response,
    )
    return _ranged(cast(Response, response), request, job)


def _ranged(response: Response, request: Request, job: Job) -> Response:
    """Answer conditions and ranges (RFC 9110, sections 13 and 14), and end in time."""
    from functions.download import service

    size_bytes = cast("Stored", job.result).size_bytes
    response.content_length = size_bytes
    response.headers["Cache-Control"] = "private, no-cache"
    file = cast(FileWrapper, response.response)
    file.buffer_size = _CHUNK_BYTES
    try:
        response.make_conditional(request, accept_ranges=True, complete_length=size_bytes)
    except Exception:
        response.close()
        raise
    limit = backends().config.download_seconds
    if limit and request.method == "GET" and response.status_code in (200, 206):
        sent = response.response
        response.response = service.limited(iter(cast("list[bytes]", sent)), seconds=limit)
        response.call_on_close(file.close)
        response.direct_passthrough = False
    return response


_ROUTES = Map([Rule("/download", endpoint=_download, methods=["GET"])], merge_slashes=False)
