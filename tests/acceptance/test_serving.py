"""`video2mp3 serve`: how it starts, stops, guards its door and keeps its log."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from functions.common.config import NEEDS
from tests.media.encode import encode
from tests.support.command import COMMAND
from tests.support.serving import PASSWORD, Api, Served, eventually
from tests.support.traces import blobs, rows
from tests.support.wire import Wire

_ALONE = {"BROKER_URL": "http://127.0.0.1:9/"}
#: bridge is at home in no state directory.
_BRIDGE = {"BLOBS_URL": "mongodb://127.0.0.1:9/", "BRIDGE_AMQP_URL": "amqp://127.0.0.1:9/"}
_JOB = "01890000-0000-7000-8000-000000000000"
#: A value that would do, for each setting without a default in the cluster; the keys are the state directory's.
_SETTINGS = {
    "DATABASE_URL": "sqlite:////nonexistent/x.db",
    "BLOBS_URL": "file:///nonexistent",
    "BROKER_URL": "http://127.0.0.1:9/",
    "MAIL_URL": "file:///nonexistent",
    "PUBLIC_URL": "http://localhost",
    "LINK_KEY": "k" * 48,
    "TOKEN_JWKS": "{}",
    "TOKEN_PRIVATE_KEY": "none",
    "BRIDGE_AMQP_URL": "amqp://127.0.0.1:9/",
}


def _start(*arguments: str, **env: str) -> tuple[int, str]:
    """Run a `video2mp3 serve` that must fail; its exit code and what it said."""
    clean = {"PATH": os.environ["PATH"], **env}
    command = [COMMAND, "serve", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=clean, timeout=20)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("function", NEEDS)
def test_each_function_is_served_alone(tmp_path: Path, function: str) -> None:
    """It answers probes, says 404 as a problem, names each request, and ends well when told to."""
    with Served(tmp_path / "state", function=function, env={**_ALONE, **_BRIDGE}, afresh=True) as server:
        api = Api(server.url)
        assert api.call("GET", "/healthz").text == "ok\n"
        missing = api.call("GET", "/no/such/path", headers={"X-Request-Id": "my-id.1"})
        assert (missing.status_code, missing.headers["Content-Type"]) == (404, "application/problem+json")
        assert missing.json()["request_id"] == missing.headers["X-Request-Id"] == "my-id.1"
        for strange in ("x" * 65, "a b", "a;b", "ä".encode().decode("latin-1")):
            made = api.call("GET", "/healthz", headers={"X-Request-Id": strange}).headers["X-Request-Id"]
            assert made not in ("", strange)
        assert server.stop() == 0


#: Each function once, and each setting that some function needs; tests/unit/test_config.py has all the pairs.
_MISSING = (
    ("auth", "TOKEN_PRIVATE_KEY"),
    ("upload", "TOKEN_JWKS"),
    ("convert", "DATABASE_URL"),
    ("notify", "MAIL_URL"),
    ("notify", "PUBLIC_URL"),
    ("jobs", "LINK_KEY"),
    ("download", "BLOBS_URL"),
    ("recover", "BROKER_URL"),
    ("bridge", "BRIDGE_AMQP_URL"),
)


@pytest.mark.parametrize(("function", "missing"), _MISSING)
def test_a_missing_setting_is_named_at_the_start(tmp_path: Path, function: str, missing: str) -> None:
    """In a cluster nothing has a default: what the function needs is asked for by name, with exit 1."""
    given = {name: text for name, text in _SETTINGS.items() if name != missing}
    code, said = _start(function, "--state", str(tmp_path), KUBERNETES_SERVICE_HOST="10.0.0.1", **given)
    assert code == 1
    assert missing in said


def test_no_function_and_no_setting_is_left_out() -> None:
    """Every function is started without a setting, and every setting that one needs is left out of a start."""
    assert {function for function, _ in _MISSING} == set(NEEDS)
    assert {missing for _, missing in _MISSING} == {name for names in NEEDS.values() for name in names}


# tests/unit/test_state.py has the others, with what such a start reads them by.
@pytest.mark.parametrize(("name", "value"), [("DATABASE_URL", "oracle://host/db"), ("CONVERT_SLOTS", "0")])
def test_a_wrong_setting_is_named_at_the_start(tmp_path: Path, name: str, value: str) -> None:
    """The one-process server does not start with a setting it cannot use, and says which."""
    code, said = _start("--port", "0", "--state", str(tmp_path / "state"), **{name: value})
    assert (code, name in said) == (1, True), said
    assert len(said.strip().splitlines()) == 1


def test_an_unknown_function_and_a_function_without_a_broker_are_refused(tmp_path: Path) -> None:
    """The sentence tells what there is, or what is missing."""
    code, said = _start("transcode", "--state", str(tmp_path))
    assert (code, "convert" in said) == (1, True)
    code, said = _start("upload", "--state", str(tmp_path))
    assert (code, "BROKER_URL" in said) == (1, True)


def test_a_second_server_on_the_same_state_is_refused(server: Served) -> None:
    """One run per state directory: the second says so and leaves the first alone."""
    code, said = _start("--port", "0", "--state", str(server.state))
    assert (code, "is used by another run" in said) == (1, True)
    assert Api(server.url).call("GET", "/healthz").ok


def test_a_taken_port_is_told(server: Served, tmp_path: Path) -> None:
    """Another program's port is no traceback but a sentence."""
    port = str(urlsplit(server.url).port)
    code, said = _start("--port", port, "--state", str(tmp_path / "state"))
    assert (code, port in said) == (1, True)


