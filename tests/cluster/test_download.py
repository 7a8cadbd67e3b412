"""A download that takes longer than a request may last."""

import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.cluster.conftest import People, Record
from tests.cluster.forward import Forward
from tests.cluster.kube import Kube
from tests.cluster.pods import Pods
from tests.cluster.traffic import Client, Door, ended

#: DOWNLOAD_SECONDS where nothing is set, less what a clock may differ.
_LEAST_SECONDS: Final = 530
#: Knative's own limit, and then some for what was on its way.
_MOST_SECONDS: Final = 640
#: 54 MB in 540 s. What buffers hold between us and download is much less than the rest of 144 MB.
_BYTES_PER_SECOND: Final = 100_000
_CHUNK_BYTES: Final = 64 * 1024


@pytest.fixture
def door_of_its_own(door: Door) -> Iterator[Door]:
    """A slow reader holds up whoever shares its port-forward."""
    if os.environ.get("VIDEO2MP3_CLUSTER_URL"):
        yield door
        return
    with Forward("kourier-system", "kourier", 80) as forward:
        yield Door(forward.url, door.host)


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("VIDEO2MP3_CLUSTER_SLOW") != "1", reason="takes ten minutes; VIDEO2MP3_CLUSTER_SLOW=1 runs it"
)
def test_a_download_that_outlives_its_limit(
    kube: Kube, people: People, door_of_its_own: Door, hour: Path, tmp_path: Path, pods: Pods, record: Record
) -> None:
    """A slow reader gets right bytes alone, and less than was announced; `curl -C -` fetches the rest."""
    client = people()
    job_id = client.upload_id(hour, bitrate="320")
    assert ended(kube, client, job_id)["state"] == "succeeded"
    target, token = f"/download?fid={job_id}", client.headers["Authorization"]
    told = client.call("HEAD", target)
    announced, digest = int(told.headers["Content-Length"]), told.headers["ETag"].strip('"')
    path = tmp_path / "hour.mp3"
    began = time.monotonic()
    got = _dawdle(door_of_its_own, target, token, path)
    seconds = time.monotonic() - began
    record("a slow download", None, pods.most, f"cut after {seconds:.0f} s and {got:,} of {announced:,} bytes")
    assert 0 < got < announced
    assert _LEAST_SECONDS < seconds < _MOST_SECONDS
    _complete(client, door_of_its_own, target, path)
    assert path.stat().st_size == announced
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def _dawdle(door: Door, target: str, token: str, path: Path) -> int:
    """Read slowly until download must have ended it, then take what is on its way; how many bytes came."""
    parts, got, began = urlsplit(door.url), 0, time.monotonic()
    connection = HTTPConnection(parts.hostname or "", parts.port or 80, timeout=300)
    try:
        connection.connect()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK_BYTES)
        connection.request("GET", target, headers={"Host": door.host, "Authorization": token})
        answer = connection.getresponse()
        assert answer.status == 200
        with path.open("wb") as file:
            while chunk := _next(answer):
                file.write(chunk)
                got += len(chunk)
                ahead = got / _BYTES_PER_SECOND - (time.monotonic() - began)
                if ahead > 0 and time.monotonic() - began < _LEAST_SECONDS + 20:
                    time.sleep(ahead)  # this is the slowness
    finally:
        connection.close()
    return got


def _next(answer: HTTPResponse) -> bytes:
    """What comes next; nothing at the end, however it came."""
    try:
        return answer.read1(_CHUNK_BYTES)
    except ConnectionError:
        return b""


def _complete(client: Client, door: Door, target: str, path: Path) -> None:
    """Fetch what is missing, as a person would."""
    headers = [f"Host: {door.host}", f"Authorization: {client.headers['Authorization']}"]
    command = ["curl", "-sS", "-f", "-C", "-", "-o", str(path)]
    for each in headers:
        command += ["-H", each]
    ended = subprocess.run([*command, f"{door.url}{target}"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
