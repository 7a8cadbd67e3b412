"""`video2mp3 serve --services`: the walk of a user, on real servers, with a process per function."""

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from mutagen.mp3 import MP3

from tests.support.clusters import settings_on_servers
from tests.support.command import COMMAND
from tests.support.older import message, older_system
from tests.support.servers import url
from tests.support.serving import Api, Served, eventually, free_port

ROOT = Path(__file__).parents[2]
FUNCTIONS = {"auth", "upload", "convert", "notify", "jobs", "download", "recover"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Servers of this module's own."""
    with settings_on_servers(tmp_path_factory.mktemp("servers")) as made:
        yield made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]) -> Iterator[Served]:
    """All functions."""
    with Served(tmp_path_factory.mktemp("services") / "state", services=True, env=settings) as made:
        yield made


@pytest.fixture
def me(served: Served) -> Api:
    """Somebody with an account."""
    return served.account()


def test_the_walk_of_a_user(served: Served, me: Api, video: Path) -> None:
    """Upload, wait, download: an MP3 of the video's length."""
    job_id = me.upload_id(video)
    job = me.ended(job_id)
    assert (job["state"], job["percent"]) == ("succeeded", 100)
    info: Any = MP3(io.BytesIO(me.download(job_id))).info
    assert abs(info.length - 2.0) < 0.1
    answer = me.call("GET", f"/download?fid={job_id}", headers={"Range": "bytes=100-199"})
    assert (answer.status_code, len(answer.content)) == (206, 100)
    assert served.log().count("Traceback") == 0


def test_the_mail_goes_out(settings: dict[str, str], served: Served, me: Api, video: Path) -> None:
    """The SMTP server took a mail of the job."""
    assert settings["MAIL_URL"].startswith("smtp://")
    job_id = me.upload_id(video)
    eventually(lambda: any(job_id in line and "mailed" in line for line in served.log().splitlines()))


def test_keys_are_with_those_who_need_them(served: Served) -> None:
    """Only auth can sign tokens; whoever makes no links has no key for them."""
    told = {name: program.environ() for name, program in served.programs().items()}
    holders = {
        key: {name for name, env in told.items() if key in env}
        for key in ("TOKEN_PRIVATE_KEY", "LINK_KEY", "DATABASE_URL")
    }
    assert holders == {
        "TOKEN_PRIVATE_KEY": {"auth"},
        "LINK_KEY": {"notify", "jobs", "download"},
        "DATABASE_URL": FUNCTIONS,
    }
    assert {name for name, env in told.items() if "MAIL_URL" in env} == {"notify"}


def test_a_process_per_function(served: Served) -> None:
    """Each function can be seen, and ended, by itself."""
    assert served.programs().keys() == FUNCTIONS | {"ingress", "dispatcher"}


def test_the_queues(settings: dict[str, str], served: Served) -> None:
    """RabbitMQ has a queue per trigger and one for each one's dead letters."""
    assert served.url
    name = settings["BROKER_URL"].rpartition("/")[2]
    queues = requests.get(f"{url('RABBITMQ_MANAGEMENT_URL')}/api/queues/{name}", timeout=10).json()
    assert {queue["name"] for queue in queues} == {
        *("default.convert.video2mp3", "default.notify-failed.video2mp3", "default.notify-succeeded.video2mp3"),
        *("t.default.convert.dlq", "t.default.notify-failed.dlq", "t.default.notify-succeeded.dlq"),
    }


