"""/uploads: resumable uploads by tus 1.0.0, as a client of ours and one that nobody here wrote make them."""

from base64 import b64encode
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from functions.common.errors import BlobMissing
from functions.common.jobs import RESUMABLE_SECONDS
from functions.upload.resumable import MOST_PIECES
from tests.support.serving import Api, Served, eventually
from tests.support.stores import S3Place, in_mongodb, in_s3
from tests.support.traces import blobs, change, rows
from tests.support.wire import Wire

TUS: Final = {"Tus-Resumable": "1.0.0"}
BYTES: Final = {"Content-Type": "application/offset+octet-stream"}


def _metadata(**texts: str) -> str:
    return ",".join(f"{name} {b64encode(text.encode()).decode()}" for name, text in texts.items())


def _create(api: Api, size_bytes: int, body: bytes = b"", **texts: str) -> requests.Response:
    headers = {**TUS, "Upload-Length": str(size_bytes), "Upload-Metadata": _metadata(**texts)}
    return api.call("POST", "/uploads", data=body, headers=headers | (BYTES if body else {}))


def _begin(api: Api, content: bytes, **texts: str) -> str:
    answer = _create(api, len(content), b"", **texts)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def _append(api: Api, path: str, offset: int, body: Any, **headers: str) -> requests.Response:
    return api.call("PATCH", path, data=body, headers={**TUS, **BYTES, "Upload-Offset": str(offset), **headers})


def _id(path: str) -> str:
    return path.rpartition("/")[2]


def _stored(server: Served, path: str) -> list[Path]:
    return blobs(server.state, f"videos/{_id(path)}")


def _offset(api: Api, path: str) -> int:
    answer = api.call("HEAD", path, headers=TUS)
    assert answer.status_code == 200
    return int(answer.headers["Upload-Offset"])


def _row(server: Served, path: str) -> dict[str, Any]:
    [row] = rows(server.state, "SELECT * FROM jobs WHERE id = ?", _id(path))
    return row


def test_a_video_in_pieces_becomes_an_mp3(api: Api, video: Path) -> None:
    """Pieces of any size make the job that one upload makes, with its name, its options and the same bytes."""
    content = video.read_bytes()
    path = _begin(api, content, filename="Ferien 🏖.mp4", bitrate="96", filetype="video/mp4")
    sent = 0
    for size in (1, 511, 10_000, len(content)):
        answer = _append(api, path, sent, content[sent : sent + size])
        assert (answer.status_code, answer.text) == (204, "")
        sent = min(sent + size, len(content))
        assert int(answer.headers["Upload-Offset"]) == sent == _offset(api, path)
    job = api.ended(_id(path))
    assert (job["state"], job["filename"], job["options"]) == ("succeeded", "Ferien 🏖.mp4", {"bitrate": 96})
    assert job["source_bytes"] == len(content)
    assert api.download(job["id"]) == api.download(api.ended(api.upload_id(video, bitrate="96"))["id"])


def test_the_first_bytes_may_come_with_the_creation(api: Api, video: Path) -> None:
    """Whoever sends them all at once has the job by one request."""
    content = video.read_bytes()
    answer = _create(api, len(content), content[:1000], filename="a.mp4")
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (201, "1000")
    whole = _create(api, len(content), content, filename="b.mp4")
    assert (whole.status_code, whole.headers["Upload-Offset"]) == (201, str(len(content)))
    assert api.ended(_id(whole.headers["Location"]))["filename"] == "b.mp4"


def test_what_is_spoken_is_told_to_anybody(api: Api) -> None:
    """OPTIONS needs no account and tells version, extensions and the largest size."""
    for path in ("/uploads", "/uploads/01890a5d-ac96-774b-bcce-b302099a8057"):
        answer = requests.options(api.url + path, timeout=30)
        assert answer.status_code == 204
        assert answer.headers["Tus-Version"] == answer.headers["Tus-Resumable"] == "1.0.0"
        assert set(answer.headers["Tus-Extension"].split(",")) == {
            *("creation", "creation-with-upload", "expiration", "termination")
        }
        assert answer.headers["Tus-Max-Size"] == str(5 * 1024**3)


