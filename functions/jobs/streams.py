"""Server-Sent Events (HTML Standard, section 9.2) of an owner's jobs, read from the rows."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from functions.common.errors import Unavailable
from functions.common.job import ENDED, MICROSECONDS, Job

if TYPE_CHECKING:
    from functions.jobs.history import History

#: As many as leave threads for everything else that the function answers.
MOST_STREAMS: Final = 16
_LOOK_SECONDS: Final = 0.5
#: A client that went away is noticed when something is sent to it.
_COMMENT_SECONDS: Final = 5.0
#: Longer than a transaction lasts, in microseconds.
_OVERLAP: Final = 2 * MICROSECONDS
#: A further stream of one owner ends that owner's oldest, so that reloaded pages don't shut others out.
MOST_OF_ONE_OWNER: Final = 4
_streams = threading.BoundedSemaphore(MOST_STREAMS)
_owners: dict[str, list["Stream"]] = {}
_owners_lock = threading.Lock()


class Stream:
    """The changes of one owner's jobs, or of one job, as event-stream bytes; close it when done.

    Args:
        history: where the rows are read.
        owner: whose jobs.
        job_id: only this one, and the stream ends with it.
        describe: how a job is told.
        seconds: when the stream ends itself.
        draining: set when it must end at once.

    Raises:
        Unavailable: there are too many streams already; the client polls instead.
    """

    def __init__(
        self,
        *,
        history: "History",
        owner: str,
        job_id: str | None,
        describe: Callable[[Job], dict[str, object]],
        seconds: float,
        draining: threading.Event,
    ) -> None:
        if not _streams.acquire(blocking=False):
            raise Unavailable("There are too many event streams; ask again by polling.", retry_after_seconds=10)
        self._held = True
        self._superseded = threading.Event()
        with _owners_lock:
            mine = _owners.setdefault(owner, [])
            mine.append(self)
            if len(mine) > MOST_OF_ONE_OWNER:
                mine[0]._superseded.set()
        self._history = history
        self._owner = owner
        self._job_id = job_id
        self._describe = describe
        self._ends = time.monotonic() + seconds
        self._draining = draining

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes until the time is over, the job has ended, or the process stops."""
        since = 0 if self._job_id else self._history.clock() - _OVERLAP
        told: dict[str, int] = {}
        commented = time.monotonic()
        yield b": welcome\n\n"
        while time.monotonic() < self._ends and not (self._draining.is_set() or self._superseded.is_set()):
            changed = [
                job
                for job in self._history.changed(self._owner, since=since, job_id=self._job_id)
                # A change is dated when it is written and seen when it is committed, so the last moments are read
                # again and told only where new.
                if told.get(job.id) != job.updated
            ]
            for job in changed:
                yield self._event(job)
                told[job.id] = job.updated
                since = max(since, job.updated - _OVERLAP)
            told = {job_id: updated for job_id, updated in told.items() if updated >= since}
            if self._job_id and any(job.state in ENDED or job.deleted for job in changed):
                return
            if time.monotonic() - commented > _COMMENT_SECONDS:
                commented = time.monotonic()
                yield b": still here\n\n"
            self._draining.wait(_LOOK_SECONDS)

    def close(self) -> None:
        """Free its place; WSGI servers call this at the end, however it came."""
        if self._held:
            self._held = False
            _streams.release()
            with _owners_lock:
                mine = _owners[self._owner]
                mine.remove(self)
                if not mine:
                    del _owners[self._owner]

    def _event(self, job: Job) -> bytes:
        name = "deleted" if job.deleted else "job"
        data = {"id": job.id} if job.deleted else self._describe(job)
        return f"event: {name}\nid: {job.id}.{job.updated}\ndata: {json.dumps(data)}\n\n".encode()
