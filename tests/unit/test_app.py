"""The factory of every function's WSGI app: what each answers whatever the function does."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import flask
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import RequestedRangeNotSatisfiable, TooManyRequests
from werkzeug.test import TestResponse

from functions.common import app as factory
from functions.common import errors, events
from functions.common.app import SMALL_BODY_BYTES, create_app, from_environment
from functions.common.backends import Backends
from functions.common.config import NEEDS, load
from functions.common.errors import ServiceError, SettingError, Unauthorized, Unavailable

each_function = pytest.mark.parametrize("function", NEEDS)
TRACE: Final = f"00-{'a' * 32}-{'b' * 16}-01"
SECRET: Final = "password=hunter2 at /srv/secret.db"


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    """Let every line of the request log be seen."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.setLevel(logging.INFO)
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def app_of(function: str) -> Flask:
    """A function that is connected to nothing."""
    return create_app(function, Backends(load({})))


def client_of(function: str, view: Callable[[], Any] | None = None) -> FlaskClient:
    """A client of a function, with a view of the test's own at /test."""
    app = app_of(function)
    if view is not None:
        app.add_url_rule("/test", view_func=view, methods=["GET", "POST"])
    return app.test_client()


def raising(error: Exception) -> Callable[[], Any]:
    """A view that fails."""

    def view() -> Any:
        raise error

    return view


def problem_of(answer: TestResponse) -> dict[str, Any]:
    """The problem document of an answer, which must be one."""
    assert answer.content_type == "application/problem+json"
    body: dict[str, Any] = answer.get_json(force=True)
    assert body["status"] == answer.status_code
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert {"title", "detail"} <= set(body)
    return body


@each_function
def test_healthz(function: str) -> None:
    """Every function says that it is there, connected to nothing, and no line is logged for it."""
    answer = client_of(function).get("/healthz")
    assert (answer.status_code, answer.text, answer.mimetype) == (200, "ok\n", "text/plain")
    assert answer.headers["X-Request-Id"]


def test_healthz_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Probes come every few seconds and tell nothing."""
    client_of("jobs").get("/healthz")
    assert [record for record in caplog.records if record.name == "request"] == []


@each_function
@pytest.mark.parametrize("path", ["/nothing", "/robots.txt", "/favicon.ico", "//x", "/x//y", "/jobs//", "/../x"])
def test_not_found(function: str, path: str) -> None:
    """A path that is no function's, near misses among them, is answered 404, and never by a redirect."""
    # The test client would take `//x` for a host.
    answer = client_of(function).post("/", environ_overrides={"PATH_INFO": path})
    assert (answer.status_code, problem_of(answer)["title"]) == (404, "Not Found")
    assert "Location" not in answer.headers


@each_function
@pytest.mark.parametrize("path", ["//", "///", "//jobs", "//login", "//healthz", "/healthz//", "//evil.example.com/.."])
def test_doubled_slashes_lead_nowhere_else(function: str, path: str) -> None:
    """Slashes too many never make a redirect, which browsers would follow to the host that they spell."""
    answer = client_of(function).post("/", environ_overrides={"PATH_INFO": path})
    assert answer.status_code not in range(300, 400)
    assert "Location" not in answer.headers


METHODS: Final = [
    ("auth", "/login", "GET", {"POST"}),
    ("auth", "/.well-known/jwks.json", "POST", {"GET", "HEAD"}),
    ("upload", "/upload", "GET", {"POST"}),
    ("convert", "/", "GET", {"POST"}),
    ("notify", "/", "PUT", {"POST"}),
    ("jobs", "/jobs", "PUT", {"GET", "HEAD"}),
    ("jobs", "/jobs/01890a5d-ac96-774b-bcce-b302099a8057", "POST", {"GET", "HEAD", "DELETE"}),
    ("download", "/download", "DELETE", {"GET", "HEAD"}),
    ("recover", "/", "GET", {"POST"}),
]


