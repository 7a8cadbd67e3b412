"""From a source file to an MP3 that may be published, or the reason why there is none."""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from functions.common.errors import Unavailable
from functions.common.options import Options
from functions.convert.checking import check, raise_if_failed
from functions.convert.copying import copy, is_copyable
from functions.convert.ffmpeg import quality
from functions.convert.joining import STEP, Apart, join
from functions.convert.level import Level
from functions.convert.loudness import at_loudness
from functions.convert.mpeg import Header, NotMpeg, samples_per_frame
from functions.convert.processors import Processors, Share
from functions.convert.report import Report
from functions.convert.runs import GrowingRun, Settings, encoding
from functions.convert.sandbox import Limits
from functions.convert.tags import read_tag
from functions.convert.tracks import numbered
from functions.convert.watch import Bounds, Watch
from functions.convert.waveform import joined

#: A further encoder is worth its start for so much audio of its own.
_LEAST_SECONDS: Final = 20.0
#: Every encoder reads and decodes all that lies before its part; what that takes, as a share of encoding the same.
_DECODING: Final = 0.08
#: More bring nothing: the last one decodes nearly everything.
_MOST_ENCODERS: Final = 32
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Made:
    """An MP3 that may be published."""

    duration_seconds: float
    #: What of the recording's own could not come along; see functions.convert.tags.
    omitted: tuple[str, ...]
    #: Where its waveform lies (functions.convert.waveform); a recording that was copied has none.
    waveform: Path | None = None


@dataclass(frozen=True)
class _Written:
    """An MP3 that has yet to be checked."""

    #: Tells how it went.
    run: GrowingRun
    #: How many seconds of sound are in it, None if that is not known.
    seconds: float | None = None
    omitted: tuple[str, ...] = ()
    #: What it was made of; none if it was copied.
    runs: tuple[GrowingRun, ...] = ()


def encode(
    source: Path,
    target: Path,
    options: Options,
    *,
    bounds: Bounds,
    processors: Processors,
    stop: Callable[[], bool],
    progress: Callable[[int], None],
) -> Made:
    """Make an MP3 of an audio stream and check it.

    The MP3 is the same, byte for byte, however many processors there are, and so is its waveform.

    Args:
        source: the file, in the private folder that ffmpeg works in.
        target: where the MP3 goes, in the same folder.
        options: how to convert.
        bounds: what it may take.
        processors: those of this process.
        stop: asked several times a second.
        progress: told the percent done.

    Raises:
        Failed: there is no good MP3 to be had of it.
        Stopped: `stop` said so, or somebody ended ffmpeg.
        Unavailable: this machine has no room.
    """
    try:
        options = numbered(source, options, stop=stop)
        with processors.share() as share:
            make = partial(_checked, source, target, bounds, share, stop)
            if options.loudness is None:
                return make(options, None, progress)
            return at_loudness(
                options.loudness, source, target, options, bounds=bounds, stop=stop, progress=progress, make=make
            )
    except OSError as error:
        raise Unavailable("There is no room left to convert in.", retry_after_seconds=60) from error


def _checked(
    source: Path,
    target: Path,
    bounds: Bounds,
    share: Share,
    stop: Callable[[], bool],
    options: Options,
    level: Level | None,
    progress: Callable[[int], None],
) -> Made:
    watch = partial(Watch, source, options, bounds, stop=stop, progress=progress)
    settings, limits = Settings(options, level=level), Limits(bounds.deadline)
    written = _make(source, target, settings, limits=limits, watching=watch, share=share)
    run = written.run
    if run.ended is None:
        raise Unavailable("ffmpeg could not be run.")
    raise_if_failed(run.ended, run.report, source, options)
    duration = check(
        source,
        target,
        options,
        run.report,
        sound_seconds=written.seconds,
        most_seconds=bounds.audio_seconds,
        stop=stop,
    )
    return Made(duration, written.omitted, _draw(written, target.with_suffix(".dat")))


