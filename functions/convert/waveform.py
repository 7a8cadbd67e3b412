"""A waveform beside the MP3: the lowest and highest sample of each hundredth of a second or so, for players to draw.

ffmpeg writes the samples that go into an encoder to a second pipe, too (functions.convert.ffmpeg), of two channels
their mean; of each window of them two bytes are kept. Windows divide frames, and runs begin with whole frames, so the
windows of runs that are joined lie side by side as those of one run would. docs/media.md tells the format and the cost.
"""

import os
import struct
import sys
import warnings
from array import array
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Final, Protocol

from functions.convert.mpeg import Header, samples_per_frame

with warnings.catch_warnings():
    # Python 3.13 leaves it out, and audioop-lts brings it back: nothing else looks through samples as cheaply.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

_READ_BYTES: Final = 256 * 1024
_SAMPLE_BYTES: Final = 2
#: Where a sample's upper byte lies, which is the sample in 8 bits.
_UPPER: Final = _SAMPLE_BYTES - 1 if sys.byteorder == "little" else 0
#: Up to here a frame is twice as long as above.
_LOWEST_RATES_HZ: Final = 12_000
#: A recording of a day or more has no waveform, so that memory has a bound: 21 MB.
MOST_WINDOWS: Final = 24 * 3600 * 125
#: audiowaveform's binary format, version 2: version, flags (8 bits), sample rate, samples per pixel, length, channels.
_HEAD: Final = "<iIiiIi"
_VERSION, _EIGHT_BITS, _ONE_CHANNEL = 2, 1, 1


def windows_per_frame(rate_hz: int) -> int:
    """How many windows a frame has, so that there are about a hundred in a second (83 to 125)."""
    return 6 if rate_hz <= _LOWEST_RATES_HZ else 3


def window_samples(rate_hz: int) -> int:
    """Samples of each channel in a window."""
    return samples_per_frame(rate_hz) // windows_per_frame(rate_hz)


class Peaks:
    """The lowest and the highest sample of each window of one run; used from the thread that runs its ffmpeg.

    Args:
        most: how many windows are kept; of a run that has more there are none.
    """

    def __init__(self, most: int = MOST_WINDOWS) -> None:
        #: int8 pairs: lowest, highest.
        self.pairs = bytearray()
        #: Whether there are more than are kept.
        self.too_many = False
        self._most = most
        #: What came before it was known how long a window is; ffmpeg tells within 32 KiB of MP3.
        self._early = bytearray()
        self._buffer = memoryview(bytearray(_READ_BYTES))
        #: The buffer, by windows; none as long as it is not known how long they are.
        self._windows: list[memoryview] = []
        #: How much of the buffer belongs to a window that is not complete.
        self._rest = 0
        self._ended = False

    def __len__(self) -> int:
        """Windows that are complete."""
        return len(self.pairs) // 2

    def begin(self, head: Header) -> None:
        """Learn of the first frame what the samples are; those that came before it are looked at now."""
        window_bytes = _SAMPLE_BYTES * window_samples(head.rate_hz)
        begins = range(0, len(self._buffer) - window_bytes + 1, window_bytes)
        self._windows = [self._buffer[begin : begin + window_bytes] for begin in begins]
        early, at = self._early, 0
        while at < len(early):
            taken = early[at : at + len(self._buffer) - self._rest]
            self._buffer[self._rest : self._rest + len(taken)] = taken
            at += len(taken)
            self._look(self._rest + len(taken), last=self._ended and at == len(early))
        self._early = bytearray()

    def read(self, descriptor: int) -> int:
        """Read some of the samples that have come; how many bytes, 0 behind the last.

        Args:
            descriptor: a pipe's, which has some, or will have no more.

        Raises:
            BlockingIOError: there are none right now.
        """
        size_bytes = os.readv(descriptor, [self._buffer[self._rest :]])
        self._ended = not size_bytes
        if self._windows:
            self._look(self._rest + size_bytes, last=self._ended)
        else:
            self._early += self._buffer[:size_bytes]
        return size_bytes

    def _look(self, end: int, *, last: bool) -> None:
        """Look at the windows that the buffer holds up to somewhere; at the very last one also if it is shorter."""
        count, self._rest = divmod(end, len(self._windows[0]))
        rest = self._buffer[end - self._rest : end]
        windows = self._windows[:count]
        if last and self._rest >= _SAMPLE_BYTES:
            windows.append(rest[: self._rest - self._rest % _SAMPLE_BYTES])
        if not self.too_many:
            peaks = array("h", chain.from_iterable(map(audioop.minmax, windows, repeat(_SAMPLE_BYTES)))).tobytes()
            # Integers are cut off downwards, so that the faintest noise would be -1.
            self.pairs += peaks[_UPPER::_SAMPLE_BYTES].replace(b"\xff", b"\0")
        if len(self) > self._most:
            self.too_many = True
            self.pairs.clear()
        self._buffer[: self._rest] = rest


class Drawn(Protocol):
    """A run, as far as its waveform goes."""

    @property
    def begins(self) -> int:
        """Number of the frame that its samples begin with."""
        ...

    @property
    def peaks(self) -> Peaks | None:
        """Of its samples, None where they were not looked at."""
        ...


def joined(runs: Sequence[Drawn], rate_hz: int, samples: int, *, changes: int = 0) -> bytes | None:
    """The waveform of the recording that runs make together, None where any of it is missing.

    Args:
        runs: those that the MP3 is joined of, in order, all ended; the first begins with the recording.
        rate_hz: sample rate of the MP3.
        samples: samples of each channel in the recording.
        changes: how often its format changed; an encoder loses less than a frame each time, which is drawn though.
    """
    length = -(-samples // window_samples(rate_hz))
    pairs = bytearray()
    for run, following in zip(runs, (*runs[1:], None), strict=True):
        # Both know the windows around a join, and from the same samples.
        end = length if following is None else following.begins * windows_per_frame(rate_hz)
        begin = run.begins * windows_per_frame(rate_hz)
        if run.peaks is None or run.peaks.too_many:
            return None
        pairs += run.peaks.pairs[len(pairs) - 2 * begin : 2 * (end - begin)]
        if len(pairs) != 2 * end:
            return None
    spare = len(runs[-1].peaks or ()) + runs[-1].begins * windows_per_frame(rate_hz) - length
    if length > MOST_WINDOWS or not 0 <= spare <= changes * windows_per_frame(rate_hz):
        return None
    head = struct.pack(_HEAD, _VERSION, _EIGHT_BITS, rate_hz, window_samples(rate_hz), length, _ONE_CHANNEL)
    return head + pairs
