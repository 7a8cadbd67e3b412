"""Frames of MPEG audio layer III: where one ends and the next begins, and what its header says.

ISO 11172-3 section 2.4 for MPEG-1, ISO 13818-3 for the lower sample rates, and the customary MPEG-2.5 below those.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import ClassVar, Final

_LOWER_KBPS: Final = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
#: By the version bits of a header: 3 is MPEG-1, 2 is MPEG-2, 0 is MPEG-2.5. Indices are those of the header, from 1 on.
BITRATES_KBPS: Final = {
    3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: _LOWER_KBPS,
    0: _LOWER_KBPS,
}
_RATES_HZ: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MPEG_1: Final = 3
_LAYER_III: Final = 1
_MONO: Final = 3
#: How long a header is.
HEADER_BYTES: Final = 4
#: More different ones than any encoder writes.
_HEADERS: Final = 4096


@dataclass(frozen=True)
class Header:
    """The header of a frame; within a stream only bit rate, padding and joint stereo change."""

    version: int
    rate_hz: int
    bitrate_kbps: int
    padded: bool
    #: Stereo, joint stereo, dual channel, mono.
    mode: int
    #: Whether two bytes of checksum follow the header.
    protected: bool
    #: Copyright, original and emphasis; readers look for frames that say the same as the first.
    flags: int

    @cached_property
    def channels(self) -> int:
        """One or two."""
        return 1 if self.mode == _MONO else 2

    @cached_property
    def size_bytes(self) -> int:
        """The whole frame."""
        return samples_per_frame(self.rate_hz) * 125 * self.bitrate_kbps // self.rate_hz + self.padded

    @cached_property
    def side_bytes(self) -> int:
        """The side information, which follows the header and its checksum."""
        mono, stereo = (17, 32) if self.version == _MPEG_1 else (9, 17)
        return mono if self.channels == 1 else stereo

    @cached_property
    def first_bytes(self) -> bytes:
        """The header itself."""
        second = 0xE0 | self.version << 3 | _LAYER_III << 1 | (not self.protected)
        bitrate, rate = BITRATES_KBPS[self.version].index(self.bitrate_kbps) + 1, _RATES_HZ[self.version]
        return bytes(
            [0xFF, second, bitrate << 4 | rate.index(self.rate_hz) << 2 | self.padded << 1, self.mode << 6 | self.flags]
        )


def samples_per_frame(rate_hz: int) -> int:
    """Samples of each channel that a frame holds."""
    return 1152 if rate_hz >= min(_RATES_HZ[_MPEG_1]) else 576


def header(frame: bytes) -> Header:
    """The header of a frame.

    Raises:
        NotMpeg: it is none of layer III.
    """
    found = _header(*frame[1:HEADER_BYTES]) if len(frame) >= HEADER_BYTES and frame[0] == 0xFF else None
    if found is None:
        raise NotMpeg(f"no frame begins with {frame[:HEADER_BYTES].hex()}")
    return found


@lru_cache(_HEADERS)
def _header(second: int, third: int, fourth: int) -> Header | None:
    version, layer, unprotected = second >> 3 & 3, second >> 1 & 3, second & 1
    bitrate, rate, padded = third >> 4, third >> 2 & 3, bool(third >> 1 & 1)
    if second < 0xE0 or layer != _LAYER_III or version not in _RATES_HZ or bitrate in (0, 15) or rate == 3:
        return None
    rates_hz, rates_kbps = _RATES_HZ[version], BITRATES_KBPS[version]
    return Header(version, rates_hz[rate], rates_kbps[bitrate - 1], padded, fourth >> 6, not unprotected, fourth & 0xF)


class NotMpeg(ValueError):
    """What should be a frame is none."""


class Splitter:
    """Splits a stream of frames that comes in pieces of any size."""

    #: By the bytes of a header that tell it; there are some hundred.
    _sizes_bytes: ClassVar[dict[bytes, int]] = {}

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next piece; the frames that are complete with it.

        Raises:
            NotMpeg: there is something between two frames.
        """
        whole, ends = self.cut(data)
        return [whole[begin:end] for begin, end in pairwise((0, *ends))]

    def cut(self, data: bytes) -> tuple[bytes, list[int]]:
        """Take the next piece, as feed does; the frames that are complete with it as one, and where each ends."""
        rest, sizes_bytes = self._rest + data, self._sizes_bytes
        ends, begin, last = [], 0, len(rest) - HEADER_BYTES
        while begin <= last:
            size_bytes = sizes_bytes.get(rest[begin : begin + 3])
            if size_bytes is None:
                size_bytes = header(rest[begin : begin + HEADER_BYTES]).size_bytes
                sizes_bytes[rest[begin : begin + 3]] = size_bytes
            if begin + size_bytes > len(rest):
                break
            begin += size_bytes
            ends.append(begin)
        self._rest = rest[begin:]
        return rest[:begin], ends


class Frames:
    """Frames in order, to be had one at a time or many at once.

    Args:
        pieces: the frames, some at a time; may wait for them to be made.
    """

    def __init__(self, pieces: Iterable[list[bytes]]) -> None:
        self._pieces = iter(pieces)
        self._piece: list[bytes] = []
        self._at = 0

    def next(self) -> bytes | None:
        """The next frame, None behind the last."""
        if not self._more():
            return None
        self._at += 1
        return self._piece[self._at - 1]

    def take(self, most: int | None = None) -> Iterator[list[bytes]]:
        """The next frames, some at a time: all that are left, or at most so many."""
        while (most is None or most > 0) and self._more():
            taken = self._piece[self._at :] if most is None else self._piece[self._at : self._at + most]
            self._at += len(taken)
            most = None if most is None else most - len(taken)
            yield taken

    def skip(self, count: int) -> None:
        """Leave out the next frames, if there are as many."""
        for _ in self.take(count):
            pass

    def _more(self) -> bool:
        while self._at == len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._piece, self._at = piece, 0
        return True


def sounding(frame: bytes) -> int:
    """The channels of a frame that hold anything but silence, as bits; of joint stereo the channels that are coded.

    They are those for whose granules there are any bits (part2_3_length in the side information, ISO 11172-3 2.4.1.7).
    """
    head = header(frame)
    begin = HEADER_BYTES + 2 * head.protected
    side = int.from_bytes(frame[begin : begin + head.side_bytes])
    bits = 8 * head.side_bytes
    if head.version == _MPEG_1:
        at, granules, granule_bits = 9 + (5 if head.channels == 1 else 3) + 4 * head.channels, 2, 59
    else:
        at, granules, granule_bits = 8 + head.channels, 1, 63
    found = 0
    for _ in range(granules):
        for channel in range(head.channels):
            if side >> (bits - at - 12) & 0xFFF:
                found |= 1 << channel
            at += granule_bits
    return found


def main_data(frame: bytes) -> tuple[int, int]:
    """How many bytes before its own a frame's sound begins, in the frames before it, and how many of its own it has.

    The bit reservoir (main_data_begin, ISO 11172-3 2.4.1.7).
    """
    head = header(frame)
    begin = HEADER_BYTES + 2 * head.protected
    side = int.from_bytes(frame[begin : begin + 2])
    return side >> (7 if head.version == _MPEG_1 else 8), head.size_bytes - begin - head.side_bytes


def silent_frame(like: Header) -> bytes:
    """A frame of silence in a stream of such frames."""
    head = replace(like, padded=False, protected=False)
    return head.first_bytes + bytes(head.size_bytes - HEADER_BYTES)
