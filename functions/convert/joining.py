"""Joining runs of frames, which several encoders made of one recording, to the MP3 that one encoder makes of it.

An encoder that begins in the middle does not know what came before, so for a while its frames are others. Each run
therefore begins WARM_UP frames early, and no join is taken on trust: where two runs make the same frames for long
enough, their encoders have come to the same state, and from there on they make the same frames for ever. Until then the
earlier run's frames are the right ones. docs/media.md tells what that state is and why this is long enough.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from functions.convert.info import LAME_DELAY
from functions.convert.mp3 import Mp3Writer
from functions.convert.mpeg import Frames, Splitter, header, sounding

#: Frames that a run begins early, unless it begins with the recording. LAME's sense of how loud it is fades within 95
#: frames; 98 are twice the 49 after which the padding of frames at 44.1 kHz repeats itself.
WARM_UP: Final = 98
#: Runs begin at multiples of it.
STEP: Final = 49
#: So many equal frames, one after the other, prove that two encoders are in the same state.
PROOF: Final = 49
#: Frames that a run goes on for where the next one has begun, so that they can come to agree.
OVERLAP: Final = 98
_READ_BYTES: Final = 256 * 1024


class Run(Protocol):
    """The frames of a part of a recording."""

    @property
    def first_frame(self) -> int:
        """Number of the frame that the part begins with, a multiple of STEP."""
        ...

    def frames(self) -> Iterator[list[bytes]]:
        """The frames in order, some at a time, from `first_frame` less WARM_UP on, at least from 0.

        May wait for them to be made.
        """
        ...

    def samples(self) -> int | None:
        """Samples of each channel in the whole recording, None if the frames end before it does; asked after them."""
        ...

    def close(self) -> None:
        """No more frames are wanted."""
        ...


@dataclass(frozen=True)
class StoredRun:
    """A run that lies in a file, wherever its frames were made (functions.convert.runs.encode_run)."""

    path: Path
    first_frame: int
    recording_samples: int | None

    def frames(self) -> Iterator[list[bytes]]:
        """The frames in the file."""
        splitter = Splitter()
        with self.path.open("rb") as stream:
            while piece := stream.read(_READ_BYTES):
                yield splitter.feed(piece)

    def samples(self) -> int | None:
        """What the encoder said."""
        return self.recording_samples

    def close(self) -> None:
        """Leave the file where it is."""


AnyRun = TypeVar("AnyRun", bound=Run)


class Apart(ValueError):
    """A run ended before it agreed with the next one; it has to be encoded again, and longer.

    Args:
        index: which one.
    """

    def __init__(self, index: int) -> None:
        super().__init__(f"run {index} ends before it agrees with the next")
        self.index = index


def join(runs: Sequence[AnyRun], target: Path, *, tag: bytes, quality: int | None) -> AnyRun:
    """Write the MP3 that the runs make together; return the run that it ends with.

    Args:
        runs: in order; the first begins with the recording.
        target: where the MP3 goes.
        tag: the ID3v2 tag in front, may be empty.
        quality: LAME's VBR scale, None for a constant bit rate.

    Raises:
        Apart: two runs do not join.
        NotMpeg: a run is damaged.
        OSError: the MP3 cannot be written.
    """
    with Mp3Writer(target, tag=tag) as writer:
        run, frames, joint = runs[0], Frames(runs[0].frames()), _Joint(writer, constant=quality is None)
        for following in runs[1:]:
            theirs = Frames(following.frames())
            if not joint.reached(frames, theirs, following.first_frame):
                break
            run.close()
            run, frames = following, theirs
        for piece in frames.take():
            writer.write(piece)
        samples = run.samples()
        if samples is None and run is not runs[-1]:
            raise Apart(runs.index(run))
        writer.finish(constant=quality is None, quality=quality, delay=LAME_DELAY, samples=samples)
    return run


class _Joint:
    """Writes frames of one run up to where the next may take over.

    Args:
        writer: where they go.
        constant: whether the bit rate is.
    """

    def __init__(self, writer: Mp3Writer, *, constant: bool) -> None:
        self._writer = writer
        self._constant = constant
        self._number = 0
        #: Channels that have sounded since the recording began.
        self._ever = 0

    def reached(self, frames: Frames, others: Frames, first_frame: int) -> bool:
        """Write frames until the others may follow; whether they may.

        If not, the frames have come to their end, or the others have: then the recording has no such part, or it could
        not be encoded.
        """
        others_begin = max(0, first_frame - WARM_UP)
        for piece in frames.take(others_begin - self._number):
            self._write(piece)
            self._hear(piece)
        # Where the runs before joined late, we are behind the others' beginning.
        others.skip(self._number - others_begin)
        alike = since = 0
        while (frame := frames.next()) is not None:
            self._write([frame])
            sounds = self._sounding(frame)
            self._ever |= sounds
            other = others.next()
            if other is None:
                return False
            alike, since = (alike + 1, since | sounds) if frame == other else (0, 0)
            if self._number >= first_frame and alike >= PROOF and since == self._ever:
                return True
        return False

    def _write(self, frames: Sequence[bytes]) -> None:
        self._writer.write(frames)
        self._number += len(frames)

    def _hear(self, frames: Sequence[bytes]) -> None:
        """Take note of the channels that sound."""
        every = (1 << header(frames[0]).channels) - 1 if self._constant else 0
        for frame in frames:
            if self._ever == every:
                return
            self._ever |= self._sounding(frame)

    def _sounding(self, frame: bytes) -> int:
        """The channels in which frames prove something.

        At a constant bit rate LAME looks for each granule's step size from the one before it on, and leaves out silent
        granules: through silence it remembers what nothing shows. Only a channel that has never sounded, or sounds
        again, is known.
        """
        return sounding(frame) if self._constant else 0
