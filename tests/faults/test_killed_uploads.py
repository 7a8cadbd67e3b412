"""kill -9 of the server while a resumable upload arrives: its client goes on, and nothing is lost, doubled or left."""

import json
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Thread
from typing import IO, Final

import pytest
import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError
from tusclient.uploader.uploader import Uploader

from tests.faults.evidence import litter, quiet, sources
from tests.support import command
from tests.support.serving import PASSWORD, Api, Served, eventually, free_port
from tests.support.traces import blobs, rows

_MIB: Final = 1024 * 1024
_LARGE_BYTES: Final = 300 * _MIB


def _served(state: Path, port: int, **env: str) -> Served:
    """The one-process run at a fixed port, as a client that comes back expects it."""
    return Served(state, options=["--port", str(port)], env=env)


def _uploader(api: Api, file: IO[bytes], *, url: str | None = None, tries: int = 0) -> Uploader:
    client = TusClient(f"{api.url}/uploads", headers=api.headers)
    return client.uploader(
        file_stream=file, url=url, chunk_size=100 * _MIB, metadata={"filename": "a.mp4"}, retries=tries, retry_delay=1
    )


def _begun(api: Api, file: IO[bytes], *, tries: int = 0) -> tuple[Uploader, str]:
    upload = _uploader(api, file, tries=tries)
    url = upload.create_url()
    upload.set_url(url)
    return upload, url


def _received_bytes(api: Api, url: str) -> int:
    answer = requests.head(url, headers={**api.headers, "Tus-Resumable": "1.0.0"}, timeout=30)
    assert answer.status_code == 200
    return int(answer.headers["Upload-Offset"])


def _has(api: Api, url: str, least_bytes: int) -> bool:
    return _received_bytes(api, url) >= least_bytes


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, short: Path) -> Path:
    """A video with 300 MB in a box that says nothing (ISO/IEC 14496-12, `free`), no two megabytes of them equal."""
    path = tmp_path_factory.mktemp("large") / "large.mp4"
    noise = random.Random(7)  # noqa: S311 - nothing secret
    with path.open("wb") as file:
        file.write(short.read_bytes())
        file.write((_LARGE_BYTES + 8).to_bytes(4, "big") + b"free")
        for _ in range(_LARGE_BYTES // _MIB):
            file.write(noise.randbytes(_MIB))
    return path


def _stored_sha256(state: Path, job_id: str) -> str:
    [row] = rows(state, "SELECT sources FROM jobs WHERE id = ?", job_id)
    digest = sha256()
    for place, (_size, _sha256, *number) in enumerate(json.loads(row["sources"])):
        digest.update((state / "blobs" / "videos" / job_id / str(*(number or [place]))).read_bytes())
    return digest.hexdigest()


def test_a_client_of_others_resumes_over_two_crashes(tmp_path: Path, large: Path) -> None:
    """With tuspy, 300 MB in three bodies: a crash costs the piece that was under way, and every byte arrives once."""
    state, port = tmp_path / "state", free_port()
    with ExitStack() as stack, large.open("rb") as file:
        server = stack.enter_context(_served(state, port))
        api = server.account()
        upload, url = _begun(api, file, tries=60)
        sending = Thread(target=upload.upload)
        sending.start()
        for least in (50 * _MIB, 150 * _MIB):
            eventually(partial(_has, api, url, least))
            server.kill()
            server = stack.enter_context(_served(state, port))
            assert least <= _received_bytes(api, url) < large.stat().st_size
        sending.join()
        job_id = url.rpartition("/")[2]
        assert api.ended(job_id)["state"] == "succeeded"
        assert _stored_sha256(state, job_id) == sha256(large.read_bytes()).hexdigest()
        quiet(state)
    assert litter(state) == []


@pytest.mark.parametrize("point", ["receiving-half-a-piece", "piece-stored-not-kept", "queued-not-published"])
def test_a_crash_at_each_seam_loses_and_doubles_nothing(point: str, tmp_path: Path, short: Path) -> None:
    """Before the last piece is kept its client sends it again; afterwards the job is promised and goes on by itself."""
    state, port = tmp_path / "state", free_port()
    with _served(state, port, CRASH_AT=point) as server, short.open("rb") as file:
        api = server.account()
        upload, url = _begun(api, file)
        with pytest.raises(TusCommunicationError):
            upload.upload()
        assert server.ended() == -9
    with _served(state, port) as server, short.open("rb") as file:
        job_id = url.rpartition("/")[2]
        promised = point == "queued-not-published"
        assert _received_bytes(api, url) == (short.stat().st_size if promised else 0)
        if not promised:
            _uploader(api, file, url=url).upload()
        assert api.ended(job_id)["state"] == "succeeded"
        quiet(state)
        assert len(rows(state, "SELECT id FROM jobs")) == len(rows(state, "SELECT job_id FROM mails")) == 1
        # What a dead request left under a number of its own goes with the source.
        left = {"piece-stored-not-kept": ["0", "1"], "receiving-half-a-piece": ["1"], "queued-not-published": ["0"]}
        assert sources(state, job_id) == left[point]
        assert api.call("DELETE", f"/jobs/{job_id}").status_code == 204
        assert blobs(state) == []
    assert litter(state) == []


def test_the_command_line_goes_on_after_a_crash(tmp_path: Path, large: Path) -> None:
    """`convert --server` waits for the server to come back, and sends the rest; the MP3 is where it belongs."""
    state, port = tmp_path / "state", free_port()
    with ExitStack() as stack:
        server = stack.enter_context(_served(state, port))
        server.account()
        env = {"PATH": os.environ["PATH"], "VIDEO2MP3_EMAIL": "someone@example.com", "VIDEO2MP3_PASSWORD": PASSWORD}
        arguments = ("convert", str(large), "--server", server.url, "-o", str(tmp_path))
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(command.run, *arguments, env=env)
            eventually(lambda: sum(path.stat().st_size for path in blobs(state, "videos")) > 50 * _MIB)
            server.kill()
            assert [row["state"] for row in rows(state, "SELECT state FROM jobs")] == ["receiving"]
            stack.enter_context(_served(state, port))
            assert done.result().returncode == 0, done.result().stderr
        [job] = rows(state, "SELECT id FROM jobs")
        assert _stored_sha256(state, job["id"]) == sha256(large.read_bytes()).hexdigest()
    assert (tmp_path / "large.mp3").stat().st_size > 0


def test_the_command_line_gives_up_what_it_cannot_send(tmp_path: Path, large: Path) -> None:
    """Ctrl-C in the middle of an upload takes away what was sent."""
    state = tmp_path / "state"
    with Served(state) as server:
        server.account()
        env = {"PATH": os.environ["PATH"], "VIDEO2MP3_EMAIL": "someone@example.com", "VIDEO2MP3_PASSWORD": PASSWORD}
        arguments = ["convert", str(large), "--server", server.url, "-o", str(tmp_path)]
        with (tmp_path / "log").open("wb") as log:
            process = command.start(arguments, env=env, output=log)
        eventually(lambda: blobs(state, "videos"))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert [row["state"] for row in rows(state, "SELECT state FROM jobs WHERE deleted IS NULL")] == []
        assert blobs(state, "videos") == []