def test_an_upload_tells_of_itself(api: Api) -> None:
    """HEAD tells offset, length, expiry and the metadata as they were sent, and is kept by no cache."""
    path = _begin(api, b"x" * 100, filename="a.mp4", relativePath="/b")
    answer = api.call("HEAD", path, headers=TUS)
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == ("0", "100")
    assert answer.headers["Upload-Metadata"] == _metadata(filename="a.mp4", relativePath="/b")
    assert answer.headers["Cache-Control"] == "no-store"
    left = parsedate_to_datetime(answer.headers["Upload-Expires"]) - parsedate_to_datetime(answer.headers["Date"])
    assert RESUMABLE_SECONDS - 60 < left.total_seconds() <= RESUMABLE_SECONDS + 1


def test_an_upload_that_arrives_is_no_job_yet(api: Api, video: Path) -> None:
    """It is missing in the history, and has no events and no download."""
    path = _begin(api, video.read_bytes())
    _append(api, path, 0, video.read_bytes()[:1000])
    assert api.call("GET", "/jobs").json()["jobs"] == []
    assert api.job(_id(path))["state"] == "receiving"
    assert api.call("GET", f"/download?fid={path.rpartition('/')[2]}").status_code == 409


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Tus-Resumable": "0.2.2"}, 412),
        ({"Tus-Resumable": ""}, 412),
        ({"Content-Type": "video/mp4"}, 415),
        ({"Upload-Offset": ""}, 400),
        ({"Upload-Offset": "-1"}, 400),
        ({"Upload-Offset": "1"}, 409),
    ],
)
def test_a_wrong_piece_is_refused(api: Api, headers: dict[str, str], status: int) -> None:
    """Each fault of a PATCH has its own status and sentence, and stores nothing."""
    path = _begin(api, b"\0" * 1000)
    answer = _append(api, path, 0, b"\0" * 1000, **headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Tus-Version"] == answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.json()["detail"]
    assert _offset(api, path) == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": "0"}, 422),
        ({"Upload-Length": ""}, 400),
        ({"Upload-Length": "many"}, 400),
        ({"Upload-Length": "9" * 30}, 400),
        ({"Upload-Length": str(5 * 1024**3 + 1)}, 413),
        ({"Upload-Defer-Length": "1"}, 400),
        ({"Upload-Metadata": "filename not-base64!"}, 400),
        ({"Upload-Metadata": "filename /w=="}, 400),
        ({"Upload-Metadata": "filename " + "A" * 8192}, 400),
        ({"Upload-Metadata": _metadata(bitrate="7")}, 422),
        ({"Tus-Resumable": "2.0.0"}, 412),
        ({"Authorization": ""}, 401),
    ],
)
def test_a_wrong_creation_is_refused(server: Served, api: Api, headers: dict[str, str], status: int) -> None:
    """Each fault of a POST has its own status, and makes no row."""
    answer = api.call("POST", "/uploads", headers={**TUS, "Upload-Length": "10", **headers})
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    owner = api.call("POST", "/validate").json()["sub"]
    assert rows(server.state, "SELECT id FROM jobs WHERE owner = ?", owner) == []


def test_what_is_no_media_is_refused_by_its_first_bytes(server: Served, api: Api) -> None:
    """With the creation or with a first piece: the upload is gone, and so is what was stored."""
    content = b"<!doctype html>" + b" " * 2000
    answer = _create(api, 10**9, content)
    assert (answer.status_code, "Location" in answer.headers) == (415, False)
    path = _begin(api, content)
    assert _append(api, path, 0, content[:100]).status_code == 204
    path = _begin(api, content)
    assert _append(api, path, 0, content).status_code == 415
    assert api.call("HEAD", path, headers=TUS).status_code == 404
    assert _stored(server, path) == []


def test_bytes_beyond_the_length_are_refused(server: Served, api: Api) -> None:
    """Announced or in chunks: nothing of them is kept, and the upload goes on."""
    path = _begin(api, b"\0" * 1000)
    assert _append(api, path, 0, b"\0" * 1001).status_code == 413
    assert _append(api, path, 0, iter([b"\0" * 500, b"\0" * 501])).status_code == 413
    assert (_offset(api, path), _stored(server, path)) == (0, [])
    assert _append(api, path, 0, iter([b"\0" * 500, b"\0" * 499])).status_code == 204
    assert _offset(api, path) == 999


