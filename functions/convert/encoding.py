"""From a source file to an MP3 that may be published, or the reason why there is none."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from functions.common.errors import Unavailable
from functions.common.options import Options
from functions.convert.encryption import is_encrypted
from functions.convert.ffmpeg import Ended, Limits, encode_command, length_command, probe_command, run
from functions.convert.report import Report
from functions.convert.result import examine, keep_tags

#: ffmpeg 5.1 ends with 69 on some files whose whole audio it converted, so the result decides.
_PARTLY_FAILED: Final = 69
#: Share of what the audio stream declares that the result must cover.
_COVERED: Final = 0.95
#: WMA and others declare a little more than they hold.
_SLACK_SECONDS: Final = 0.2
#: So much more audio than was declared, and the declaration is not believed any longer.
_LIE_SECONDS: Final = 60.0
#: Share of the packets that must have been decoded.
_DECODED: Final = 0.95
#: Looking at a header takes no longer.
_HEADER_SECONDS: Final = 20.0
#: CBR 320, the most that is ever written, in bytes a second.
_MOST_BYTES_A_SECOND: Final = 40_000
_SIGXCPU, _SIGXFSZ = -24, -25
#: Exit codes of a process that was ended from outside: SIGTERM as ffmpeg and as the kernel tell it, SIGKILL.
_ENDED_FROM_OUTSIDE: Final = (255, -15, -9)


class Failed(Exception):
    """The source cannot become an MP3; the argument is one of functions.common.job.REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Stopped(Exception):
    """The work was stopped from outside; nothing is known of the source."""


@dataclass(frozen=True)
class Bounds:
    """What a conversion may take; None stands for no limit."""

    #: For all processes together, by time.monotonic.
    deadline: float | None
    audio_seconds: float | None


def encode(
    source: Path,
    target: Path,
    options: Options,
    *,
    bounds: Bounds,
    stop: Callable[[], bool],
    progress: Callable[[int], None],
) -> float:
    """Make an MP3 of the first audio stream and check it; return its length in seconds.

    Args:
        source: the file, in the private folder that ffmpeg works in.
        target: where the MP3 goes, in the same folder.
        options: how to convert.
        bounds: what it may take.
        stop: asked several times a second.
        progress: told the percent done.

    Raises:
        Failed: there is no good MP3 to be had of it.
        Stopped: `stop` said so, or somebody ended ffmpeg.
        Unavailable: this machine has no room.
    """
    report = Report()
    watch = _Watch(source, report, options, bounds, stop, progress)
    file_bytes = None
    if bounds.audio_seconds is not None:
        file_bytes = int(bounds.audio_seconds * _MOST_BYTES_A_SECOND) + 16 * 1024 * 1024
    ended = run(
        encode_command(source, target, options),
        folder=source.parent,
        limits=Limits(bounds.deadline, file_bytes),
        stop=watch.stop,
        line=watch.line,
        said=report.read,
    )
    _raise_if_failed(ended, report, source, options)
    duration = _publishable(source, target, options, report, bounds, stop)
    keep_tags(target)
    return duration


