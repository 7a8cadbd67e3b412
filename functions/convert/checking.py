"""What decides whether an MP3 may be published, and the reason for which there is none (docs/media.md)."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from functions.common.options import Options
from functions.convert.asking import lines
from functions.convert.encryption import is_encrypted
from functions.convert.ffmpeg import probe_command, track_number
from functions.convert.process import PARTLY_FAILED, Ended, Stopped
from functions.convert.report import Report
from functions.convert.result import examine
from functions.convert.watch import window

#: Share of what the audio stream declares that the result must cover.
_COVERED: Final = 0.95
#: WMA and others declare a little more than they hold.
_SLACK_SECONDS: Final = 0.2
#: Share of the packets that must have been decoded.
_DECODED: Final = 0.95
#: Exit codes of a process that was ended by SIGXCPU, without and with a sandbox.
_TOO_MUCH_CPU: Final = (-24, 128 + 24)
#: Those of one that was ended from outside: SIGTERM as ffmpeg tells it, and it and SIGKILL, without and with a sandbox.
_ENDED_FROM_OUTSIDE: Final = (255, -15, -9, 128 + 15, 128 + 9)


class Failed(Exception):
    """The source cannot become an MP3; the argument is one of functions.common.job.REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def raise_if_failed(ended: Ended, report: Report, source: Path, options: Options) -> None:
    """Tell from how ffmpeg ended whether there can be an MP3.

    Raises:
        Failed: there is none to be had of this source.
        Stopped: it was ended from outside.
        Unavailable: it could not be started.
    """
    ended.raise_if_interrupted()
    if ended.stopped is not None:
        raise Failed(ended.stopped)
    if ended.exit_code in (0, PARTLY_FAILED):
        return
    if ended.exit_code in _ENDED_FROM_OUTSIDE:
        raise Stopped
    if ended.exit_code in _TOO_MUCH_CPU:
        raise Failed("timed_out")
    raise Failed(_why_nothing(report, source, options))


def check(
    source: Path,
    target: Path,
    options: Options,
    report: Report,
    *,
    sound_seconds: float | None,
    most_seconds: float | None,
    stop: Callable[[], bool],
) -> float:
    """Hold an MP3 to the publish rule (docs/media.md); return its length in seconds.

    Args:
        source: what it was made of.
        target: the MP3.
        options: how it was made.
        report: what ffmpeg said.
        sound_seconds: what went into it, None if that is not known.
        most_seconds: how long it may be, None for no limit.
        stop: asked whether this must end.

    Raises:
        Failed: it may not be published.
        Stopped: `stop` said so.
        Unavailable: ffprobe could not be started.
    """
    mp3 = examine(target)
    if mp3 is None:
        raise Failed(_why_nothing(report, source, options))
    seconds = mp3.duration_seconds
    if sound_seconds is not None:
        # The header counts whole frames, with the encoder's delay and padding, where a reader does not know them.
        if abs(seconds - sound_seconds) > 4 * 1152 / mp3.sample_rate_hz:
            raise Failed("unreadable")
        seconds = sound_seconds
    if most_seconds is not None and seconds > most_seconds:
        raise Failed("too_long")
    _check_complete(source, seconds, options, report, stop)
    return seconds


def _check_complete(source: Path, seconds: float, options: Options, report: Report, stop: Callable[[], bool]) -> None:
    if report.packets is not None and (report.frames or 0) < _DECODED * report.packets - 5:
        raise Failed("unreadable")
    if _covers(seconds, window(report.declared_seconds, options)):
        return
    # Shorter than the container says: only the audio stream's own word tells whether something is missing.
    declared = window(_declared_by_stream(source, options, stop), options)
    if declared is None:
        if report.cut_off:
            raise Failed("truncated")
    elif not _covers(seconds, declared):
        raise Failed("truncated")


def _covers(seconds: float, declared: float | None) -> bool:
    return declared is not None and seconds >= min(_COVERED * declared, declared - _SLACK_SECONDS)


def _declared_by_stream(source: Path, options: Options, stop: Callable[[], bool]) -> float | None:
    try:
        return float(lines(probe_command(source, options), stop=stop)[0].partition("=")[2])
    except (IndexError, ValueError):
        return None


def _why_nothing(report: Report, source: Path, options: Options) -> str:
    if report.encrypted or is_encrypted(source):
        return "encrypted"
    if options.start and report.tracks and options.start >= (report.declared_seconds or 0):
        return "empty_range"
    if report.declared_seconds is not None and not report.tracks:
        return "no_audio"
    if 0 < report.tracks < track_number(options):
        return "no_track"
    if report.tracks and report.frames == 0 and not report.packets:
        return "no_audio"
    return "truncated" if report.cut_off else "unreadable"
