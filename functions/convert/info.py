"""The Info frame in front of an MP3: how long it is, where its parts lie, and what a player has to leave out.

A frame of silence that carries Xing's header (frames, bytes, table of contents) and LAME's extension of it (delay and
padding, checksums); gabriel.mp3-tech.org/mp3infotag.html describes both. Players that know it show the right length,
seek to the right place, and play exactly the samples that went into the encoder.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from functions.convert.mpeg import BITRATES_KBPS, Header

#: Entries of the table of contents.
TOC_ENTRIES: Final = 100
#: LAME's own delay in samples; with every decoder's its first sample comes out at 1105.
LAME_DELAY: Final = 576
#: What every decoder adds, and no Info frame counts.
DECODER_DELAY: Final = 529
#: The delay and the padding have 12 bits each.
MOST_SAMPLES: Final = 0xFFF
#: The only release of LAME since 2017; players look for the first four letters before they believe what follows.
_ENCODER: Final = b"LAME3.100"
#: What follows the side information: Xing's header with all of its fields, and LAME's extension.
_XING_BYTES: Final = 120
_LAME_BYTES: Final = 36
_ALL_FIELDS: Final = 0x0F
_CBR, _VBR = 1, 4
#: LAME's VBR scale where it isn't asked for, and its -q; they share a field.
_SCALE, _EFFORT = 4, 3


@dataclass(frozen=True)
class Info:
    """What an Info frame tells of the frames behind it."""

    #: Whether the bit rate is constant.
    constant: bool
    #: LAME's VBR scale, None where it is not known.
    quality: int | None
    frames: int
    #: Of all frames, the Info frame included.
    size_bytes: int
    #: For each hundredth of the frames, how far behind the beginning it lies, in 256ths of `size_bytes`.
    toc: Sequence[int]
    #: Samples that players leave out in front, beside every decoder's.
    delay: int
    #: Samples that they leave out at the end, every decoder's among them.
    padding: int
    #: CRC-16/ARC of all frames behind the Info frame.
    crc: int


def info_bytes(first: Header) -> int:
    """How long the Info frame is in front of a stream.

    Args:
        first: header of the stream's first frame.
    """
    return _header(first).size_bytes


def info_frame(first: Header, info: Info) -> bytes:
    """Make the Info frame.

    Args:
        first: header of the stream's first frame.
        info: what it tells.
    """
    from fastcrc import crc16

    head = _header(first)
    scale = _SCALE if info.quality is None else info.quality
    frame = head.first_bytes + bytes(head.side_bytes)
    frame += b"Info" if info.constant else b"Xing"
    frame += struct.pack(">III", _ALL_FIELDS, info.frames, info.size_bytes) + bytes(info.toc)
    frame += struct.pack(">I", 100 - 10 * scale - _EFFORT) + _ENCODER
    # No word on low-pass, peak, gains and flags.
    frame += bytes([_CBR if info.constant else _VBR, *bytes(10), min(first.bitrate_kbps, 255) if info.constant else 0])
    frame += (min(info.delay, MOST_SAMPLES) << 12 | min(info.padding, MOST_SAMPLES)).to_bytes(3)
    frame += struct.pack(">IIH", 0, info.size_bytes, info.crc)
    frame += struct.pack(">H", crc16.arc(frame))
    return frame + bytes(head.size_bytes - len(frame))


def _header(first: Header) -> Header:
    """The Info frame's own header: that of the stream, with a bit rate at which there is room for everything.

    The stream's own is taken if it will do, since some players go by the first frame that they see.
    """
    plain = replace(first, padded=False, protected=False)
    wanted = plain.side_bytes + 4 + _XING_BYTES + _LAME_BYTES
    rates = (first.bitrate_kbps, *BITRATES_KBPS[first.version])
    return next(head for rate in rates if (head := replace(plain, bitrate_kbps=rate)).size_bytes >= wanted)
