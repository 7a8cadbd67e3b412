"""A file that takes its server down each time is given up, and costs nobody else a job."""

from pathlib import Path
from typing import Final

from tests.faults.evidence import litter, message_ids, mp3s, row
from tests.faults.programs import Poisoned
from tests.faults.rig import Rig
from tests.support.serving import Served, eventually
from tests.support.traces import rows

POISON: Final = b"\0" * 54_321
#: The claim that would be the fifth is the end, so the fifth start is the last that the file has anything to do with.
STARTS: Final = 5
BUSY: Final = "SELECT id FROM jobs WHERE due IS NOT NULL"


def starts_until_quiet(state: Path, ffmpeg: Poisoned, *, slots: int) -> int:
    """Start the server again each time it is taken down, until nothing is left to do; how often it was started."""
    for start in range(1, STARTS + 3):
        server = Served(state, env={"CONVERT_SLOTS": str(slots), "PATH": ffmpeg.path})
        with ffmpeg.aimed_at(server):
            if outlives(server, state):
                return start
    raise AssertionError("the server was taken down without end")


def outlives(server: Served, state: Path) -> bool:
    """Wait until a server was taken down or has nothing left to do; whether it is the latter."""
    eventually(lambda: server.process.poll() is not None or not rows(state, BUSY))
    return server.process.poll() is None


def given_up(state: Path, job_id: str) -> None:
    """The job failed with the reason for it, and one mail tells so."""
    found = row(state, job_id)
    assert (found["state"], found["reason"]) == ("failed", "gave_up")
    assert message_ids(state, job_id) == [f"<{job_id}.1.failed@localhost>"]
    assert mp3s(state, job_id) == []


def converted(state: Path, job_id: str) -> None:
    """The job succeeded, and one mail tells so."""
    found = row(state, job_id)
    assert (found["state"], found["reason"]) == ("succeeded", None)
    assert message_ids(state, job_id) == [f"<{job_id}.1.succeeded@localhost>"]
    assert mp3s(state, job_id) == [str(found["attempt"])]


def test_a_file_that_kills_its_server_is_given_up_and_the_next_one_runs(tmp_path: Path, short: Path) -> None:
    """After four claims that ended with the server the file has failed for good, and the job behind it is converted."""
    with Rig(tmp_path / "state") as rig:
        poison, behind = rig.queued(POISON), rig.queued(short.read_bytes())
        ffmpeg = Poisoned(tmp_path / "bin", poison_bytes=len(POISON))
        assert starts_until_quiet(rig.state, ffmpeg, slots=1) == STARTS
        given_up(rig.state, poison)
        converted(rig.state, behind)
        assert litter(rig.state) == []


def test_a_file_that_kills_its_server_does_not_take_its_neighbour_with_it(tmp_path: Path, short: Path) -> None:
    """A job that was at work beside it each time is innocent: it is converted in the end, and not given up as well."""
    with Rig(tmp_path / "state") as rig:
        poison, beside = rig.queued(POISON), rig.queued(short.read_bytes())
        ffmpeg = Poisoned(tmp_path / "bin", poison_bytes=len(POISON), others_seconds=0.5)
        starts_until_quiet(rig.state, ffmpeg, slots=2)
        given_up(rig.state, poison)
        converted(rig.state, beside)
