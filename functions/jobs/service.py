"""What an owner may do to a job."""

import logging
from typing import TYPE_CHECKING

from functions.common.announcing import announce
from functions.common.errors import Conflict, NotFound, ServiceError
from functions.common.job import Job, State, blob_keys

if TYPE_CHECKING:
    from functions.common.blobs import Blobs
    from functions.common.jobs import Jobs
    from functions.common.publisher import Publisher
    from functions.common.quotas import Quotas

_log = logging.getLogger(__name__)


def find(job_id: str, owner: str, *, jobs: "Jobs") -> Job:
    """One of the owner's jobs.

    Raises:
        NotFound: there is none, or it is another's.
    """
    job = jobs.get(job_id, owner=owner)
    if job is None:
        raise NotFound
    return job


def cancel(job_id: str, owner: str, *, jobs: "Jobs") -> Job:
    """Stop a job that has not ended.

    Raises:
        NotFound: there is none, or it is another's.
        Conflict: it has ended.
    """
    if not jobs.cancel(job_id, owner):
        job = find(job_id, owner, jobs=jobs)
        raise Conflict(f"The job is {job.state} and cannot be cancelled.", state=job.state.value)
    return find(job_id, owner, jobs=jobs)


def retry(job_id: str, owner: str, *, jobs: "Jobs", publisher: "Publisher", quotas: "Quotas") -> Job:
    """Run a failed or cancelled job again.

    Raises:
        NotFound: there is none, or it is another's.
        Conflict: it neither failed nor was cancelled, or its source is no longer kept.
        TooMany: too many of the owner's jobs wait already.
    """
    if find(job_id, owner, jobs=jobs).state in (State.FAILED, State.CANCELLED):
        quotas.admit_retry(owner)
    if not jobs.retry(job_id, owner):
        job = find(job_id, owner, jobs=jobs)
        raise Conflict(f"The job is {job.state} and cannot be run again.", state=job.state.value)
    job = find(job_id, owner, jobs=jobs)
    announce(job, jobs=jobs, publisher=publisher)
    return job


def delete(job_id: str, owner: str, *, jobs: "Jobs", blobs: "Blobs") -> None:
    """Take a job and its files away.

    Raises:
        NotFound: there is none, or it is another's.
    """
    job = jobs.delete(job_id, owner)
    if job is None:
        raise NotFound
    try:
        for key in blob_keys(job):
            blobs.delete(key)
    except ServiceError:
        # The tombstone knows the keys; recover tries again before it goes.
        _log.warning("a deleted job's files could not be removed yet", exc_info=True)
