"""jobs over HTTP: history, one job, live events, cancel, retry, delete."""

from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import UUID

import flask
from flask import Request, Response
from werkzeug.routing import Map, Rule

from functions.common import logs
from functions.common.app import backends, dispatch
from functions.common.bearer import principal
from functions.common.errors import Invalid
from functions.common.job import Job, State, describe

if TYPE_CHECKING:
    from functions.jobs.history import History

_MOST_SEARCHED = 100


def jobs(request: Request) -> Response:
    """Answer one request."""
    return dispatch(_ROUTES, request)


def _list(request: Request) -> Response:
    owner = _owner(request)
    limit = request.args.get("limit", "50")
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= 200):
        raise Invalid("limit must be a whole number from 1 to 200.", field="limit")
    before = request.args.get("before") or None
    if before is not None:
        try:
            before = str(UUID(before))
        except ValueError as error:
            raise Invalid("before must be the id of a job.", field="before") from error
    search = request.args.get("search", "").strip()
    if len(search) > _MOST_SEARCHED:
        raise Invalid(f"search must have at most {_MOST_SEARCHED} characters.", field="search")
    # One more than was asked for tells whether there is a next page.
    page = _history().page(owner, limit=int(limit) + 1, before=before, search=search)
    shown, more = page[: int(limit)], len(page) > int(limit)
    following = None
    if more:
        following = f"/jobs?limit={limit}&before={shown[-1].id}" + (f"&search={quote(search)}" if search else "")
    return flask.jsonify(jobs=[_describe(job) for job in shown], next=following, limits=_limits(owner))


def _one(request: Request, job_id: UUID) -> Response:
    from functions.jobs import service

    return flask.jsonify(_describe(service.find(_id(job_id), _owner(request), jobs=backends().jobs)))


def _cancel(request: Request, job_id: UUID) -> Response:
    from functions.jobs import service

    return flask.jsonify(_describe(service.cancel(_id(job_id), _owner(request), jobs=backends().jobs)))


def _retry(request: Request, job_id: UUID) -> Response:
    from functions.jobs import service

    made = backends()
    job = service.retry(_id(job_id), _owner(request), jobs=made.jobs, publisher=made.publisher, quotas=made.quotas)
    return flask.make_response(_describe(job), 202)


def _delete(request: Request, job_id: UUID) -> Response:
    from functions.jobs import service

    made = backends()
    service.delete(_id(job_id), _owner(request), jobs=made.jobs, blobs=made.blobs)
    return Response(status=204)


def _events(request: Request, job_id: UUID | None = None) -> Response:
    from functions.jobs import service
    from functions.jobs.streams import Stream

    made = backends()
    owner = _owner(request)
    if job_id is not None:
        service.find(_id(job_id), owner, jobs=made.jobs)
    stream = Stream(
        history=_history(),
        owner=owner,
        job_id=None if job_id is None else str(job_id),
        describe=flask.copy_current_request_context(_describe),
        seconds=made.config.stream_seconds,
        draining=made.draining,
    )
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(stream, mimetype="text/event-stream", headers=headers)


def _history() -> "History":
    from functions.jobs.history import History

    return History(backends().database)


def _limits(owner: str) -> dict[str, dict[str, int | None]]:
    """What bounds the owner's next upload, so that a client can tell before it is refused."""
    made = backends()
    return {**made.quotas.describe(owner), "upload_bytes": {"limit": made.config.max_upload_bytes or None}}


def _owner(request: Request) -> str:
    return principal(request, backends().verifier).account_id


def _id(job_id: UUID) -> str:
    logs.add(job=str(job_id))
    return str(job_id)


def _describe(job: Job) -> dict[str, object]:
    if job.state is not State.SUCCEEDED:
        return describe(job)
    from functions.common.links import API_LINK_SECONDS

    links = backends().links
    return describe(
        job,
        download=links.make(job.id, seconds=API_LINK_SECONDS),
        waveform=links.make(job.id, seconds=API_LINK_SECONDS, path="/download/waveform"),
    )


_ROUTES = Map(
    [
        Rule("/jobs", endpoint=_list, methods=["GET"]),
        Rule("/jobs/events", endpoint=_events, methods=["GET"]),
        Rule("/jobs/<uuid:job_id>", endpoint=_one, methods=["GET"]),
        Rule("/jobs/<uuid:job_id>", endpoint=_delete, methods=["DELETE"]),
        Rule("/jobs/<uuid:job_id>/events", endpoint=_events, methods=["GET"]),
        Rule("/jobs/<uuid:job_id>/cancel", endpoint=_cancel, methods=["POST"]),
        Rule("/jobs/<uuid:job_id>/retry", endpoint=_retry, methods=["POST"]),
    ],
    merge_slashes=False,
)
