"""A gigabyte that nobody asked for costs no memory, whoever sends it where, and still gets an answer."""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.support.serving import Served, Sized
from tests.support.traces import blobs

_TRIES = 3
_GIBIBYTE = 1 << 30
_CHUNK = bytes(1 << 20)
#: A quarter is enough where it really is sent: servers that read on to the end take seconds for a whole one.
_CHUNKS = 256
_MOST_MEGABYTES = 20.0
_JOB = "01890000-0000-7000-8000-000000000000"
_ALONE = {"BROKER_URL": "http://127.0.0.1:9/"}
_BROKEN = {"DATABASE_URL": "sqlite:////nonexistent/dir/x.db"}
_EVENT = {
    "ce-specversion": "1.0",
    "ce-type": "io.github.video2mp3.video.uploaded.v1",
    "ce-source": "/upload",
    "ce-id": "a",
    "Content-Type": "application/json",
}


@dataclass(frozen=True)
class _Case:
    """A request, and what it must be answered."""

    path: str
    status: int
    headers: Mapping[str, str] | None = None


_Send = Callable[[str, _Case, Path], int]

#: What each function refuses, by path.
_CASES: Mapping[str, tuple[_Case, ...]] = {
    "auth": (
        _Case("/validate", 401),
        _Case("/login", 401),
        _Case("/register", 413, {"Content-Type": "application/json"}),
    ),
    "upload": (
        _Case("/upload", 401),
        _Case("/upload?bitrate=1", 401),
        _Case("/uploads", 412),
        _Case("/uploads", 401, {"Tus-Resumable": "1.0.0"}),
        _Case(f"/uploads/{_JOB}", 401, {"Tus-Resumable": "1.0.0", "X-HTTP-Method-Override": "PATCH"}),
    ),
    # An event function has no word for "too large" that the dispatcher would not take for success: it drops it.
    "convert": (_Case("/", 204, _EVENT),),
    "notify": (_Case("/", 204, _EVENT),),
    "jobs": (_Case(f"/jobs/{_JOB}/cancel", 401), _Case("/jobs", 405)),
    "download": (_Case(f"/download?fid={_JOB}", 405),),
    "recover": (_Case("/", 204, _EVENT), _Case("/dead-letters", 204, _EVENT)),
}
_PUBLIC = ("auth", "upload", "jobs", "download")


