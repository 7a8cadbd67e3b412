"""The command line: files in, MP3s out, here or by a server; and the curl commands that people already use."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mutagen.mp3 import MP3, BitrateMode

from tests.media.corpus import clip
from tests.media.encode import decoded_seconds, encode
from tests.support import command
from tests.support.command import COMMAND
from tests.support.serving import PASSWORD, Api, Served, eventually
from tests.support.traces import rows

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """Runs `video2mp3` with an empty home and an empty folder for temporary files, which must be empty afterwards."""
    home, temporary = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("tmp")

    def run(*arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary), **env}
        done = command.run(*map(str, arguments), env=clean)
        assert "Traceback" not in done.stderr
        return done

    yield run
    assert list(temporary.iterdir()) == []


@pytest.fixture
def folder(tmp_path: Path, video: Path) -> Path:
    """A folder with one video."""
    place = tmp_path / "videos"
    place.mkdir()
    (place / "holiday.mp4").write_bytes(video.read_bytes())
    return place


def _info(path: Path) -> Any:
    """What the MP3's own headers say of it."""
    return MP3(path).info


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_several_files_are_made_and_the_one_without_sound_is_told(
    cli: Cli, folder: Path, video: Path, silent_video: Path
) -> None:
    """Each good file gets its MP3 beside it; the other one its sentence; the exit code is 1; nothing else is left."""
    (folder / "second film.mkv").write_bytes(video.read_bytes())
    (folder / "silent.mp4").write_bytes(silent_video.read_bytes())
    done = cli("convert", *sorted(folder.iterdir()))
    assert done.returncode == 1
    assert "The video has no sound, so there is nothing to make an MP3 of." in done.stderr
    assert "2 of 3 converted" in done.stderr
    made = ["holiday.mp3", "second film.mp3"]
    assert _names(folder) == sorted(["holiday.mp4", "second film.mkv", "silent.mp4", *made])
    for name in made:
        assert decoded_seconds(folder / name) == pytest.approx(2.0, abs=0.1)


def test_one_good_file_is_made(cli: Cli, folder: Path) -> None:
    """Exit code 0, one line that names the MP3, silence on standard output."""
    done = cli("convert", folder / "holiday.mp4")
    assert (done.returncode, done.stdout) == (0, "")
    assert "holiday.mp3" in done.stderr
    assert _names(folder) == ["holiday.mp3", "holiday.mp4"]


def test_nothing_is_overwritten_unasked(cli: Cli, folder: Path) -> None:
    """An MP3 that exists stays as it is, unless --force is given."""
    target = folder / "holiday.mp3"
    target.write_bytes(b"mine")
    done = cli("convert", folder / "holiday.mp4")
    assert (done.returncode, target.read_bytes()) == (1, b"mine")
    assert "--force" in done.stderr
    assert cli("convert", "--force", folder / "holiday.mp4").returncode == 0
    assert decoded_seconds(target) == pytest.approx(2.0, abs=0.1)
    assert _names(folder) == ["holiday.mp3", "holiday.mp4"]


def test_a_failure_with_force_leaves_the_old_mp3(cli: Cli, folder: Path, silent_video: Path) -> None:
    """What cannot be replaced is not destroyed."""
    target = folder / "silent.mp3"
    target.write_bytes(b"mine")
    (folder / "silent.mp4").write_bytes(silent_video.read_bytes())
    assert cli("convert", "--force", folder / "silent.mp4").returncode == 1
    assert target.read_bytes() == b"mine"


def test_two_videos_of_one_name_get_two_mp3s(cli: Cli, folder: Path) -> None:
    """Where two inputs would become one file, neither is lost; one that is named twice is made once."""
    longer = clip(folder / "holiday.mkv", seconds=3.0, muxer="matroska")
    done = cli("convert", folder / "holiday.mp4", longer, folder / "holiday.mp4")
    assert done.returncode == 0, done.stderr
    assert _names(folder) == ["holiday.mkv", "holiday.mkv.mp3", "holiday.mp3", "holiday.mp4"]
    assert decoded_seconds(folder / "holiday.mp3") == pytest.approx(2.0, abs=0.1)
    assert decoded_seconds(folder / "holiday.mkv.mp3") == pytest.approx(3.0, abs=0.1)


