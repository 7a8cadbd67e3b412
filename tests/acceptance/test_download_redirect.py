"""Downloads with DOWNLOAD_REDIRECT=1: the bytes come from the store itself, and only for whom they are."""

import subprocess
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests

from functions.common.blobs import from_url
from tests.support.relay import relay
from tests.support.serving import Api, Served, eventually
from tests.support.stores import S3Place, in_mongodb, in_s3
from tests.support.traces import rows

_NAME = 'Ünser  Urlaub 日本 \U0001f3ac; "1" 100% a=b.mp4'
_NOBODYS = "01890000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def place() -> Iterator[S3Place]:
    """Where the blobs are."""
    with in_s3() as made:
        yield made


@pytest.fixture(scope="module")
def redirecting(tmp_path_factory: pytest.TempPathFactory, place: S3Place) -> Iterator[Served]:
    """A server whose blobs are in S3, and which sends downloads there."""
    env = {"BLOBS_URL": place.url, "DOWNLOAD_REDIRECT": "1", **place.aws}
    with Served(tmp_path_factory.mktemp("redirecting") / "state", env=env) as served:
        yield served


@pytest.fixture(scope="module")
def owner(redirecting: Served) -> Api:
    """Whose MP3 it is."""
    return redirecting.account("owner@example.com")


@pytest.fixture(scope="module")
def job(owner: Api, video: Path) -> dict[str, Any]:
    """A job that succeeded."""
    job = owner.ended(owner.upload_id(video, name=_NAME))
    assert job["state"] == "succeeded"
    return job


def _stored(redirecting: Served, place: S3Place, job_id: str) -> bytes:
    [row] = rows(redirecting.state, "SELECT attempt FROM jobs WHERE id = ?", job_id)
    with place.make().open(f"mp3s/{job_id}/{row['attempt']}") as stream:
        return stream.read()


def test_the_answer_leads_to_the_store(redirecting: Served, place: S3Place, owner: Api, job: dict[str, Any]) -> None:
    """GET answers 307 to a link of 15 minutes at most that nobody may keep, and behind it is the MP3."""
    answer = owner.call("GET", f"/download?fid={job['id']}")
    link = answer.headers["Location"]
    assert (answer.status_code, answer.headers["Cache-Control"]) == (307, "no-store")
    assert link.startswith(f"{place.aws['AWS_ENDPOINT_URL']}/")
    assert 0 < int(parse_qs(urlsplit(link).query)["X-Amz-Expires"][0]) <= 900
    got = requests.get(link, timeout=30)
    assert (got.status_code, got.headers["Content-Type"]) == (200, "audio/mpeg")
    assert got.content == _stored(redirecting, place, job["id"])
    assert len(got.content) == job["size_bytes"]


def test_a_player_is_served_here(redirecting: Served, place: S3Place, owner: Api, job: dict[str, Any]) -> None:
    """The page's own policy lets it play nothing of another origin, so what a player asks for comes from here."""
    link = urlsplit(job["links"]["download"])
    headers = {"Sec-Fetch-Dest": "audio", "Range": "bytes=0-99"}
    answer = Api(owner.url).call("GET", f"{link.path}?{link.query}", headers=headers)
    assert (answer.status_code, len(answer.content)) == (206, 100)
    assert _stored(redirecting, place, job["id"]).startswith(answer.content)


def test_the_file_name_is_the_uploads(owner: Api, job: dict[str, Any]) -> None:
    """The store names the MP3 like the video, and for old programs in plain ASCII without what quotes (RFC 6266)."""
    link = owner.call("GET", f"/download?fid={job['id']}").headers["Location"]
    disposition = requests.get(link, timeout=30).headers["Content-Disposition"]
    assert unquote(disposition.partition("filename*=UTF-8''")[2]) == f"{_NAME.removesuffix('.mp4')}.mp3"
    parsed = Message()
    parsed["Content-Disposition"] = disposition.partition("; filename*")[0]
    assert parsed.get_content_disposition() == "attachment"
    assert parsed.get_filename() == "Unser Urlaub ; _1_ 100_ a=b.mp3"