@pytest.fixture(scope="module")
def gigabyte(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of that size that takes no room."""
    path = tmp_path_factory.mktemp("gigabyte") / "zeros"
    with path.open("wb") as file:
        file.truncate(_GIBIBYTE)
    return path


def _pid(server: Served, *, alone: bool) -> int:
    """The process that answers: gunicorn's one worker, or the server itself."""
    if not alone:
        return server.process.pid
    (worker,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return int(worker)


def _megabytes(pid: int, what: str) -> float:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(f"{what}:"))
    return int(line.split()[1]) / 1000


def _by_curl(url: str, case: _Case, gigabyte: Path) -> int:
    """Send it with its length announced; the status, which must come even where the connection is cut afterwards."""
    headers = [part for name, value in (case.headers or {}).items() for part in ("-H", f"{name}: {value}")]
    # Without the empty Expect curl would ask first and never send the body; a path that ends in a slash it would
    # complete with the file's name.
    how = ["-X", "POST", "-H", "Expect:", *headers, "-T", str(gigabyte), "--request-target", case.path]
    command = ["curl", "-sS", *how, "-o", "/dev/null", "-w", "%{http_code}", f"{url}/x"]
    done = subprocess.run(command, check=False, capture_output=True, timeout=120)
    assert done.returncode in (0, 55, 56), done.stderr
    return int(done.stdout)


def _by_requests(url: str, case: _Case, _gigabyte: Path) -> int:
    """Send it in chunks of unknown number."""

    def body() -> Iterator[bytes]:
        for _ in range(_CHUNKS):
            yield _CHUNK

    return requests.post(url + case.path, data=body(), headers=dict(case.headers or {}), timeout=120).status_code


def _small(url: str, case: _Case) -> None:
    """Load what the function loads for its first request, so that only the bodies are measured."""
    headers = {name: value for name, value in (case.headers or {}).items() if not name.startswith("ce-")}
    requests.post(url + case.path, data=b"x", headers=headers, timeout=30)


@pytest.fixture(params=[_by_curl, _by_requests], ids=["announced", "chunked"])
def send(request: pytest.FixtureRequest) -> _Send:
    """Sends a gigabyte, its length announced or not; returns the status."""
    chosen: _Send = request.param
    return chosen


def _answered(url: str, case: _Case, send: Callable[[str, _Case], int]) -> int:
    """The status; asked again where the reset of the half-sent body overtook the answer (RFC 9112, section 9.6)."""
    for _ in range(_TRIES):
        with suppress(requests.ConnectionError):
            status = send(url, case)
            if status:
                return status
    return 0


def _check(server: Served, cases: tuple[_Case, ...], send: Callable[[str, _Case], int], *, alone: bool) -> None:
    for case in cases:
        _small(server.url, case)
    pid = _pid(server, alone=alone)
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    idle = _megabytes(pid, "VmRSS")
    assert _megabytes(pid, "VmHWM") - idle < 1, "the peak was not forgotten"
    statuses = [_answered(server.url, case, send) for case in cases]
    assert _pid(server, alone=alone) == pid, "the worker died on it"
    assert _megabytes(pid, "VmHWM") - idle < _MOST_MEGABYTES
    assert statuses == [case.status for case in cases]


@pytest.mark.parametrize("function", _CASES)
def test_a_function_alone_refuses_a_gigabyte_unread(tmp_path: Path, gigabyte: Path, send: _Send, function: str) -> None:
    """Under gunicorn each function answers what is due, also where it has no such path, in bounded memory."""
    cases = (*_CASES[function], _Case("/no/such/path", 404))
    with Served(tmp_path / "state", function=function, env=_ALONE, afresh=True) as server:
        _check(server, cases, lambda url, case: send(url, case, gigabyte), alone=True)


def test_the_one_process_server_refuses_a_gigabyte_unread(tmp_path: Path, gigabyte: Path, send: _Send) -> None:
    """The public paths and an unknown one, through the gateway."""
    # That path is the page's, which only gives.
    cases = (*(_CASES[function][0] for function in _PUBLIC), _Case("/no/such/path", 405))
    with Served(tmp_path / "state", afresh=True) as server:
        _check(server, cases, lambda url, case: send(url, case, gigabyte), alone=False)


def test_a_handler_that_breaks_leaves_the_body_unread(tmp_path: Path, gigabyte: Path, send: _Send) -> None:
    """Where the work itself fails, as without a database, the body is not read either."""
    case = _Case("/login", 503, {"Authorization": "Basic YUBiLmM6ZA=="})
    with Served(tmp_path / "state", function="auth", env=_BROKEN, afresh=True) as server:
        _check(server, (case,), lambda url, case: send(url, case, gigabyte), alone=True)


def test_a_long_piece_of_an_upload_is_stored_in_flat_memory(tmp_path: Path) -> None:
    """What a resumable upload brings in one body goes into the store as it comes, in pieces of its own."""
    with Served(tmp_path / "state", afresh=True) as server:
        api = server.account()
        tus = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
        begin = {**tus, "Upload-Length": str(_CHUNKS * len(_CHUNK) + 1)}
        where = api.call("POST", "/uploads", data=b"", headers=begin).headers["Location"]
        pid = _pid(server, alone=False)
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        idle = _megabytes(pid, "VmRSS")
        answer = api.call("PATCH", where, data=Sized(iter([_CHUNK] * _CHUNKS), _CHUNKS * len(_CHUNK)), headers=tus)
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(_CHUNKS * len(_CHUNK)))
        assert _megabytes(pid, "VmHWM") - idle < _MOST_MEGABYTES
    stored = blobs(tmp_path / "state", "videos")
    assert sum(path.stat().st_size for path in stored) == _CHUNKS * len(_CHUNK)
    assert len(stored) == 8