def test_a_folder_for_the_mp3s(cli: Cli, folder: Path, tmp_path: Path) -> None:
    """-o puts them elsewhere; a folder that does not exist is wrong usage."""
    other = tmp_path / "music"
    assert cli("convert", folder / "holiday.mp4", "-o", other).returncode == 2
    other.mkdir()
    assert cli("convert", folder / "holiday.mp4", "-o", other).returncode == 0
    assert (_names(folder), _names(other)) == (["holiday.mp4"], ["holiday.mp3"])


def test_bitrate_and_quality(cli: Cli, folder: Path) -> None:
    """--bitrate gives a constant one, --quality a variable one that is smaller for a higher number."""
    video = folder / "holiday.mp4"
    assert cli("convert", video, "--bitrate", "96").returncode == 0
    constant = _info(folder / "holiday.mp3")
    assert (constant.bitrate, constant.bitrate_mode) == (96_000, BitrateMode.CBR)
    assert cli("convert", "--force", video, "--quality", "9").returncode == 0
    variable = _info(folder / "holiday.mp3")
    assert variable.bitrate_mode == BitrateMode.VBR
    assert variable.bitrate < constant.bitrate


def test_start_and_end(cli: Cli, folder: Path) -> None:
    """Only the part between them is made."""
    source = clip(folder / "long.mp4", seconds=6.0)
    assert cli("convert", source, "--start", "1.5", "--end", "4").returncode == 0
    assert decoded_seconds(folder / "long.mp3") == pytest.approx(2.5, abs=0.1)


def test_wrong_usage_is_2_and_makes_nothing(cli: Cli, folder: Path) -> None:
    """A wrong option is told before anything is done."""
    wrong = (
        ("--bitrate", "1"),
        ("--quality", "10"),
        ("--bitrate", "128", "--quality", "2"),
        ("--start", "soon"),
        ("--start", "5", "--end", "4"),
        ("--channels", "3"),
        ("--no-such-option",),
    )
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda options: cli("convert", folder / "holiday.mp4", *options), wrong))
    for options, one in zip(wrong, done, strict=True):
        assert (one.returncode, one.stderr.strip() != "") == (2, True), options
    assert _names(folder) == ["holiday.mp4"]


def test_no_file_is_wrong_usage(cli: Cli) -> None:
    """`convert` alone, and the bare command, explain themselves."""
    assert cli("convert").returncode == 2
    bare = cli()
    assert bare.returncode in (0, 2)
    assert "convert" in bare.stdout + bare.stderr


def test_files_that_are_none_are_told_and_the_others_made(cli: Cli, folder: Path) -> None:
    """A missing file, a folder and a dangling link each get a sentence; the exit code is 1."""
    (folder / "dangling.mp4").symlink_to(folder / "nowhere")
    done = cli("convert", folder / "missing.mp4", folder, folder / "dangling.mp4", folder / "holiday.mp4")
    assert done.returncode == 1
    for name in ("missing.mp4", "dangling.mp4"):
        assert f"There is no file {folder / name}." in done.stderr
    assert f"{folder} cannot be read as a file." in done.stderr
    assert (folder / "holiday.mp3").exists()
    assert _names(folder.parent) == ["videos"]


def test_an_mp3_is_not_converted_onto_itself(cli: Cli, folder: Path, tmp_path: Path) -> None:
    """An input that is an .mp3 stays, even with --force; elsewhere it may go."""
    source = encode(folder / "song.mp3", "-i", folder / "holiday.mp4", "-vn", "-f", "mp3")
    before = source.read_bytes()
    done = cli("convert", source, "--force")
    assert (done.returncode, source.read_bytes()) == (1, before)
    assert "would overwrite its own source" in done.stderr
    music = tmp_path / "music"
    music.mkdir()
    assert cli("convert", source, "-o", music, "--bitrate", "64").returncode == 0
    assert _info(music / "song.mp3").bitrate == 64_000


