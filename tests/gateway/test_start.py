"""How the gateway starts, and what it logs."""

import stat
import subprocess
from pathlib import Path

import pytest
import requests

from tests.gateway.nginx import START, Nginx, refused
from tests.gateway.stub import Stub
from tests.support.wire import Wire


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("PORT", value) for value in ("x", "-1", "0", "65536", "080", "8080;")),
        *(("HOST", value) for value in ("a b", "x;", "$x")),
        *(("UPSTREAM", value) for value in ("", "x", "https://x", "http://", "http://x/", "http://x;", "http://$x")),
        *(("UPSTREAM", value) for value in ("http://x:0", "http://u:p@x", "http://${function}", "http://x\nhttp://y")),
        *(("RESOLVER", value) for value in ("a;b", "$x", "a|b")),
        *(("PAGE_DIR", value) for value in ("/nothing/there", "page", "/a b", "/a;b")),
        *(("PATHS_MAP", value) for value in ("/nothing/there", "paths.map", "/*")),
        *(("GATEWAY_DIR", value) for value in ("/proc/nothing", "run", "/a|b")),
        *(("REQUESTS_PER_MINUTE", value) for value in ("-1", "x", "1.5", "060", "1000000")),
        *(("LOGINS_PER_MINUTE", value) for value in ("-1", "x", "1.5", "060", "1000000")),
        *(("GATEWAY_MAX_BODY", value) for value in ("1g", "-1", "01")),
        *(("CLIENT_ADDRESS", value) for value in ("yes", "ON", "0")),
        *(
            ("TRUSTED_PROXIES", value)
            for value in ("10.0.0.0/33", "10.0.0", "256.0.0.1", "x", "10.0.0.1,::1", "::/129")
        ),
    ],
)
def test_wrong_settings(tmp_path: Path, name: str, value: str) -> None:
    """A wrong value ends the start with one sentence that names the variable."""
    said = refused(tmp_path, {name: value})
    assert said.startswith(name)
    assert said.endswith(".\n")


@pytest.mark.parametrize(
    "env",
    [
        {"UPSTREAM": "http://[::1]:9", "RESOLVER": "[::1]:53 ::2 10.0.0.1:53"},
        {"UPSTREAM": "http://$function.video2mp3.svc.cluster.local", "RESOLVER": "10.96.0.10 fd00::a"},
        {"UPSTREAM": "http://a-b_c.example:65535", "RESOLVER": "127.0.0.1"},
        {"TRUSTED_PROXIES": "10.0.0.1 0.0.0.0/0 ::ffff:10.0.0.1 fc00::/7 ::/0"},
        {"GATEWAY_MAX_BODY": "5368709120", "REQUESTS_PER_MINUTE": "999999", "LOGINS_PER_MINUTE": "1"},
    ],
)
def test_right_settings(tmp_path: Path, env: dict[str, str]) -> None:
    """What is well formed is taken, by nginx as well."""
    with Nginx(tmp_path, **{"UPSTREAM": "http://127.0.0.1:9", **env}) as gateway:
        assert requests.get(gateway.url, timeout=10).ok


def test_it_writes_below_its_folder_alone(tmp_path: Path) -> None:
    """The start is nginx itself, and its configuration, temporary files and process id are where it was told."""
    with Nginx(tmp_path, UPSTREAM="http://127.0.0.1:9") as gateway:
        run = tmp_path / "run"
        assert int((run / "nginx.pid").read_text()) == gateway.process.pid
        names = {"nginx.conf", "nginx.pid", "body", "proxy", "fastcgi", "uwsgi", "scgi"}
        assert {path.name for path in run.iterdir()} == names
        opened = {Path(file.path) for file in gateway.worker().open_files()}
        assert opened <= {tmp_path / "log"}
        assert gateway.log() == ""


def test_the_script_is_plain_sh() -> None:
    """It has what Debian's dash needs to run it, and no more."""
    assert START.read_text().startswith("#!/bin/sh\n")
    assert START.stat().st_mode & stat.S_IXUSR
    subprocess.run(["sh", "-n", START], check=True)


def test_log_lines(gateway: Nginx, stub: Stub) -> None:
    """One JSON line per request, with what operators look for."""
    headers = {"X-Request-Id": "line-1", "X-Forwarded-For": "203.0.113.7"}
    requests.post(f"{gateway.url}/jobs/%22%0A/x", data=b"a" * 100, headers=headers, timeout=10)
    line = gateway.line(request="line-1")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/jobs/%22%0A/x", 200)
    assert (line["function"], line["address"], line["upstream_status"]) == ("jobs", "203.0.113.7", "200")
    assert line["upstream"] == f"127.0.0.1:{stub.port}"
    assert isinstance(line["ms"], int)
    assert line["received_bytes"] > 100
    assert line["sent_bytes"] > 100
    for method, target, status in (("PUT", "/nothing", 405), ("POST", "/jobs/../x", 400), ("GET", "/jobs//x", 400)):
        with Wire(gateway.url) as wire:
            wire.head(method, target, {"Content-Length": "0"})
            assert wire.answer().status == status
        found = gateway.line(path=target, method=method)
        assert (found["status"], found["upstream"]) == (status, "")


def test_log_lines_hold_no_secrets(gateway: Nginx, stub: Stub, tmp_path: Path) -> None:
    """Neither query strings nor credentials are logged, whatever goes wrong, and /healthz is not at all."""
    secret = "signature=s3cr3t"
    credentials = {"Authorization": "Bearer s3cr3t", "Cookie": "s3cr3t", "Referer": "http://x/?s3cr3t"}
    with Nginx(tmp_path, **{**stub.env(), "UPSTREAM": "http://127.0.0.1:1"}, LOGINS_PER_MINUTE="1") as broken:
        for each in (gateway, broken):
            for path in ("/download", "/", "/nothing", "/login", "/jobs/%2e%2e", "/healthz", "/last"):
                for method in ("GET", "POST"):
                    body = b"s3cr3t" * (200_000 if path == "/nothing" else 1)
                    url = f"{each.url}{path}?{secret}"
                    try:
                        requests.request(method, url, headers=credentials, data=body, timeout=10)
                    except requests.ConnectionError:
                        assert len(body) > 6
            each.line(path="/last", method="POST")
            assert "s3cr3t" not in each.log()
            assert "signature" not in each.log()
            assert "/healthz?" not in each.log()