def _make(
    source: Path,
    target: Path,
    settings: Settings,
    *,
    limits: Limits,
    watching: Callable[[Report], Watch],
    share: Share,
    encode_mp3s: bool = False,
) -> _Written:
    """Write an MP3.

    Args:
        source: see encode.
        target: see encode.
        settings: what shapes its frames.
        limits: what an ffmpeg may use.
        watching: makes of an encoder's report what follows it.
        share: the processors.
        encode_mp3s: whether a recording that is an MP3 already is encoded as any other.
    """
    options = settings.options
    first = encoding(source, target.with_suffix(".0"), 0, None, settings)
    watch = watching(first.report)
    written = None
    with _encoders(limits, watch) as start:
        start(first)
        header = first.wait_for_header()
        if header is None:
            written = _Written(first, runs=(first,))
        elif encode_mp3s or not (first.report.is_mp3 and is_copyable(options)):
            runs = [first]
            known = replace(settings, rate_hz=header.rate_hz, resampled=first.report.rate_hz != header.rate_hz)
            parts = _parts(watch.expected_seconds(), header, share) if settings.steady else []
            for number, frame in enumerate(parts, 1):
                path = target.with_suffix(f".{number}")
                runs[-1].until = frame
                runs.append(encoding(source, path, frame, None, known))
                start(runs[-1])
            tag = read_tag(source, options, first.report, stop=watch.is_stopped)
            written = replace(_joined(runs, target, options, header, tag.data), omitted=tag.omitted)
    again = partial(_make, source, target, limits=limits, watching=watching, share=share)
    if written is not None:
        if not any(run.is_misled() for run in written.runs):
            return written
        _log.info("the sound changes its format on the way: one encoder alone makes the MP3")
        return again(replace(settings, steady=False), encode_mp3s=encode_mp3s)
    try:
        tag = read_tag(source, options, first.report, stop=watch.is_stopped)
        copied, seconds = copy(source, target, options, limits=limits, watch=watching(first.report), tag=tag.data)
        return _Written(copied, seconds, tag.omitted)
    except NotMpeg as error:
        _log.info("the sound is encoded although it is an MP3: %s", error)
        return again(settings, encode_mp3s=True)


def _joined(runs: list[GrowingRun], target: Path, options: Options, header: Header, tag: bytes) -> _Written:
    try:
        last = join(runs, target, tag=tag, quality=quality(options))
    except Apart as apart:
        last = runs[apart.index]
    samples = last.samples()
    used = tuple(runs[: runs.index(last) + 1])
    return _Written(last, None if samples is None else samples / header.rate_hz, runs=used)


def _draw(written: _Written, path: Path) -> Path | None:
    """Write the waveform of an MP3, whose runs have ended; None if there is none, which is no reason to fail."""
    samples, header = written.run.samples(), written.run.header
    if not written.runs or samples is None or header is None:
        return None
    waveform = joined(written.runs, header.rate_hz, samples, changes=written.run.report.changes)
    if waveform is None:
        _log.warning("the waveform could not be made")
        return None
    try:
        path.write_bytes(waveform)
    except OSError:
        _log.warning("the waveform could not be written", exc_info=True)
        return None
    return path


@contextmanager
def _encoders(limits: Limits, watch: Watch) -> Iterator[Callable[[GrowingRun], None]]:
    """Starts encoders in threads of their own, and ends them all afterwards."""
    runs: list[GrowingRun] = []
    futures: list[Future[None]] = []
    with ThreadPoolExecutor(_MOST_ENCODERS, "encoder") as pool:

        def start(run: GrowingRun) -> None:
            work = partial(run.work, limits, stop=watch.stop, made=watch.made)
            # With the log ids of the request.
            futures.append(pool.submit(copy_context().run, work))
            runs.append(run)

        try:
            yield start
        finally:
            for run in runs:
                run.close()
    for future in futures:
        future.result()


def _parts(seconds: float | None, header: Header, share: Share) -> list[int]:
    """The frames with which further encoders should begin, so that all of them are done at the same time.

    Each decodes what lies before its part as well, so the parts get shorter, in geometric progression.
    """
    if seconds is None:
        return []
    count = 1 + share.more(min(_MOST_ENCODERS, int(seconds // _LEAST_SECONDS)) - 1)
    frames = seconds * header.rate_hz / samples_per_frame(header.rate_hz)
    ratio = 1 / (1 + _DECODING)
    ends = [(1 - ratio**part) / (1 - ratio**count) for part in range(1, count)]
    return [int(frames * end) // STEP * STEP for end in ends]