def test_a_repeated_piece_changes_nothing(api: Api, video: Path) -> None:
    """A piece whose answer was lost is refused with the offset; so is the last one, whose job goes on."""
    content = video.read_bytes()
    path = _begin(api, content)
    assert _append(api, path, 0, content[:5000]).status_code == 204
    again = _append(api, path, 0, content[:5000])
    assert (again.status_code, again.json()["offset"]) == (409, 5000)
    assert _append(api, path, 5000, content[5000:]).status_code == 204
    assert _append(api, path, 5000, content[5000:]).status_code == 409
    assert _append(api, path, len(content), b"").status_code == 204
    assert _offset(api, path) == len(content)
    assert api.ended(_id(path))["state"] == "succeeded"


def test_what_came_before_a_connection_broke_is_kept(api: Api, video: Path) -> None:
    """The client asks for the offset, and goes on from there."""
    content = video.read_bytes()
    path = _begin(api, content)
    head = {**api.headers, **TUS, **BYTES, "Upload-Offset": "0", "Content-Length": str(len(content))}
    with Wire(api.url) as wire:
        wire.head("PATCH", path, head)
        wire.send(content[:20_000])
    eventually(lambda: _offset(api, path) == 20_000)
    assert _append(api, path, 20_000, content[20_000:]).status_code == 204
    assert api.ended(_id(path))["state"] == "succeeded"


def test_a_creation_that_broke_off_leaves_nothing(server: Served, api: Api) -> None:
    """Nobody was told of the upload, so nobody could go on with it."""
    headers = {**api.headers, **TUS, **BYTES, "Upload-Length": "1000", "Content-Length": "1000"}
    owner = api.call("POST", "/validate").json()["sub"]
    with Wire(api.url) as wire:
        wire.head("POST", "/uploads", headers)
        wire.send(b"\0" * 600)
        eventually(lambda: rows(server.state, "SELECT id FROM jobs WHERE owner = ?", owner))
    [row] = rows(server.state, "SELECT id FROM jobs WHERE owner = ?", owner)
    eventually(lambda: rows(server.state, "SELECT id FROM jobs WHERE id = ? AND deleted IS NOT NULL", row["id"]))
    eventually(lambda: not _stored(server, row["id"]))
    assert api.call("GET", "/jobs").json()["limits"]["queued_jobs"]["used"] == 0


def test_a_client_that_comes_back_need_not_wait(server: Served, api: Api, video: Path) -> None:
    """A request that hangs somewhere holds nobody up, and what it still brings does not count."""
    content = video.read_bytes()
    path = _begin(api, content)
    head = {**api.headers, **TUS, **BYTES, "Upload-Offset": "0", "Content-Length": str(len(content))}
    with Wire(api.url) as hanging:
        hanging.head("PATCH", path, head)
        hanging.send(b"\0" * 1000)
        eventually(lambda: _row(server, path)["pieces"] == 1)
        assert _append(api, path, 0, content[:20_000]).status_code == 204
        hanging.send(b"\0" * (len(content) - 1000))
        assert hanging.answer("PATCH").status == 409
    assert _offset(api, path) == 20_000
    assert _append(api, path, 20_000, content[20_000:]).status_code == 204
    assert api.ended(_id(path))["state"] == "succeeded"
    assert len(_stored(server, path)) == 2


def test_an_upload_is_its_owners(api: Api, stranger: Api, video: Path) -> None:
    """To others it is not there, whatever they do; nor is the job of a plain upload an upload in pieces."""
    content = video.read_bytes()
    path = _begin(api, content)
    plain = f"/uploads/{api.upload_id(video)}"
    for who, where in ((stranger, path), (api, plain)):
        assert who.call("HEAD", where, headers=TUS).status_code == 404
        assert _append(who, where, 0, content).status_code == 404
        assert who.call("DELETE", where, headers=TUS).status_code == 404
    assert Api(api.url).call("HEAD", path, headers=TUS).status_code == 401
    assert _offset(api, path) == 0


