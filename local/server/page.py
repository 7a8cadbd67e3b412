"""What `/` shows until a page exists: how to convert with curl."""

import uuid

from flask import Flask, Response, g, request

from functions.common.app import problem

_WALK = """video2mp3: hand in a video, get an MP3.

  curl -d email=you@example.com -d password=... {url}/register
  TOKEN=$(curl -X POST -u "you@example.com:..." {url}/login)
  curl -X POST -F "file=@./video.mp4" -H "Authorization: Bearer $TOKEN" {url}/upload
  curl -H "Authorization: Bearer $TOKEN" {url}/jobs
  curl --output converted.mp3 -H "Authorization: Bearer $TOKEN" "{url}/download?fid=<id>"
"""


def create_page() -> Flask:
    """Make the WSGI app of every path that is no function's."""
    app = Flask("page", static_folder=None)

    @app.before_request
    def begin() -> None:
        g.request_id = uuid.uuid4().hex

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        return response

    @app.get("/")
    def walk() -> Response:
        return Response(_WALK.format(url=request.host_url.rstrip("/")), mimetype="text/plain")

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @app.errorhandler(404)
    def missing(_error: Exception) -> Response:
        return problem(404, "Not Found", "There is no such thing here.")

    @app.errorhandler(405)
    def not_allowed(_error: Exception) -> Response:
        return problem(405, "Method Not Allowed", "This method is not offered here.")

    return app
