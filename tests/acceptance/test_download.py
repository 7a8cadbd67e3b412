"""GET and HEAD /download, and of a waveform: whole, by range, under conditions, by signed link; who gets nothing."""

import json
import subprocess
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import requests

from functions.common.links import Links
from tests.media.encode import encode
from tests.support.serving import Api, Served, eventually
from tests.support.traces import blobs
from tests.support.waveform import read
from tests.support.wire import Wire

_NAME = 'Ünser Urlaub 日本 \U0001f3ac; "1" 100%.mp4'
_NOBODYS = "01890000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module")
def owner(server: Served) -> Api:
    """The owner of the one MP3 that most of these tests only read."""
    return server.account("owner@example.com")


@pytest.fixture(scope="module")
def job(owner: Api, video: Path) -> dict[str, Any]:
    """A job that succeeded."""
    job = owner.ended(owner.upload_id(video, name=_NAME))
    assert job["state"] == "succeeded"
    return job


@pytest.fixture(scope="module")
def mp3(owner: Api, job: dict[str, Any]) -> bytes:
    """Its MP3."""
    return owner.download(job["id"])


def _get(api: Api, job: dict[str, Any], method: str = "GET", **headers: str) -> requests.Response:
    return api.call(
        method, f"/download?fid={job['id']}", headers={name.replace("_", "-"): text for name, text in headers.items()}
    )


def test_the_whole_mp3_comes_with_its_length_type_and_digest(job: dict[str, Any], owner: Api, mp3: bytes) -> None:
    """A plain GET gives the bytes that the job promises, as audio, with what a client needs to resume."""
    answer = _get(owner, job)
    assert answer.status_code == 200
    assert answer.content == mp3
    assert len(mp3) == job["size_bytes"] == int(answer.headers["Content-Length"])
    assert answer.headers["Content-Type"] == "audio/mpeg"
    assert answer.headers["ETag"] == f'"{sha256(mp3).hexdigest()}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["X-Request-Id"]


def test_the_file_name_is_the_uploads(job: dict[str, Any], owner: Api) -> None:
    """Content-Disposition names the MP3 like the video, in UTF-8 (RFC 6266, section 4.3)."""
    disposition = _get(owner, job, "HEAD").headers["Content-Disposition"]
    assert disposition.startswith("attachment;")
    encoded = disposition.partition("filename*=UTF-8''")[2].partition(";")[0]
    assert unquote(encoded) == f"{_NAME.removesuffix('.mp4')}.mp3"


def test_each_answer_has_one_date(job: dict[str, Any], owner: Api) -> None:
    """Date comes once (RFC 9110, section 6.6.1)."""
    with Wire(owner.url) as wire:
        wire.head("HEAD", f"/download?fid={job['id']}", owner.headers)
        assert len(wire.answer("HEAD").headers.get_all("Date", [])) == 1


def test_id_is_another_word_for_fid(job: dict[str, Any], owner: Api, mp3: bytes) -> None:
    """?id= does what ?fid= does."""
    assert owner.call("GET", f"/download?id={job['id']}").content == mp3


def test_head_tells_what_get_would_give(job: dict[str, Any], owner: Api, mp3: bytes) -> None:
    """HEAD has the headers of GET, and no body."""
    got, told = _get(owner, job), _get(owner, job, "HEAD")
    assert (told.status_code, told.content) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Content-Disposition", "Accept-Ranges"):
        assert told.headers[name] == got.headers[name]
    assert int(told.headers["Content-Length"]) == len(mp3)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("0-99", 0, 99), ("100-100", 100, 100), ("1000-", 1000, None), ("-500", -500, None), ("10-999999999", 10, None)],
)
def test_a_range_gives_just_those_bytes(
    job: dict[str, Any], owner: Api, mp3: bytes, asked: str, first: int, last: int | None
) -> None:
    """Ranges from the front, the middle and the end are what a slice of the file is (RFC 9110, section 14.2)."""
    answer = _get(owner, job, Range=f"bytes={asked}")
    wanted = mp3[first:] if last is None else mp3[first : last + 1]
    begin = first if first >= 0 else len(mp3) + first
    assert answer.status_code == 206
    assert answer.content == wanted
    assert answer.headers["Content-Range"] == f"bytes {begin}-{begin + len(wanted) - 1}/{len(mp3)}"
    assert int(answer.headers["Content-Length"]) == len(wanted)