@pytest.mark.parametrize(("function", "path", "method", "allowed"), METHODS)
def test_method_not_allowed(function: str, path: str, method: str, allowed: set[str]) -> None:
    """A method that is not offered is answered 405 with those that are."""
    answer = client_of(function).open(path, method=method)
    assert (answer.status_code, problem_of(answer)["title"]) == (405, "Method Not Allowed")
    assert {text.strip() for text in answer.headers["Allow"].split(",")} == allowed


@pytest.mark.parametrize("error", [RuntimeError(SECRET), ValueError(SECRET), OSError(2, SECRET), RecursionError()])
def test_a_strangers_exception(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """What broke in us is logged with its trace, and its words never reach a client."""
    answer = client_of("jobs", raising(error)).get("/test")
    assert answer.status_code == 500
    assert problem_of(answer)["detail"] == "Something went wrong here; it has been logged."
    assert "hunter2" not in answer.text + str(answer.headers)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[1] is error


CLASSES: Final = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ServiceError)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_errors_of_ours(kind: type[ServiceError]) -> None:
    """Each error of the tree is answered with its status, title and detail."""
    body = problem_of(client_of("jobs", raising(kind("This very one."))).get("/test"))
    assert (body["status"], body["title"], body["detail"]) == (kind.status, kind.title(), "This very one.")


def test_members_and_retry_after() -> None:
    """What the error knows beyond its sentence goes along; whether to come again is a header."""
    error = Unavailable("Later.", retry_after_seconds=7, field="file", limit=3)
    answer = client_of("jobs", raising(error)).get("/test")
    body = problem_of(answer)
    assert (body["field"], body["limit"], answer.headers["Retry-After"]) == ("file", 3, "7")


def test_members_do_not_replace_the_id() -> None:
    """The id of the request in a problem is the server's."""
    error = ServiceError("x", request_id="forged")
    problem_of(client_of("jobs", raising(error)).get("/test"))


@pytest.mark.parametrize("challenge", ["Bearer", "Basic"])
def test_challenge(challenge: str) -> None:
    """A 401 says how to log in."""
    answer = client_of("jobs", raising(Unauthorized(challenge=challenge))).get("/test")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, f'{challenge} realm="video2mp3"')


def test_a_vendors_error_behind_ours(caplog: pytest.LogCaptureFixture) -> None:
    """What a backend raised is logged behind our error, and not told."""
    error = Unavailable()
    error.__cause__ = RuntimeError(SECRET)
    answer = client_of("jobs", raising(error)).get("/test")
    assert (answer.status_code, "hunter2" in answer.text) == (503, False)
    # The gateway has nothing else of it.
    assert json.loads(answer.headers["X-Problem"]) == answer.json
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.exc_info is not None


def test_http_errors_keep_their_headers() -> None:
    """What the framework refuses is told by us, with the headers that a client needs."""
    answer = client_of("jobs", raising(RequestedRangeNotSatisfiable(length=9))).get("/test")
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */9")
    assert problem_of(answer)["detail"] == "The file has no such range."
    answer = client_of("jobs", raising(TooManyRequests(SECRET, retry_after=3))).get("/test")
    assert (answer.status_code, answer.headers["Retry-After"], "hunter2" in answer.text) == (429, "3", False)


def test_an_answer_that_was_thrown() -> None:
    """A whole answer that is thrown is sent as it is."""

    def view() -> Any:
        flask.abort(flask.Response("tea", status=418))

    answer = client_of("jobs", view).get("/test")
    assert (answer.status_code, answer.text) == (418, "tea")


def test_a_request_id_is_made() -> None:
    """Each answer has an id of its own."""
    client = client_of("jobs")
    ids = {client.get("/healthz").headers["X-Request-Id"] for _ in range(5)}
    assert len(ids) == 5
    assert all(re.fullmatch(r"[0-9a-f]{32}", request_id) for request_id in ids)


