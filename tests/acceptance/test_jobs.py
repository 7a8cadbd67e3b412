"""/jobs: the history, one job, live events, and what an owner may do to a job."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import Api, Served, eventually
from tests.support.streams import Events
from tests.support.traces import blobs, rows

_NOBODYS = "01890000-0000-7000-8000-000000000000"
_MOST_STREAMS = 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that converts one file at a time, so that a second one waits in state queued."""
    with Served(tmp_path_factory.mktemp("jobs") / "state", env={"CONVERT_SLOTS": "1"}) as served:
        yield served


@pytest.fixture
def running(server: Served, api: Api, long_audio: Path) -> Iterator[str]:
    """A job that is converting for as long as the test wants it to."""
    job_id = api.upload_id(long_audio)
    eventually(lambda: api.job(job_id)["state"] == "converting")
    yield job_id
    api.call("POST", f"/jobs/{job_id}/cancel")
    _idle(server)


def _idle(server: Served) -> None:
    """Wait until no conversion works any more: its folder goes last."""
    eventually(lambda: not list((server.state / "work").iterdir()), seconds=15)


def _ids(page: dict[str, Any]) -> list[str]:
    return [job["id"] for job in page["jobs"]]


def test_the_history_comes_in_pages_newest_first(api: Api, video: Path) -> None:
    """Following `next` shows every job once; `before` begins behind a job; the last page has no next."""
    made = [api.upload_id(video) for _ in range(5)][::-1]
    page, seen, pages = api.call("GET", "/jobs?limit=2").json(), [], 1
    while page["next"]:
        assert len(page["jobs"]) == 2
        seen += _ids(page)
        page = api.call("GET", page["next"]).json()
        pages += 1
    assert seen + _ids(page) == made
    assert pages == 3
    assert _ids(api.call("GET", f"/jobs?before={made[1]}").json()) == made[2:]
    assert _ids(api.call("GET", "/jobs").json()) == made
    exact = api.call("GET", "/jobs?limit=5").json()
    assert (_ids(exact), exact["next"]) == (made, None)


def test_the_history_is_searched_by_name(api: Api, stranger: Api, video: Path) -> None:
    """Any part of a name finds it, in capitals or not; what databases take for patterns stands for itself."""
    names = ["Ölberg 100%.mp4", "50_50.mp4", "a\\b\u0308.mp4", "Holiday.mp4", "holiday 2.mp4", "HOLIDAY 3.mp4"]
    for name in names:
        api.upload_id(video, name=name)
    stranger.upload_id(video, name="a holiday of theirs.mp4")

    def found(search: str) -> list[str]:
        page = api.call("GET", "/jobs", params={"search": search}).json()
        assert page["next"] is None
        return sorted(job["filename"] for job in page["jobs"])

    assert found("holIDAY") == ["HOLIDAY 3.mp4", "Holiday.mp4", "holiday 2.mp4"]
    assert found("ölb") == found("%") == ["Ölberg 100%.mp4"]
    assert found("_") == ["50_50.mp4"]
    # A name's folders are not kept, and an accent may be written in two ways.
    assert found("b\u0308") == ["b\u0308.mp4"]
    assert found("\u00f6lberg") == found("o\u0308lberg") == ["Ölberg 100%.mp4"]
    assert found("\\") == found("'") == found("nothing") == []
    assert len(found("  ")) == len(names)


def test_what_was_found_comes_in_pages(api: Api, video: Path) -> None:
    """`next` goes on with the search."""
    found = [api.upload_id(video, name=f"{number} & more.mp4") for number in range(3)][::-1]
    api.upload_id(video, name="other.mp4")
    page = api.call("GET", "/jobs", params={"search": "& MORE", "limit": "2"}).json()
    assert _ids(page) == found[:2]
    assert page["next"] == f"/jobs?limit=2&before={found[1]}&search=%26%20MORE"
    assert _ids(api.call("GET", page["next"]).json()) == found[2:]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=-1", "limit=two", "limit=%D9%A3", "before=yesterday", f"search={'a' * 101}"],
)
def test_a_wrong_page_is_refused(api: Api, query: str) -> None:
    """A limit or place that makes no sense is 422 and named."""
    answer = api.call("GET", f"/jobs?{query}")
    assert (answer.status_code, answer.json()["field"]) == (422, query.partition("=")[0])


def test_one_job_tells_its_whole_story(api: Api, video: Path) -> None:
    """A finished job has its times, sizes, length and links."""
    job = api.ended(api.upload_id(video, bitrate="128"))
    assert (job["state"], job["percent"], job["run"], job["reason"]) == ("succeeded", 100, 1, None)
    assert job["options"] == {"bitrate": 128}
    assert job["source_bytes"] == video.stat().st_size
    assert job["duration_seconds"] == pytest.approx(2.0, abs=0.1)
    assert job["created"] <= job["started"] <= job["finished"] < job["expires"]
    assert job["links"]["self"] == f"/jobs/{job['id']}"
    assert job["links"]["download"].startswith(f"/download?fid={job['id']}&signature=")
    assert job["links"]["waveform"].startswith(f"/download/waveform?fid={job['id']}&signature=")
    assert "cancel" not in job["links"]
    assert "retry" not in job["links"]


def test_a_running_job_tells_how_far_it_is(api: Api, running: str) -> None:
    """Phase and percent move while ffmpeg works."""
    job = eventually(lambda: _moving(api.job(running)))
    assert job is not None
    assert job["phase"] == "encoding"
    assert 0 < job["percent"] < 100
    assert job["links"]["cancel"] == f"/jobs/{running}/cancel"


def _moving(job: dict[str, Any]) -> dict[str, Any] | None:
    return job if job["percent"] > 0 else None


