"""Opening a finished MP3, or its waveform, for whoever may have it."""

from typing import TYPE_CHECKING, BinaryIO
from uuid import UUID

from functions.common.errors import BlobMissing, Conflict, Gone, NotFound
from functions.common.job import REASONS, Job, State

if TYPE_CHECKING:
    from functions.common.blobs import Blobs
    from functions.common.jobs import Jobs


def find(job_id: str, *, owner: str | None, jobs: "Jobs") -> Job:
    """A job whose MP3 is ready.

    Args:
        job_id: as the caller gave it.
        owner: whose it must be, or None for whoever holds a signed link.
        jobs: where the rows are.

    Raises:
        NotFound: there is none, or it is another's.
        Gone: it is no longer kept.
        Conflict: it is not ready, with its state.
    """
    try:
        canonical = str(UUID(job_id))
    except ValueError as error:
        raise NotFound from error
    job = jobs.get(canonical, owner=owner)
    if job is None:
        raise NotFound
    if job.state is State.EXPIRED:
        raise Gone("The MP3 is no longer kept; upload the video again.", state=job.state.value)
    if job.state is not State.SUCCEEDED or job.result is None:
        detail = REASONS.get(job.reason or "") or f"The MP3 is not ready: the job is {job.state}."
        raise Conflict(detail, state=job.state.value, reason=job.reason)
    return job


def open_result(job: Job, *, blobs: "Blobs") -> BinaryIO:
    """Open a job's MP3; seekable.

    Raises:
        Gone: the row promises it, but it is not stored any more.
    """
    try:
        return blobs.open(job.result_key)
    except BlobMissing as error:
        raise Gone("The MP3 is no longer stored; upload the video again.", state=job.state.value) from error


def open_waveform(job: Job, *, blobs: "Blobs") -> BinaryIO:
    """Open the waveform of a job's MP3; seekable.

    Raises:
        NotFound: it has none.
        Gone: the row promises it, but it is not stored any more.
    """
    if job.waveform_size_bytes is None:
        raise NotFound
    try:
        return blobs.open(job.waveform_key)
    except BlobMissing as error:
        raise Gone("The waveform is no longer stored; upload the video again.", state=job.state.value) from error
