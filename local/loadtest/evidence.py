"""What a burst left behind, gathered once it is over; `proof` judges it."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import file_digest
from tempfile import TemporaryFile
from typing import IO, Any, Final

from mutagen import MutagenError
from mutagen.mp3 import MP3

from local.loadtest.api import Account, Refused
from local.loadtest.journal import Record
from local.loadtest.server import Mail

#: Downloads at once: the machine is to be asked, not tried.
_DOWNLOADS: Final = 4


@dataclass(frozen=True)
class Result:
    """An MP3 as its owner downloaded it."""

    status: int
    size_bytes: int
    sha256: str
    #: Of its sound; None where it is no MP3.
    seconds: float | None


@dataclass(frozen=True)
class Strike:
    """A fault that was made."""

    #: From when until when it was being made, in seconds since the burst began.
    at: float
    until: float
    what: str


@dataclass
class Evidence:
    """Everything that is known afterwards; None where it could not be seen from where the burst was made."""

    records: Sequence[Record]
    #: By job.
    results: dict[str, Result] = field(default_factory=dict)
    #: Every mail that came, moments since the burst began.
    mails: Sequence[Mail] | None = None
    #: Every row of the table of jobs.
    rows: Sequence[dict[str, Any]] | None = None
    #: Jobs that are still leased, owed or open, and mails that are owed, in words.
    busy: Sequence[str] | None = None
    #: Events whose delivery was given up.
    dead_letters: int | None = None
    #: Messages by queue.
    queues: dict[str, int] | None = None
    #: Keys of everything in the store.
    blobs: Sequence[str] | None = None
    #: Work, processes and files that should not be there any more.
    litter: Sequence[str] = ()
    strikes: Sequence[Strike] = ()
    #: Whether somebody ended the burst before its time.
    interrupted: bool = False


def download_all(
    records: Iterable[Record], accounts: Sequence[Account], *, told: Callable[[int], None]
) -> dict[str, Result]:
    """Download every result there is.

    Args:
        records: the jobs.
        accounts: their owners.
        told: how many were downloaded by now.
    """
    wanted = [record for record in records if record.state == "succeeded" and record.id is not None]
    results: dict[str, Result] = {}

    def one(record: Record) -> None:
        if record.id is not None:
            results[record.id] = _result(accounts[record.account], record.id)
        told(len(results))

    with ThreadPoolExecutor(_DOWNLOADS) as pool:
        list(pool.map(one, wanted))
    return results


def _result(account: Account, job_id: str) -> Result:
    with TemporaryFile() as file:
        try:
            status = account.download(job_id, file)
        except Refused:
            return Result(0, 0, "", None)
        size_bytes = file.tell()
        file.seek(0)
        digest = file_digest(file, "sha256").hexdigest()
        return Result(status, size_bytes, digest, _seconds(file))


def _seconds(file: IO[bytes]) -> float | None:
    file.seek(0)
    try:
        info: Any = MP3(file).info
    except MutagenError:
        return None
    return float(info.length)