@pytest.mark.parametrize("given", ["a", "0123456789abcdef" * 4, "A.b_c-9"])
def test_a_request_id_is_kept(given: str, caplog: pytest.LogCaptureFixture) -> None:
    """A gateway's id is answered and told in the problem, so that both logs speak of one request."""
    answer = client_of("jobs").get("/nothing", headers={"X-Request-Id": given})
    assert problem_of(answer)["request_id"] == given
    assert caplog.records


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", "a\tb", "<b>", "ä", "a/b", "a;b", '"'])
def test_a_request_id_that_is_none(given: str) -> None:
    """What is no plain id is replaced."""
    answer = client_of("jobs").get("/nothing", headers={"X-Request-Id": given})
    assert re.fullmatch(r"[0-9a-f]{32}", problem_of(answer)["request_id"])


def trace_of(headers: dict[str, str]) -> str:
    """The trace that a view sees."""
    return client_of("jobs", lambda: factory.traceparent()).get("/test", headers=headers).text


def test_a_trace_is_carried() -> None:
    """A caller's trace context is the request's."""
    assert trace_of({"traceparent": TRACE}) == TRACE


@pytest.mark.parametrize("given", ["", "x", TRACE.upper(), TRACE + "0", "01" + TRACE[2:], TRACE[:-3], f"{TRACE} x"])
def test_a_trace_is_made(given: str) -> None:
    """Without a valid one a trace begins here, another for each request."""
    made = [trace_of({"traceparent": given} if given else {}) for _ in range(2)]
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", trace) for trace in made)
    assert made[0] != made[1] != given


def test_one_line_for_a_request(caplog: pytest.LogCaptureFixture) -> None:
    """The line of a request tells method, path, status and time, and no query, which may hold a signature."""
    client_of("download").get("/nothing?signature=hunter2&fid=hunter3", headers={"Authorization": "Bearer hunter4"})
    [record] = [record for record in caplog.records if record.name == "request"]
    assert record.getMessage() == "GET /nothing 404"
    assert isinstance(vars(record)["ms"], int)
    assert not any("hunter" in str(value) for value in vars(record).values())


def test_no_sniffing() -> None:
    """Browsers are told to take each answer for what it says it is."""
    client = client_of("jobs")
    assert {client.get(path).headers["X-Content-Type-Options"] for path in ("/healthz", "/nothing")} == {"nosniff"}


class Unread:
    """A body of which nothing may be read."""

    def read(self, *_: object) -> bytes:
        """Fail."""
        raise AssertionError("a body was read that is refused")

    readline = readlines = read


LARGE: Final = {"wsgi.input": Unread(), "CONTENT_LENGTH": str(SMALL_BODY_BYTES + 1)}


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_a_large_body_is_refused_unread(content_type: str) -> None:
    """A body that is larger than a request without media has is refused by its length, before a byte is read."""
    answer = client_of("auth").open(
        "/register", method="POST", content_type=f"{content_type}; boundary=b", environ_overrides=LARGE
    )
    assert (answer.status_code, problem_of(answer)["detail"]) == (413, "The body of this request is too large.")


