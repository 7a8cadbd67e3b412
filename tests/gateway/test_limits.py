"""How often one address may ask, and whose address that is."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.gateway.nginx import Nginx
from tests.gateway.stub import Stub
from tests.gateway.test_answers import check, drain
from tests.support.serving import eventually
from tests.support.wire import Wire


@pytest.fixture
def narrow(tmp_path: Path, stub: Stub) -> Iterator[Nginx]:
    """A gateway that lets each address ask six times and log in three times a minute."""
    with Nginx(tmp_path, **stub.env(), REQUESTS_PER_MINUTE="6", LOGINS_PER_MINUTE="3") as gateway:
        yield gateway


def ask(gateway: Nginx, forwarded: str, path: str = "/jobs", method: str = "GET") -> requests.Response:
    """A request that came by way of these addresses."""
    return requests.request(method, gateway.url + path, headers={"X-Forwarded-For": forwarded}, timeout=20)


def test_requests_of_one_address(narrow: Nginx) -> None:
    """A minute's allowance may come at once; what is more is told when to come again, and /healthz is answered."""
    # The others come from an address of a proxy's network, so this one's share is whole.
    answers = [ask(narrow, "203.0.113.7", path) for path in ("/jobs", "/", "/nothing", "/download", "/jobs", "/")]
    assert 429 not in [answer.status_code for answer in answers]
    refused = [answer for answer in (ask(narrow, "203.0.113.7") for _ in range(6)) if answer.status_code == 429]
    # On a slow machine some of the next minute's share has come by now.
    assert refused
    for answer in refused:
        assert check(429, answer.headers, answer.content)["retry_helps"] is True
        assert answer.headers["Retry-After"] == "10"
    assert ask(narrow, "203.0.113.7", "/healthz").text == "ok\n"
    assert ask(narrow, "203.0.113.8").status_code == 200


def test_logins_of_one_address(narrow: Nginx) -> None:
    """What hashes a password is counted together, and bounded by itself; everything else goes on."""
    paths = ("/login", "/register", "/password")
    assert [ask(narrow, "203.0.113.7", path, "POST").status_code for path in paths] == [200] * 3
    refused = ask(narrow, "203.0.113.7", "/%6cogin?x", "POST")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "20")
    assert ask(narrow, "203.0.113.7", "/login", "GET").status_code == 200
    assert ask(narrow, "203.0.113.8", "/login", "POST").status_code == 200


def test_an_address_that_a_client_made_up(narrow: Nginx) -> None:
    """What stands in front of the address that the first proxy saw is the client's own word, and counts for nothing."""
    answers = [ask(narrow, f"6.6.6.{number}, 203.0.113.7, 10.1.2.3, 10.4.5.6", "/login", "POST") for number in range(6)]
    assert [answer.status_code for answer in answers][:3] == [200] * 3
    assert 429 in [answer.status_code for answer in answers]
    assert ask(narrow, "6.6.6.1, 203.0.113.8, 10.1.2.3, 10.4.5.6", "/login", "POST").status_code == 200


def test_an_address_from_outside_is_nobodys_word(tmp_path: Path, stub: Stub) -> None:
    """Of a peer that is no proxy neither address nor scheme are believed."""
    env = {**stub.env(), "TRUSTED_PROXIES": "10.0.0.0/8"}
    with Nginx(tmp_path, **env) as gateway:
        sent = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
        answer = requests.get(f"{gateway.url}/jobs", headers=sent, timeout=20)
    assert "Strict-Transport-Security" not in answer.headers
    told = stub.seen[0].headers
    assert (told["X-Forwarded-For"], told["X-Forwarded-Proto"]) == ("127.0.0.1", "http")


@pytest.mark.parametrize(
    "env",
    [
        {"REQUESTS_PER_MINUTE": "0", "LOGINS_PER_MINUTE": "0"},
        {"REQUESTS_PER_MINUTE": "1", "LOGINS_PER_MINUTE": "1", "CLIENT_ADDRESS": "off"},
    ],
    ids=["no limits", "no addresses"],
)
def test_without_limits(tmp_path: Path, stub: Stub, env: dict[str, str]) -> None:
    """0 is any number; where no address is known, nobody pays for somebody else, and functions are told none."""
    with Nginx(tmp_path, **stub.env(), **env) as gateway:
        assert {ask(gateway, "203.0.113.7", "/login", "POST").status_code for _ in range(30)} == {200}
        known = "CLIENT_ADDRESS" not in env
        assert gateway.line(path="/login")["address"] == ("203.0.113.7" if known else "")
    assert ("X-Forwarded-For" in stub.seen[0].headers) is known


def test_one_a_minute(tmp_path: Path, stub: Stub) -> None:
    """The smallest allowance is one."""
    with Nginx(tmp_path, **stub.env(), LOGINS_PER_MINUTE="1") as gateway:
        answers = [ask(gateway, "203.0.113.7", "/login", "POST") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].headers["Retry-After"] == "60"


def test_connections_of_one_address(gateway: Nginx, stub: Stub) -> None:
    """Of more than 128 requests at once one is refused, until another ends; other addresses are served."""
    with ExitStack() as stack:
        stub.answer = drain
        wires = [stack.enter_context(Wire(gateway.url)) for _ in range(128)]
        for wire in wires:
            wire.head("POST", "/upload", {"Content-Length": "10", "X-Forwarded-For": "203.0.113.9"})
        eventually(lambda: len(stub.seen) == 128)
        answer = ask(gateway, "203.0.113.9", "/nothing")
        assert check(429, answer.headers, answer.content)["retry_helps"] is True
        assert ask(gateway, "203.0.113.10", "/nothing").status_code == 404
        wires[0].__exit__(None, None, None)
        eventually(lambda: ask(gateway, "203.0.113.9", "/nothing").status_code == 404)
