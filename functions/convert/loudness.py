"""Bringing a recording to a loudness (EBU R128), with its true peaks (ITU-R BS.1770-5) under -1 dBTP.

Limiting peaks takes loudness away, and LAME changes both a little, at every strength in another way. So nothing is
computed in advance: the finished MP3 is measured, and made again with what was learnt, until it is right.
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from functions.common.errors import Unavailable
from functions.common.options import Options
from functions.convert.ffmpeg import measure_command, told_seconds
from functions.convert.level import Level
from functions.convert.process import Lines, Stopped, run
from functions.convert.report import Report
from functions.convert.sandbox import Limits
from functions.convert.watch import Bounds, window

Made = TypeVar("Made")

#: The MP3 may be off by that much, and peak as high; ffmpeg tells tenths.
_OFF_LU: Final = 0.3
_HIGHEST_DBTP: Final = -1.1
#: Where the limiter begins with its ceiling: LAME's noise comes on top.
_FIRST_CEILING_DBTP: Final = -2.0
#: So much lower than needed it goes then.
_MARGIN_DB: Final = 0.3
#: How often it is made at most; what is not right by then is as near as it gets.
_MOST_TIMES: Final = 5
#: A limiter takes back most of a gain; what is learnt of one that takes it all would be no gain for anybody.
_LEAST_SLOPE: Final = 0.25
#: What ffmpeg tells where there is nothing that the gate of R128 lets through.
_SILENCE_LUFS: Final = -70.0
#: LAME makes everything quieter, by 0.95, at constant bit rates up to this one (its presets.c).
_QUIETER_KBPS: Final = 160
_QUIETER_DB: Final = 0.4
#: Percent that are done when the recording is measured. Each time the MP3 is made that is half of what is left, as
#: nobody knows how often it will be, and measuring it is a fifth of that.
_MEASURED_PERCENT: Final = 20
_INTEGRATED: Final = re.compile(r" {4}I: +(-?\d{1,3}\.\d) LUFS")
_PEAK: Final = re.compile(r" {4}Peak: +(-?\d{1,3}\.\d|-inf) dBFS")
#: Where it is not sure that a recording is too long, encoding it tells.
_LONGER_SECONDS: Final = 1.0
#: Channels and sample rate that ffmpeg is told, each for where it got nowhere with those before.
_UNSURE: Final = ((None, None), (2, None), (None, 48000), (2, 48000))
_UNMEASURED: Final = "The loudness could not be measured."
_OUTPUT: Final = "Output #0, null"
_RATE: Final = re.compile(r" {2}Stream #0:0(?:\(\w{1,16}\))?: Audio: \w+, (\d{4,5}) Hz")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """How loud sound is."""

    lufs: float
    peak_dbtp: float
    rate_hz: int


class Aim:
    """Finds the change of level that makes an MP3 of the wanted loudness.

    Args:
        lufs: the wanted loudness.
        recording: how loud the recording is.
        options: how it is converted.
    """

    def __init__(self, lufs: float, recording: Measured, options: Options) -> None:
        self._lufs = lufs
        self._peak_dbtp = recording.peak_dbtp
        self._slope = 1.0
        self._before: tuple[float, float] | None = None
        ahead_db = _QUIETER_DB if options.bitrate is not None and options.bitrate <= _QUIETER_KBPS else 0.0
        self.level = self._limited(Level(lufs - recording.lufs + ahead_db, _FIRST_CEILING_DBTP, recording.rate_hz))

    def is_met(self, mp3: Measured) -> bool:
        """Whether the MP3 is right; if not, `level` is another one."""
        off = self._lufs - mp3.lufs
        if abs(off) <= _OFF_LU and mp3.peak_dbtp <= _HIGHEST_DBTP:
            return True
        gain_db = self.level.gain_db
        if self._before is not None and gain_db != self._before[0]:
            slope = (mp3.lufs - self._before[1]) / (gain_db - self._before[0])
            self._slope = min(1.0, max(_LEAST_SLOPE, slope))
        self._before = gain_db, mp3.lufs
        ceiling_dbtp = _FIRST_CEILING_DBTP if self.level.ceiling_dbtp is None else self.level.ceiling_dbtp
        if mp3.peak_dbtp > _HIGHEST_DBTP:
            ceiling_dbtp -= mp3.peak_dbtp - _HIGHEST_DBTP + _MARGIN_DB
        self.level = self._limited(replace(self.level, gain_db=gain_db + off / self._slope, ceiling_dbtp=ceiling_dbtp))
        return False

    def _limited(self, level: Level) -> Level:
        """A level without a limiter, where no peak comes near its ceiling."""
        ceiling = level.ceiling_dbtp
        needed = ceiling is not None and self._peak_dbtp + level.gain_db > ceiling
        return level if needed else replace(level, ceiling_dbtp=None)


def at_loudness(
    lufs: float,
    source: Path,
    target: Path,
    options: Options,
    *,
    bounds: Bounds,
    stop: Callable[[], bool],
    progress: Callable[[int], None],
    make: Callable[[Options, Level | None, Callable[[int], None]], Made],
) -> Made:
    """Make an MP3 of a loudness; silence stays silence.

    Args:
        lufs: the loudness.
        source: the recording.
        target: where the MP3 goes.
        options: how to convert.
        bounds: what it may take.
        stop: asked several times a second.
        progress: told the percent done.
        make: makes the MP3 with options at a level, and tells its percent done.

    Raises:
        Stopped: `stop` said so.
        Unavailable: ffmpeg could not be started, or was ended by somebody.
    """
    heard = partial(measure, most_seconds=bounds.audio_seconds, limits=Limits(bounds.deadline), stop=stop)
    options, recording = _heard_surely(partial(heard, source), options, _part(progress, 0, _MEASURED_PERCENT))
    begins = float(_MEASURED_PERCENT)
    if recording is None or recording.lufs <= _SILENCE_LUFS:
        made = make(options, None, _part(progress, begins, 100))
        # Of a recording that is bad it has told by now what is wrong with it.
        if recording is None:
            raise Unavailable(_UNMEASURED, retry_after_seconds=5)
        return made
    aim = Aim(lufs, recording, options)
    for _ in range(_MOST_TIMES):
        ends = (begins + 100) / 2
        measuring = ends - (ends - begins) / 5
        made = make(options, aim.level, _part(progress, begins, measuring))
        mp3 = heard(target, Options(), progress=_part(progress, measuring, ends))
        if mp3 is None:
            raise Unavailable(_UNMEASURED, retry_after_seconds=5)
        if aim.is_met(mp3):
            break
        _log.info("not as loud as wanted", extra={"lufs": mp3.lufs, "peak_dbtp": mp3.peak_dbtp})
        begins = ends
    return made


def _heard_surely(
    heard: Callable[..., Measured | None], options: Options, progress: Callable[[int], None]
) -> tuple[Options, Measured | None]:
    """Measure a recording, and return the options that this went with.

    ffmpeg 5.1 chooses among channels and rates only for an encoder that has such a choice: a recording that has more
    channels than an MP3, or a higher rate, it does not measure unless it is told.
    """
    reached = [0]

    def tell(percent: int) -> None:
        reached.append(percent)
        progress(percent)

    for channels, rate_hz in _UNSURE:
        told = replace(options, channels=options.channels or channels, sample_rate=options.sample_rate or rate_hz)
        recording = heard(told, progress=tell)
        if recording is not None or any(reached):
            return told, recording
    return options, None


def measure(
    path: Path,
    options: Options,
    *,
    most_seconds: float | None,
    limits: Limits,
    stop: Callable[[], bool],
    progress: Callable[[int], None],
) -> Measured | None:
    """Find out how loud sound is; None if it is too long, or could not be measured to its end.

    Args:
        path: a recording or an MP3, in the private folder that ffmpeg works in.
        options: which part of it, and of how many channels.
        most_seconds: how long it may be, None for no limit.
        limits: what ffmpeg may use.
        stop: asked several times a second.
        progress: told the percent done.

    Raises:
        Stopped: `stop` said so.
        Unavailable: ffmpeg could not be started.
    """
    report, said = Report(), list[str]()
    reached = 0.0

    def out(line: str) -> None:
        nonlocal reached
        reached = told_seconds(line) or reached
        if expected := window(report.declared_seconds, options):
            progress(min(100, int(100 * reached / expected)))

    def hear(line: str) -> None:
        report.read(line)
        if said or line.startswith(_OUTPUT):
            said.append(line)

    def is_too_long() -> bool:
        return most_seconds is not None and reached > most_seconds + _LONGER_SECONDS

    def why_enough() -> str | None:
        return "too_long" if is_too_long() else "stopped" if stop() else None

    ended = run(measure_command(path, options), limits=limits, stop=why_enough, out=Lines(out).feed, said=hear)
    ended.raise_if_interrupted()
    # What is short may end before anybody asks.
    if stop():
        raise Stopped
    # Whoever is ended early tells how loud it was up to there.
    return _measured(said) if ended.is_whole and not is_too_long() else None


def _measured(said: Sequence[str]) -> Measured | None:
    lufs, peak, rate = (
        next((match[1] for line in said if (match := pattern.match(line))), None)
        for pattern in (_INTEGRATED, _PEAK, _RATE)
    )
    if lufs is None or peak is None or rate is None:
        return None
    return Measured(float(lufs), float(peak), int(rate))


def _part(progress: Callable[[int], None], begins: float, ends: float) -> Callable[[int], None]:
    """What takes the percent of a part of the work that lies between two percents of the whole."""
    return lambda percent: progress(int(begins + (ends - begins) * percent / 100))
