"""What a state directory must look like when nothing is left to do; used by every fault test."""

import re
from email import message_from_bytes
from pathlib import Path
from typing import Any, Final

from tests.support.serving import eventually
from tests.support.traces import blobs, rows

#: A mailbox file: the job's id begins its name, the number of equal Message-IDs ends it.
_MAIL: Final = re.compile(r"([0-9a-f-]{36})\.(\d+)\.(\w+)-[0-9a-f]{8}\.(\d+)\.eml")


def row(state: Path, job_id: str) -> dict[str, Any]:
    """Every column of a job's row, which must be there."""
    found = rows(state, "SELECT * FROM jobs WHERE id = ?", job_id)
    assert len(found) == 1, f"{job_id}: {found}"
    return found[0]


def mail_row(state: Path, job_id: str) -> dict[str, Any]:
    """The newest mail that a job owes or owed."""
    return rows(state, "SELECT * FROM mails WHERE job_id = ? ORDER BY run DESC", job_id)[0]


def message_ids(state: Path, job_id: str) -> list[str]:
    """The Message-ID of every mail in the mailbox that tells of a job."""
    files = sorted((state / "mail").glob(f"{job_id}.*.eml"))
    return [str(message_from_bytes(file.read_bytes())["Message-ID"]) for file in files]


def mailed(state: Path) -> dict[tuple[str, int, str], int]:
    """How often each (job, run, outcome) lies in the mailbox."""
    counts: dict[tuple[str, int, str], int] = {}
    for file in (state / "mail").glob("*.eml"):
        match = _MAIL.fullmatch(file.name)
        assert match is not None, f"a mail of nobody: {file.name}"
        mail = (match[1], int(match[2]), match[3])
        counts[mail] = counts.get(mail, 0) + 1
    return counts


def sources(state: Path, job_id: str) -> list[str]:
    """Names of the pieces that are stored of a job's source."""
    return [path.name for path in blobs(state, f"videos/{job_id}")]


def mp3s(state: Path, job_id: str) -> list[str]:
    """The attempts whose MP3 is stored."""
    return [path.name for path in blobs(state, f"mp3s/{job_id}")]


def waveforms(state: Path, job_id: str) -> list[str]:
    """The attempts whose waveform is stored."""
    return [path.name for path in blobs(state, f"waveforms/{job_id}")]


def quiet(state: Path, *, seconds: float = 20) -> None:
    """Wait until every job has ended and no event is owed any more."""
    busy = """SELECT id FROM jobs WHERE deleted IS NULL
              AND (due IS NOT NULL OR state IN ('receiving', 'queued', 'converting'))"""
    eventually(lambda: not rows(state, busy), seconds=seconds)


def litter(state: Path) -> list[str]:
    """What lies about that no row speaks of: half-written blobs, folders of nobody, work in progress."""
    known = {found["id"] for found in rows(state, "SELECT id FROM jobs WHERE deleted IS NULL")}
    lying = [path for path in blobs(state) if path.parent.name not in known]
    lying += [path for path in (state / "blobs").glob("*/*") if path.is_dir() and path.name not in known]
    lying += (state / "work").glob("*")
    return sorted(str(path.relative_to(state)) for path in set(lying))