@pytest.fixture(params=[None, "upload"], ids=["one process", "gunicorn"])
def stopping(request: pytest.FixtureRequest, server: Served, api: Api, tmp_path: Path) -> Iterator[tuple[Served, Api]]:
    """A server that the test stops, and an account there."""
    if request.param is None:
        with Served(tmp_path / "state") as own:
            yield own, own.account()
    else:
        with Served(server.state, function=request.param, env=_ALONE) as alone:
            there = Api(alone.url)
            there.headers = api.headers
            yield alone, there


def test_a_stop_waits_for_the_request_that_runs(stopping: tuple[Served, Api], long_audio: Path) -> None:
    """An upload that is under way when SIGTERM comes is answered; new connections are not taken any more."""
    server, api = stopping
    content = long_audio.read_bytes()[:3_000_000]
    with Wire(server.url) as wire:
        wire.head("POST", "/upload", {**api.headers, "Content-Length": str(len(content))})
        wire.send(content[:2_500_000])
        eventually(lambda: rows(server.state, "SELECT 1 FROM jobs WHERE state = 'receiving'"))
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not _takes_connections(server.url))
        assert server.process.poll() is None
        wire.send(content[2_500_000:])
        answer = wire.answer("POST")
        assert answer.status == 202
        answer.read()
    assert server.ended(seconds=10) == 0


def _takes_connections(url: str) -> bool:
    try:
        # A connection may still be queued by the kernel, so that only an answer proves anything.
        return requests.get(f"{url}/healthz", timeout=0.5).ok
    except requests.RequestException:
        return False


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1"])
def test_a_foreign_host_is_misdirected(server: Served, host: str) -> None:
    """A page that had its own name point here (DNS rebinding) reaches nothing, neither paths nor the page."""
    port = urlsplit(server.url).port
    for method, path in (("GET", "/"), ("POST", "/login"), ("GET", "/jobs"), ("GET", "/healthz")):
        answer = Api(server.url).call(method, path, headers={"Host": f"{host}:{port}"})
        assert (answer.status_code, answer.headers["Content-Type"]) == (421, "application/problem+json")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_our_own_hosts_are_answered(server: Served, host: str) -> None:
    """Every name of this machine's own loopback is fine."""
    answer = Api(server.url).call("GET", "/", headers={"Host": f"{host}:{urlsplit(server.url).port}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:1", "http://localhost.evil"])
def test_a_foreign_origin_is_refused(server: Served, api: Api, video: Path, origin: str) -> None:
    """A page of another site cannot make a browser act here, though the browser may know the way."""
    headers = {"Origin": origin}
    for method, path in (("POST", "/login"), ("POST", "/register"), ("DELETE", f"/jobs/{_JOB}"), ("OPTIONS", "/jobs")):
        answer = api.call(method, path, headers=headers)
        assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/problem+json")
        assert "Access-Control-Allow-Origin" not in answer.headers
    upload = api.call("POST", "/upload", data=video.read_bytes(), headers=headers)
    assert upload.status_code == 403
    own = api.call("POST", "/upload", data=video.read_bytes(), headers={"Origin": server.url})
    assert own.status_code == 202