def test_a_folder_that_takes_no_files_is_told(cli: Cli, folder: Path) -> None:
    """Where the MP3 cannot be written, as in /proc even for root, a sentence says so."""
    done = cli("convert", folder / "holiday.mp4", "-o", "/proc")
    assert done.returncode == 1
    assert "/proc" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(cli: Cli, folder: Path, tmp_path: Path) -> None:
    """The folder's own permissions are respected and named."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    done = cli("convert", folder / "holiday.mp4", "-o", closed)
    assert (done.returncode, "no folder that can be written to" in done.stderr) == (1, True)


def test_odd_names_are_names(cli: Cli, folder: Path) -> None:
    """A name is never an option, a pattern or markup, and may be as long as the file system takes."""
    names = ["-y.mp4", "a b.mp4", "[red]x.mp4", "line\nbreak.mp4", "ä日本.mp4", "%03d.mp4", f"{'n' * 251}.mp4"]
    content = (folder / "holiday.mp4").read_bytes()
    (folder / "holiday.mp4").unlink()
    for name in names:
        (folder / name).write_bytes(content)
    done = cli("convert", *folder.iterdir())
    assert done.returncode == 0, done.stderr
    assert _names(folder) == sorted([*names, *(f"{name.removesuffix('.mp4')}.mp3" for name in names)])


def test_a_name_too_long_for_its_mp3_is_told(cli: Cli, folder: Path) -> None:
    """A name without an ending that leaves no room for `.mp3` gets a sentence, or a shorter MP3, but no traceback."""
    source = (folder / "holiday.mp4").rename(folder / ("n" * 255))
    done = cli("convert", source)
    assert done.returncode in (0, 1)
    assert done.stderr.strip()


def test_ctrl_c_ends_it_and_leaves_nothing(long_audio: Path, tmp_path: Path) -> None:
    """SIGINT in the middle of a conversion: exit code 130, no temporary files, no MP3, no ffmpeg."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    source = tmp_path / "long.m4a"
    source.symlink_to(long_audio)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(temporary)}
    with subprocess.Popen([COMMAND, "convert", str(source)], env=env, start_new_session=True) as process:
        try:
            eventually(lambda: list(temporary.glob("video2mp3-*/work/*convert-*/result.mp3")))
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(10) == 130
        finally:
            process.kill()
    assert list(temporary.iterdir()) == []
    assert _names(tmp_path) == ["long.m4a", "tmp"]


def test_a_server_does_the_work(cli: Cli, server: Served, folder: Path) -> None:
    """--server converts there, with the login of the environment; a wrong one is told."""
    server.account("remote@example.com")
    login = {"VIDEO2MP3_EMAIL": "remote@example.com", "VIDEO2MP3_PASSWORD": PASSWORD}
    video = folder / "holiday.mp4"
    wrong = cli("convert", video, "--server", server.url, **{**login, "VIDEO2MP3_PASSWORD": "wrong password"})
    assert (wrong.returncode, "The address or the password is wrong." in wrong.stderr) == (1, True)
    done = cli("convert", video, "--server", server.url, "--bitrate", "64", **login)
    assert done.returncode == 0, done.stderr
    assert _info(folder / "holiday.mp3").bitrate == 64_000
    (job,) = server.account("remote@example.com").call("GET", "/jobs").json()["jobs"]
    assert (job["filename"], job["options"]) == ("holiday.mp4", {"bitrate": 64})


def test_what_a_server_would_refuse_is_told_before_a_byte_is_sent(cli: Cli, tmp_path: Path, folder: Path) -> None:
    """A text by its first bytes, a video that is too large by what the server says of itself; no upload is begun."""
    (folder / "notes.mp4").write_text("What I saw on my holidays.\n")
    with Served(tmp_path / "state", env={"MAX_UPLOAD_BYTES": "20000"}) as small:
        small.account()
        login = {"VIDEO2MP3_EMAIL": "someone@example.com", "VIDEO2MP3_PASSWORD": PASSWORD}
        done = cli("convert", folder / "notes.mp4", folder / "holiday.mp4", "--server", small.url, **login)
        assert done.returncode == 1
        assert "notes.mp4: This is text, not a video or audio file." in done.stderr
        assert "holiday.mp4: The file is larger than this server takes (20,000 bytes)." in done.stderr
        assert rows(small.state, "SELECT id FROM jobs") == []
    assert _names(folder) == ["holiday.mp4", "notes.mp4"]


