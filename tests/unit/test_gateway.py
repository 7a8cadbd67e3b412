"""The way in of the one-process run: which function answers what, and what is refused before any."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Response

from functions.common.config import NEEDS
from local.server.gateway import Gateway, InFlight, Internal, load_paths
from local.server.rates import Rates

FUNCTIONS: Final = ("auth", "upload", "jobs", "download")


class Named:
    """An app that answers its name, and the path that it was asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        text = f"{self._name} {environ['SCRIPT_NAME']}|{environ['PATH_INFO']}|{environ.get('QUERY_STRING', '')}"
        return Response(text)(environ, start_response)


def client(requests_per_minute: int = 0, logins_per_minute: int = 0) -> Client:
    """A client of a gateway before apps that answer their names."""
    rates = Rates(requests_per_minute=requests_per_minute, logins_per_minute=logins_per_minute)
    return Client(Gateway({name: Named(name) for name in NEEDS}, Named("page"), rates))


def answered_by(path: str) -> str:
    """Who answers a path."""
    answer = client().get("/", environ_overrides={"PATH_INFO": path})
    assert answer.status_code == 200
    return answer.text.split()[0]


#: The whole table of public paths.
PATHS: Final = {
    "auth": ["/register", "/login", "/validate", "/password", "/.well-known/jwks.json", "/login/", "/login/x"],
    "upload": ["/upload", "/upload/", "/uploads", "/uploads/", "/uploads/01890a5d"],
    "jobs": ["/jobs", "/jobs/", "/jobs/x", "/jobs/events", "/jobs/x/events", "/jobs/x/cancel", "/jobs/upload"],
    "download": ["/download", "/download/", "/download/x"],
    "page": [
        *("/", "/index.html", "/static/app.js", "/healthz", "/robots.txt", "/nothing", "/x/jobs", "/page/upload"),
        *("/jobsx", "/jobs.html", "/jobs-x", "/uploadsx", "/uploader", "/downloads", "/registered", "/logins"),
        *(
            "/Jobs",
            "/UPLOAD",
            "/.well-known/jwksxjson",
            "/.well-known",
            "/.well-known/jwks.jsonx",
            "/jobs%2f",
        ),
        # What stands behind the broker alone has no way in.
        *("/convert", "/notify", "/recover", "/recover/dead-letters", "/dead-letters", "/bridge"),
    ],
}


@pytest.mark.parametrize(
    ("path", "function"), [(path, function) for function, paths in PATHS.items() for path in paths]
)
def test_paths(path: str, function: str) -> None:
    """Each path is answered by the function of the table, its near misses by the page."""
    assert answered_by(path) == function


def test_every_row_is_looked_at() -> None:
    """The table above speaks of each row of the map, and of no function that should have no way in."""
    rows = load_paths()
    assert {function for _, function in rows} == set(FUNCTIONS)
    for pattern, function in rows:
        assert any(pattern.search(path) for path in PATHS[function])


def test_requests_are_handed_on_as_they_are() -> None:
    """The function sees the path and the query that the client sent."""
    assert client().get("/jobs/x?limit=5").text == "jobs |/jobs/x|limit=5"


@pytest.mark.parametrize(
    "line",
    [
        "/jobs jobs;",
        "~^/jobs(/|$) jobs",
        "~^/jobs",
        "jobs",
        "~ jobs;",
        "~^/a b c;",
        "~^/jobs jobs; # x",
        "default page;",
    ],
)
def test_a_line_that_is_none(tmp_path: Path, line: str) -> None:
    """A line that is not understood stops the start, with its place."""
    path = tmp_path / "paths.map"
    path.write_text(f"# comment\n\n~^/a a;\n{line}\n")
    with pytest.raises(ValueError, match=r"paths\.map:4"):
        load_paths(path)


def test_first_match_first(tmp_path: Path) -> None:
    """Comments and empty lines are skipped, and the order is kept."""
    path = tmp_path / "paths.map"
    path.write_text("# comment\n\n  ~^/a(/|$)   one;\n~^/ two;\n")
    assert [(pattern.pattern, function) for pattern, function in load_paths(path)] == [
        ("^/a(/|$)", "one"),
        ("^/", "two"),
    ]


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "LOCALHOST"]
)
def test_our_hosts(host: str) -> None:
    """This machine's own names are answered, on any port."""
    assert client().get("/jobs", headers=[("Host", host)]).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("example.com", "example.com:8080", "localhost.example.com", "127.0.0.1.example.com", "xlocalhost"),
        *("192.168.0.1", "0.0.0.0", "localhost@example.com", "[::2]", "localhost:80@example.com", ""),  # noqa: S104
    ],
)
def test_foreign_hosts(host: str) -> None:
    """A name that a foreign page had pointed here is refused before any function sees the request."""
    answer = client().post("/login", environ_overrides={"HTTP_HOST": host, "SERVER_NAME": "example.com"})
    assert (answer.status_code, answer.content_type) == (421, "application/problem+json")
    assert answer.get_json(force=True)["status"] == 421


