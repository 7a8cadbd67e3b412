"""What a job is: its states, reasons, keys, and how people are told of it.

Light on purpose: every function imports it at start, the database code (`functions.common.jobs`) only when used.
"""

import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from functions.common.options import Options

MICROSECONDS: Final = 1_000_000
#: How often whoever receives a source says that it is alive.
ALIVE_SECONDS: Final = 5
#: After such a silence it counts as dead where another is there to take over.
SILENT_SECONDS: Final = 30


class State(StrEnum):
    """Where a job stands."""

    #: The source is still arriving; nothing has been promised yet.
    RECEIVING = "receiving"
    #: The source is stored, and the promise to convert it was given.
    QUEUED = "queued"
    #: A worker holds, or held, the lease.
    CONVERTING = "converting"
    SUCCEEDED = "succeeded"
    #: `reason` says why.
    FAILED = "failed"
    #: The owner stopped it.
    CANCELLED = "cancelled"
    #: Its time was up; the blobs are gone.
    EXPIRED = "expired"


ENDED: Final = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})
OPEN: Final = frozenset({State.QUEUED, State.CONVERTING})

#: The closed list of failure reasons, each with the one sentence that mail and page show.
REASONS: Final = {
    "no_audio": "The video has no sound, so there is nothing to make an MP3 of.",
    "no_track": "The video has no such audio track.",
    "unreadable": "The file is damaged or in a format that cannot be read.",
    "truncated": "The file breaks off before its end; upload it again in full.",
    "too_long": "The recording is longer than this service converts.",
    "encrypted": "The file is copy-protected (encrypted) and cannot be converted.",
    "empty_range": "Nothing is left between the chosen start and end.",
    "timed_out": "The conversion took longer than this service allows; try a shorter part.",
    "source_missing": "The uploaded file is no longer stored; upload it again.",
    "gave_up": "The conversion stopped the converter several times over, so it was given up.",
    "undeliverable": "The conversion could not be started; try again later.",
}


@dataclass(frozen=True)
class Stored:
    """What a store reported of one blob."""

    size_bytes: int
    #: Lower-case hex of the SHA-256 of the bytes.
    sha256: str


@dataclass(frozen=True)
class Piece(Stored):
    """One of the blobs that a source consists of, one after the other."""

    #: Part of its key.
    number: int = 0


@dataclass(frozen=True)
class Job:
    """One job's row as it was read; times are microseconds since 1970 by the database's clock."""

    id: str
    owner: str
    filename: str
    options: Options
    state: State
    reason: str | None
    #: Raised by each retry that the owner asks for.
    run: int
    #: Fencing number, raised by each claim and never lowered.
    attempt: int
    #: Claims of this run.
    claims: int
    phase: str | None
    #: 0 to 100 of the present phase's work.
    percent: int
    #: Pieces of the source, in order; while a resumable upload arrives, those that are there.
    sources: tuple[Piece, ...]
    #: How many numbers of pieces were given out: more than there are sources where one broke off.
    pieces: int
    #: Length of the whole source, as announced or stored; None where it is not known yet.
    source_bytes: int | None
    #: Metadata of a resumable upload, as its client spelled them.
    upload_metadata: str | None
    result: Stored | None
    duration_seconds: float | None
    #: Of the waveform beside the MP3; None where there is none.
    waveform_size_bytes: int | None
    #: What of the recording's own could not come along into the MP3: "tags", "chapters".
    omitted: tuple[str, ...]
    created: int
    started: int | None
    finished: int | None
    expires: int | None
    updated: int
    #: When something is owed again: of a source that arrives, its removal.
    due: int | None
    deleted: int | None
    traceparent: str | None

    @property
    def received_bytes(self) -> int:
        """How much of the source is stored."""
        return sum(piece.size_bytes for piece in self.sources)

    @property
    def result_key(self) -> str:
        """Key of the MP3 that this row's attempt makes."""
        return result_key(self.id, self.attempt)

    @property
    def waveform_key(self) -> str:
        """Key of that MP3's waveform."""
        return waveform_key(self.id, self.attempt)


def new_id() -> str:
    """Make a job or account id that sorts by its time (UUIDv7, RFC 9562 section 5.7)."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def source_key(job_id: str, piece: int) -> str:
    """Key of one piece of a job's source."""
    return f"videos/{job_id}/{piece}"


def result_key(job_id: str, attempt: int) -> str:
    """Key of the MP3 that one attempt makes; no two attempts share one."""
    return f"mp3s/{job_id}/{attempt}"


def source_keys(job: Job) -> list[str]:
    """Every key that whoever received this job's source can have written."""
    return [source_key(job.id, number) for number in range(job.pieces)]


def waveform_key(job_id: str, attempt: int) -> str:
    """Key of the waveform of the MP3 that one attempt makes."""
    return f"waveforms/{job_id}/{attempt}"


def made_keys(job_id: str, attempt: int) -> tuple[str, ...]:
    """Every key that one attempt can have written."""
    return result_key(job_id, attempt), waveform_key(job_id, attempt)


def blob_keys(job: Job) -> list[str]:
    """Every key that this job can ever have written."""
    made = [key for attempt in range(1, job.attempt + 1) for key in made_keys(job.id, attempt)]
    return source_keys(job) + made


def mp3_name(filename: str) -> str:
    """The human name of the MP3 that comes of an upload of this name."""
    stem, dot, extension = filename.rpartition(".")
    whole = stem if dot and stem and len(extension) <= 5 and (extension or "x").isalnum() else filename
    # File systems take names of up to 255 bytes; on this machine's own they need not be text.
    while len(whole.encode(errors="surrogateescape")) > 255 - len(".mp3"):
        whole = whole[:-1]
    return f"{whole}.mp3"


def iso_time(microseconds: int | None) -> str | None:
    """RFC 3339 text of a time, in UTC."""
    if microseconds is None:
        return None
    moment = datetime.fromtimestamp(microseconds / MICROSECONDS, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def describe(job: Job, *, download: str | None = None, waveform: str | None = None) -> dict[str, object]:
    """The job as JSON for its owner; links are relative to the one origin.

    Args:
        job: the row.
        download: signed link of the result, where the caller may make one.
        waveform: the same of its waveform.
    """
    links = {"self": f"/jobs/{job.id}", "events": f"/jobs/{job.id}/events"}
    if job.state in OPEN:
        links["cancel"] = f"/jobs/{job.id}/cancel"
    if job.state in (State.FAILED, State.CANCELLED):
        links["retry"] = f"/jobs/{job.id}/retry"
    if job.state is State.SUCCEEDED:
        links["download"] = download or f"/download?fid={job.id}"
        if job.waveform_size_bytes is not None:
            links["waveform"] = waveform or f"/download/waveform?fid={job.id}"
    return {
        "id": job.id,
        "filename": job.filename,
        "options": job.options.as_dict(),
        "state": job.state.value,
        "reason": job.reason,
        "message": REASONS.get(job.reason) if job.reason else None,
        "run": job.run,
        "phase": job.phase if job.state is State.CONVERTING else None,
        "percent": 100 if job.state is State.SUCCEEDED else job.percent,
        "source_bytes": job.source_bytes or job.received_bytes,
        "size_bytes": job.result.size_bytes if job.result else None,
        "duration_seconds": job.duration_seconds,
        "omitted": list(job.omitted),
        "created": iso_time(job.created),
        "started": iso_time(job.started),
        "finished": iso_time(job.finished),
        "expires": iso_time(job.expires),
        "links": links,
    }
