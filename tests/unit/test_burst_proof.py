"""Each kind of damage that a burst can find."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from local.loadtest.evidence import Evidence, Result, Strike
from local.loadtest.journal import Record, Refusal
from local.loadtest.proof import judge
from local.loadtest.server import Mail

SOUND = "a" * 64
BLOBS = ("videos/job-{}/0", "mp3s/job-{}/1", "waveforms/job-{}/1")


def record(number: int, **more: Any) -> Record:
    """A job that ended well."""
    made = Record(number, "s" * 64, "clip.mp4", {}, 0, 2.0, 0.0, sent=0.0, accepted=1.0, id=f"job-{number}")
    made.state, made.run, made.attempt, made.result_sha256 = "succeeded", 1, 1, SOUND
    made.started, made.finished, made.mailed = 2.0, 3.0, 4.0
    for name, value in more.items():
        setattr(made, name, value)
    return made


def row(number: int) -> dict[str, Any]:
    """Its row."""
    about = {"id": f"job-{number}", "state": "succeeded", "attempt": 1, "waveform_size_bytes": 9}
    return {**about, "sources": [[1, "x"]], "sources_until": 1}


def sound() -> Evidence:
    """Three jobs of which nothing bad is to be said."""
    numbers = range(3)
    return Evidence(
        records=[record(number) for number in numbers],
        results={f"job-{number}": Result(200, 9, SOUND, 2.05) for number in numbers},
        mails=[Mail(f"job-{number}", 1, "succeeded", 4.0) for number in numbers],
        rows=[row(number) for number in numbers],
        busy=[],
        dead_letters=0,
        queues={"convert": 0},
        blobs=[key.format(number) for number in numbers for key in BLOBS],
    )


def broken(evidence: Evidence) -> list[str]:
    """Every broken promise."""
    return [line for verdict in judge(evidence) for line in verdict.broken]


def test_nothing_is_found_where_all_is_well() -> None:
    """Every promise was looked at and kept."""
    assert [verdict.kept for verdict in judge(sound())] == [True] * 6


def lost(evidence: Evidence) -> None:
    """The row went away."""
    evidence.records[1].state = "gone"
    evidence.rows = [each for each in evidence.rows or () if each["id"] != "job-1"]


def unended(evidence: Evidence) -> None:
    """A job stays where it is."""
    evidence.records[1].state = "queued"


def failed(evidence: Evidence) -> None:
    """A job failed."""
    evidence.records[1].state, evidence.records[1].reason = "failed", "gave_up"


def doubled_job(evidence: Evidence) -> None:
    """One upload made two jobs."""
    evidence.rows = [*(evidence.rows or ()), row(7)]
    evidence.blobs = [*(evidence.blobs or ()), *(key.format(7) for key in BLOBS)]


def shared_job(evidence: Evidence) -> None:
    """Two uploads had the same job."""
    evidence.records[1].id = "job-0"


def untaken(evidence: Evidence) -> None:
    """An upload never had its 202."""
    evidence.records = [*evidence.records, record(3, id=None, accepted=None, state=None)]


def doubled_mp3(evidence: Evidence) -> None:
    """An earlier attempt left its MP3."""
    evidence.blobs = [*(evidence.blobs or ()), "mp3s/job-1/2"]


def missing_mp3(evidence: Evidence) -> None:
    """A stored MP3 went away."""
    evidence.blobs = [key for key in evidence.blobs or () if key != "mp3s/job-1/1"]


def left_waveform(evidence: Evidence) -> None:
    """A copied MP3 has no waveform, and one is stored."""
    evidence.rows = [row(0), {**row(1), "waveform_size_bytes": None}, row(2)]


def twice_stored(evidence: Evidence) -> None:
    """A store that takes a key twice has two files of it."""
    evidence.blobs = [*(evidence.blobs or ()), "mp3s/job-1/1"]


def undownloaded(evidence: Evidence) -> None:
    """A result was never fetched."""
    del evidence.results["job-1"]


def leftover_blob(evidence: Evidence) -> None:
    """A file belongs to no job."""
    evidence.blobs = [*(evidence.blobs or ()), "videos/job-9/0"]


def second_mail(evidence: Evidence) -> None:
    """Somebody was told twice."""
    evidence.mails = [*(evidence.mails or ()), Mail("job-1", 1, "succeeded", 5.0)]


def missing_mail(evidence: Evidence) -> None:
    """Somebody was never told."""
    evidence.mails = list(evidence.mails or ())[1:]


def wrong_mail(evidence: Evidence) -> None:
    """Somebody was told of something else."""
    evidence.mails = [Mail("job-0", 1, "failed", 4.0), *list(evidence.mails or ())[1:]]


def untimely_mail(evidence: Evidence) -> None:
    """Somebody was told of a job that has not ended."""
    evidence.records[1].state = "converting"


def result(**more: Any) -> Callable[[Evidence], None]:
    """Another download of the middle job."""

    def change(evidence: Evidence) -> None:
        evidence.results["job-1"] = replace(evidence.results["job-1"], **more)

    return change


def other_bytes(evidence: Evidence) -> None:
    """The same source and options made another MP3."""
    evidence.results["job-1"] = replace(evidence.results["job-1"], sha256="b" * 64)
    evidence.records[1].result_sha256 = "b" * 64


def refused(status: int, retry_after: str | None, **more: Any) -> Callable[[Evidence], None]:
    """The middle job was turned away before."""

    def change(evidence: Evidence) -> None:
        evidence.records[1].refusals = [Refusal(0.1, status, retry_after, "")]
        for name, value in more.items():
            setattr(evidence.records[1], name, value)

    return change


def queued(evidence: Evidence) -> None:
    """An event is left in a queue."""
    evidence.queues = {"convert": 1}


def dead_letter(evidence: Evidence) -> None:
    """An event was given up."""
    evidence.dead_letters = 1


def leased(evidence: Evidence) -> None:
    """A row still has a lease."""
    evidence.busy = ["job-1 is converting, leased"]


def litter(evidence: Evidence) -> None:
    """Work in progress lies about."""
    evidence.litter = ["work/convert-x"]


DAMAGE: list[tuple[Callable[[Evidence], None], str]] = [
    (lost, "job-1 had its 202 and is lost"),
    (unended, "job-1 never ended"),
    (failed, "job-1 ended failed (gave_up)"),
    (doubled_job, "job-7 is nobody's"),
    (shared_job, "job-0 is the job of 2 uploads"),
    (untaken, "upload 3 (clip.mp4) never had its 202"),
    (doubled_mp3, "mp3s/job-1/2 is nobody's"),
    (missing_mp3, "mp3s/job-1/1 is missing"),
    (left_waveform, "waveforms/job-1/1 is nobody's"),
    (twice_stored, "mp3s/job-1/1 is stored 2 times"),
    (undownloaded, "job-1 was not downloaded"),
    (leftover_blob, "videos/job-9/0 is nobody's"),
    (second_mail, "job-1 was told of 2 times"),
    (missing_mail, "job-0 was not told of"),
    (wrong_mail, "job-0 had a mail that tells of failed"),
    (untimely_mail, "job-1 had a mail and did not succeed"),
    (result(seconds=2.3), "job-1 lasts 2.30 s, its source 2.00 s"),
    (result(seconds=None), "job-1 is no MP3"),
    (result(status=404), "job-1 is downloaded as 404"),
    (result(sha256="c" * 64), "job-1 is downloaded with other bytes"),
    (other_bytes, "job-1 has other bytes"),
    (refused(429, None), "429 without saying when"),
    (refused(503, "soon"), "503 without saying when"),
    (refused(500, "1"), "upload 1 (clip.mp4) was answered 500"),
    (refused(409, "1"), "upload 1 (clip.mp4) was answered 409"),
    (refused(507, "1", id=None, state=None), "upload 1 (clip.mp4) was turned away for good"),
    (lambda evidence: setattr(evidence.records[1], "broken", ["reset"]), "had its connection broken: reset"),
    (queued, "1 messages are left in convert"),
    (dead_letter, "1 dead letters are kept"),
    (leased, "job-1 is converting, leased"),
    (litter, "work/convert-x lies about"),
]


@pytest.mark.parametrize(("damage", "sentence"), DAMAGE, ids=[sentence for _, sentence in DAMAGE])
def test_damage_is_found_and_named(damage: Callable[[Evidence], None], sentence: str) -> None:
    """Each kind of damage is told in a sentence that names its job."""
    evidence = sound()
    damage(evidence)
    assert any(sentence in line for line in broken(evidence)), broken(evidence)


def test_whoever_was_told_when_to_come_again_has_no_complaint() -> None:
    """Clear refusals that ended in a 202 are no broken promise."""
    evidence = sound()
    for each, status in zip(evidence.records, (429, 503, 507), strict=True):
        each.refusals = [Refusal(0.1, status, "5", "")]
    assert broken(evidence) == []


def test_a_fault_excuses_a_broken_connection_and_the_mail_that_it_cut() -> None:
    """A second mail is excused by a fault between the two, of what sends or marks mails, and by no other."""
    evidence = sound()
    evidence.records[1].broken = ["reset"]
    evidence.records[1].refusals = [Refusal(0.1, 409, "30", "still arriving")]
    evidence.records[0].refusals = [Refusal(0.1, 503, "2", "no answer"), Refusal(2.1, 409, "30", "still arriving")]
    evidence.mails = [*(evidence.mails or ()), Mail("job-1", 1, "succeeded", 5.0)]
    for strike in (Strike(4.5, 4.6, "notify"), Strike(3.9, 4.1, "server"), Strike(4.9, 5.3, "database")):
        evidence.strikes = [strike]
        assert broken(evidence) == []
    for strike in (Strike(3.8, 3.9, "notify"), Strike(5.1, 5.2, "notify"), Strike(4.5, 4.6, "dispatcher")):
        evidence.strikes = [strike]
        assert broken(evidence) == ["job-1 was told of 2 times"]


def test_an_interrupted_burst_blames_nobody_for_what_was_not_done_yet() -> None:
    """Jobs on their way are no loss; what was lost by then still is."""
    evidence = sound()
    evidence.interrupted = True
    evidence.records[0].state = "converting"
    evidence.records[1].state = "gone"
    evidence.results, evidence.mails, evidence.rows, evidence.blobs = {}, [], None, None
    assert broken(evidence) == ["job-1 had its 202 and is lost"]


def test_what_cannot_be_seen_is_not_called_kept() -> None:
    """Through the API alone mails and queues are unseen; the rest is proven."""
    evidence = Evidence(records=sound().records, results=sound().results)
    assert [verdict.kept for verdict in judge(evidence)] == [True, True, True, None, None, True]
