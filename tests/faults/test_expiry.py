"""What time takes away: results, sources, leftovers, uploads that stood still and the rows of deleted jobs."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from functions.common.job import Piece, made_keys, source_key
from tests.faults.evidence import mp3s, sources, waveforms
from tests.faults.rig import Rig, ping
from tests.faults.sink import Sink
from tests.support.serving import Served
from tests.support.traces import change, rows

MINUTE = 60_000_000
DAY = 86_400_000_000


def wait(rig: Rig, column: str, job_id: str, microseconds: int) -> None:
    """Let time pass for one of a job's times."""
    statements = {
        "expires": "UPDATE jobs SET expires = expires - ? WHERE id = ?",
        "sources_until": "UPDATE jobs SET sources_until = sources_until - ? WHERE id = ?",
        "due": "UPDATE jobs SET due = due - ? WHERE id = ?",
        "deleted": "UPDATE jobs SET deleted = deleted - ? WHERE id = ?",
    }
    assert change(rig.state, statements[column], microseconds, job_id) == 1


@contextmanager
def store_away(rig: Rig) -> Iterator[None]:
    """Let the store of blobs be out of reach for a while."""
    folder = rig.state / "blobs"
    away = folder.with_name("blobs-away")
    folder.rename(away)
    folder.touch()
    try:
        yield
    finally:
        folder.unlink()
        away.rename(folder)


def stored(rig: Rig, job_id: str) -> list[str]:
    """The blobs of a job."""
    return sources(rig.state, job_id) + mp3s(rig.state, job_id) + waveforms(rig.state, job_id)


def exists(rig: Rig, job_id: str) -> bool:
    """Whether a job has a row of any kind."""
    return bool(rows(rig.state, "SELECT id FROM jobs WHERE id = ?", job_id))


def store_made(rig: Rig, job_id: str, attempt: int) -> None:
    """Store an attempt's MP3 and its waveform."""
    for key in made_keys(job_id, attempt):
        rig.put(key, b"of an attempt")


def tried_three_times(rig: Rig) -> str:
    """A job whose third attempt succeeded after two that stored a result and were lost."""
    job_id = rig.queued()
    for attempt in (1, 2):
        job = rig.claim(job_id)
        store_made(rig, job_id, attempt)
        assert rig.jobs.give_back(job)
    job = rig.claim(job_id)
    store_made(rig, job_id, 3)
    result = job.sources[0]
    assert rig.jobs.succeed(job, result=result, duration_seconds=1.0)
    return job_id


def test_results_are_kept_thirty_days_and_then_gone(rig: Rig, recover: Served, sink: Sink) -> None:
    """A job whose time is up is told as expired: no blob of it is left, and no event is owed any more."""
    jobs = [rig.succeeded(), rig.failed(), rig.queued(), tried_three_times(rig)]
    assert rig.jobs.cancel(jobs[2], rig.owner)
    for job_id in jobs:
        wait(rig, "expires", job_id, 30 * DAY - MINUTE)
    assert ping(recover.url) == 204
    assert [rig.row(job_id)["state"] for job_id in jobs] == ["succeeded", "failed", "cancelled", "succeeded"]
    assert all(stored(rig, job_id) for job_id in jobs)
    for job_id in jobs:
        wait(rig, "expires", job_id, 2 * MINUTE)
    assert ping(recover.url) == 204
    for job_id in jobs:
        row = rig.row(job_id)
        assert (row["state"], row["due"]) == ("expired", None)
        assert stored(rig, job_id) == []
        assert not rig.jobs.retry(job_id, rig.owner)
        assert sink.of(job_id) == []


def test_what_has_not_ended_does_not_expire(rig: Rig, recover: Served) -> None:
    """A retry of a failed job takes it out of the reach of its old time limit."""
    job_id = rig.failed()
    assert rig.jobs.retry(job_id, rig.owner)
    assert ping(recover.url) == 204
    assert (rig.row(job_id)["state"], rig.row(job_id)["expires"]) == ("queued", None)
    assert sources(rig.state, job_id) == ["0"]


def test_the_source_of_a_success_goes_after_a_day(rig: Rig, recover: Served) -> None:
    """After SOURCE_DAYS the video is deleted and the MP3 stays; a failed job keeps its video, for a retry."""
    done, failed = rig.succeeded(), rig.failed()
    wait(rig, "sources_until", done, DAY - MINUTE)
    assert ping(recover.url) == 204
    assert sources(rig.state, done) == ["0"]
    wait(rig, "sources_until", done, 2 * MINUTE)
    assert ping(recover.url) == ping(recover.url) == 204
    assert sources(rig.state, done) == []
    assert mp3s(rig.state, done) == ["1"]
    assert sources(rig.state, failed) == ["0"]
    assert rig.row(done)["state"] == "succeeded"