def test_an_account_is_added_beside_a_running_server(cli: Cli, server: Served) -> None:
    """`accounts add` makes an account in the state directory that can log in at once; mistakes are told."""
    state = ("--state", server.state)
    done = cli("accounts", "add", "Added@example.com", *state, VIDEO2MP3_PASSWORD=PASSWORD)
    assert (done.returncode, done.stdout) == (0, "added@example.com can log in now.\n")
    assert server.account("added@example.com").call("GET", "/jobs").status_code == 200
    for email, password in (("added@example.com", PASSWORD), ("weak@example.com", "short"), ("none", PASSWORD)):
        refused = cli("accounts", "add", email, *state, VIDEO2MP3_PASSWORD=password)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.strip()


def test_jobs_are_listed_and_acted_on(cli: Cli, server: Served, long_audio: Path) -> None:
    """`jobs` lists; --cancel, --retry and --delete act; what does not fit the state is told."""
    api = server.account("lister@example.com")
    login = {"VIDEO2MP3_EMAIL": "lister@example.com", "VIDEO2MP3_PASSWORD": PASSWORD}
    job_id = api.upload_id(long_audio, name="a\x1b[31mred.m4a")

    def jobs(*arguments: str) -> tuple[int, str]:
        done = cli("jobs", "--server", server.url, *arguments, **login)
        return done.returncode, done.stdout + done.stderr

    eventually(lambda: api.job(job_id)["state"] == "converting")
    code, listed = jobs()
    assert (code, job_id in listed, "converting" in listed, "red.m4a" in listed) == (0, True, True, True)
    assert "\x1b" not in listed
    code, listed = jobs("--cancel", job_id)
    assert (code, "cancelled" in listed) == (0, True)
    code, said = jobs("--cancel", job_id)
    assert (code, "cannot be cancelled" in said) == (1, True)
    assert jobs("--retry", job_id)[0] == 0
    assert api.job(job_id)["run"] == 2
    code, listed = jobs("--delete", job_id)
    assert (code, job_id in listed) == (0, False)
    assert jobs("--delete", job_id)[0] == 1


def test_the_curl_commands_of_people_end_in_a_playable_file(server: Served, api: Api, folder: Path) -> None:
    """Log in, upload, download, as people have it in their notes, word for word."""
    server.account("curl@example.com")
    (folder / "holiday.mp4").rename(folder / "video.mp4")
    script = f"""
        set -eu
        TOKEN=$(curl -sS -X POST {server.url}/login -u curl@example.com:{PASSWORD})
        curl -sS -X POST -F 'file=@./video.mp4' -H "Authorization: Bearer $TOKEN" {server.url}/upload
    """
    uploaded = subprocess.run(["bash", "-c", script], cwd=folder, check=True, capture_output=True, text=True)
    curl = server.account("curl@example.com")
    (job,) = curl.call("GET", "/jobs").json()["jobs"]
    assert job["id"] in uploaded.stdout
    curl.ended(job["id"])
    (mail,) = eventually(lambda: list((server.state / "mail").glob(f"{job['id']}*.eml")))
    assert f"mp3 file_id: {job['id']} is now ready!" in mail.read_text()
    script = f"""
        set -eu
        TOKEN=$(curl -sS -X POST {server.url}/login -u curl@example.com:{PASSWORD})
        curl -sS --output converted.mp3 -X GET -H "Authorization: Bearer $TOKEN" "{server.url}/download?fid={job["id"]}"
    """
    subprocess.run(["bash", "-c", script], cwd=folder, check=True)
    assert _info(folder / "converted.mp3").length == pytest.approx(2.0, abs=0.1)
    assert decoded_seconds(folder / "converted.mp3") == pytest.approx(2.0, abs=0.1)
    assert api.call("GET", f"/download?fid={job['id']}").status_code == 404


def test_status_tells_what_waits(cli: Cli, tmp_path: Path) -> None:
    """People read sentences, programs JSON; in a pod only what the environment says counts, and nothing is written."""
    state = tmp_path / "state"
    told = cli("status", "--state", state)
    assert (told.returncode, told.stderr) == (0, "")
    assert [line.split()[0] for line in told.stdout.splitlines()] == ["0"] * 5
    database = f"sqlite:///{state}/video2mp3.db"
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOME": "/proc"}
    asked = cli("status", "--json", DATABASE_URL=database, **pod)
    assert json.loads(asked.stdout)["dead_letters"] == 0
    refused = cli("status", DATABASE_URL="mysql+pymysql://nobody@127.0.0.1:9/none", **pod)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr
