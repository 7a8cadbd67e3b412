"""Receiving a resumable upload: when convert is woken for it."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudevents.http import CloudEvent

from functions.common.blobs.directory import DirectoryBlobs
from functions.common.database import Database
from functions.common.jobs import Jobs
from functions.common.quotas import Quotas
from functions.common.waking import Waker
from functions.upload.arriving import Arriving
from functions.upload.pieces import Pieces
from functions.upload.resumable import Announced, Uploads

_MIB = 1024 * 1024
_TOTAL_BYTES = 100 * _MIB


class Slow(io.BytesIO):
    """A body that comes at 1 MiB in a second of the test's own clock.

    Args:
        size_bytes: how long it is.
        waker: whose first touch is noted.
    """

    def __init__(self, size_bytes: int, waker: "Touched", monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self._left = size_bytes
        self._waker = waker
        self._now = 1000.0
        #: Seconds that were left when convert was woken.
        self.left_seconds: float | None = None
        monkeypatch.setattr(time, "monotonic", lambda: self._now)

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, after the time that they take."""
        if self._waker.is_touched and self.left_seconds is None:
            self.left_seconds = self._left / _MIB
        count = min(size or 0, self._left, _MIB)
        self._left -= count
        self._now += count / _MIB
        return bytes(count)


class Touched(Waker):
    """Notes that it was touched."""

    is_touched = False

    def touch(self) -> None:
        """See Waker.touch."""
        self.is_touched = True


class Nowhere:
    """A broker that takes every event."""

    def publish(self, _event: CloudEvent) -> None:
        """See Publisher.publish."""

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def waker() -> Touched:
    """Wakes nothing."""
    return Touched("")


@pytest.fixture
def uploads(tmp_path: Path, waker: Touched) -> Iterator[Uploads]:
    """An empty database and store."""
    database = Database(f"sqlite:///{tmp_path}/a.db")
    yield Uploads(
        jobs=Jobs(database, result_days=30, source_days=1),
        pieces=Pieces(database),
        blobs=DirectoryBlobs(tmp_path / "blobs"),
        publisher=Nowhere(),
        quotas=Quotas(database, jobs_per_hour=0, queued_jobs=0, stored_bytes=0),
        waker=waker,
        max_bytes=0,
    )
    database.close()


@pytest.mark.parametrize(
    ("already", "sent", "left_seconds"),
    [
        # The first of several pieces, and one of unknown length, say nothing of the end.
        (0, 40, None),
        # By the speed of this very request, however much came before it.
        (0, 100, 5),
        (60, 40, 5),
        # What is shorter wakes it as soon as its speed is known.
        (97, 3, 2),
    ],
)
def test_convert_is_woken_when_five_seconds_are_left(
    uploads: Uploads, waker: Touched, monkeypatch: pytest.MonkeyPatch, already: int, sent: int, left_seconds: int | None
) -> None:
    """Whoever completes an upload wakes convert shortly before; pieces before that do not."""
    job = uploads.create(
        Announced(owner="someone", size_bytes=_TOTAL_BYTES, filename="a.mp4", texts={}, metadata=None, traceparent=None)
    )
    if already:
        job = uploads.receive(job, offset=0, body=Arriving(io.BytesIO(bytes(already * _MIB))), length=already * _MIB)
    assert not waker.is_touched
    slow = Slow(sent * _MIB, waker, monkeypatch)
    uploads.receive(job, offset=already * _MIB, body=Arriving(slow), length=sent * _MIB)
    assert slow.left_seconds == (None if left_seconds is None else pytest.approx(left_seconds, abs=0.5))
