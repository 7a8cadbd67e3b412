"""POST /upload: every way a file may arrive, every way it is refused, and what is left of either."""

import email.policy
import json
import subprocess
import time
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
import requests

from tests.media.corpus import NAMES, clip
from tests.support.serving import Api, Served, eventually
from tests.support.traces import blobs, rows
from tests.support.wire import Wire

_BOUNDARY = "----a boundary of forms"
_FORM = {"Content-Type": f'multipart/form-data; boundary="{_BOUNDARY}"'}
_AT_ONCE_SECONDS = 3.0
_MOST_BYTES = 1_000_000
_HUGE = str(1 << 40)


def _field(name: str, text: str) -> bytes:
    return f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()


def _file(content: bytes, *, name: str = "holiday.mp4", field: str = "file") -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


_END = f"--{_BOUNDARY}--\r\n".encode()


def _in_pieces(body: bytes, size: int = 10_000) -> Iterator[bytes]:
    yield from (body[at : at + size] for at in range(0, len(body), size))


def _post(api: Api, body: Any, query: str = "", **headers: str) -> requests.Response:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    return api.call("POST", f"/upload{query}", data=body, headers=given)


def _post_form(api: Api, *parts: bytes, query: str = "") -> requests.Response:
    return api.call("POST", f"/upload{query}", data=b"".join(parts), headers=_FORM)


def _owner_id(api: Api) -> str:
    return str(api.call("POST", "/validate").json()["sub"])


def _rows(server: Served, owner: str) -> list[dict[str, Any]]:
    return rows(server.state, "SELECT * FROM jobs WHERE owner = ?", owner)


@pytest.fixture(scope="module")
def alone(server: Served) -> Iterator[Served]:
    """The function alone, as the images run it, on the same state; its events go nowhere."""
    with Served(server.state, function="upload", env={"BROKER_URL": "http://127.0.0.1:9/"}) as served:
        yield served