@pytest.mark.parametrize("origin", [None, "http://localhost:8080"])
def test_our_origin(origin: str | None) -> None:
    """Programs send no Origin, our own page sends our own."""
    headers = [("Host", "localhost:8080"), *([] if origin is None else [("Origin", origin)])]
    assert client().post("/login", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        *("http://example.com", "https://localhost:8080", "http://localhost:9090", "http://127.0.0.1:8080", "null", ""),
        "http://localhost:8080.example.com",
    ],
)
def test_foreign_origins(origin: str) -> None:
    """What a page of another site, or of another port of this machine, sends is refused."""
    answer = client().post("/login", headers=[("Host", "localhost:8080"), ("Origin", origin)])
    assert (answer.status_code, answer.content_type) == (403, "application/problem+json")


def test_too_many_requests() -> None:
    """One request too many is told when to come again, by whichever path; /healthz is answered all the same."""
    one = client(requests_per_minute=3)
    assert [one.get(path).status_code for path in ("/jobs", "/", "/nothing", "/download")] == [200, 200, 200, 429]
    answer = one.post("/upload")
    assert (answer.status_code, answer.content_type) == (429, "application/problem+json")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    told = answer.get_json(force=True)
    assert (told["status"], told["retry_helps"]) == (429, True)
    assert told["request_id"] == answer.headers["X-Request-Id"]
    assert one.get("/healthz").status_code == 200
    assert one.get("/jobs", environ_overrides={"REMOTE_ADDR": "127.0.0.2"}).status_code == 200


def test_too_many_logins() -> None:
    """What hashes a password is counted together, and bounded by itself; everything else goes on."""
    one = client(logins_per_minute=3)
    paths = ("/login", "/register", "/password", "/login", "/register", "/password")
    assert [one.post(path).status_code for path in paths] == [200] * 3 + [429] * 3
    assert [one.get("/login").status_code, one.post("/upload").status_code, one.get("/").status_code] == [200] * 3


def test_refused_pages_of_others_use_nothing_up() -> None:
    """A foreign page cannot lock the owner of this machine out."""
    one = client(requests_per_minute=1)
    for _ in range(5):
        assert one.post("/login", headers=[("Origin", "http://example.com")]).status_code == 403
    assert one.get("/jobs").status_code == 200


def internal() -> Client:
    """A client of the functions' own addresses."""
    return Client(Internal({name: Named(name) for name in NEEDS}))


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/convert", "convert /convert|/|"),
        ("/convert/", "convert /convert|/|"),
        ("/recover/dead-letters", "recover /recover|/dead-letters|"),
        ("/recover/dead-letters/x?a=1", "recover /recover|/dead-letters/x|a=1"),
        ("/jobs/healthz", "jobs /jobs|/healthz|"),
    ],
)
def test_internal_addresses(path: str, answer: str) -> None:
    """A function's own address is its name, and it sees what stands behind that."""
    assert internal().get(path).text == answer


@pytest.mark.parametrize("path", ["/", "/nothing", "/Convert", "/convertx/a", "/page"])
def test_internal_addresses_of_nobody(path: str) -> None:
    """An address of no function is answered 404."""
    assert internal().get(path).status_code == 404


def test_internal_addresses_refuse_foreign_pages() -> None:
    """What other sites' pages send is refused here, too."""
    assert internal().post("/convert/", headers=[("Host", "example.com")]).status_code == 404
    assert internal().post("/convert/", headers=[("Origin", "http://example.com")]).status_code == 404


def test_in_flight() -> None:
    """A request counts from its beginning until its last byte was taken, or until it failed."""
    counted: list[int] = []

    def app(environ: dict[str, Any], _start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/fails":
            raise KeyError("boom")
        assert sum(counted) == 1
        return iter([b"a", b"b"])

    watched = InFlight(app, counted.append)
    answer = watched({"PATH_INFO": "/"}, None)
    assert (list(answer), sum(counted)) == ([b"a", b"b"], 1)
    answer.close()  # type: ignore[attr-defined]  # WSGI servers call it where it is
    assert counted == [1, -1]
    with pytest.raises(KeyError):
        watched({"PATH_INFO": "/fails"}, None)
    assert counted == [1, -1, 1, -1]
