"""download over HTTP: an MP3 or its waveform, whole or by range, for the owner or by signed link."""

import re
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, cast

from flask import Request, Response
from werkzeug.exceptions import HTTPException, PreconditionFailed
from werkzeug.routing import Map, Rule
from werkzeug.utils import send_file
from werkzeug.wsgi import FileWrapper

from functions.common import logs
from functions.common.app import backends, dispatch
from functions.common.bearer import principal
from functions.common.errors import NotFound
from functions.common.job import MICROSECONDS, Job, mp3_name
from functions.common.links import API_LINK_SECONDS

if TYPE_CHECKING:
    from functions.common.job import Stored

_CHUNK_BYTES = 256 * 1024
_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*(\d+\s*-\s*\d*|-\s*\d+)\s*", re.IGNORECASE)


def download(request: Request) -> Response:
    """Answer one request."""
    return dispatch(_ROUTES, request)


def _job(request: Request) -> Job:
    """The job that a request may have the MP3 of."""
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
    return job


def _download(request: Request) -> Response:
    from functions.download import service

    made, job = backends(), _job(request)
    stream = service.open_result(job, blobs=made.blobs)
    # The page's player may play nothing of another origin; browsers say what asks (Fetch Metadata Request Headers).
    redirect = made.config.download_redirect and request.headers.get("Sec-Fetch-Dest") != "audio"
    if request.method == "GET" and redirect:
        address = made.blobs.address(job.result_key, seconds=API_LINK_SECONDS)
        if address is not None:
            stream.close()
            return Response(status=307, headers={"Location": address, "Cache-Control": "no-store"})
    result = cast("Stored", job.result)
    return _sent(
        stream,
        request,
        job,
        mimetype="audio/mpeg",
        name=mp3_name(job.filename),
        etag=result.sha256,
        size_bytes=result.size_bytes,
    )


def _waveform(request: Request) -> Response:
    from functions.download import service

    job = _job(request)
    # Never by an address of the store's own: the page's script asks, and may ask nobody but us.
    stream = service.open_waveform(job, blobs=backends().blobs)
    return _sent(
        stream,
        request,
        job,
        mimetype="application/octet-stream",
        name=f"{mp3_name(job.filename)}.dat",
        # A job that succeeded stays as it is, so whatever tells its MP3 tells its waveform.
        etag=f"{cast('Stored', job.result).sha256}-waveform",
        size_bytes=cast(int, job.waveform_size_bytes),
    )


def _sent(
    stream: BinaryIO, request: Request, job: Job, *, mimetype: str, name: str, etag: str, size_bytes: int
) -> Response:
    response = send_file(
        stream,
        _conditions(request),
        mimetype=mimetype,
        as_attachment=True,
        download_name=name,
        last_modified=(job.finished or 0) / MICROSECONDS,
        etag=etag,
        conditional=False,
        max_age=0,
        response_class=Response,
    )
    return _ranged(cast(Response, response), request, size_bytes)


def _ranged(response: Response, request: Request, size_bytes: int) -> Response:
    """Answer conditions and ranges (RFC 9110, sections 13 and 14), and end in time."""
    response.content_length = size_bytes
    response.headers["Cache-Control"] = "private, no-cache"
    file = cast(FileWrapper, response.response)
    try:
        response.make_conditional(_conditions(request), accept_ranges=True, complete_length=size_bytes)
    except HTTPException:
        file.close()
        raise
    if response.status_code == PreconditionFailed.code:
        file.close()
        raise PreconditionFailed
    # A range may be much less than that, and what is read is fetched.
    file.buffer_size = min(_CHUNK_BYTES, response.content_length or _CHUNK_BYTES)
    # The server says the date.
    del response.headers["Date"]
    seconds = backends().config.download_seconds
    if seconds:
        _cut_after(seconds, request, response)
    return response


def _cut_after(seconds: int, request: Request, response: Response) -> None:
    """Cut the connection when the time is up, also under a reader that stands still.

    At its own limit the platform would write words of its own into the body; a connection that is cut before the
    promised length leaves right bytes alone, and the client goes on with a range.
    """
    connection = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    if connection is not None:
        timer = threading.Timer(seconds, _cut, (connection,))
        timer.daemon = True
        response.call_on_close(timer.cancel)
        timer.start()


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _conditions(request: Request) -> dict[str, object]:
    """The request as far as its conditions and ranges go."""
    # The server's own file wrapper cannot seek to a range; ranges in unknown units are to be
    # ignored, and several at once may be (RFC 9110, section 14.2).
    left_out = {"wsgi.file_wrapper"}
    if request.method != "GET" or not _ONE_RANGE.fullmatch(request.headers.get("Range", "")):
        left_out.add("HTTP_RANGE")
    return {name: value for name, value in request.environ.items() if name not in left_out}


_ROUTES = Map(
    [
        Rule("/download", endpoint=_download, methods=["GET"]),
        Rule("/download/waveform", endpoint=_waveform, methods=["GET"]),
    ],
    merge_slashes=False,
)
