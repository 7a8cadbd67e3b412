"""The command line as tests run it: a fork does what the program itself does."""

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.command import COMMAND, run, start
from tests.support.serving import Served, eventually


def executed(*arguments: str, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """The program itself, with nothing loaded before."""
    return subprocess.run([COMMAND, *arguments], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("convert", "no such file.mp4"),
        ("convert", "x.mp4", "--bitrate", "1"),
        ("serve", "transcode"),
        ("no-such-command",),
    ],
    ids=" ".join,
)
def test_what_it_says_and_how_it_ends(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Exit code, output and errors are those of the program."""
    env = {"PATH": os.environ["PATH"], "VIDEO2MP3_STATE": str(tmp_path / "state")}
    told, due = run(*arguments, env=env), executed(*arguments, env=env)
    assert (told.returncode, told.stdout, told.stderr) == (due.returncode, due.stdout, due.stderr)


def test_each_has_an_environment_of_its_own(tmp_path: Path) -> None:
    """What one start is told the next does not know, and nothing comes from the tests' own environment."""
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    wrong = {"DATABASE_URL": "oracle://host/db"}
    assert "DATABASE_URL" in run("status", env={**env, **wrong}).stderr
    assert run("status", env=env).returncode == 0
    assert (tmp_path / ".local/state/video2mp3").is_dir()


@pytest.mark.parametrize("function", [None, "auth"], ids=["one process", "gunicorn"])
def test_signals(tmp_path: Path, function: str | None) -> None:
    """A server ends well when it is asked to, and a kill is told as one; its group is its own."""
    with Served(tmp_path / "state", function=function) as server:
        assert os.getpgid(server.process.pid) == os.getsid(server.process.pid) == server.process.pid
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(0.01)
        assert server.stop(signal.SIGINT) == 0
    with Served(tmp_path / "state", function=function) as server:
        server.kill()
        assert server.process.returncode == -signal.SIGKILL
        server.process.send_signal(signal.SIGTERM)  # to nobody


def test_it_may_end_before_anybody_asks(tmp_path: Path) -> None:
    """The exit code waits for whoever wants it."""
    with (tmp_path / "log").open("wb") as log:
        process = start(["serve", "transcode"], env={"HOME": str(tmp_path)}, output=log)
    eventually(lambda: (tmp_path / "log").read_bytes().endswith(b"\n"))
    assert (process.wait(10), process.poll(), process.wait()) == (1, 1, 1)


@pytest.mark.parametrize("name", ["LC_ALL", "TZ", "PYTHONWARNINGS"])
def test_what_python_reads_when_it_starts_is_refused(name: str) -> None:
    """A fork cannot heed it any more, so nobody asks for it in vain."""
    with pytest.raises(AssertionError, match="run COMMAND"):
        run("--help", env={name: "another"})
