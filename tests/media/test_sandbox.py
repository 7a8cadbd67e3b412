"""What ffmpeg can reach: one file to read, and nothing else."""

import os
import shutil
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

import psutil
import pytest

from functions.common.options import Options
from functions.convert.process import Command, Ended, run
from functions.convert.runs import Settings, encoding
from functions.convert.sandbox import Limits
from tests.media.encode import AAC, encode, quarter_of_an_hour, sound
from tests.support.serving import Served, eventually

#: What bubblewrap says on a platform that keeps user namespaces to itself.
REFUSAL: Final = "bwrap: setting up uid map: Permission denied"


@pytest.fixture(autouse=True)
def bubblewrap() -> None:
    """Walls can be built here."""
    if sys.platform != "linux":
        pytest.skip("there is no bubblewrap for this system")
    if shutil.which("bwrap") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("bubblewrap is not installed; local/services up does so")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file in a folder that holds another one."""
    (tmp_path / "other").write_text("a secret")
    source = tmp_path / "source"
    source.write_text("a video")
    return source


def shell(script: str, source: Path) -> tuple[Ended, str]:
    """Let a shell do what an ffmpeg that a file has taken over might; what it wrote, and said."""
    words: list[bytes] = []
    ended = run(
        Command(source, ("bash", "-c", script)),
        limits=Limits(time.monotonic() + 20),
        stop=lambda: None,
        out=words.append,
        said=lambda line: words.append(line.encode() + b"\n"),
    )
    return ended, b"".join(words).decode()


def test_it_reads_its_source(source: Path) -> None:
    """The one file that is needed is there, and whole."""
    assert shell(f"cat {source}", source) == (Ended(0, None), "a video")


@pytest.mark.parametrize("path", ["other", "~/.bashrc", "/etc/passwd", "/proc/self/environ", "/sys/class", "/dev/null"])
def test_it_sees_no_other_file(source: Path, path: str) -> None:
    """Neither its neighbours, nor the user's, the system's or the kernel's."""
    path = str(Path(path).expanduser() if path.startswith("~") else source.parent / path)
    ended, words = shell(f"[ -e {path} ] && echo seen", source)
    assert (ended.exit_code, words) == (1, "")


@pytest.mark.parametrize(("words", "started"), [("bwrap: no room", False), ("Input #0\nbwrap: no room", True)])
def test_who_says_that_it_cannot_be_started(source: Path, words: str, started: bool) -> None:
    """Whoever starts it says so in the first line; in a later one a file may."""
    assert shell(f"echo '{words}' >&2", source)[0] == Ended(0, None, started)


@pytest.mark.parametrize("name", ["source", "new"])
def test_it_writes_nowhere(source: Path, name: str) -> None:
    """Its source stays as it is, and nothing new comes of it."""
    ended, _ = shell(f"echo x >> {source.parent / name}", source)
    assert ended.exit_code != 0
    assert source.read_text() == "a video"
    assert sorted(child.name for child in source.parent.iterdir()) == ["other", "source"]


def test_it_reaches_no_network(source: Path) -> None:
    """Nobody is called, not even on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended, words = shell(f"echo hello > /dev/tcp/127.0.0.1/{port}", source)
        assert ended.exit_code == 1
        assert "Connection refused" in words or "unreachable" in words
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_it_sees_no_other_process(source: Path) -> None:
    """Nothing else can be sent a signal."""
    ended, words = shell(f"kill -0 {os.getpid()}", source)
    assert ended.exit_code == 1
    assert "No such process" in words


def test_what_it_began_ends_with_it(source: Path) -> None:
    """A process that it left behind, and put out of its group, does not outlive it."""
    marker = f"3{os.getpid()}.5"
    shell(f"(setsid sh -c 'echo; exec sleep {marker} >&- 2>&-' &) | read", source)
    assert not [process for process in psutil.process_iter(["cmdline"]) if marker in (process.info["cmdline"] or [])]


def test_a_killed_ffmpeg_is_told_from_a_bad_file(tmp_path: Path) -> None:
    """Whoever kills it, memory's end for one, says nothing about the recording: the job is given back."""
    source = quarter_of_an_hour(tmp_path / "source")
    run = encoding(source, tmp_path / "0", 0, None, Settings(Options()))
    thread = threading.Thread(
        target=run.work, args=(Limits(None),), kwargs={"stop": lambda: None, "made": lambda _run, _frames: None}
    )
    thread.start()
    try:
        assert run.wait_for_header() is not None
        [ffmpeg] = [child for child in psutil.Process().children(recursive=True) if child.name() == "ffmpeg"]
        ffmpeg.kill()
    finally:
        thread.join()
    assert run.ended is not None
    assert run.ended.exit_code == 128 + 9


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds of sound."""
    return encode(tmp_path / "a.m4a", *sound(2), *AAC)


class Bubblewrap:
    """A bwrap that builds no walls for as long as a file says so.

    Args:
        folder: where it goes; first on PATH it takes the place of the real one.
        but_for: a program around which it builds them all the same.
    """

    def __init__(self, folder: Path, *, but_for: str = "nothing") -> None:
        folder.mkdir()
        self.refuses = folder / "refuses"
        self.refuses.touch()
        #: What PATH has to be for it.
        self.path = f"{folder}:{os.environ['PATH']}"
        script = folder / "bwrap"
        script.write_text(
            f"""#!/bin/sh
for last; do :; done
if [ -e {self.refuses} ] && [ "$last" != {but_for} ]; then echo '{REFUSAL}' >&2; exit 1; fi
exec {shutil.which("bwrap")} "$@"
"""
        )
        script.chmod(0o755)


def test_the_log_says_that_there_is_one(tmp_path: Path, recording: Path) -> None:
    """Once for all conversions of a process."""
    with Served(tmp_path / "state") as served:
        me = served.account()
        for _ in range(2):
            assert me.ended(me.upload_id(recording))["state"] == "succeeded"
        assert served.log().count("ffmpeg runs in a sandbox by bubblewrap") == 1


def test_where_the_platform_allows_none(tmp_path: Path, recording: Path) -> None:
    """Conversions go on without, and the log says so and why."""
    with Served(tmp_path / "state", env={"PATH": Bubblewrap(tmp_path / "bin").path}) as served:
        me = served.account()
        assert me.ended(me.upload_id(recording))["state"] == "succeeded"
        assert f"ffmpeg runs without a sandbox of its own: this platform does not allow it ({REFUSAL})" in served.log()


def test_walls_that_cannot_be_built_any_more(tmp_path: Path, recording: Path) -> None:
    """The recording is not to blame: the job waits until they can be."""
    program = Bubblewrap(tmp_path / "bin", but_for="true")
    with Served(tmp_path / "state", env={"PATH": program.path}) as served:
        me = served.account()
        job_id = me.upload_id(recording)
        eventually(lambda: "ffmpeg cannot be started under its limits here" in served.log())
        program.refuses.unlink()
        assert me.ended(job_id)["state"] == "succeeded"
