"""Every file of the corpus goes the whole way: what its job ends as, what it costs, and what it cannot reach."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mutagen.id3 import ID3
from mutagen.mp3 import MP3

from functions.common.job import REASONS
from tests.media.corpus import SAMPLES, TAGS, clip, playlists, tagged
from tests.media.encode import AAC, decoded_seconds, encode, sound
from tests.media.sample import Sample
from tests.support.serving import Api, Served

_LIMIT_SECONDS = 4 * 3600


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all of them, with the limits that the corpus is made for."""
    limits = {"MAX_DURATION_SECONDS": str(_LIMIT_SECONDS), "MAX_UPLOAD_BYTES": str(4 * 1024**3)}
    with Served(tmp_path_factory.mktemp("media") / "state", env=limits) as served:
        yield served


@pytest.fixture(scope="module")
def api(server: Served) -> Api:
    """An account of that server."""
    return server.account()


def _outcome(api: Api, path: Path, name: str) -> tuple[str, str | None, str]:
    """State and reason that an upload ends with, and its job's id; a refusal's reason is its status."""
    answer = api.upload(path, name=name)
    if answer.status_code != 202:
        return "refused", str(answer.status_code), ""
    job = api.ended(answer.json()["id"], seconds=120)
    return job["state"], job["reason"], job["id"]


def _check(api: Api, sample: Sample, folder: Path) -> None:
    path = sample.make(folder)
    # The sample is what its name and note say, or the answer to it would prove nothing.
    assert list(folder.iterdir()) == [folder / sample.name] == [path]
    assert (path.stat().st_size == 0) == (sample.name == "empty.mp4")
    state, reason, job_id = _outcome(api, path, sample.name)
    assert state in sample.state.split("|"), (state, reason)
    if state == "failed":
        assert reason in REASONS
    if sample.reason is not None and state != "succeeded":
        assert reason == sample.reason
    if state == "succeeded":
        result = folder / "result.mp3"
        result.write_bytes(api.download(job_id))
        MP3(result)
        if sample.seconds is not None:
            assert decoded_seconds(result) == pytest.approx(sample.seconds, abs=0.1)
            assert api.job(job_id)["duration_seconds"] == pytest.approx(sample.seconds, abs=0.1)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_every_sample_ends_as_it_should(api: Api, sample: Sample, tmp_path: Path) -> None:
    """A file, alone in its folder, ends in the state, for the reason and with the length that a person would expect."""
    _check(api, sample, tmp_path)


@pytest.fixture(scope="module")
def canary() -> Iterator[tuple[str, list[str]]]:
    """A server that nobody may call, and the paths that somebody called."""
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_error(404)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Stay quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", calls
        server.shutdown()


def test_no_playlist_reads_another_file_or_calls_anybody(
    api: Api, canary: tuple[str, list[str]], tmp_path: Path
) -> None:
    """Whatever names another file or host gets neither: no MP3 is as long as the victim, and nobody is called."""
    url, calls = canary
    victim = clip(tmp_path / "victim.ts", seconds=7.0, muxer="mpegts")
    for number, sample in enumerate(playlists(victim, url)):
        folder = tmp_path / str(number)
        folder.mkdir()
        _check(api, sample, folder)
        for result in folder.glob("result.mp3"):
            assert decoded_seconds(result) < 6.0, sample.name
    assert calls == []


def test_tags_that_nobody_means_do_no_harm(api: Api, tmp_path: Path) -> None:
    """A comment of megabytes and thousands of chapters are left out, and all the sound is there."""
    chapters = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={at}\nEND={at + 1}\ntitle=x\n" for at in range(2000))
    (tmp_path / "metadata").write_text(f";FFMETADATA1\ntitle=Blue\ncomment={'x' * 5_000_000}\n{chapters}")
    given = ("-i", tmp_path / "metadata", "-map_metadata", "1", "-map_chapters", "1")
    source = encode(tmp_path / "talkative.mkv", *sound(), *given, *AAC)
    job_id = api.upload_id(source)
    job = api.ended(job_id)
    assert (job["state"], job["omitted"]) == ("succeeded", ["tags", "chapters"])
    result = tmp_path / "result.mp3"
    result.write_bytes(api.download(job_id))
    assert MP3(result).tags is None
    assert decoded_seconds(result) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ogg"])
def test_tags_are_kept_from_every_container(api: Api, tmp_path: Path, suffix: str) -> None:
    """Title, artist, album and date reach the MP3; what muxers add does not."""
    job_id = api.upload_id(tagged(tmp_path / f"tagged{suffix}"))
    assert api.ended(job_id)["state"] == "succeeded"
    result = tmp_path / "result.mp3"
    result.write_bytes(api.download(job_id))
    kept = {frame.FrameID: str(frame) for frame in ID3(result).values()}
    assert kept == {
        "TIT2": TAGS["title"],
        "TPE1": TAGS["artist"],
        "TALB": TAGS["album"],
        "TDRC": TAGS["date"],
    }


def test_options_shape_the_mp3(api: Api, tmp_path: Path) -> None:
    """Bitrate, channels, start and end do what they say."""
    source = clip(tmp_path / "clip.mp4", seconds=6.0, channels=2)
    job_id = api.upload_id(source, bitrate="96", channels="1", start="1", end="4.5")
    assert api.ended(job_id)["state"] == "succeeded"
    result = tmp_path / "result.mp3"
    result.write_bytes(api.download(job_id))
    info: Any = MP3(result).info
    assert (info.bitrate, info.channels) == (96_000, 1)
    assert decoded_seconds(result) == pytest.approx(3.5, abs=0.1)


def test_nothing_between_start_and_end_is_said_so(api: Api, tmp_path: Path) -> None:
    """A start behind the end of the recording fails with its own reason."""
    job_id = api.upload_id(clip(tmp_path / "clip.mp4"), start="60")
    assert api.ended(job_id)["reason"] == "empty_range"


def test_conversions_leave_no_processes_and_no_folders(server: Served, api: Api, tmp_path: Path) -> None:
    """After all of the above the work folder is empty."""
    api.ended(api.upload_id(clip(tmp_path / "clip.mp4")))
    assert list((server.state / "work").iterdir()) == []