def test_a_range_behind_the_end_is_416(job: dict[str, Any], owner: Api, mp3: bytes) -> None:
    """A range that the file does not have is refused with the file's length, as a problem document."""
    answer = _get(owner, job, Range=f"bytes={len(mp3)}-")
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(mp3)}"
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_range_in_an_unknown_unit_is_ignored(job: dict[str, Any], owner: Api, mp3: bytes) -> None:
    """A unit nobody knows asks for nothing (RFC 9110, section 14.2: MUST ignore): the whole file comes."""
    answer = _get(owner, job, Range="items=0-4")
    assert (answer.status_code, answer.content) == (200, mp3)


def test_if_range_holds_for_the_same_file_only(job: dict[str, Any], owner: Api, mp3: bytes) -> None:
    """With the right ETag a range is given, with another the whole file (RFC 9110, section 13.1.5)."""
    right = _get(owner, job, "HEAD").headers["ETag"]
    assert _get(owner, job, Range="bytes=5-9", If_Range=right).content == mp3[5:10]
    answer = _get(owner, job, Range="bytes=5-9", If_Range='"another"')
    assert (answer.status_code, answer.content) == (200, mp3)


def test_if_none_match_spares_the_body(job: dict[str, Any], owner: Api) -> None:
    """Who has the file already is told so (RFC 9110, section 13.1.2)."""
    etag = _get(owner, job, "HEAD").headers["ETag"]
    answer = _get(owner, job, If_None_Match=etag)
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == etag
    assert _get(owner, job, If_None_Match='"another"').status_code == 200


def test_a_signed_link_needs_no_token(server: Served, job: dict[str, Any], mp3: bytes) -> None:
    """The link in the job's JSON opens GET, HEAD and ranges for whoever holds it."""
    nobody, link = Api(server.url), job["links"]["download"]
    assert nobody.call("GET", link).content == mp3
    assert nobody.call("HEAD", link).headers["Content-Length"] == str(len(mp3))
    assert nobody.call("GET", link, headers={"Range": "bytes=0-9"}).content == mp3[:10]


def test_a_signed_link_opens_nothing_else(server: Served, owner: Api, job: dict[str, Any], mp3: bytes) -> None:
    """Behind other paths and methods the same signature is worth nothing."""
    nobody, query = Api(server.url), job["links"]["download"].partition("?")[2]
    for method, path in (
        ("GET", f"/jobs/{job['id']}"),
        ("GET", f"/jobs/{job['id']}/events"),
        ("DELETE", f"/jobs/{job['id']}"),
        ("POST", f"/jobs/{job['id']}/cancel"),
        ("GET", "/jobs"),
    ):
        assert nobody.call(method, f"{path}?{query}").status_code == 401
    for method in ("POST", "PUT", "DELETE"):
        assert nobody.call(method, f"/download?{query}").status_code == 405
        assert nobody.call(method, f"/download/waveform?{query}").status_code == 405
    assert nobody.call("GET", f"/download/source?{query}").status_code == 404
    assert owner.download(job["id"]) == mp3


def _signed(server: Served, job_id: str, *, seconds: float) -> str:
    key = json.loads((server.state / "keys.json").read_text())["LINK_KEY"]
    return Links(key).make(job_id, seconds=seconds)