def test_leftovers_of_lower_attempts_are_deleted(rig: Rig, recover: Served) -> None:
    """Of a success its own MP3 stays alone, and its waveform; of a failure or a cancellation none does."""
    done, failed, cancelled = tried_three_times(rig), rig.queued(), rig.queued()
    for job_id in (failed, cancelled):
        job = rig.claim(job_id)
        store_made(rig, job_id, job.attempt)
    assert rig.jobs.fail(rig.jobs.get(failed) or job, "unreadable")
    assert rig.jobs.cancel(cancelled, rig.owner)
    assert ping(recover.url) == 204
    assert mp3s(rig.state, done) == waveforms(rig.state, done) == ["3"]
    assert mp3s(rig.state, failed) == mp3s(rig.state, cancelled) == []
    assert waveforms(rig.state, failed) == waveforms(rig.state, cancelled) == []
    assert sources(rig.state, done) == sources(rig.state, failed) == sources(rig.state, cancelled) == ["0"]


def test_the_results_of_a_job_at_work_are_not_touched(rig: Rig, recover: Served) -> None:
    """While a worker may be about to store its result, nothing of the job is tidied up."""
    job = rig.claimed()
    rig.put(job.result_key, b"an MP3")
    assert ping(recover.url) == 204
    assert mp3s(rig.state, job.id) == ["1"]


def test_an_upload_that_stands_still_is_gone_after_a_quarter_of_an_hour(rig: Rig, recover: Served) -> None:
    """An upload whose client went away leaves neither a row nor a byte; one whose bytes still arrive goes on."""
    stale, alive = rig.receiving(), rig.receiving()
    for job_id in (stale, alive):
        rig.put(source_key(job_id, 0), b"half a video")
        wait(rig, "due", job_id, 14 * MINUTE)
    assert ping(recover.url) == 204
    assert exists(rig, stale)
    assert rig.jobs.still_receiving(alive)
    for job_id in (stale, alive):
        wait(rig, "due", job_id, 2 * MINUTE)
    assert ping(recover.url) == 204
    assert not exists(rig, stale)
    assert stored(rig, stale) == []
    assert not rig.jobs.still_receiving(stale)
    assert exists(rig, alive)
    assert sources(rig.state, alive) == ["0"]


def test_a_resumable_upload_that_stands_still_is_gone_after_a_day(rig: Rig, recover: Served) -> None:
    """Its client may come back for a day; then row and pieces are gone, those of dead requests, too."""
    stale, alive = rig.resumable(2000), rig.resumable(2000)
    for upload in (stale, alive):
        rig.put(source_key(upload.id, 0), b"a piece of a request that died")
        second = rig.pieces.take(rig.pieces.take(upload, 0), 0)
        rig.put(source_key(upload.id, 1), b"half a video")
        assert rig.pieces.keep(second, Piece(12, "ab" * 32, 1), another=False)
        wait(rig, "due", upload.id, DAY - MINUTE)
    assert ping(recover.url) == 204
    assert sources(rig.state, stale.id) == ["0", "1"]
    rig.pieces.take(alive, 12)
    for upload in (stale, alive):
        wait(rig, "due", upload.id, 2 * MINUTE)
    assert ping(recover.url) == 204
    assert (exists(rig, stale.id), stored(rig, stale.id)) == (False, [])
    assert (exists(rig, alive.id), sources(rig.state, alive.id)) == (True, ["0", "1"])


def test_a_deleted_job_stays_as_a_tombstone_for_a_day(rig: Rig, recover: Served) -> None:
    """The tombstone knows the keys: what a late worker stored after the deletion is deleted with it."""
    deleted = rig.succeeded()
    assert rig.jobs.delete(deleted, rig.owner)
    wait(rig, "deleted", deleted, DAY - MINUTE)
    assert ping(recover.url) == 204
    assert exists(rig, deleted)
    wait(rig, "deleted", deleted, 2 * MINUTE)
    assert ping(recover.url) == 204
    assert not exists(rig, deleted)
    assert rows(rig.state, "SELECT * FROM mails WHERE job_id = ?", deleted) == []
    assert stored(rig, deleted) == []


@pytest.mark.parametrize("end", ["expired", "abandoned", "buried", "source over", "leftover"])
def test_blobs_are_deleted_later_where_the_store_was_away(end: str, rig: Rig, recover: Served) -> None:
    """A sweep that cannot reach the store forgets nothing: once it is back, the next sweep deletes what is due."""
    if end == "abandoned":
        job_id = rig.receiving()
        rig.put(source_key(job_id, 0), b"half a video")
        wait(rig, "due", job_id, 16 * MINUTE)
    elif end == "leftover":
        job_id = tried_three_times(rig)
    else:
        job_id = rig.succeeded()
    if end == "expired":
        wait(rig, "expires", job_id, 31 * DAY)
    if end == "source over":
        wait(rig, "sources_until", job_id, 2 * DAY)
    if end == "buried":
        assert rig.jobs.delete(job_id, rig.owner)
        wait(rig, "deleted", job_id, 2 * DAY)
    with store_away(rig):
        assert ping(recover.url) in (204, 503)
    assert ping(recover.url) == 204
    assert stored(rig, job_id) == {"source over": ["1"], "leftover": ["0", "3", "3"]}.get(end, [])
