"""A power cut at each seam between two writes, and one in the middle of ffmpeg's work."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
import requests

from functions.common.crash import POINTS
from tests.faults.evidence import litter, mail_row, message_ids, mp3s, quiet, row, sources, waveforms
from tests.faults.programs import commands_naming
from tests.media.encode import encode, sound
from tests.support.serving import Served, eventually
from tests.support.traces import blobs, rows

#: Nothing was promised yet at these.
BEFORE_THE_PROMISE: Final = ("receiving-half-a-blob", "stored-not-queued")
#: Uploads in pieces pass these; see test_killed_uploads.py.
OF_PIECES: Final = ("receiving-half-a-piece", "piece-stored-not-kept")
#: Far below the lease of 30 s and recover's delay of 10 min.
AT_ONCE_SECONDS: Final = 20.0


def upload_into_a_crash(server: Served, path: Path) -> None:
    """Upload a file to a server that ends in the middle of it or soon after."""
    api = server.account()
    with suppress(requests.RequestException):
        api.upload(path)
    assert server.ended() == -9


def crashed(state: Path, point: str, path: Path) -> None:
    """Let a server end at a point while it works on a file."""
    with Served(state, env={"CRASH_AT": point}) as server:
        upload_into_a_crash(server, path)


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of sound, so that ffmpeg tells of its progress."""
    return encode(tmp_path_factory.mktemp("minute") / "minute.m4a", *sound(60), "-c:a", "aac", "-b:a", "64k")


@pytest.mark.parametrize("point", [point for point in POINTS if point not in BEFORE_THE_PROMISE + OF_PIECES])
def test_what_was_promised_is_done_at_once_after_a_crash(point: str, tmp_path: Path, short: Path, minute: Path) -> None:
    """A crash after the promise costs nothing but the time of the restart: one MP3, one source, one mail."""
    state = tmp_path / "state"
    crashed(state, point, minute if point == "encoding" else short)
    [job] = rows(state, "SELECT id FROM jobs")
    job_id = str(job["id"])
    with Served(state) as server:
        api = server.account()
        ended = api.ended(job_id, seconds=AT_ONCE_SECONDS)
        assert ended["state"] == "succeeded", ended
        quiet(state, seconds=AT_ONCE_SECONDS)
        assert len(api.download(job_id)) == ended["size_bytes"]
    if point == "stored-not-marked":
        assert mp3s(state, job_id) == waveforms(state, job_id) == ["1", "2"]
        with Served(state):  # a start is a sweep, which removes what the crashed attempt stored
            pass
    assert mp3s(state, job_id) == waveforms(state, job_id) == [str(row(state, job_id)["attempt"])]
    assert len(blobs(state, "mp3s")) == 1
    assert sources(state, job_id) == ["0"]
    assert litter(state) == []
    mails = message_ids(state, job_id)
    assert len(set(mails)) == 1
    assert len(mails) == (2 if point == "mailed-not-marked" else 1)
    assert mail_row(state, job_id)["sent"]


@pytest.mark.parametrize("point", BEFORE_THE_PROMISE)
def test_what_was_not_promised_is_gone_without_a_trace(point: str, tmp_path: Path, short: Path) -> None:
    """A crash while an upload still arrives leaves neither a row nor a byte, and the client can send it again."""
    state = tmp_path / "state"
    crashed(state, point, short)
    assert [job["state"] for job in rows(state, "SELECT state FROM jobs")] == ["receiving"]
    assert blobs(state)
    with Served(state) as server:
        eventually(lambda: not rows(state, "SELECT id FROM jobs") and not blobs(state), seconds=AT_ONCE_SECONDS)
        assert litter(state) == []
        api = server.account()
        assert api.call("GET", "/jobs").json()["jobs"] == []
        assert api.ended(api.upload_id(short), seconds=AT_ONCE_SECONDS)["state"] == "succeeded"
        quiet(state)
    assert len(blobs(state, "mp3s")) == len(blobs(state, "videos")) == 1
    assert litter(state) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_ffmpeg_dies_with_the_server_that_started_it(tmp_path: Path, long: Path) -> None:
    """ffmpeg, a session of its own, does not outlive the process group that a power cut took away."""
    state = tmp_path / "state"
    with Served(state) as server:
        api = server.account()
        job_id = api.upload_id(long)
        eventually(lambda: api.job(job_id)["percent"])
        assert commands_naming(state / "work")
        server.kill()
        eventually(lambda: not commands_naming(state / "work"), seconds=5)
    with Served(state) as server:
        api = server.account()
        eventually(lambda: api.job(job_id)["percent"], seconds=AT_ONCE_SECONDS)
        assert len(list((state / "work").glob("*"))) == 1
        assert api.call("POST", f"/jobs/{job_id}/cancel").status_code == 200
        eventually(lambda: not list((state / "work").glob("*")), seconds=5)
    assert litter(state) == []
    assert mp3s(state, job_id) == []


def test_a_half_written_mail_does_not_stay_for_good(tmp_path: Path) -> None:
    """What a power cut left of a mail that was being written is removed by the next start, as half a blob is."""
    state = tmp_path / "state"
    (state / "mail").mkdir(parents=True)
    (state / "mail" / ".tmp0a1b2c3d.part").write_bytes(b"Subject: MP3 Dow")
    with Served(state):
        assert list((state / "mail").glob("*")) == []
