"""One run: the frames of a part of a recording, made by one ffmpeg and readable while it works."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from functions.common.options import Options
from functions.convert.ffmpeg import encode_command, track_number
from functions.convert.joining import OVERLAP, WARM_UP
from functions.convert.level import Level
from functions.convert.mpeg import Header, Splitter, header, samples_per_frame
from functions.convert.process import Command, Ended, Pauses, run
from functions.convert.report import Report
from functions.convert.sandbox import Limits
from functions.convert.waveform import Peaks, windows_per_frame

_READ_BYTES: Final = 256 * 1024
#: Whoever reads a run is woken for that much at least: each time costs, and sooner it needs nothing.
_WAKE_BYTES: Final = 32 * 1024
_LEAST_PAUSE_SECONDS: Final = 0.01
#: No line of the log comes later than that.
_DUMP_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Settings:
    """What shapes frames: of equal sound equal settings make equal frames."""

    options: Options
    #: Sample rate of the MP3; a run that begins with the recording need not know it.
    rate_hz: int | None = None
    #: False if the recording is known to have that rate, which spares work and changes nothing.
    resampled: bool = True
    #: False if the recording is known to change its format on the way.
    steady: bool = True
    #: How the sound's level is changed, None for not at all.
    level: Level | None = None


def encode_run(
    source: Path, target: Path, first_frame: int, frames: int | None, settings: Settings, limits: Limits
) -> "GrowingRun":
    """Encode a part of a recording by itself.

    Args:
        source: the recording, in the private folder that ffmpeg works in.
        target: where the frames go, as functions.convert.joining.StoredRun reads them.
        first_frame: number of the part's first frame, a multiple of functions.convert.joining.STEP.
        frames: how many there are in the part, None for all up to the end.
        settings: what shapes them.
        limits: what ffmpeg may use.

    Returns:
        The run, ended; `ended` and `report` tell how.
    """
    run = encoding(source, target, first_frame, frames, settings)
    run.work(limits, stop=lambda: None, made=lambda _run, _frames: None)
    return run


def encoding(source: Path, target: Path, first_frame: int, frames: int | None, settings: Settings) -> "GrowingRun":
    """A run that encodes a part of a recording as soon as somebody lets it work; arguments as of encode_run."""
    begins = max(0, first_frame - WARM_UP)
    if begins and settings.rate_hz is None:
        raise ValueError("a run that does not begin with the recording needs its sample rate")
    first_sample = begins * samples_per_frame(settings.rate_hz) if settings.rate_hz else 0
    command = encode_command(
        source,
        settings.options,
        first_sample=first_sample,
        resampled=settings.resampled,
        steady=settings.steady,
        level=settings.level,
    )
    wanted = None if frames is None else frames + first_frame - begins + OVERLAP
    return GrowingRun(
        command,
        target,
        first_frame=first_frame,
        first_sample=first_sample,
        wanted=wanted,
        steady=settings.steady,
        track=track_number(settings.options),
    )


class GrowingRun:
    """A run that is being made, as functions.convert.joining.Run; one thread makes it, another may read it.

    Args:
        command: the ffmpeg that writes its frames to standard output, and maybe what they are made of aside.
        target: where the frames go.
        first_frame: number of the first frame that is not for warming up.
        first_sample: number of the first sample of the first frame.
        wanted: how many frames are enough, None for all up to the end.
        steady: whether a change of the sound's format makes it worthless.
        track: number of the audio track, from 1 on.
    """

    def __init__(
        self,
        command: Command,
        target: Path,
        *,
        first_frame: int = 0,
        first_sample: int = 0,
        wanted: int | None = None,
        steady: bool = True,
        track: int = 1,
    ) -> None:
        self.first_frame = first_frame
        self.report = Report(track)
        #: How ffmpeg ended; None before it did.
        self.ended: Ended | None = None
        #: What the first frame says, once there is one.
        self.header: Header | None = None
        #: Frames that have come.
        self.made = 0
        #: Number of the frame at which it is likely to be ended, None for the recording's end.
        self.until = None if wanted is None else self.begins + wanted
        #: Of the samples that come aside, from those of the very first frame on; None where none do.
        self.peaks = Peaks() if command.aside else None
        self._command = command
        self._target = target
        self._first_sample = first_sample
        self._wanted = wanted
        self._steady = steady
        self._size_bytes = 0
        self._closed = False
        #: When the first frame came, by time.monotonic.
        self._began = 0.0
        self._pauses = Pauses(self._most_seconds)
        self._over = False
        self._changed = threading.Condition()

    def work(
        self, limits: Limits, *, stop: Callable[[], str | None], made: Callable[["GrowingRun", int], None]
    ) -> None:
        """Make the frames; whoever reads them gets each as soon as it is there.

        Args:
            limits: what ffmpeg may use.
            stop: asked several times a second; a text ends it.
            made: told that frames have come, and how many.

        Raises:
            OSError: they cannot be written.
        """
        splitter = Splitter()
        try:
            with self._target.open("wb") as stream:

                def out(data: bytes) -> None:
                    frames, ends = splitter.cut(data)
                    if ends:
                        self._add(frames, len(ends), stream)
                        made(self, len(ends))

                self.ended = run(
                    self._command,
                    limits=limits,
                    stop=lambda: self._why_ended() or stop(),
                    out=out,
                    said=self.report.read,
                    aside=None if self.peaks is None else self.peaks.read,
                    pauses=self._pauses,
                )
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def frames(self) -> Iterator[list[bytes]]:
        """The frames, as they are made."""
        splitter, read = Splitter(), 0
        self._wait_for_more_than(0)
        with self._target.open("rb", buffering=0) as stream:
            while self._wait_for_more_than(read + _WAKE_BYTES) or self._wait_for_more_than(read):
                while piece := stream.read(_READ_BYTES):
                    read += len(piece)
                    yield splitter.feed(piece)

    def samples(self) -> int | None:
        """Samples of each channel in the recording, if ffmpeg came to its end."""
        encoded = self.report.encoded_samples
        return None if encoded is None or not self.is_whole() else self._first_sample + encoded

    def is_whole(self) -> bool:
        """Whether ffmpeg came to the recording's end."""
        return self.ended is not None and self.ended.is_whole

    def is_misled(self) -> bool:
        """Whether the sound's format has changed though it should not.

        There ffmpeg makes its filters anew: what they hold is lost, and what they leave out in front is left out again.
        """
        return self._steady and self.report.changes > 0

    def close(self) -> None:
        """End ffmpeg, if it still works."""
        self._closed = True
        self._pauses.end()

    @property
    def reached(self) -> int:
        """Number of the frame that comes next."""
        return self.begins + self.made

    @property
    def begins(self) -> int:
        """Number of the very first frame, which may be for warming up."""
        return max(0, self.first_frame - WARM_UP)

    def wait_for_header(self) -> Header | None:
        """The header, as soon as there is a frame; None if it ends without any.

        By then the report tells what ffmpeg says before its first frame.
        """
        if self._wait_for_more_than(0):
            # The two come from different pipes.
            self.report.opened.wait(_DUMP_SECONDS)
        return self.header

    def _add(self, frames: bytes, count: int, stream: BinaryIO) -> None:
        stream.write(frames)
        stream.flush()
        with self._changed:
            if self.header is None:
                self.header = header(frames)
                self._began = time.monotonic()
                if self.peaks is not None:
                    self.peaks.begin(self.header)
            self.made += count
            self._size_bytes = stream.tell()
            self._changed.notify_all()

    def _most_seconds(self) -> float:
        """How long it may pause: what ffmpeg makes behind the end is for nothing."""
        if self.until is None or not self.made:
            return math.inf
        seconds_per_frame = (time.monotonic() - self._began) / self.made
        return max(_LEAST_PAUSE_SECONDS, (self.until - self.reached) * seconds_per_frame)

    def _wait_for_more_than(self, size_bytes: int) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._size_bytes > size_bytes or self._over)
            return self._size_bytes > size_bytes

    def _why_ended(self) -> str | None:
        """Why no more frames are needed, None as long as they are."""
        if self.is_misled():
            return "misled"
        return "enough" if self._is_enough() else None

    def _is_enough(self) -> bool:
        enough = self._closed or (self._wanted is not None and self.made >= self._wanted)
        return enough and self._is_drawn()

    def _is_drawn(self) -> bool:
        """Whether the peaks have come up to where those of the next run begin.

        A run is closed no sooner than the next one's first frame is made, and that one knows WARM_UP frames before it.
        """
        if self.peaks is None or self.header is None or self.peaks.too_many:
            return True
        return len(self.peaks) >= (self.made - WARM_UP) * windows_per_frame(self.header.rate_hz)