@pytest.mark.parametrize("kind", ["token", "link"])
def test_curl_follows_it(
    redirecting: Served, place: S3Place, owner: Api, job: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    """`curl -L -o` with a token, or with the job's own link, leaves the MP3, and -C - completes a part of it."""
    mp3 = _stored(redirecting, place, job["id"])
    path = tmp_path / "got.mp3"
    path.write_bytes(mp3[:1000])
    token = ["-H", f"Authorization: {owner.headers['Authorization']}"] if kind == "token" else []
    target = f"/download?fid={job['id']}" if kind == "token" else job["links"]["download"]
    for more in (["-C", "-"], []):
        command = ["curl", "-sS", "-f", "-L", "-o", str(path), *more, *token, f"{owner.url}{target}"]
        subprocess.run(command, check=True)
        assert path.read_bytes() == mp3


def test_ranges_are_the_stores(redirecting: Served, place: S3Place, owner: Api, job: dict[str, Any]) -> None:
    """A client that asks for a range and follows gets the range."""
    headers = {**owner.headers, "Range": "bytes=100-199"}
    got = requests.get(f"{owner.url}/download", params={"fid": job["id"]}, headers=headers, timeout=30)
    assert (got.status_code, got.content) == (206, _stored(redirecting, place, job["id"])[100:200])


def test_head_is_answered_here(owner: Api, job: dict[str, Any]) -> None:
    """Who only asks about the MP3 is told at once."""
    told = owner.call("HEAD", f"/download?fid={job['id']}")
    assert (told.status_code, told.headers["Content-Length"]) == (200, str(job["size_bytes"]))


def test_nobody_else_is_sent_there(redirecting: Served, job: dict[str, Any]) -> None:
    """A stranger gets the 404 of a job that does not exist, nobody a 401, and neither of them a link."""
    stranger = redirecting.account("stranger@example.com")
    refused = stranger.call("GET", f"/download?fid={job['id']}")
    missing = stranger.call("GET", f"/download?fid={_NOBODYS}")
    assert refused.status_code == missing.status_code == 404
    assert {**refused.json(), "request_id": ""} == {**missing.json(), "request_id": ""}
    nobody = Api(redirecting.url).call("GET", f"/download?fid={job['id']}")
    assert nobody.status_code == 401
    assert "Location" not in {**refused.headers, **nobody.headers}


def test_a_link_opens_nothing_but_its_object(owner: Api, job: dict[str, Any]) -> None:
    """Another method, another key, a longer life or another name under the same signature are refused by the store."""
    link = owner.call("GET", f"/download?fid={job['id']}").headers["Location"]
    seconds = parse_qs(urlsplit(link).query)["X-Amz-Expires"][0]
    for method, url in (
        ("DELETE", link),
        ("PUT", link),
        ("GET", link.replace("/mp3s/", "/videos/")),
        ("GET", link.replace(f"X-Amz-Expires={seconds}", "X-Amz-Expires=99999")),
        ("GET", f"{link}&response-content-disposition=inline"),
    ):
        assert requests.request(method, url, timeout=30).status_code in (400, 403), (method, url)
    assert requests.get(link, timeout=30).ok


def test_a_link_that_is_over_is_refused(place: S3Place) -> None:
    """The store counts the seconds itself."""
    blobs = from_url(place.url, aws=place.aws)
    with blobs.create("mp3s/over/1", file_name="a.mp3") as writer:
        writer.write(b"abc")
        writer.commit()
    link = blobs.address("mp3s/over/1", seconds=1)
    assert link is not None

    def status() -> int:
        return requests.get(link, timeout=30).status_code

    assert status() == 200
    eventually(lambda: status() == 403, seconds=30)


def test_an_mp3_that_is_no_longer_stored_is_410(place: S3Place, owner: Api, video: Path) -> None:
    """Nobody is sent to what is not there."""
    job_id = owner.upload_id(video)
    owner.ended(job_id)
    place.make().delete(f"mp3s/{job_id}/1")
    answer = owner.call("GET", f"/download?fid={job_id}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (410, "application/problem+json")


def test_clients_know_the_store_by_another_address(redirecting: Served, place: S3Place, job: dict[str, Any]) -> None:
    """With AWS_ENDPOINT_URL_PUBLIC links name, and are signed for, the host that clients see."""
    port = urlsplit(place.aws["AWS_ENDPOINT_URL"]).port
    assert port is not None
    with relay(port) as outside:
        public = f"http://localhost:{outside.port}"
        env = {"BLOBS_URL": place.url, "DOWNLOAD_REDIRECT": "1", **place.aws, "AWS_ENDPOINT_URL_PUBLIC": public}
        with Served(redirecting.state, function="download", env=env) as served:
            link = Api(served.url).call("GET", job["links"]["download"]).headers["Location"]
            assert link.startswith(f"{public}/")
            assert requests.get(link, timeout=30).content == _stored(redirecting, place, job["id"])
            assert outside.sent_bytes > job["size_bytes"]


@pytest.mark.parametrize("kind", ["directory", "gridfs"])
def test_a_store_without_addresses_is_served_from_here(kind: str, tmp_path: Path, video: Path) -> None:
    """Where the store has no links of its own the setting changes nothing."""
    with in_mongodb() as mongo:
        env = {"DOWNLOAD_REDIRECT": "1", **({"BLOBS_URL": mongo.url} if kind == "gridfs" else {})}
        with Served(tmp_path / "state", env=env) as served:
            api = served.account()
            job_id = api.upload_id(video)
            job = api.ended(job_id)
            assert len(api.download(job_id)) == job["size_bytes"]


def test_a_short_range_is_a_short_read(redirecting: Served, place: S3Place, owner: Api, video: Path) -> None:
    """Without the setting, a client that asks for a hundred bytes has us fetch little more than that."""
    job = owner.ended(owner.upload_id(video))
    large = bytes(1024 * 1024)
    with place.make().create(f"mp3s/{job['id']}/1") as writer:
        writer.write(large)
        writer.commit()
    port = urlsplit(place.aws["AWS_ENDPOINT_URL"]).port
    assert port is not None
    with relay(port) as between:
        env = {"BLOBS_URL": place.url, **place.aws, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{between.port}"}
        with Served(redirecting.state, function="download", env=env) as served:
            got = Api(served.url).call("GET", job["links"]["download"], headers={"Range": "bytes=0-99"})
            assert (got.status_code, got.content) == (206, large[:100])
            assert between.sent_bytes < 80_000