def _without_id(answer: requests.Response) -> tuple[int, str, dict[str, Any]]:
    body = answer.json()
    assert body.pop("request_id") == answer.headers["X-Request-Id"]
    return answer.status_code, answer.headers["Content-Type"], body


def test_no_refusal_tells_whether_a_job_exists(
    server: Served, owner: Api, stranger: Api, job: dict[str, Any], video: Path
) -> None:
    """Another's job, ended, foreign and broken links all get the answer for a job that does not exist."""
    job_id, link = job["id"], job["links"]["download"]
    nobody = Api(server.url)
    assert nobody.call("GET", _signed(server, job_id, seconds=60)).status_code == 200
    other = owner.ended(owner.upload_id(video))
    signature = link.partition("signature=")[2]
    missing = stranger.call("GET", f"/download?fid={_NOBODYS}")
    assert missing.status_code == 404
    refusals = {
        "another's job": stranger.call("GET", f"/download?fid={job_id}"),
        "another's job as id=": stranger.call("GET", f"/download?id={job_id}"),
        "another's waveform": stranger.call("GET", f"/download/waveform?fid={job_id}"),
        "a waveform by a link for another job": nobody.call(
            "GET", f"/download/waveform?fid={other['id']}&signature={signature}"
        ),
        "a waveform by a link that is over": nobody.call(
            "GET", _signed(server, job_id, seconds=-1).replace("/download?", "/download/waveform?")
        ),
        "no id": stranger.call("GET", "/download"),
        "no job's id": stranger.call("GET", "/download?fid=../../etc/passwd"),
        "a NUL": stranger.call("GET", "/download?fid=%00"),
        "a link that is over": nobody.call("GET", _signed(server, job_id, seconds=-1)),
        "a good link of no job": nobody.call("GET", _signed(server, _NOBODYS, seconds=60)),
        "a link for another job": nobody.call("GET", f"/download?fid={other['id']}&signature={signature}"),
        "a cut signature": nobody.call("GET", link[:-1]),
        "a changed signature": nobody.call("GET", link[:-4] + ("AAAA" if link[-4:] != "AAAA" else "BBBB")),
        "a signature of nothing": nobody.call("GET", f"/download?fid={job_id}&signature="),
        "a signature with a foreign key": nobody.call("GET", Links("x" * 48).make(job_id, seconds=60)),
        "a signature in another alphabet": nobody.call("GET", f"/download?fid={job_id}&signature=%C3%A4.%F0%9F"),
        "a token beside a broken link": owner.call("GET", f"/download?fid={job_id}&signature=x"),
    }
    for which, refusal in refusals.items():
        assert _without_id(refusal) == _without_id(missing), which


def test_without_token_or_link_there_is_nothing(server: Served, job: dict[str, Any]) -> None:
    """A bare id opens nothing, whether the job exists or not."""
    for job_id in (job["id"], _NOBODYS):
        for path in ("/download", "/download/waveform"):
            answer = Api(server.url).call("GET", f"{path}?fid={job_id}")
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_what_is_not_ready_is_409_with_the_state(api: Api, long_audio: Path) -> None:
    """While the job runs, and after it was cancelled, the answer names the state."""
    job_id = api.upload_id(long_audio)
    eventually(lambda: api.job(job_id)["state"] == "converting")
    running = api.call("GET", f"/download?fid={job_id}")
    assert (running.status_code, running.json()["state"]) == (409, "converting")
    assert api.call("POST", f"/jobs/{job_id}/cancel").status_code == 200
    cancelled = api.call("GET", f"/download?fid={job_id}")
    assert (cancelled.status_code, cancelled.json()["state"]) == (409, "cancelled")


def test_what_failed_is_409_with_the_reason(api: Api, silent_video: Path) -> None:
    """A failed job says why, in a word and in a sentence."""
    job = api.ended(api.upload_id(silent_video))
    answer = api.call("GET", f"/download?fid={job['id']}")
    assert (answer.status_code, answer.json()["state"], answer.json()["reason"]) == (409, "failed", "no_audio")
    assert answer.json()["detail"] == job["message"]