@pytest.fixture(params=["one process", "gunicorn"])
def either(request: pytest.FixtureRequest, api: Api) -> Api:
    """The account at the one-process server, and at the function alone."""
    if request.param == "gunicorn":
        there = Api(request.getfixturevalue("alone").url)
        there.headers = api.headers
        return there
    return api


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that takes files of up to a megabyte."""
    with Served(tmp_path_factory.mktemp("small") / "state", env={"MAX_UPLOAD_BYTES": str(_MOST_BYTES)}) as served:
        yield served


def test_a_form_is_taken_with_a_promise(api: Api, video: Path) -> None:
    """202 comes with the job, and a relative Location that holds behind any gateway."""
    answer = api.upload(video)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/jobs/{job['id']}" == job["links"]["self"]
    assert answer.headers["Content-Type"] == "application/json"
    assert job["filename"] == "holiday.mp4"
    assert job["source_bytes"] == video.stat().st_size
    assert job["state"] in ("queued", "converting", "succeeded")
    assert api.ended(job["id"])["state"] == "succeeded"


def test_options_count_before_and_after_the_file_and_in_the_query(either: Api, video: Path) -> None:
    """The place of an option does not matter."""
    file = _file(video.read_bytes())
    for parts, query in (
        ((_field("bitrate", "128"), _field("channels", "1"), file), ""),
        ((file, _field("bitrate", "128"), _field("channels", "1")), ""),
        ((_field("bitrate", "128"), file, _field("channels", "1")), ""),
        ((file,), "?bitrate=128k&channels=1"),
        ((_field("channels", "1"), file), "?bitrate=128"),
    ):
        answer = _post_form(either, *parts, _END, query=query)
        assert answer.status_code == 202, answer.text
        assert answer.json()["options"] == {"bitrate": 128, "channels": 1}


def test_a_raw_body_is_a_file(either: Api, video: Path) -> None:
    """Bytes without a form are taken too, named and tuned by the query."""
    answer = _post(either, video.read_bytes(), "?filename=a%20film.mp4&quality=4")
    assert answer.status_code == 202
    assert (answer.json()["filename"], answer.json()["options"]) == ("a film.mp4", {"quality": 4})
    assert answer.json()["source_bytes"] == video.stat().st_size


def test_bodies_of_unknown_length_are_taken(either: Api, video: Path) -> None:
    """Chunked transfer encoding works, raw and as a form."""
    raw = _post(either, _in_pieces(video.read_bytes()), "?filename=raw.mp4")
    form = either.call("POST", "/upload", data=_in_pieces(_file(video.read_bytes()) + _END), headers=_FORM)
    for answer in (raw, form):
        assert answer.status_code == 202, answer.text
        assert answer.json()["source_bytes"] == video.stat().st_size


def test_what_arrives_is_what_is_stored(server: Served, api: Api, video: Path) -> None:
    """The stored source is the file, byte for byte, whichever way it came."""
    content = video.read_bytes()
    for answer in (
        api.upload(video),
        _post(api, content),
        _post(api, _in_pieces(content, 77)),
        api.call("POST", "/upload", data=_in_pieces(_field("quality", "2") + _file(content) + _END, 99), headers=_FORM),
    ):
        (blob,) = blobs(server.state, f"videos/{answer.json()['id']}")
        assert blob.read_bytes() == content


@pytest.mark.parametrize("option", ["bitrate=1", "quality=10", "start=-1", "end=nan", "channels=3", "start=5&end=4"])
def test_a_wrong_option_is_refused_before_the_body(either: Api, option: str) -> None:
    """422 comes at once, though a terabyte was announced and nothing of it sent."""
    answer, seconds = _only_head(either, f"/upload?{option}", {**either.headers, "Content-Length": _HUGE})
    assert (answer[0], seconds < _AT_ONCE_SECONDS) == (422, True)
    assert answer[1]["field"] == option.rpartition("&")[2].partition("=")[0]


def test_a_missing_token_is_refused_before_the_body(either: Api) -> None:
    """401 comes at once, whether a length was announced or not."""
    for length in ({"Content-Length": _HUGE}, {"Transfer-Encoding": "chunked"}):
        for token in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}):
            answer, seconds = _only_head(either, "/upload", {**length, **token})
            assert (answer[0], seconds < _AT_ONCE_SECONDS) == (401, True)


def test_a_length_above_the_limit_is_refused_before_the_body(either: Api) -> None:
    """413 comes at once, and tells the limit."""
    answer, seconds = _only_head(either, "/upload", {**either.headers, "Content-Length": _HUGE})
    assert (answer[0], seconds < _AT_ONCE_SECONDS) == (413, True)
    assert answer[1]["limit"] == 5 * 1024**3


def _only_head(api: Api, target: str, headers: dict[str, str]) -> tuple[tuple[int, dict[str, Any]], float]:
    """Status and problem of a request whose body never comes, and how long they took."""
    began = time.monotonic()
    with Wire(api.url) as wire:
        wire.head("POST", target, headers)
        answer = wire.answer("POST")
        assert answer.headers["Content-Type"] == "application/problem+json"
        return (answer.status, json.loads(answer.read())), time.monotonic() - began


def test_a_file_above_the_limit_is_refused_while_it_arrives(small: Served, long_audio: Path) -> None:
    """Where no length was announced the bytes are counted: 413, and nothing is left."""
    api = small.account("counted@example.com")
    content = long_audio.read_bytes()[: _MOST_BYTES + 1]
    for answer in (
        _post(api, _in_pieces(content)),
        api.call("POST", "/upload", data=_in_pieces(_file(content) + _END), headers=_FORM),
        # The form's own length is a little more than the file's, so this one is counted too.
        _post_form(api, _file(content), _END),
        _post(api, content),
    ):
        assert (answer.status_code, answer.json()["limit"]) == (413, _MOST_BYTES)
    assert _rows(small, _owner_id(api)) == []
    assert blobs(small.state) == []


def test_a_file_of_just_the_limit_is_taken(small: Served, long_audio: Path) -> None:
    """The limit itself is no byte too many."""
    api = small.account("exact@example.com")
    answer = _post_form(api, _file(long_audio.read_bytes()[:_MOST_BYTES]), _END)
    assert answer.status_code == 202
    api.call("DELETE", f"/jobs/{answer.json()['id']}")


@pytest.mark.parametrize(
    "content",
    [
        b"just some text\n" * 100,
        b"\xef\xbb\xbf<!DOCTYPE html><html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n\x00\x01",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"PK\x03\x04" + bytes(600),
        b"\x1f\x8b\x08" + bytes(600),
        b"\x89PNG\r\n\x1a\n" + bytes(600),
        b"\xff\xd8\xff\xe0" + bytes(600),
        b"GIF89a" + bytes(600),
        b"%PDF-1.7\n" + bytes(600),
        b"\x7fELF" + bytes(600),
    ],
    ids=lambda content: repr(content[:12]),
)
def test_what_surely_is_no_media_is_415(server: Served, api: Api, content: bytes) -> None:
    """Text, pages, playlists, archives, pictures, documents and programs are named and refused, whatever their name."""
    for answer in (_post_form(api, _file(content), _END), _post(api, content, "?filename=film.mp4")):
        assert answer.status_code == 415
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert _rows(server, _owner_id(api)) == []


def test_an_upload_without_a_good_file_is_refused(server: Served, api: Api, video: Path) -> None:
    """No file, an empty one, two, a wrong field or option, a broken form: each is told and leaves nothing."""
    file, before = _file(video.read_bytes()), blobs(server.state)
    for parts, status in (
        ((_file(b""), _END), 422),
        ((_field("bitrate", "128"), _END), 422),
        ((_END,), 422),
        ((_field("file", "no file but a text"), _END), 422),
        ((file, file, _END), 422),
        ((_field("bitrate", "1"), file, _END), 422),
        ((file, _field("bitrate", "1"), _END), 422),
        ((file, _field("bitrate", "128"), _field("quality", "2"), _END), 422),
        ((_file(video.read_bytes(), field="video"), _END), 400),
        ((file,), 400),
        ((file[:-500],), 400),
        ((b"no form at all " * 99,), 400),
        ((_field("bitrate", "9" * 100_000), file, _END), 400),
        ((*(_field(f"f{number}", "") for number in range(200)), file, _END), 400),
        ((), 400),
    ):
        answer = _post_form(api, *parts)
        assert answer.status_code == status, (answer.text, parts[:1])
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert _post(api, b"").status_code == 422
    no_boundary = api.call("POST", "/upload", data=file, headers={"Content-Type": "multipart/form-data"})
    assert no_boundary.status_code in (400, 422)
    assert _rows(server, _owner_id(api)) == []
    assert [path for path in blobs(server.state) if path not in before] == []


def _halves(content: bytes) -> dict[str, tuple[dict[str, str], bytes]]:
    """Headers of a whole upload, and the beginning of its body, for each way of sending one."""
    half = content[:2_500_000]
    return {
        "form": ({**_FORM, "Content-Length": str(len(_file(content) + _END))}, _file(content)[: len(half)]),
        "raw": ({"Content-Length": str(len(content))}, half),
        "half a chunk": ({"Transfer-Encoding": "chunked"}, b"%x\r\n" % len(content) + half),
        "no last chunk": ({"Transfer-Encoding": "chunked"}, b"%x\r\n" % len(half) + half + b"\r\n"),
    }


@pytest.mark.parametrize("way", ["form", "raw", "half a chunk", "no last chunk"])
def test_an_interrupted_upload_leaves_nothing(
    server: Served, either: Api, api: Api, long_audio: Path, way: str
) -> None:
    """A connection that closes in the middle leaves no row and no blob, and makes no job of half a file."""
    owner = _owner_id(api)
    before = _received(server)
    headers, half = _halves(long_audio.read_bytes()[:3_000_000])[way]
    with Wire(either.url) as wire:
        wire.head("POST", "/upload", {**either.headers, **headers})
        wire.send(half)
        (row,) = eventually(lambda: _rows(server, owner))
        assert row["state"] == "receiving"
        assert api.call("GET", "/jobs").json()["jobs"] == []
    eventually(lambda: not [row for row in _rows(server, owner) if row["state"] == "receiving"])
    assert _rows(server, owner) == [], "half a file was taken for a whole one"
    assert [path for path in _received(server) if path not in before] == []


def _received(server: Served) -> list[Path]:
    """Every source, whole or half: jobs of other tests may still write results."""
    return blobs(server.state, "videos") + blobs(server.state, ".incoming")


def test_a_repeated_key_gives_the_same_job(either: Api, video: Path) -> None:
    """A client that is unsure whether its upload arrived repeats it without harm, and unread."""
    first = _post(either, video.read_bytes(), Idempotency_Key="once")
    again = _post(either, video.read_bytes(), Idempotency_Key="once")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Location"] == first.headers["Location"]
    announced = {**either.headers, "Idempotency-Key": "once", "Content-Length": str(1 << 30)}
    with Wire(either.url) as wire:
        wire.head("POST", "/upload", announced)
        assert wire.answer("POST").status == 202
    assert _post(either, video.read_bytes(), Idempotency_Key="twice").json()["id"] != first.json()["id"]


def test_uploads_with_one_key_at_once_make_one_job(server: Served, api: Api, video: Path) -> None:
    """Of many at the same moment one is taken; the others get its job, or 409 while it arrives."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: _post(api, video.read_bytes(), Idempotency_Key="race"), range(8)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(_rows(server, _owner_id(api))) == 1