@pytest.mark.parametrize(("function", "path"), [("convert", "/"), ("notify", "/"), ("recover", "/dead-letters")])
def test_a_large_event_is_dropped_unread(function: str, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """An event that is larger than any of ours is malformed: dropped unread, logged, and answered 2xx."""
    answer = client_of(function).open(path, method="POST", environ_overrides=LARGE)
    assert (answer.status_code, answer.data) == (204, b"")
    assert any("malformed" in record.getMessage() for record in caplog.records)


class Endless:
    """A body without a length that does not end; counts what is read of it."""

    def __init__(self) -> None:
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        """Give as much as is asked for."""
        assert size >= 0, "all of an endless body was asked for"
        self.taken += size
        return b" " * size


@pytest.mark.parametrize(("function", "path"), [("auth", "/register"), ("convert", "/"), ("recover", "/dead-letters")])
def test_an_endless_body_is_cut(function: str, path: str) -> None:
    """Of a body that tells no length no more is read than is taken."""
    body = Endless()
    environ = {"wsgi.input": body, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = client_of(function).open(path, method="POST", content_type="application/json", environ_overrides=environ)
    assert answer.status_code == (413 if function == "auth" else 204)
    assert 0 < body.taken <= SMALL_BODY_BYTES + 1


def test_a_body_is_left_unread() -> None:
    """What no view asks for is not read: functions-framework's own app would take it whole into memory."""
    answer = client_of("jobs").open(
        "/nothing", method="POST", environ_overrides={"wsgi.input": Unread(), "CONTENT_LENGTH": str(10**12)}
    )
    assert answer.status_code == 404


EVENT_FUNCTIONS: Final = ("convert", "notify")


@pytest.mark.parametrize("function", EVENT_FUNCTIONS)
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({}, b"garbage"),
        ({"ce-type": "x"}, b"{}"),
        ({"ce-type": "t", "ce-id": "1", "ce-source": "s", "ce-specversion": "1.0"}, b"{"),
        ({"Content-Type": "application/cloudevents+json"}, b'{"a": 1}'),
        ({"Content-Type": "application/cloudevents+json"}, b"[" * 60_000),
        ({"Content-Type": "application/json", "ce-specversion": "9"}, b"\xff"),
    ],
    ids=range(7),
)
def test_a_malformed_event(
    function: str, headers: dict[str, str], body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no event is logged and answered 2xx without a reply, since it would not get better."""
    answer = client_of(function).post("/", headers=headers, data=body)
    assert (answer.status_code, answer.data) == (204, b"")
    assert any("malformed" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("function", EVENT_FUNCTIONS)
def test_an_event_of_another_type(function: str, caplog: pytest.LogCaptureFixture) -> None:
    """An event that is not this function's is logged and answered 2xx without a reply."""
    headers, body = events.encode(events.make(events.UPLOADED, job_id="0" * 8 + "-0000" * 3 + "-" + "0" * 12, run=1))
    answer = client_of(function).post("/", headers={**headers, "ce-type": "com.example.other"}, data=body)
    assert (answer.status_code, answer.data) == (204, b"")
    assert any("com.example.other" in record.getMessage() for record in caplog.records)


def test_event_reply() -> None:
    """The reply to the broker is an event in binary mode, or nothing."""
    event = events.make(events.SUCCEEDED, job_id="0" * 36, run=2)
    reply = factory.event_reply(event)
    assert (reply.status_code, reply.headers["ce-id"]) == (200, f"{'0' * 36}.2.succeeded")
    assert json.loads(reply.get_data()) == {"job_id": "0" * 36, "run": 2}
    assert (factory.event_reply(None).status_code, factory.event_reply(None).get_data()) == (204, b"")


def test_from_environment() -> None:
    """An image's app is the function that FUNCTION_TARGET names, with the environment's settings."""
    env = {
        "FUNCTION_TARGET": "convert",
        "DATABASE_URL": "sqlite:////nowhere/a.db",
        "BLOBS_URL": "file:///nowhere",
        "CONVERT_SLOTS": "3",
    }
    made = from_environment(env)
    backends: Backends = made.extensions["backends"]
    assert (backends.config.convert_slots, made.test_client().get("/healthz").status_code) == (3, 200)


def test_from_environment_that_lacks_a_setting() -> None:
    """A function that lacks a setting does not start."""
    with pytest.raises(SettingError, match="DATABASE_URL"):
        from_environment({"FUNCTION_TARGET": "convert"})


def test_apps_share_nothing() -> None:
    """In the one-process run each function's app answers its own paths alone."""
    clients = {function: client_of(function) for function in NEEDS}
    assert clients["auth"].post("/login").status_code == 401
    assert clients["jobs"].post("/login").status_code == 404
    assert clients["auth"].get("/jobs").status_code == 404
