"""Following the encoders of one recording: how far they are, and whether they have to end."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from functions.common.options import Options
from functions.convert.ffmpeg import length_command, told_seconds
from functions.convert.mpeg import samples_per_frame
from functions.convert.process import Lines, run
from functions.convert.report import Report
from functions.convert.runs import GrowingRun
from functions.convert.sandbox import Limits

#: So much more audio than was declared, and the declaration is not believed any longer.
_LIE_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Bounds:
    """What a conversion may take; None stands for no limit."""

    #: For all processes together, by time.monotonic.
    deadline: float | None
    audio_seconds: float | None


class Watch:
    """Follows encoders, and ends them where the audio turns out too long; called from the threads of all of them.

    Args:
        source: the recording.
        options: how it is converted.
        bounds: what that may take.
        report: what the encoder says that begins with it.
        stop: asked whether it must end.
        progress: told the percent done.
    """

    def __init__(
        self,
        source: Path,
        options: Options,
        bounds: Bounds,
        report: Report,
        *,
        stop: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> None:
        self._source = source
        self._report = report
        self._options = options
        self._bounds = bounds
        self.is_stopped = stop
        self._progress = progress
        self._lock = threading.Lock()
        self._made_seconds = 0.0
        self._reached_seconds = 0.0
        self._measured = False

    def expected_seconds(self) -> float | None:
        """How long the audio should become; None where nothing is declared, or more than is allowed."""
        expected, most = window(self._report.declared_seconds, self._options), self._bounds.audio_seconds
        return None if expected is None or (most is not None and expected > most) else expected

    def made(self, run: GrowingRun, frames: int) -> None:
        """Hear that an encoder has made frames."""
        assert run.header is not None  # noqa: S101 - it has made frames
        seconds = samples_per_frame(run.header.rate_hz) / run.header.rate_hz
        with self._lock:
            self._made_seconds += frames * seconds
            self._reached_seconds = max(self._reached_seconds, run.reached * seconds)
            if expected := window(self._report.declared_seconds, self._options):
                self._progress(min(99, int(100 * self._made_seconds / expected)))

    def stop(self) -> str | None:
        """Whether the encoders must end, and why."""
        if self.is_stopped():
            return "stopped"
        most = self._bounds.audio_seconds
        if most is None:
            return None
        with self._lock:
            measure = self._reached_seconds <= most and not self._measured and self._is_doubtful(most)
            self._measured = self._measured or measure
        if measure:
            # Reading to the end takes seconds, encoding up to the limit takes minutes.
            seconds = window(self._length(), self._options) or 0.0
            with self._lock:
                self._reached_seconds = max(self._reached_seconds, seconds)
        return "too_long" if self._reached_seconds > most else None

    def _is_doubtful(self, most: float) -> bool:
        """Whether the declared length is beyond the limit, or shown to be a lie."""
        declared = window(self._report.declared_seconds, self._options)
        return declared is not None and (declared > most or self._reached_seconds > declared + _LIE_SECONDS)

    def _length(self) -> float:
        """Length of the audio by its packets, in seconds."""
        longest = 0.0

        def line(text: str) -> None:
            nonlocal longest
            longest = max(longest, told_seconds(text) or 0.0)

        run(
            length_command(self._source, self._options),
            limits=Limits(self._bounds.deadline),
            stop=lambda: "stopped" if self.is_stopped() else None,
            out=Lines(line).feed,
            said=lambda _text: None,
        )
        return longest


def window(declared: float | None, options: Options) -> float | None:
    """How much of a declared length lies between the chosen start and end, in seconds."""
    if declared is None:
        return None
    end = declared if options.end is None else min(options.end, declared)
    return max(0.0, end - (options.start or 0.0))