def test_a_key_is_free_again_after_an_interruption_and_busy_during_the_upload(
    server: Served, api: Api, video: Path
) -> None:
    """409 while the first upload arrives; once that broke off, the key works as if it never was."""
    owner = _owner_id(api)
    with Wire(api.url) as wire:
        wire.head("POST", "/upload", {**api.headers, "Idempotency-Key": "again", "Content-Length": "9000000"})
        wire.send(video.read_bytes().ljust(2_000_000, b"\0"))
        eventually(lambda: _rows(server, owner))
        assert _post(api, video.read_bytes(), Idempotency_Key="again").status_code == 409
    eventually(lambda: not _rows(server, owner))
    assert _post(api, video.read_bytes(), Idempotency_Key="again").status_code == 202


def test_another_owner_may_use_the_same_key(api: Api, stranger: Api, video: Path) -> None:
    """Keys are each owner's own."""
    mine = _post(api, video.read_bytes(), Idempotency_Key="shared")
    theirs = _post(stranger, video.read_bytes(), Idempotency_Key="shared")
    assert (mine.status_code, theirs.status_code) == (202, 202)
    assert mine.json()["id"] != theirs.json()["id"]


def test_an_overlong_key_is_refused(api: Api, video: Path) -> None:
    """A key of more than 255 characters is not cut, which could meet another's."""
    assert _post(api, video.read_bytes(), Idempotency_Key="k" * 256).status_code == 422
    assert _post(api, video.read_bytes(), Idempotency_Key="k" * 255).status_code == 202


