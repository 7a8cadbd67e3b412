"""The way of one video through nginx, in front of the whole local server."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.acceptance.conftest import video
from tests.gateway.nginx import Nginx
from tests.support.clusters import settings_on_servers
from tests.support.serving import PASSWORD, Api, Served, eventually
from tests.support.streams import Events

__all__ = ["video"]


@pytest.fixture(scope="module", params=["one process", "services"])
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """Nginx before a server with everything in one process, and before one with a process per function."""
    folder = tmp_path_factory.mktemp("walk")
    services = request.param == "services"
    with ExitStack() as stack:
        env = stack.enter_context(settings_on_servers(folder)) if services else {}
        served = stack.enter_context(Served(folder / "state", services=services, env=env))
        upstream = served.url.replace("localhost", "127.0.0.1")
        yield stack.enter_context(Nginx(folder, UPSTREAM=upstream))


def _uploaded(api: Api, video: Path, way: str) -> str:
    if way == "form":
        return api.upload_id(video)
    if way == "pieces":
        return api.upload_in_pieces(video, piece_bytes=10_000)
    content = video.read_bytes()
    body = content if way == "length" else iter([content[:1000], content[1000:]])
    answer = api.call("POST", "/upload?filename=holiday.mp4", data=body)
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/jobs/{answer.json()['id']}"), answer.text
    return str(answer.json()["id"])


@pytest.mark.parametrize("way", ["form", "length", "chunks", "pieces"])
def test_the_whole_way(walked: Nginx, video: Path, way: str) -> None:
    """Register, log in, upload in each way, follow the events, download, whole and in part."""
    account = {"email": f"{way}@example.com", "password": PASSWORD}
    assert requests.post(f"{walked.url}/register", data=account, timeout=30).status_code == 201
    login = requests.post(f"{walked.url}/login", auth=(account["email"], PASSWORD), timeout=30)
    assert login.status_code == 200
    api = Api(walked.url, login.text)
    with Events(api, "/jobs/events") as stream:
        stream.welcomed()
        job_id = _uploaded(api, video, way)
        stream.until("job", id=job_id, state="succeeded")
    assert api.job(job_id)["filename"] == "holiday.mp4"
    mp3 = api.download(job_id)
    part = api.call("GET", f"/download?fid={job_id}", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, mp3[10:20])
    head = api.call("HEAD", f"/download?fid={job_id}")
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(mp3)))
    link = requests.get(walked.url + api.job(job_id)["links"]["download"], timeout=30)
    assert link.content == mp3
    assert api.call("DELETE", f"/jobs/{job_id}").status_code == 204


def test_refusals_on_the_way(walked: Nginx) -> None:
    """What functions refuse before they read a body arrives as they said it."""
    answer = requests.post(f"{walked.url}/upload", data=bytes(20_000_000), timeout=60)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="video2mp3"')
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]
    answer = requests.post(f"{walked.url}/login", data=bytes(100_000), timeout=60)
    assert answer.status_code in (401, 413)
    ids = {"X-Request-Id": "one-id-for-both"}
    assert requests.get(f"{walked.url}/jobs", headers=ids, timeout=60).headers["X-Request-Id"] == "one-id-for-both"
    eventually(lambda: walked.line(request="one-id-for-both"))