def test_refusals_of_the_gateway_have_a_request_id(server: Served) -> None:
    """X-Request-Id is on every answer, also on those that no function gave."""
    for path, headers in (("/", {"Host": "evil.example"}), ("/login", {"Origin": "https://evil.example"}), ("/", {})):
        answer = Api(server.url).call("GET", path, headers=headers)
        assert answer.headers.get("X-Request-Id"), (path, headers)


def test_logs_keep_no_secrets(server: Served, api: Api, stranger: Api, video: Path) -> None:
    """After a whole walk, mistakes included, the log has lines for all of it and neither queries nor secrets."""
    secret = "Not-for-the-l0g!"
    wrong = requests.post(f"{server.url}/login", auth=("nobody@example.com", secret), timeout=30)
    assert wrong.status_code == 401
    body = {"email": "walker@example.com", "password": secret}
    assert requests.post(f"{server.url}/register", json=body, timeout=30).status_code == 201
    api.call("POST", "/password", json={"old": PASSWORD, "new": secret})
    requests.post(f"{server.url}/login?password={secret}", timeout=30)
    job_id = api.call("POST", "/upload?filename=private-name.mp4&quality=3", data=video.read_bytes()).json()["id"]
    link = api.ended(job_id)["links"]["download"]
    signature = link.partition("signature=")[2]
    assert Api(server.url).call("GET", link).status_code == 200
    assert Api(server.url).call("GET", link + "x").status_code == 404
    assert stranger.call("GET", f"/download?fid={job_id}&secret={secret}").status_code == 404
    api.call("GET", f"/jobs?limit=x&secret={secret}")
    api.call("DELETE", f"/jobs/{job_id}")
    log = eventually(lambda: _log_with(server, f"DELETE /jobs/{job_id} 204"))
    tokens = [client.headers["Authorization"].removeprefix("Bearer ") for client in (api, stranger)]
    for word in (secret, PASSWORD, signature, "signature", "private-name", "quality", "secret", "limit=", *tokens):
        assert word not in log, word
    for line in ("POST /login 401", "POST /register 201", "POST /upload 202", "GET /download 200", "GET /download 404"):
        assert line in log


def _log_with(server: Served, words: str) -> str:
    log = server.log()
    return log if words in log else ""


def test_ctrl_c_gives_running_work_back_and_a_restart_finishes_it(tmp_path: Path) -> None:
    """SIGINT ends all within 5 s, ffmpeg too; the job is queued with no claim counted, and the next run makes it."""
    sine = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=300")
    source = encode(tmp_path / "long.flac", *sine, "-c:a", "flac")
    with Served(tmp_path / "state", afresh=True) as first:
        api = first.account()
        job_id = api.upload_id(source, bitrate="320")
        eventually(lambda: _ffmpegs(first.state))
        began = time.monotonic()
        os.killpg(first.process.pid, signal.SIGINT)
        assert first.ended(seconds=10) == 0
        assert time.monotonic() - began < 5
        assert "Traceback" not in first.log()
    assert _ffmpegs(tmp_path / "state") == []
    (row,) = rows(tmp_path / "state", "SELECT * FROM jobs WHERE id = ?", job_id)
    assert (row["state"], row["claims"], row["lease_until"]) == ("queued", 0, None)
    assert blobs(tmp_path / "state", "mp3s") == []
    with Served(tmp_path / "state") as second:
        api.url = second.url
        eventually(lambda: api.job(job_id)["state"] != "queued", seconds=3)
        assert api.ended(job_id, seconds=25)["state"] == "succeeded"


def _ffmpegs(state: Path) -> list[int]:
    """Processes whose command line names a file of this state directory's work folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if command.startswith(b"ffmpeg\0") and str(state / "work").encode() in command:
            found.append(int(entry.parent.name))
    return found