def test_a_full_disk_is_507(tmp_path: Path, long_audio: Path, video: Path) -> None:
    """Where there is no room the answer says so, nothing is left, and smaller files are still taken."""
    with Served(tmp_path / "state") as server:
        api = server.account()
        # No file of the server grows beyond 8 MiB: to the writer that is a full disk (EFBIG).
        subprocess.run(["prlimit", f"--pid={server.process.pid}", "--fsize=8388608:unlimited"], check=True)
        for answer in (api.upload(long_audio), _post(api, _in_pieces(long_audio.read_bytes(), 1_000_000))):
            assert (answer.status_code, answer.headers["Content-Type"]) == (507, "application/problem+json")
            assert int(answer.headers["Retry-After"]) > 0
        assert blobs(server.state) == []
        assert _rows(server, _owner_id(api)) == []
        assert api.ended(api.upload_id(video))["state"] == "succeeded"


@pytest.fixture(scope="module")
def named(server: Served, tmp_path_factory: pytest.TempPathFactory) -> tuple[Api, dict[str, dict[str, Any]]]:
    """A finished job for each hostile name, and their owner."""
    owner = server.account("names@example.com")
    content = clip(tmp_path_factory.mktemp("named") / "clip.mp4", seconds=0.3).read_bytes()
    made = {name: _post(owner, content, f"?filename={quote(name)}") for name in NAMES}
    return owner, {name: owner.ended(answer.json()["id"]) for name, answer in made.items()}