def test_others_jobs_do_not_exist(api: Api, stranger: Api, video: Path) -> None:
    """Neither the history nor any path shows another's job, and nothing can be done to it."""
    job_id = api.upload_id(video)
    api.ended(job_id)
    history = stranger.call("GET", "/jobs").json()
    assert (history["jobs"], history["next"]) == ([], None)
    assert {each.get("used", 0) for each in history["limits"].values()} == {0}
    for method, path in (
        ("GET", ""),
        ("GET", "/events"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ):
        theirs = stranger.call(method, f"/jobs/{job_id}{path}")
        nobodys = stranger.call(method, f"/jobs/{_NOBODYS}{path}")
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.json()["detail"] == nobodys.json()["detail"]
    assert stranger.call("GET", "/jobs/no-id").status_code == 404
    assert api.job(job_id)["state"] == "succeeded"


def test_the_stream_of_one_job_ends_with_it(api: Api, video: Path, running: str) -> None:
    """A stream that is opened while the job waits tells each change and ends by itself after the last."""
    job_id = api.upload_id(video)
    with Events(api, f"/jobs/{job_id}/events").welcomed() as events:
        assert events.answer.headers["Content-Type"].startswith("text/event-stream")
        assert events.answer.headers["Cache-Control"] == "no-store"
        assert events.until("job", state="queued")["id"] == job_id
        api.call("POST", f"/jobs/{running}/cancel")
        told = list(events)
    assert {data["id"] for _, data in told} == {job_id}
    assert told[-1][1] == {**api.job(job_id), "links": told[-1][1]["links"]}
    assert told[-1][1]["state"] == "succeeded"


def test_the_stream_of_a_job_that_has_ended_tells_so_and_ends(api: Api, video: Path) -> None:
    """Who comes late gets the end, and no stream that says nothing."""
    job_id = api.upload_id(video)
    api.ended(job_id)
    with Events(api, f"/jobs/{job_id}/events").welcomed() as events:
        assert [data["state"] for _, data in events] == ["succeeded"]


def test_the_stream_of_all_jobs_sees_everything_that_happens(
    server: Served, api: Api, stranger: Api, video: Path, long_audio: Path
) -> None:
    """Jobs uploaded meanwhile are told as they wait, run, end and go; others' are not."""
    with Events(api, "/jobs/events").welcomed() as events:
        theirs = stranger.upload_id(video)
        stranger.ended(theirs)
        long = api.upload_id(long_audio)
        events.until("job", id=long, state="converting")
        short = api.upload_id(video)
        events.until("job", id=short, state="queued")
        api.call("POST", f"/jobs/{long}/cancel")
        events.until("job", id=long, state="cancelled")
        ended = events.until("job", id=short, state="succeeded")
        assert Api(server.url).call("HEAD", ended["links"]["download"]).status_code == 200
        assert api.call("DELETE", f"/jobs/{short}").status_code == 204
        for name, data in events:
            assert data["id"] != theirs
            if name == "deleted":
                assert data == {"id": short}
                break
        else:
            raise AssertionError("the stream ended without the deletion")
    _idle(server)


@pytest.mark.parametrize("function", [None, "jobs"], ids=["one process", "gunicorn"])
def test_streams_are_limited_and_end_at_once_on_sigterm(server: Served, tmp_path: Path, function: str | None) -> None:
    """The 17th stream is told to poll, other requests go on, and a stop ends all streams within seconds."""
    state = server.state if function else tmp_path / "state"
    with Served(state, function=function, env={"BROKER_URL": "http://127.0.0.1:9/"} if function else None) as other:
        # Of one account's streams the fifth ends the first, so no account opens more than four.
        accounts = server if function else other
        listeners = [accounts.account(f"stream{number}@example.com") for number in range(_MOST_STREAMS // 4 + 1)]
        for listener in listeners:
            listener.url = other.url
        with ExitStack() as stack:
            streams = [
                stack.enter_context(Events(listeners[number // 4], "/jobs/events")) for number in range(_MOST_STREAMS)
            ]
            for stream in streams:
                stream.welcomed()
            with Events(listener, "/jobs/events") as refused:
                assert refused.answer.status_code == 503
                assert int(refused.answer.headers["Retry-After"]) > 0
                assert refused.answer.headers["Content-Type"] == "application/problem+json"
            assert listener.call("GET", "/jobs").status_code == 200
            assert listener.call("GET", "/healthz").status_code == 200
            began = time.monotonic()
            other.process.send_signal(signal.SIGTERM)
            assert [list(stream) for stream in streams] == [[]] * _MOST_STREAMS
            assert time.monotonic() - began < 3
            assert other.ended(seconds=5) == 0


def test_a_stream_ends_itself(tmp_path: Path) -> None:
    """A stream that lasted as long as it may ends as a stream should, so that the client opens another."""
    with Served(tmp_path / "state", env={"STREAM_SECONDS": "1"}) as server:
        began = time.monotonic()
        with Events(server.account(), "/jobs/events").welcomed() as events:
            assert list(events) == []
        assert 0.9 < time.monotonic() - began < 5


def test_a_waiting_job_is_cancelled(api: Api, video: Path, running: str) -> None:
    """Cancelling a queued job ends it at once, and it is never converted."""
    job_id = api.upload_id(video)
    assert api.job(job_id)["state"] == "queued"
    answer = api.call("POST", f"/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert answer.json()["links"]["retry"] == f"/jobs/{job_id}/retry"
    api.call("POST", f"/jobs/{running}/cancel")
    later = api.upload_id(video)
    assert api.ended(later)["state"] == "succeeded"
    assert (api.job(job_id)["state"], api.job(job_id)["started"]) == ("cancelled", None)


def test_a_running_job_is_cancelled(server: Served, api: Api, running: str) -> None:
    """Cancelling a converting job ends it at once; its worker stops within a heartbeat and leaves nothing."""
    answer = api.call("POST", f"/jobs/{running}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    _idle(server)
    assert api.job(running)["state"] == "cancelled"
    assert blobs(server.state, f"mp3s/{running}") == []


def test_what_has_ended_cannot_be_cancelled(api: Api, video: Path, silent_video: Path) -> None:
    """409 names the state, for each end."""
    for path, state in ((video, "succeeded"), (silent_video, "failed")):
        job_id = api.upload_id(path)
        api.ended(job_id)
        answer = api.call("POST", f"/jobs/{job_id}/cancel")
        assert (answer.status_code, answer.json()["state"]) == (409, state)


def test_a_cancelled_job_can_be_run_again(server: Served, api: Api, video: Path, running: str) -> None:
    """The retry is run 2 of the same job; it succeeds, and its mail comes."""
    job_id = api.upload_id(video)
    api.call("POST", f"/jobs/{job_id}/cancel")
    answer = api.call("POST", f"/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json()["state"], answer.json()["run"]) == (202, "queued", 2)
    api.call("POST", f"/jobs/{running}/cancel")
    job = api.ended(job_id)
    assert (job["state"], job["run"]) == ("succeeded", 2)
    assert api.download(job_id)
    eventually(lambda: len(list((server.state / "mail").glob(f"{job_id}.2.succeeded*.eml"))) == 1)


def test_a_failed_job_can_be_run_again(api: Api, silent_video: Path) -> None:
    """A retry of what cannot succeed fails once more, as run 2, for the same reason."""
    job_id = api.upload_id(silent_video)
    assert api.ended(job_id)["reason"] == "no_audio"
    assert api.call("POST", f"/jobs/{job_id}/retry").status_code == 202
    job = eventually(lambda: _failed_again(api.job(job_id)))
    assert (job or {})["reason"] == "no_audio"


def _failed_again(job: dict[str, Any]) -> dict[str, Any] | None:
    return job if (job["state"], job["run"]) == ("failed", 2) else None


def test_what_succeeded_or_runs_cannot_be_run_again(api: Api, video: Path, running: str) -> None:
    """409 names the state."""
    assert api.call("POST", f"/jobs/{running}/retry").json()["state"] == "converting"
    api.call("POST", f"/jobs/{running}/cancel")
    job_id = api.upload_id(video)
    api.ended(job_id)
    answer = api.call("POST", f"/jobs/{job_id}/retry")
    assert (answer.status_code, answer.json()["state"]) == (409, "succeeded")


def test_a_deleted_job_is_gone_with_its_files(server: Served, api: Api, video: Path) -> None:
    """After DELETE every path says 404, links made before included, and no blob is left."""
    job_id = api.upload_id(video)
    links = api.ended(job_id)["links"]
    folders = (f"videos/{job_id}", f"mp3s/{job_id}", f"waveforms/{job_id}")
    assert [len(blobs(server.state, folder)) for folder in folders] == [1, 1, 1]
    assert api.call("DELETE", f"/jobs/{job_id}").status_code == 204
    assert [len(blobs(server.state, folder)) for folder in folders] == [0, 0, 0]
    for method, path in (
        ("GET", f"/jobs/{job_id}"),
        ("GET", f"/jobs/{job_id}/events"),
        ("POST", f"/jobs/{job_id}/cancel"),
        ("POST", f"/jobs/{job_id}/retry"),
        ("DELETE", f"/jobs/{job_id}"),
        ("GET", f"/download?fid={job_id}"),
        ("GET", f"/download/waveform?fid={job_id}"),
        ("GET", links["download"]),
        ("GET", links["waveform"]),
    ):
        assert api.call(method, path).status_code == 404, path
    assert api.call("GET", "/jobs").json()["jobs"] == []


def test_a_running_job_can_be_deleted(server: Served, api: Api, running: str) -> None:
    """Its worker stops, and neither source nor result stays."""
    assert api.call("DELETE", f"/jobs/{running}").status_code == 204
    assert api.call("GET", f"/jobs/{running}").status_code == 404
    _idle(server)
    assert blobs(server.state, f"videos/{running}") + blobs(server.state, f"mp3s/{running}") == []
    (row,) = rows(server.state, "SELECT * FROM jobs WHERE id = ?", running)
    assert (row["state"], row["lease_until"], row["due"]) == ("cancelled", None, None)


def test_every_path_wants_a_token(server: Served) -> None:
    """Without one, 401 says how to come back."""
    for method, path in (("GET", "/jobs"), ("GET", f"/jobs/{_NOBODYS}"), ("GET", "/jobs/events")):
        answer = Api(server.url).call(method, path)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="video2mp3"')
