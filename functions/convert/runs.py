"""One run: the frames of a part of a recording, made by one ffmpeg and readable while it works."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from functions.common.options import Options
from functions.convert.ffmpeg import Ended, Limits, encode_command, run
from functions.convert.joining import OVERLAP, WARM_UP
from functions.convert.mpeg import Header, Splitter, header, samples_per_frame
from functions.convert.report import Report

_READ_BYTES: Final = 256 * 1024
#: ffmpeg 5.1 ends with 69 on some files whose whole audio it converted, so the result decides.
PARTLY_FAILED: Final = 69


#: Told of a run that frames have come, and how many.
Made = Callable[["EncodedRun", int], None]


@dataclass(frozen=True)
class Settings:
    """What shapes frames: of equal sound equal settings make equal frames."""

    options: Options
    #: Sample rate of the MP3; a run that begins with the recording need not know it.
    rate_hz: int | None = None


def encode_run(
    source: Path, target: Path, first_frame: int, frames: int | None, settings: Settings, limits: Limits
) -> "EncodedRun":
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
    encoded = EncodedRun(source, target, first_frame, frames, settings)
    encoded.work(limits, stop=lambda: None, made=lambda _run, _frames: None)
    return encoded


class EncodedRun:
    """A run that is being encoded, as functions.convert.joining.Run; one thread makes it, another may read it.

    Args:
        source, target, first_frame, frames, settings: as of encode_run.
    """

    def __init__(self, source: Path, target: Path, first_frame: int, frames: int | None, settings: Settings) -> None:
        self.first_frame = first_frame
        self.report = Report()
        #: How ffmpeg ended; None before it did.
        self.ended: Ended | None = None
        #: What the first frame says, once there is one.
        self.header: Header | None = None
        #: The ID3v2 tag that ffmpeg made of the recording's; there with the first frame.
        self.tag = b""
        self._source = source
        self._target = target
        self._settings = settings
        self._wanted = None if frames is None else frames + min(first_frame, WARM_UP) + OVERLAP
        self._made = 0
        self._size_bytes = 0
        self._closed = False
        self._over = False
        self._changed = threading.Condition()

    def work(
        self, limits: Limits, *, stop: Callable[[], str | None], made: Callable[["EncodedRun", int], None]
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
                    if frames := splitter.feed(data):
                        self._add(frames, stream, splitter.tag)
                        made(self, len(frames))

                self.ended = run(
                    encode_command(self._source, self._settings.options, first_sample=self._first_sample()),
                    folder=self._source.parent,
                    limits=limits,
                    stop=lambda: "enough" if self._is_enough() else stop(),
                    out=out,
                    said=self.report.read,
                )
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def frames(self) -> Iterator[bytes]:
        """The frames, as they are made."""
        splitter, read = Splitter(), 0
        while self._wait_for_more_than(read):
            with self._target.open("rb") as stream:
                stream.seek(read)
                while piece := stream.read(_READ_BYTES):
                    read += len(piece)
                    yield from splitter.feed(piece)

    def samples(self) -> int | None:
        """Samples of each channel in the recording, if ffmpeg came to its end."""
        if self.ended is None or self.ended.stopped is not None or self.ended.exit_code not in (0, PARTLY_FAILED):
            return None
        encoded = self.report.encoded_samples
        return None if encoded is None else self._first_sample() + encoded

    def close(self) -> None:
        """End ffmpeg, if it still works."""
        self._closed = True

    @property
    def reached(self) -> int:
        """Number of the frame that comes next."""
        return max(0, self.first_frame - WARM_UP) + self._made

    def wait_for_header(self) -> Header | None:
        """The header, as soon as there is a frame; None if it ends without any."""
        self._wait_for_more_than(0)
        return self.header

    def _add(self, frames: list[bytes], stream: BinaryIO, tag: bytes) -> None:
        stream.write(b"".join(frames))
        stream.flush()
        with self._changed:
            if self.header is None:
                self.header, self.tag = header(frames[0]), tag
            self._made += len(frames)
            self._size_bytes = stream.tell()
            self._changed.notify_all()

    def _wait_for_more_than(self, size_bytes: int) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._size_bytes > size_bytes or self._over)
            return self._size_bytes > size_bytes

    def _is_enough(self) -> bool:
        return self._closed or (self._wanted is not None and self._made >= self._wanted)

    def _first_sample(self) -> int:
        """Sample that the warm-up begins with."""
        begins = max(0, self.first_frame - WARM_UP)
        if begins and self._settings.rate_hz is None:
            raise ValueError("a run that does not begin with the recording needs its sample rate")
        return begins * samples_per_frame(self._settings.rate_hz) if self._settings.rate_hz else 0