def _is_harmless(name: str) -> bool:
    """Whether a name is a single file's, on one line, and reads in the direction it is written."""
    bidi = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    printable = not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in name)
    return printable and bool(name.strip()) and bidi.isdisjoint(name) and "/" not in name and "\\" not in name


def test_hostile_names_are_harmless_in_the_history(named: tuple[Api, dict[str, dict[str, Any]]]) -> None:
    """/jobs shows each name without folders, controls and turned text, and all of them were converted."""
    owner, jobs = named
    listed = {job["id"]: job for job in owner.call("GET", "/jobs?limit=200").json()["jobs"]}
    assert len(listed) == len(NAMES)
    for name, job in jobs.items():
        assert job["state"] == "succeeded", name
        assert _is_harmless(listed[job["id"]]["filename"]), name
        assert len(listed[job["id"]]["filename"]) <= 255, name


def test_hostile_names_are_harmless_in_downloads(named: tuple[Api, dict[str, dict[str, Any]]]) -> None:
    """Content-Disposition stays one header with the one name of an MP3."""
    owner, jobs = named
    for name, job in jobs.items():
        headers = owner.call("HEAD", f"/download?fid={job['id']}").headers
        assert "X-Injected" not in headers
        shown = _disposition_name(headers["Content-Disposition"])
        assert shown.endswith(".mp3"), name
        assert _is_harmless(shown), name


def test_the_name_of_a_download_fits_into_a_file_system(named: tuple[Api, dict[str, dict[str, Any]]]) -> None:
    """No name is longer than the 255 bytes that file systems take, so that `curl -OJ` can save under it."""
    owner, jobs = named
    long = [job for name, job in jobs.items() if len(name) > 100]
    assert len(long) == 3
    for job in long:
        headers = owner.call("HEAD", f"/download?fid={job['id']}").headers
        assert len(_disposition_name(headers["Content-Disposition"]).encode()) <= 255


def _disposition_name(disposition: str) -> str:
    """The name that a browser would take (RFC 6266, section 4.3), or the plain one where it is the only one."""
    if "filename*=" in disposition:
        return unquote(disposition.partition("filename*=UTF-8''")[2])
    return disposition.partition("filename=")[2].strip('"').replace('\\"', '"')


def test_hostile_names_are_harmless_in_mails(server: Served, named: tuple[Api, dict[str, dict[str, Any]]]) -> None:
    """Each mail has its own headers and no others, its first line, and the name on one line, escaped in HTML."""
    _, jobs = named
    for name, job in jobs.items():
        mail = _mail(server, job["id"])
        assert mail["Subject"] == "MP3 Download"
        assert mail["To"] == "names@example.com"
        assert mail["X-Injected"] is None
        text = _part(mail, "plain")
        assert text.startswith(f"mp3 file_id: {job['id']} is now ready!\n")
        (line,) = (line for line in text.splitlines() if line.startswith("File: "))
        assert _is_harmless(line.removeprefix("File: ")), name
        assert "<script>" not in _part(mail, "html")


def _mail(server: Served, job_id: str) -> EmailMessage:
    (path,) = eventually(lambda: list((server.state / "mail").glob(f"{job_id}*.eml")))
    with path.open("rb") as file:
        return BytesParser(policy=email.policy.default).parse(file)


def _part(mail: EmailMessage, subtype: str) -> str:
    part = mail.get_body((subtype,))
    assert part is not None
    return str(part.get_content())


def test_names_in_forms_are_cleaned_too(api: Api, video: Path) -> None:
    """However a form spells a name, what comes of it is harmless."""
    for spelled in ("..\\\\..\\\\x.mp4", "../../x.mp4", "a%0D%0AX-Injected: yes.mp4", "\u202e4pm.mp4", 'q\\"uote.mp4'):
        answer = _post_form(api, _file(video.read_bytes(), name=spelled), _END)
        assert answer.status_code == 202, spelled
        assert _is_harmless(answer.json()["filename"]), spelled
        assert "X-Injected" not in answer.headers