def test_an_upload_can_be_given_up(server: Served, api: Api, video: Path) -> None:
    """DELETE takes it away with its pieces; a complete one is a job, and stays."""
    content = video.read_bytes()
    path = _begin(api, content)
    _append(api, path, 0, content[:5000])
    assert len(_stored(server, path)) == 1
    assert api.call("DELETE", path, headers=TUS).status_code == 204
    assert _stored(server, path) == []
    assert api.call("HEAD", path, headers=TUS).status_code == 404
    assert _append(api, path, 5000, content[5000:]).status_code == 404
    whole = _create(api, len(content), content).headers["Location"]
    assert api.call("DELETE", whole, headers=TUS).status_code == 409
    assert api.ended(_id(whole))["state"] == "succeeded"


def test_a_deleted_upload_takes_no_more(server: Served, api: Api) -> None:
    """DELETE of its job while a piece arrives ends that piece, and leaves nothing of it."""
    path = _begin(api, b"\0" * 2000)
    _append(api, path, 0, b"\0" * 1000)
    assert api.call("DELETE", f"/jobs/{path.rpartition('/')[2]}").status_code == 204
    assert _append(api, path, 1000, b"\0" * 1000).status_code == 404
    assert _stored(server, path) == []


def test_other_methods_may_come_as_post(api: Api) -> None:
    """X-HTTP-Method-Override stands for the method, as the protocol wants it."""
    path = _begin(api, b"\0" * 1000)
    headers = {**TUS, **BYTES, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert api.call("POST", path, data=b"\0" * 10, headers=headers).status_code == 204
    assert _offset(api, path) == 10
    assert api.call("GET", path, headers=TUS).status_code == 405


def test_quotas_hold_for_what_is_announced(tmp_path: Path) -> None:
    """An upload that arrives takes its room from the beginning, and gives it back when it is given up."""
    with Served(tmp_path / "state", env={"MAX_STORED_BYTES": "1000000"}) as server:
        api = server.account()
        path = _begin(api, b"\0" * 600_000)
        refused = _create(api, 600_000)
        assert (refused.status_code, refused.json()["used"]) == (507, 600_000)
        assert int(refused.headers["Retry-After"]) > 0
        assert api.call("GET", "/jobs").json()["limits"]["stored_bytes"]["used"] == 600_000
        api.call("DELETE", path, headers=TUS)
        assert _create(api, 600_000).status_code == 201


@pytest.mark.parametrize("store", ["s3", "mongodb"])
def test_pieces_lie_in_any_store(tmp_path: Path, video: Path, store: str) -> None:
    """The MP3 is the same wherever the pieces were, and with the job they are gone."""
    with in_s3() if store == "s3" else in_mongodb() as place:
        aws = place.aws if isinstance(place, S3Place) else {}
        with Served(tmp_path / "state", env={"BLOBS_URL": place.url, **aws}) as server:
            api = server.account()
            job_id = api.upload_in_pieces(video, piece_bytes=7_000)
            assert api.ended(job_id)["state"] == "succeeded"
            assert api.download(job_id) == api.download(api.ended(api.upload_id(video))["id"])
            keys = [f"videos/{job_id}/{number}" for number in range(len(video.read_bytes()) // 7_000 + 1)]
            blobs = place.make()
            for key in keys:
                blobs.open(key).close()
            assert api.call("DELETE", f"/jobs/{job_id}").status_code == 204
            for key in keys:
                with pytest.raises(BlobMissing):
                    blobs.open(key)
            blobs.close()


def test_too_many_pieces_are_refused(server: Served, api: Api) -> None:
    """The row does not grow without end."""
    path = _begin(api, b"\0" * 2000)
    assert change(server.state, "UPDATE jobs SET pieces = ? WHERE id = ?", MOST_PIECES, _id(path)) == 1
    answer = _append(api, path, 0, b"\0")
    assert (answer.status_code, f"{MOST_PIECES:,} pieces" in answer.json()["detail"]) == (422, True)
