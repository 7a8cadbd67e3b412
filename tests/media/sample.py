"""What one upload of the corpus is and what must become of it; used by the modules that build samples."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SUCCEEDED = "succeeded"
FAILED = "failed"
REFUSED = "refused"
#: The outcome depends on the ffmpeg version or on chance; both are right, a crash or a hang is not.
EITHER = "succeeded|failed"


@dataclass(frozen=True)
class Sample:
    """One file to upload and the answer that is due."""

    #: File name the upload carries; unique in the corpus, so it can name a test.
    name: str
    #: Makes the file inside the given directory and returns its path.
    make: Callable[[Path], Path]
    #: "succeeded", "failed", "refused" (an HTTP error, no job) or "succeeded|failed".
    state: str
    #: Of a failed job: no_audio, unreadable, truncated, too_long or encrypted. Of a refusal: the HTTP
    #: status. None where any reason is right.
    reason: str | None
    #: Length of the MP3 that must come out, in seconds, +- 0.1; None where nothing or any length is right.
    seconds: float | None


def sample(
    name: str,
    build: Callable[[Path], object],
    state: str,
    *,
    reason: str | None = None,
    seconds: float | None = None,
) -> Sample:
    """Return a sample whose file is written by `build`, which gets the full path to write to."""

    def make(directory: Path) -> Path:
        path = directory / name
        build(path)
        return path

    return Sample(name=name, make=make, state=state, reason=reason, seconds=seconds)


def holding(name: str, content: bytes, state: str, *, reason: str | None = None) -> Sample:
    """Return a sample whose file holds exactly `content`."""
    return sample(name, lambda path: path.write_bytes(content), state, reason=reason)
