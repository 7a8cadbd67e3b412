"""Which function answers what: nginx and the gateway of the one-process run mean the same by a path."""

import threading
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.common.config import NEEDS
from local.server.gateway import Gateway
from local.server.listener import Listener
from local.server.rates import Rates
from tests.gateway.nginx import Nginx
from tests.gateway.stub import Stub
from tests.support.wire import Wire
from tests.unit.test_gateway import FUNCTIONS, PATHS, Named

REFUSED: Final = "refused"


@pytest.fixture(scope="module")
def local() -> Iterator[str]:
    """The URL of the one-process run's gateway, whose functions answer their names."""
    listener = Listener("127.0.0.1", 0)
    rates = Rates(requests_per_minute=0, logins_per_minute=0)
    listener.app = Gateway({name: Named(name) for name in NEEDS}, Named("page"), rates)
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://localhost:{listener.port}"
    listener.shutdown()
    thread.join()
    listener.server_close()


def ask(url: str, target: str) -> tuple[int, str]:
    """Status and body of the answer to a target as it stands here, which no client library would send."""
    with Wire(url) as wire:
        wire.head("GET", target, {"Connection": "close"})
        answer = wire.answer()
        return answer.status, answer.read().decode()


def by_local(url: str, target: str) -> str:
    """Who answers at the one-process run."""
    status, body = ask(url, target)
    return REFUSED if status == 400 else body.split()[0]


def by_nginx(gateway: Nginx, stub: Stub, target: str) -> str:
    """Who answers behind nginx; the function gets the target as it was sent."""
    stub.seen.clear()
    status, _ = ask(gateway.url, target)
    if stub.seen:
        [seen] = stub.seen
        assert seen.target == target
        return seen.function
    return REFUSED if status == 400 else "page"


@pytest.mark.parametrize(
    ("target", "function"),
    [(path, function) for function, paths in PATHS.items() for path in paths if "%" not in path],
)
def test_paths(gateway: Nginx, stub: Stub, local: str, target: str, function: str) -> None:
    """The table of the one-process run's gateway holds here, too."""
    if target == "/healthz":
        assert ask(gateway.url, target) == (200, "ok\n")
        assert stub.seen == []
        return
    assert (by_nginx(gateway, stub, target), by_local(local, target)) == (function, function)


@pytest.mark.parametrize(
    ("target", "function"),
    [
        ("/jobs?a=/../b//c%2f.", "jobs"),
        ("/jobs?", "jobs"),
        ("/%6aobs/%78", "jobs"),
        ("/%4aobs", "page"),
        ("/jobs%0a", "jobs"),
        ("/jobs/%ff%20", "jobs"),
        ("/jobs%3fx", "page"),
        ("/jobs;x", "page"),
        ("/jobs%252fx", "page"),
        ("/jobs%252f%252e%252e%252fupload", "page"),
        ("/jobs\\..\\upload", "page"),
        ("/jobs/...", "jobs"),
        ("/jobs/.x", "jobs"),
        ("/jobs/x..", "jobs"),
        ("/jobs/../upload", REFUSED),
        ("/jobs/..", REFUSED),
        ("/jobs/.", REFUSED),
        ("/jobs/./x", REFUSED),
        ("/./jobs", REFUSED),
        ("/jobs/%2e%2E/upload", REFUSED),
        ("/jobs/.%2e?x", REFUSED),
        ("/jobs%2f..%2Fupload", REFUSED),
        ("/x/../jobs", REFUSED),
        ("/convert/../jobs", REFUSED),
    ],
)
def test_odd_paths(gateway: Nginx, stub: Stub, local: str, target: str, function: str) -> None:
    """Both decode a path once, look at the case of letters, and refuse segments that stand for others."""
    assert (by_nginx(gateway, stub, target), by_local(local, target)) == (function, function)


@pytest.mark.parametrize(
    "target", ["//jobs", "/jobs//x", "/x//jobs", "/jobs%2fx", "/%2fjobs", "/jobs#/x", "/%", "/%00"]
)
def test_nginx_refuses_more(gateway: Nginx, stub: Stub, target: str) -> None:
    """What a proxy on the way might turn into another path is refused."""
    assert by_nginx(gateway, stub, target) == REFUSED


_PIECES: Final = (
    *("/", "//", ".", "..", "%2e", "%2F", "%252f", "%5c", "\\", "%3F", "%23", "#", ";", "?", "%20", "%C3%BC", "%0A"),
    *("jobs", "%6aobs", "JOBS", "upload", "uploads", "login", "convert", "recover", "dead-letters", "x"),
)


@given(st.lists(st.sampled_from(_PIECES), max_size=8))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_path_means_two_things(gateway: Nginx, stub: Stub, local: str, pieces: list[str]) -> None:
    """Whatever a path is made of, nginx has it answered by whom the one-process run would, or refuses it."""
    target = "/" + "".join(pieces)
    assert by_nginx(gateway, stub, target) in (REFUSED, by_local(local, target))


@pytest.mark.parametrize(
    "target", ["http://localhost/jobs/x?a", "http://convert.functions.test/jobs/x?a", "HTTP://localhost:9/jobs/x?a"]
)
def test_whole_addresses(gateway: Nginx, stub: Stub, target: str) -> None:
    """A request to a proxy names a host as well, which decides nothing."""
    assert ask(gateway.url, target)[0] == 200
    assert [(seen.function, seen.target) for seen in stub.seen] == [("jobs", "/jobs/x?a")]


@pytest.mark.parametrize("function", sorted(set(NEEDS) - set(FUNCTIONS)))
def test_event_functions_have_no_way_in(gateway: Nginx, stub: Stub, function: str) -> None:
    """What the broker alone may call is reached by no path, no Host and no header."""
    name = f"{function}.functions.test:{stub.port}"
    headers = {"X-Forwarded-Host": name, "Knative-Serving-Revision": f"{function}-00001", "X-Function": function}
    for target in (f"/{function}", f"/{function}/", "/", "/dead-letters", f"http://{name}/", "/jobs"):
        with Wire(gateway.url) as wire:
            wire.send(f"POST {target} HTTP/1.1\r\nHost: {name}\r\nContent-Length: 0\r\n".encode())
            wire.send("".join(f"{key}: {value}\r\n" for key, value in headers.items()).encode() + b"\r\n")
            wire.answer()
    [seen] = stub.seen
    assert seen.function == "jobs"
    assert seen.headers["Host"] == f"jobs.functions.test:{stub.port}"
    assert "Knative-Serving-Revision" not in seen.headers
