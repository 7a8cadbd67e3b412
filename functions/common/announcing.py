"""Telling convert of a job that was just promised; for upload, bridge and jobs."""

import logging
from typing import TYPE_CHECKING

from functions.common import events
from functions.common.errors import Unavailable

if TYPE_CHECKING:
    from functions.common.job import Job
    from functions.common.jobs import Jobs
    from functions.common.publisher import Publisher

_log = logging.getLogger(__name__)


def announce(job: "Job", *, jobs: "Jobs", publisher: "Publisher") -> None:
    """Publish the event of a queued job's run, and note in its row that this was done."""
    try:
        publisher.publish(events.make(events.UPLOADED, job_id=job.id, run=job.run, traceparent=job.traceparent))
        jobs.published(job.id, job.run)
    except Unavailable:
        # The promise stands: the row says that the event is owed, and recover will publish it.
        _log.warning("the event could not be published; recover will", extra={"job": job.id}, exc_info=True)
