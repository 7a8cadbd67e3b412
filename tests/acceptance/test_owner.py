"""The page of a run on this machine is opened by a secret that works once, and by nothing else."""

import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.command import COMMAND
from tests.support.serving import Api, Served, eventually


def _addresses(server: Served) -> list[str]:
    return re.findall(r"once: (http://\S+)", server.log())


def _secret(server: Served, number: int) -> str:
    address: str = eventually(lambda: _addresses(server)[number - 1 : number])[0]
    assert address.startswith(f"{server.url}/#sign-in=")
    return address.partition("=")[2]


def _sign_in(server: Served, body: Any, **headers: str) -> requests.Response:
    return requests.post(f"{server.url}/sign-in", json=body, headers=headers, timeout=30)


def test_the_secret_works_once(tmp_path: Path, video: Path) -> None:
    """It is exchanged for a token of the owner's; the next one is told on the terminal, for the same account."""
    with Served(tmp_path / "state") as server:
        first = _sign_in(server, {"secret": _secret(server, 1)})
        assert (first.status_code, first.json()["email"]) == (200, "owner@localhost")
        assert first.headers["Cache-Control"] == "no-store"
        api = Api(server.url, first.json()["access_token"])
        job_id = api.upload_id(video)
        again = _sign_in(server, {"secret": _secret(server, 1)})
        assert (again.status_code, again.headers["Content-Type"]) == (401, "application/problem+json")
        second = _sign_in(server, {"secret": _secret(server, 2)})
        assert Api(server.url, second.json()["access_token"]).ended(job_id)["state"] == "succeeded"
        assert "#sign-in" not in "".join(line for line in server.log().splitlines() if "once: " not in line)


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 422), ([], 422), ("secret", 422), ({"secret": 1}, 422), ({"secret": ""}, 401), ({"secret": "\ud800"}, 401)],
)
def test_a_wrong_secret_opens_nothing(server: Served, body: Any, status: int) -> None:
    """Each wrong body has its answer, and the right secret still works afterwards."""
    answer = _sign_in(server, body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.headers["X-Request-Id"]


def test_only_its_own_page_may_ask(server: Served) -> None:
    """A foreign page is refused, also one whose host name was made to point here (DNS rebinding); so is a GET."""
    secret = _secret(server, 1)
    assert _sign_in(server, {"secret": secret}, Origin="https://evil.example.com").status_code == 403
    assert _sign_in(server, {"secret": secret}, Origin="null").status_code == 403
    rebound = {"Host": "evil.example.com", "Origin": "http://evil.example.com"}
    assert _sign_in(server, {"secret": secret}, **rebound).status_code == 421
    refused = requests.get(f"{server.url}/sign-in?secret={secret}", timeout=30)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    assert _sign_in(server, {"secret": secret}, Origin=server.url).status_code == 200


def test_nobody_logs_in_as_the_owner(server: Served) -> None:
    """The account has no password, and nobody registers its address."""
    assert requests.post(f"{server.url}/login", auth=("owner@localhost", ""), timeout=30).status_code == 401
    form = {"email": "owner@localhost", "password": "a long password"}
    assert requests.post(f"{server.url}/register", data=form, timeout=30).status_code == 422


def test_a_browser_is_opened_at_a_screen(tmp_path: Path) -> None:
    """At a terminal with a screen; the secret stands in a file that nobody else may read, and in no process's words."""
    told = tmp_path / "told"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{told}.new && mv {told}.new {told}\n')
    browser.chmod(0o755)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DISPLAY": ":9", "BROWSER": str(browser)}
    master, slave = pty.openpty()
    state = tmp_path / "state"
    process = subprocess.Popen([COMMAND, "serve", "--port", "0", "--state", str(state)], stderr=slave, env=env)
    try:
        eventually(told.exists)
        page = state / "open.html"
        assert told.read_text() == f"{page.as_uri()}\n"
        assert page.stat().st_mode & 0o777 == 0o600
        assert re.search(r'content="0; url=http://localhost:\d+/#sign-in=[\w-]{40,}"', page.read_text())
    finally:
        process.terminate()
        process.wait(30)
        assert not page.exists()
        os.close(slave)
        os.close(master)
