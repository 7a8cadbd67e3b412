"""Keeping a claim alive while the work goes on, and noticing when it is lost."""

import logging
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from functions.common.job import Job

if TYPE_CHECKING:
    from functions.common.jobs import Jobs

#: At most this long between two extensions of the lease.
BEAT_SECONDS: Final = 4.0
#: Progress is told this soon.
_PROGRESS_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class Heartbeat:
    """Extends the lease of a claimed job from a thread of its own, with phase and percent.

    Args:
        jobs: where the row is.
        job: the row as it was claimed.
    """

    def __init__(self, jobs: "Jobs", job: Job) -> None:
        self._jobs = jobs
        self._job = job
        self._now = ("starting", 0)
        self._end = threading.Event()
        #: Set when the claim is somebody else's, or nobody's.
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat {job.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, so that no beat crosses the write that ends the job."""
        self._end.set()
        self._thread.join()

    def tell(self, phase: str, percent: int) -> None:
        """Say how far the work is."""
        self._now = (phase, percent)

    def _beat(self) -> None:
        told = self._now
        written = time.monotonic()
        while not self._end.wait(_PROGRESS_SECONDS):
            now = self._now
            if now == told and time.monotonic() - written < BEAT_SECONDS - _PROGRESS_SECONDS:
                continue
            try:
                alive = self._jobs.heartbeat(self._job, phase=now[0], percent=now[1])
            except Exception:  # noqa: BLE001 - the thread's edge: whatever it is, the next beat tries again
                # The lease outlives a short absence of the database.
                _log.warning("a heartbeat could not be written", exc_info=True)
                continue
            told, written = now, time.monotonic()
            if not alive:
                self.lost.set()
                return