def test_progress_is_streamed(me: Api, video: Path) -> None:
    """Server-sent events pass the gateway as they come."""
    job_id = me.upload_id(video)
    lines = []
    with me.call("GET", f"/jobs/{job_id}/events", stream=True, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            lines.append(line.decode())
            if '"succeeded"' in lines[-1]:
                break
    assert any(line.startswith("data:") for line in lines)


def test_a_function_that_is_away(served: Served, me: Api, video: Path) -> None:
    """While a function is gone its paths are 503 with Retry-After, the others are answered, and it comes back."""
    before = served.programs()["download"]
    os.kill(before.pid, signal.SIGSTOP)
    for worker in before.children():
        worker.kill()
    before.kill()
    answer = me.call("GET", "/download?fid=x")
    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert answer.headers["Retry-After"]
    assert me.call("GET", "/jobs").status_code == 200
    eventually(lambda: me.call("GET", "/download?fid=x").status_code == 404)
    job_id = me.upload_id(video)
    assert me.ended(job_id)["state"] == "succeeded"


def test_an_early_refusal_passes_the_gateway(served: Served, tmp_path: Path) -> None:
    """An upload without a token is refused before its end, and says why."""
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(300_000_000)
    answer = Api(served.url).upload(large)
    assert (answer.status_code, answer.headers["WWW-Authenticate"].split()[0]) == (401, "Bearer")


def test_ctrl_c_ends_all_of_it(tmp_path: Path, settings: dict[str, str]) -> None:
    """Nothing that was started outlives it."""
    with Served(tmp_path / "state", services=True, env=settings) as served:
        running = list(served.programs().values())
        assert served.stop(signal.SIGINT) == 0
        assert not [process for process in running if process.is_running()]


def test_nothing_outlives_a_kill(tmp_path: Path, settings: dict[str, str]) -> None:
    """Even when it is killed, what it started ends."""
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv on this machine")
    with Served(tmp_path / "state", services=True, env=settings) as served:
        running = list(served.programs().values())
        os.kill(served.process.pid, signal.SIGKILL)
        eventually(lambda: not [process for process in running if process.is_running()])


def test_beside_an_older_system(tmp_path: Path, video: Path) -> None:
    """A message in its queue of videos becomes an MP3 in its GridFS, and one in its queue of MP3s."""
    with older_system() as older, settings_on_servers(tmp_path) as settings:
        env = {**settings, "BLOBS_URL": older.mongo.url, "BRIDGE_AMQP_URL": older.amqp_url}
        fid = older.put(video.read_bytes(), filename="holiday.mp4")
        older.ask(message(fid, "somebody@example.com"))
        with Served(tmp_path / "state", services=True, env=env) as served:
            [told] = eventually(older.taken, seconds=60)
            assert "bridge" in served.programs()
        assert (told["video_fid"], told["username"]) == (fid, "somebody@example.com")
        info: Any = MP3(io.BytesIO(older.mp3(told["mp3_fid"]))).info
        assert abs(info.length - 2.0) < 0.1


@pytest.mark.parametrize("name", ["DATABASE_URL", "BROKER_URL"])
def test_a_server_that_is_not_there(tmp_path: Path, settings: dict[str, str], name: str) -> None:
    """A sentence says which; nothing stays behind."""
    wrong = {"DATABASE_URL": "mysql+pymysql://u:secret@127.0.0.1:1/x", "BROKER_URL": "memory:"}
    env = {**os.environ, **settings, name: wrong[name]}
    command = [COMMAND, "serve", "--services", "--port", "0", "--state", str(tmp_path / "state")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "Traceback" in done.stderr, "secret" in done.stderr) == (1, False, False)
    assert ("database" if name == "DATABASE_URL" else "BROKER_URL") in done.stderr


def test_reload(tmp_path: Path) -> None:
    """A function whose files change is started again with what they say now."""
    tree = tmp_path / "tree"
    for name in ("functions", "local"):
        shutil.copytree(ROOT / name, tree / name)
    port = free_port()
    program = ["-c", "from local.cli.main import run; run()", "serve", "auth", "--reload", "--port", str(port)]
    env = {"PATH": os.environ["PATH"], "VIDEO2MP3_STATE": str(tmp_path / "state")}
    with subprocess.Popen([sys.executable, *program], cwd=tree, env=env, stderr=subprocess.DEVNULL) as process:

        def healthz() -> str:
            try:
                return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).text
            except requests.RequestException:
                return ""

        try:
            eventually(lambda: healthz() == "ok\n")
            app = tree / "functions/common/app.py"
            app.write_text(app.read_text().replace('"ok\\n"', '"anew\\n"'))

            def renewed() -> bool:
                # Gunicorn takes for unchanged what changed before its first look.
                app.touch()
                return healthz() == "anew\n"

            eventually(renewed)
        finally:
            process.terminate()
