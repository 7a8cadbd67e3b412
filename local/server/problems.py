"""Problem documents (RFC 9457) of the servers on this machine that are no functions."""

import uuid
from collections.abc import Mapping

from flask import json
from werkzeug.wrappers import Response


def problem(
    status: int, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
) -> Response:
    """An answer that says what is wrong, with a request id."""
    request_id = uuid.uuid4().hex
    body = json.dumps({"title": title, "status": status, "detail": detail, **members, "request_id": request_id})
    return Response(
        body,
        status=status,
        headers={**(headers or {}), "X-Request-Id": request_id},
        content_type="application/problem+json",
    )