class _Watch:
    """Follows ffmpeg's progress, and ends it where the audio turns out too long."""

    def __init__(
        self,
        source: Path,
        report: Report,
        options: Options,
        bounds: Bounds,
        stop: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> None:
        self._source = source
        self._report = report
        self._options = options
        self._bounds = bounds
        self._stop = stop
        self._progress = progress
        self._seconds = 0.0
        self._measured = False

    def line(self, text: str) -> None:
        seconds = _out_time(text)
        if seconds is not None:
            self._seconds = max(self._seconds, seconds)
            expected = _window(self._report.declared_seconds, self._options)
            if expected:
                self._progress(min(99, int(100 * self._seconds / expected)))

    def stop(self) -> str | None:
        if self._stop():
            return "stopped"
        most = self._bounds.audio_seconds
        if most is None:
            return None
        if self._seconds <= most and not self._measured and self._doubtful(most):
            # Reading to the end takes seconds, encoding up to the limit takes minutes.
            self._measured = True
            self._seconds = max(self._seconds, _window(self._length(), self._options) or 0.0)
        return "too_long" if self._seconds > most else None

    def _doubtful(self, most: float) -> bool:
        """Whether the declared length is beyond the limit, or shown to be a lie."""
        declared = _window(self._report.declared_seconds, self._options)
        return declared is not None and (declared > most or self._seconds > declared + _LIE_SECONDS)

    def _length(self) -> float:
        """Length of the audio by its packets, in seconds."""
        seconds = [0.0]

        def line(text: str) -> None:
            told = _out_time(text)
            if told is not None:
                seconds.append(told)

        run(
            length_command(self._source),
            folder=self._source.parent,
            limits=Limits(self._bounds.deadline, None),
            stop=lambda: "stopped" if self._stop() else None,
            line=line,
            said=lambda _text: None,
        )
        return max(seconds)


def _out_time(text: str) -> float | None:
    """Seconds of output that a line of `-progress` tells, if it tells that."""
    name, _, value = text.partition("=")
    return int(value) / 1_000_000 if name == "out_time_us" and value.lstrip("-").isdigit() else None


def _raise_if_failed(ended: Ended, report: Report, source: Path, options: Options) -> None:
    if ended.stopped == "stopped":
        raise Stopped
    if ended.stopped is not None:
        raise Failed(ended.stopped)
    if report.not_started:
        raise Unavailable("ffmpeg cannot be started under its limits here.")
    if report.out_of_space:
        # Whatever the exit code says: it may be 0.
        raise Unavailable("There is no room left to convert in.", retry_after_seconds=60)
    if ended.exit_code in (0, _PARTLY_FAILED):
        return
    if ended.exit_code in _ENDED_FROM_OUTSIDE:
        raise Stopped
    if ended.exit_code == _SIGXFSZ:
        raise Failed("too_large")
    if ended.exit_code == _SIGXCPU:
        raise Failed("timed_out")
    raise Failed(_why_nothing(report, source, options))


def _publishable(
    source: Path, target: Path, options: Options, report: Report, bounds: Bounds, stop: Callable[[], bool]
) -> float:
    """Hold the result to the publish rule (docs/media.md); return its length in seconds."""
    mp3 = examine(target)
    if mp3 is None:
        raise Failed(_why_nothing(report, source, options))
    seconds = mp3.duration_seconds
    if report.encoded_seconds is not None:
        # The header counts whole frames, with the encoder's delay and padding.
        if abs(seconds - report.encoded_seconds) > 4 * 1152 / mp3.sample_rate_hz:
            raise Failed("unreadable")
        seconds = report.encoded_seconds
    if bounds.audio_seconds is not None and seconds > bounds.audio_seconds:
        raise Failed("too_long")
    _check_complete(source, seconds, options, report, stop)
    return seconds


def _check_complete(source: Path, seconds: float, options: Options, report: Report, stop: Callable[[], bool]) -> None:
    if report.packets is not None and (report.frames or 0) < _DECODED * report.packets - 5:
        raise Failed("unreadable")
    if _covers(seconds, _window(report.declared_seconds, options)):
        return
    # Shorter than the container says: only the audio stream's own word tells whether something is missing.
    declared = _window(_declared_by_stream(source, stop), options)
    if declared is None:
        if report.cut_off:
            raise Failed("truncated")
    elif not _covers(seconds, declared):
        raise Failed("truncated")


def _covers(seconds: float, declared: float | None) -> bool:
    return declared is not None and seconds >= min(_COVERED * declared, declared - _SLACK_SECONDS)


def _window(declared: float | None, options: Options) -> float | None:
    """How much of a declared length lies between the chosen start and end."""
    if declared is None:
        return None
    end = declared if options.end is None else min(options.end, declared)
    return max(0.0, end - (options.start or 0.0))


def _declared_by_stream(source: Path, stop: Callable[[], bool]) -> float | None:
    said: list[str] = []
    ended = run(
        probe_command(source),
        folder=source.parent,
        limits=Limits(time.monotonic() + _HEADER_SECONDS, None),
        stop=lambda: "stopped" if stop() else None,
        line=said.append,
        said=lambda _text: None,
    )
    if ended.stopped == "stopped":
        raise Stopped
    try:
        return float(said[0].strip(","))
    except (IndexError, ValueError):
        return None


def _why_nothing(report: Report, source: Path, options: Options) -> str:
    if report.encrypted or is_encrypted(source):
        return "encrypted"
    if options.start and report.has_audio and options.start >= (report.declared_seconds or 0):
        return "empty_range"
    if report.declared_seconds is not None and not report.has_audio:
        return "no_audio"
    if report.has_audio and report.frames == 0 and not report.packets:
        return "no_audio"
    return "truncated" if report.cut_off else "unreadable"
