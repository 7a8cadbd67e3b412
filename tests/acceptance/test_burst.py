"""`video2mp3 burst`, end to end on servers of its own."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.media.corpus import clip
from tests.support.command import COMMAND
from tests.support.servers import url
from tests.support.serving import Served, eventually

#: Starting a server and a generator takes seconds, on a busy machine many.
SECONDS: Final = 240.0


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two short videos, and something that is none."""
    folder = tmp_path_factory.mktemp("recordings")
    for seconds in (0.5, 1.0):
        clip(folder / f"{seconds}.mp4", seconds=seconds)
    (folder / "notes.txt").write_text("no video")
    return folder


@contextmanager
def started(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> Iterator["subprocess.Popen[str]"]:
    """A burst whose report goes into a folder; all that it started is ended."""
    clean = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [COMMAND, "burst", "-o", str(folder), *words],
            env={**clean, **(env or {})},
            stdout=said,
            stderr=said,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                # Its server ends with it, by the pipe that it holds.
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            said.seek(0)
            print(said.read())  # noqa: T201 - what pytest shows of a test that failed


def report(folder: Path) -> dict[str, Any]:
    """The report that a burst left."""
    told: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return told


def broken(folder: Path) -> list[str]:
    """Every broken promise that it tells of."""
    return [line for verdict in report(folder)["proof"] for line in verdict["broken"]]


def database(folder: Path) -> Path:
    """That of the burst's own server."""
    return folder / "work/state/video2mp3.db"


def jobs(folder: Path) -> list[str]:
    """The jobs in it that are queued."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(database(folder), timeout=30)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM jobs WHERE state = 'queued' ORDER BY id DESC")]
    return []


def test_a_burst_that_is_kept_leaves_a_whole_report(tmp_path: Path, recordings: Path) -> None:
    """Exit code 0, every promise kept, figures, samples with moments, pictures and page; the work is gone."""
    words = ("--jobs", "4", "--accounts", "2", "--media", str(recordings), "--max-p95", "200", "--max-ratio", "1000")
    with started(tmp_path, *words) as process:
        assert process.wait(SECONDS) == 0
    told = report(tmp_path)
    assert [verdict["kept"] for verdict in told["proof"]] == [True] * 6
    assert {job["state"] for job in told["jobs"]} == {"succeeded"}
    assert {job["account"] for job in told["jobs"]} == {0, 1}
    for job in told["jobs"]:
        moments = [job[name] for name in ("sent", "started", "finished", "mailed")]
        assert moments == sorted(moments)
        # A converter may be faster than the answer on its way to the client.
        assert job["sent"] < job["accepted"] < job["finished"]
    assert told["samples"][-1]["jobs"] == {"mailed": 4}
    assert told["figures"]["functions"]["ffmpeg"]["cpu_seconds"] > 0.1
    assert told["figures"]["ratio"] > 0
    for name in ("pods", "states", "waits", "slowest"):
        assert (tmp_path / f"{name}-dark.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "work").exists()
    beside = subprocess.run(
        [COMMAND, "burst", "compare", tmp_path, tmp_path], capture_output=True, text=True, check=True
    )
    assert re.search(r"jobs that succeeded\s+4 of 4\s+4 of 4", beside.stdout)


def test_a_lost_job_is_found_by_its_id(tmp_path: Path, recordings: Path) -> None:
    """A row that is deleted behind the server's back: exit code 1, its id in the report, the evidence kept."""
    with started(tmp_path, "--jobs", "6", "--media", str(recordings)) as process:
        lost = eventually(lambda: jobs(tmp_path), seconds=SECONDS)[0]
        with closing(sqlite3.connect(database(tmp_path), timeout=30)) as connection, connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", (lost,))
        assert process.wait(SECONDS) == 1
    assert f"{lost} had its 202 and is lost" in broken(tmp_path)
    assert database(tmp_path).exists()


def test_a_missed_bound_is_told(tmp_path: Path, recordings: Path) -> None:
    """Nothing is as fast as a millisecond: exit code 2, every promise kept all the same."""
    with started(tmp_path, "--jobs", "1", "--media", str(recordings), "--max-p95", "0.001") as process:
        assert process.wait(SECONDS) == 2
    assert broken(tmp_path) == []
    assert "0.001 s were allowed" in report(tmp_path)["missed"][0]


def test_whoever_is_turned_away_comes_again(tmp_path: Path, recordings: Path) -> None:
    """More jobs than an account may have waiting: clear refusals, tried again when they said, and all were taken."""
    # Those that come at the very same moment do not see each other.
    words = ("--jobs", "8", "--arrivals", "ramp:1", "--media", str(recordings))
    with started(tmp_path, *words, env={"MAX_QUEUED_JOBS": "1"}) as process:
        assert process.wait(SECONDS) == 0
    refusals = [refusal for job in report(tmp_path)["jobs"] for refusal in job["refusals"]]
    assert {(refusal["status"], refusal["retry_after"]) for refusal in refusals} == {(429, "10")}


def test_a_server_that_runs_already(server: Served, tmp_path: Path, recordings: Path) -> None:
    """By its API alone: what can be seen is proven, and what cannot is not called kept."""
    with started(tmp_path, "--url", server.url, "--jobs", "2", "--media", str(recordings)) as process:
        assert process.wait(SECONDS) == 0
    told = report(tmp_path)
    assert [verdict["kept"] for verdict in told["proof"]] == [True, True, True, None, None, True]
    assert any("mails" in sentence for sentence in told["unseen"])
    assert told["figures"]["ratio"] is None


def test_a_process_per_function(tmp_path: Path, recordings: Path) -> None:
    """On rooms of its own in the real servers: its queues and each function are seen, and every promise was kept."""
    url("S3_URL")
    with started(tmp_path, "--services", "--jobs", "4", "--media", str(recordings)) as process:
        assert process.wait(SECONDS) == 0
    told = report(tmp_path)
    assert [verdict["kept"] for verdict in told["proof"]] == [True] * 6
    functions = told["figures"]["functions"]
    assert {"gateway", "upload", "convert", "notify", "dispatcher"} <= functions.keys()
    assert all(functions[name]["cpu_seconds"] > 0 for name in ("upload", "convert", "notify"))
    assert any("convert" in name for name in told["samples"][-1]["queues"])


@pytest.mark.parametrize("services", [(), ("--services",)], ids=["one process", "services"])
def test_what_is_killed_meanwhile_loses_nothing(services: tuple[str, ...], tmp_path: Path, recordings: Path) -> None:
    """Faults were made and are told, and no promise is broken by them."""
    if services:
        url("S3_URL")
    words = ("--jobs", "12", "--arrivals", "ramp:4", "--media", str(recordings), "--faults", "--seed", "3")
    with started(tmp_path, *words, *services) as process:
        assert process.wait(SECONDS) == 0
    told = report(tmp_path)
    assert told["faults"]
    assert [verdict["kept"] for verdict in told["proof"]] == [True] * 6


def test_ctrl_c_leaves_a_report_of_what_is_known(tmp_path: Path, recordings: Path) -> None:
    """Exit code 130; what was under way is no loss, and the server and the generator are gone."""
    words = ("--jobs", "200", "--arrivals", "ramp:600", "--media", str(recordings))
    with started(tmp_path, *words) as process:
        eventually(lambda: database(tmp_path).exists() and _seen(tmp_path), seconds=SECONDS)
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert _naming(tmp_path) == []
    told = report(tmp_path)
    assert told["interrupted"]
    assert broken(tmp_path) == []
    assert {job["state"] for job in told["jobs"]} >= {None, "succeeded"}
    assert (tmp_path / "report.html").exists()


def _seen(folder: Path) -> bool:
    """Whether a job has succeeded."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(database(folder), timeout=30)) as connection:
        return bool(connection.execute("SELECT id FROM jobs WHERE state = 'succeeded'").fetchall())
    return False


def _naming(folder: Path) -> list[str]:
    """Commands of processes that name a path below a folder, the burst's own aside (Linux)."""
    wanted, found = os.fsencode(folder / "work"), []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = path.read_bytes()
            if wanted in command:
                found.append(command.decode(errors="replace"))
    return found


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--arrivals", "later"), "poisson:RATE"),
        (("--seconds", "x"), "is no length"),
        (("--scale-to-zero", "5"), "--services"),
        (("--url", "http://localhost:1", "--services"), "--url"),
        (("--url", "http://localhost:1", "--faults"), "--namespace"),
        (("compare", "nowhere", "nowhere"), "no report"),
    ],
)
def test_wrong_usage(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    """Exit code 2 and one sentence; nothing is started."""
    said = subprocess.run([COMMAND, "burst", *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert sentence in said.stderr + said.stdout
    assert list(tmp_path.iterdir()) == []
