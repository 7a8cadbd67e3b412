"""A converter without its source, without a place to work or to store, or without room there."""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from functions.common.job import source_key
from functions.common.options import Options
from tests.faults.evidence import litter, mail_row, mp3s
from tests.faults.rig import Answer, Rig, send, uploaded
from tests.media.encode import encode, sound
from tests.support.serving import Served
from tests.support.traces import blobs, rows

MEBIBYTE = 1024 * 1024
AWAY = Answer(503, None)


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A minute of sound in half a megabyte, which becomes 2.4 MB at 320 kbit/s."""
    path = tmp_path_factory.mktemp("minute") / "minute.m4a"
    return encode(path, *sound(60), "-c:a", "aac", "-b:a", "64k").read_bytes()


def given_back(rig: Rig, job_id: str) -> None:
    """A job that can be tried again at once: nothing of the attempt is left, and it was not the job's fault."""
    row = rig.row(job_id)
    assert (row["state"], row["claims"], row["lease_until"], row["phase"]) == ("queued", 0, None, None)
    assert row["due"] <= rig.clock()
    assert mp3s(rig.state, job_id) == []
    assert blobs(rig.state, ".incoming") == []


@contextmanager
def replaced_by_a_file(folder: Path) -> Iterator[None]:
    """Make a folder unusable for everybody, root too."""
    away = folder.with_name(f"{folder.name}-away")
    folder.rename(away)
    folder.write_text("no folder")
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


def test_a_source_that_is_gone_fails_the_job_for_good(rig: Rig, worker: Served) -> None:
    """A job whose video is not stored any more ends with a reason that a person understands, and with a mail."""
    job_id = rig.queued()
    rig.blobs.delete(source_key(job_id, 0))
    for _ in range(2):
        assert send(worker.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.failed")
    row = rig.row(job_id)
    assert (row["state"], row["reason"], row["attempt"]) == ("failed", "source_missing", 1)
    assert mail_row(rig.state, job_id)["outcome"] == "failed"
    assert litter(rig.state) == []


@pytest.mark.parametrize("name", ["blobs", "work"])
def test_a_folder_that_is_away_costs_no_claim(name: str, rig: Rig, worker: Served, short: Path) -> None:
    """However often the store or the place to work is away, the job waits, and is converted once it is back."""
    job_id = rig.queued(short.read_bytes())
    with replaced_by_a_file(rig.state / name):
        # One try more than the claims that a run has.
        for _ in range(6):
            assert send(worker.url, uploaded(job_id)) == AWAY
            assert rig.row(job_id)["claims"] == 0
    given_back(rig, job_id)
    assert send(worker.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")
    assert mp3s(rig.state, job_id) == ["7"]
    assert litter(rig.state) == []


@contextmanager
def limited_to(server: Served, size_bytes: int) -> Iterator[None]:
    """Let a server's processes write no file beyond this size."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    for number in children:
        resource.prlimit(int(number), resource.RLIMIT_FSIZE, (size_bytes, most))
    try:
        yield
    finally:
        for number in children:
            resource.prlimit(int(number), resource.RLIMIT_FSIZE, (most, most))


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set on Linux alone")
def test_a_limit_on_the_size_of_files_costs_no_claim(rig: Rig, worker: Served, minute: bytes) -> None:
    """Where the machine lets nobody write a file as large as the MP3, the job waits until it does."""
    job_id = rig.queued(minute, options=Options(bitrate=320))
    rows(rig.state, "PRAGMA wal_checkpoint(TRUNCATE)")  # or the database's own file would be the first to be too large
    with limited_to(worker, MEBIBYTE):
        for _ in range(2):
            assert send(worker.url, uploaded(job_id)) == AWAY
            given_back(rig, job_id)
    assert send(worker.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")
    assert mp3s(rig.state, job_id) == ["3"]


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """Have a file system of 2 MiB at a folder; a call makes it larger."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield lambda: _run("mount", "-o", "remount,size=32m", str(folder))
    finally:
        _run("umount", "--lazy", str(folder))


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def test_a_full_store_costs_no_claim(tmp_path: Path, minute: bytes) -> None:
    """Where the MP3 finds no room in the store, the job waits, nothing of the MP3 stays, and it is tried again."""
    with (
        Rig(tmp_path / "state") as rig,
        small_disk(rig.state / "blobs") as enlarge,
        Served(rig.state, function="convert") as served,
    ):
        job_id = rig.queued(minute, options=Options(bitrate=320))
        for _ in range(2):
            assert send(served.url, uploaded(job_id)) == AWAY
            given_back(rig, job_id)
        enlarge()
        assert send(served.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")
        assert mp3s(rig.state, job_id) == ["3"]
        assert litter(rig.state) == []


@pytest.mark.parametrize("filled_bytes", [0, 7 * MEBIBYTE // 4], ids=["for the MP3", "for the source"])
def test_a_full_disk_to_work_on_costs_no_claim(filled_bytes: int, rig: Rig, tmp_path: Path, minute: bytes) -> None:
    """Where ffmpeg or the fetched source finds no room, the job waits, and is converted where there is some."""
    job_id = rig.queued(minute, options=Options(bitrate=320))
    disk = tmp_path / "disk"
    with (
        small_disk(disk) as enlarge,
        Served(rig.state, function="convert", env={"WORK_DIR": str(disk)}) as served,
    ):
        (disk / "filler").write_bytes(bytes(filled_bytes))
        for _ in range(2):
            assert send(served.url, uploaded(job_id)) == AWAY
            given_back(rig, job_id)
            assert list(disk.iterdir()) == [disk / "filler"]
        enlarge()
        assert send(served.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")
    assert mp3s(rig.state, job_id) == ["3"]


def test_conversions_that_fill_a_disk_together_wait_for_each_other(rig: Rig, tmp_path: Path, minute: bytes) -> None:
    """A disk that several conversions fill at once fails none of them for good: all are made once there is room."""
    jobs = [rig.queued(minute, options=Options(bitrate=320)) for _ in range(4)]
    disk = tmp_path / "disk"
    with (
        small_disk(disk) as enlarge,
        Served(rig.state, function="convert", env={"WORK_DIR": str(disk), "CONVERT_SLOTS": "4"}) as served,
        ThreadPoolExecutor(len(jobs)) as pool,
    ):
        for _ in range(3):
            answers = list(pool.map(lambda job_id: send(served.url, uploaded(job_id)), jobs))
            assert [rig.row(job_id)["reason"] for job_id in jobs] == [None] * len(jobs), answers
        enlarge()
        for job_id in jobs:
            assert send(served.url, uploaded(job_id)) == Answer(200, f"{job_id}.1.succeeded")
