"""Functions that are started when somebody asks for them: each step wakes the next one while it still works."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.media.encode import quarter_of_an_hour
from tests.support.clusters import settings_on_servers
from tests.support.command import COMMAND
from tests.support.serving import PASSWORD, Served, Sized, eventually

#: So long a function goes on running after its last request.
IDLE_SECONDS = 60


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Servers of this test's own: an event whose receipt was cut off by a test's end comes once more, to nobody."""
    mails = tmp_path / "mails"
    mails.mkdir()
    with settings_on_servers(tmp_path) as made:
        yield {**made, "MAIL_URL": f"file://{mails}"}


@pytest.fixture(scope="module")
def lecture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound whose encoding takes longer than a function's start."""
    return quarter_of_an_hour(tmp_path_factory.mktemp("lecture") / "lecture.m4a")


@contextmanager
def at_zero(state: Path, settings: dict[str, str], *, idle_seconds: int = IDLE_SECONDS) -> Iterator[Served]:
    """All functions, none of which runs."""
    options = ("--scale-to-zero", str(idle_seconds))
    with Served(state, services=True, options=options, env=settings) as served:
        assert served.programs().keys() == {"ingress", "dispatcher"}
        yield served


def asked(served: Served, function: str) -> list[str]:
    """What a function was asked for, in order, each with whether the asker had to wait for its start."""
    lines = re.findall(rf"\b{function}: (GET|POST|OPTIONS) (\S+) (waited|found)", served.log())
    return [f"{method} {path} {how}" for method, path, how in lines]


def told(settings: dict[str, str], job_id: str) -> bool:
    """Whether the mail of a job is there."""
    return bool(list(Path(settings["MAIL_URL"].removeprefix("file://")).glob(f"{job_id}.*.eml")))


def test_the_waits_are_hidden(tmp_path: Path, settings: dict[str, str], lecture: Path) -> None:
    """Each event finds its function running: it was woken once, while the step before was still at work."""
    with at_zero(tmp_path / "state", settings) as served:
        me = served.account()
        content = lecture.read_bytes()

        def slowly() -> Iterator[bytes]:
            """Half of it at once, the rest in small pieces until convert runs, as a slow line would."""
            half, step = len(content) // 2, len(content) // 400
            yield content[:half]
            for begin in range(half, len(content), step):
                if not asked(served, "convert"):
                    time.sleep(0.05)
                yield content[begin : begin + step]

        answer = me.call("POST", "/upload?filename=a.m4a", data=Sized(slowly(), len(content)))
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["id"]
        assert me.ended(job_id)["state"] == "succeeded"
        eventually(lambda: told(settings, job_id))
        assert asked(served, "convert") == ["GET /healthz waited", "POST / found"]
        assert asked(served, "notify") == ["GET /healthz waited", "POST / found"]


def test_where_touches_fail_everything_comes_later_and_well(
    tmp_path: Path, settings: dict[str, str], video: Path
) -> None:
    """Nothing depends on it: events start what they need themselves, and what is idle ends again."""
    with at_zero(tmp_path / "state", {**settings, "WAKE_URL": "http://127.0.0.1:9"}, idle_seconds=2) as served:
        me = served.account()
        job_id = me.upload_id(video)
        eventually(lambda: told(settings, job_id))
        assert asked(served, "convert") == ["POST / waited"]
        assert asked(served, "notify") == ["POST / waited"]
        eventually(lambda: served.programs().keys() == {"ingress", "dispatcher"})
        assert me.job(job_id)["state"] == "succeeded"


def test_many_uploads_are_one_touch(tmp_path: Path, settings: dict[str, str], video: Path) -> None:
    """Twelve jobs at once: convert and notify are touched once each, not once for each job."""
    with at_zero(tmp_path / "state", settings) as served:
        me = served.account()
        with ThreadPoolExecutor(6) as pool:
            jobs = list(pool.map(lambda _: me.upload_id(video), range(12)))
        eventually(lambda: all(told(settings, job_id) for job_id in jobs))
        for function in ("convert", "notify"):
            methods = [line.split()[0] for line in asked(served, function)]
            assert (methods.count("GET"), methods.count("POST")) == (1, 12)


def test_a_failure_wakes_notify_too(tmp_path: Path, settings: dict[str, str]) -> None:
    """Whoever failed is told as soon."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(bytes(range(256)) * 64)
    with at_zero(tmp_path / "state", settings) as served:
        me = served.account()
        job_id = me.upload_id(broken)
        assert me.ended(job_id)["state"] == "failed"
        eventually(lambda: told(settings, job_id))
        # Both wait for the start, and which of them is answered first is nobody's concern.
        eventually(lambda: {line.split()[0] for line in asked(served, "notify")} == {"GET", "POST"})


def test_the_command_line_wakes_upload(tmp_path: Path, settings: dict[str, str], video: Path) -> None:
    """While it logs in, so that both starts are one wait."""
    with at_zero(tmp_path / "state", settings) as served:
        served.account()
        command = [COMMAND, "convert", str(video), "-o", str(tmp_path), "--server", served.url]
        env = {**os.environ, "VIDEO2MP3_EMAIL": "someone@example.com", "VIDEO2MP3_PASSWORD": PASSWORD}
        subprocess.run(command, check=True, env=env, timeout=60)
        assert (tmp_path / f"{video.stem}.mp3").stat().st_size
        # By the second one it asks how large a file may be.
        assert sorted(line.rpartition(" ")[0] for line in asked(served, "upload")) == [
            "OPTIONS /uploads",
            "OPTIONS /uploads",
            "POST /uploads",
        ]