def test_an_mp3_that_is_no_longer_stored_is_410(server: Served, api: Api, video: Path) -> None:
    """Where the row promises a blob that is gone, the answer says gone, not broken."""
    job_id = api.upload_id(video)
    api.ended(job_id)
    for path in blobs(server.state, f"mp3s/{job_id}"):
        path.unlink()
    answer = api.call("GET", f"/download?fid={job_id}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (410, "application/problem+json")


def test_the_waveform_is_the_mp3s(job: dict[str, Any], owner: Api) -> None:
    """Its owner gets the whole of it, with its length, type and ETag; it is as long as the MP3."""
    answer = owner.call("GET", f"/download/waveform?fid={job['id']}")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    waveform = read(answer.content)
    assert waveform.seconds == pytest.approx(job["duration_seconds"], abs=0.02)
    assert max(waveform.heights()) > 5
    headers = {"If-None-Match": answer.headers["ETag"]}
    assert owner.call("GET", f"/download/waveform?fid={job['id']}", headers=headers).status_code == 304
    assert answer.headers["ETag"] != _get(owner, job, "HEAD").headers["ETag"]
    headers = {"Range": "bytes=0-23"}
    assert owner.call("GET", f"/download/waveform?fid={job['id']}", headers=headers).content == answer.content[:24]


def test_head_tells_of_the_waveform(job: dict[str, Any], owner: Api) -> None:
    """HEAD has the headers of GET, and no body."""
    got, told = (owner.call(method, f"/download/waveform?id={job['id']}") for method in ("GET", "HEAD"))
    assert (told.status_code, told.content) == (200, b"")
    for name in ("Content-Length", "Content-Type", "ETag", "Last-Modified", "Content-Disposition", "Accept-Ranges"):
        assert told.headers[name] == got.headers[name]


def test_a_signed_link_opens_the_waveform_too(server: Served, job: dict[str, Any], owner: Api) -> None:
    """The job's link to its waveform needs no token; the link to the MP3 has as good a signature."""
    nobody, links = Api(server.url), job["links"]
    waveform = owner.call("GET", f"/download/waveform?fid={job['id']}").content
    assert links["waveform"].startswith(f"/download/waveform?fid={job['id']}&signature=")
    assert nobody.call("GET", links["waveform"]).content == waveform
    assert nobody.call("HEAD", links["waveform"]).headers["Content-Length"] == str(len(waveform))
    signature = links["download"].partition("signature=")[2]
    assert nobody.call("GET", f"/download/waveform?fid={job['id']}&signature={signature}").content == waveform


def test_a_copy_has_no_waveform(api: Api, tmp_path: Path) -> None:
    """An MP3 that was taken over has no link to one, and the answer is that of a job that does not exist."""
    source = encode(tmp_path / "a.mp3", "-f", "lavfi", "-i", "sine=duration=2", "-c:a", "libmp3lame")
    job = api.ended(api.upload_id(source))
    assert (job["state"], "waveform" in job["links"]) == ("succeeded", False)
    refused = api.call("GET", f"/download/waveform?fid={job['id']}")
    assert _without_id(refused) == _without_id(api.call("GET", f"/download?fid={_NOBODYS}"))
    assert api.call("GET", f"/download?fid={job['id']}").status_code == 200


def test_a_waveform_that_is_not_ready_or_not_stored(server: Served, api: Api, silent_video: Path, video: Path) -> None:
    """Of a job that failed the answer is the MP3's own; of one whose blob is gone it is 410."""
    failed = api.ended(api.upload_id(silent_video))
    assert api.call("GET", f"/download/waveform?fid={failed['id']}").json()["reason"] == "no_audio"
    job_id = api.upload_id(video)
    api.ended(job_id)
    (stored,) = blobs(server.state, f"waveforms/{job_id}")
    stored.unlink()
    assert api.call("GET", f"/download/waveform?fid={job_id}").status_code == 410


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that ends each download after a second."""
    with Served(tmp_path_factory.mktemp("hurried") / "state", env={"DOWNLOAD_SECONDS": "1"}) as served:
        yield served


@pytest.fixture(scope="module")
def large(hurried: Served, tmp_path_factory: pytest.TempPathFactory) -> tuple[Api, str, bytes]:
    """An MP3 of 12 MB there: its owner, its job and its bytes."""
    sine = ("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=300")
    source = encode(tmp_path_factory.mktemp("large") / "large.flac", *sine, "-c:a", "flac")
    owner = hurried.account()
    job_id = owner.upload_id(source, bitrate="320")
    assert owner.ended(job_id)["state"] == "succeeded"
    (stored,) = blobs(hurried.state, f"mp3s/{job_id}")
    return owner, job_id, stored.read_bytes()


@pytest.fixture(scope="module", params=["one process", "gunicorn"])
def downloads(request: pytest.FixtureRequest, hurried: Served, large: tuple[Api, str, bytes]) -> Iterator[Api]:
    """The owner of the large MP3 at the one-process server, and at the function alone as the images run it."""
    if request.param == "one process":
        yield large[0]
    else:
        with Served(hurried.state, function="download", env={"DOWNLOAD_SECONDS": "1"}) as alone:
            api = Api(alone.url)
            api.headers = large[0].headers
            yield api


def test_a_cut_download_is_right_so_far_and_curl_completes_it(
    downloads: Api, large: tuple[Api, str, bytes], tmp_path: Path
) -> None:
    """A slow reader gets the beginning of the file, less than was announced; `curl -C -` fetches the rest."""
    _, job_id, mp3 = large
    got = _dawdle(downloads, job_id, announced=len(mp3))
    assert 0 < len(got) < len(mp3)
    assert mp3.startswith(got)
    path = tmp_path / "large.mp3"
    path.write_bytes(got)
    token = f"Authorization: {downloads.headers['Authorization']}"
    command = ["curl", "-sS", "-f", "-C", "-", "-o", str(path), "-H", token]
    subprocess.run([*command, f"{downloads.url}/download?fid={job_id}"], check=True)
    assert path.read_bytes() == mp3


def _dawdle(api: Api, job_id: str, *, announced: int) -> bytes:
    """What a reader gets who is slow until the server's second must be over, and then takes what is on its way."""
    slow_until = time.monotonic() + 1.5
    got = b""
    with Wire(api.url, receive_bytes=4096) as wire:
        wire.head("GET", f"/download?fid={job_id}", api.headers)
        answer = wire.answer()
        assert (answer.status, int(answer.headers["Content-Length"])) == (200, announced)
        while chunk := answer.read1(64 * 1024):
            got += chunk
            if time.monotonic() < slow_until:
                time.sleep(0.01)  # this is the slowness
    return got


def test_a_reader_that_stands_still_is_cut_too(downloads: Api, large: tuple[Api, str, bytes]) -> None:
    """A client that takes nothing does not hold its connection, and a thread of ours, beyond the limit."""
    _, job_id, _ = large
    server_port = int(downloads.url.rpartition(":")[2])
    with Wire(downloads.url, receive_bytes=4096) as wire:
        wire.head("GET", f"/download?fid={job_id}", downloads.headers)
        eventually(lambda: _established(server_port, wire.port))
        eventually(lambda: not _established(server_port, wire.port), seconds=4)


def _established(server_port: int, client_port: int) -> bool:
    """Whether the server's end of a connection is open (state 01 of proc(5), net/tcp)."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, ours, theirs, state, *_ = line.split()
        ends = (int(ours.rpartition(":")[2], 16), int(theirs.rpartition(":")[2], 16))
        if ends == (server_port, client_port):
            return state == "01"
    return False
