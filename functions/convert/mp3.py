"""Writing an MP3 of frames; its Info frame, which stands in front, is known only at the end."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from functions.convert.info import TOC_ENTRIES, Info, info_bytes, info_frame
from functions.convert.mpeg import Header, NotMpeg, header, samples_per_frame

_BUFFER_FRAMES: Final = 128
#: Places that are remembered for the table of contents; however long the MP3 is, they are never more than twice these.
_PLACES: Final = 16 * TOC_ENTRIES


class Mp3Writer:
    """An MP3 that is being written; a context manager that closes the file, finished or not.

    Args:
        path: where it goes.
        tag: the ID3v2 tag in front, may be empty.
    """

    def __init__(self, path: Path, *, tag: bytes) -> None:
        self._tag = tag
        self._first: Header | None = None
        self._frames = 0
        self._size_bytes = 0
        self._crc = 0
        self._buffer: list[bytes] = []
        #: Where each frame whose number is a multiple of `_apart` lies.
        self._places: list[int] = []
        self._apart = 1
        self._file = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, frames: Sequence[bytes]) -> None:
        """Append frames.

        Raises:
            NotMpeg: the first one is none.
        """
        if self._first is None and frames:
            self._begin(frames[0])
        at = list(accumulate(map(len, frames), initial=self._size_bytes))
        number = -(-self._frames // self._apart) * self._apart
        while number < self._frames + len(frames):
            number = self._remember(number, at[number - self._frames])
        self._frames += len(frames)
        self._size_bytes = at[-1]
        self._buffer += frames
        if len(self._buffer) >= _BUFFER_FRAMES:
            self._flush()

    def finish(self, *, constant: bool, quality: int | None, delay: int, samples: int | None) -> None:
        """Write what is left and the Info frame.

        Args:
            constant: whether the bit rate is.
            quality: LAME's VBR scale, None where it is not known.
            delay: samples that players leave out in front, beside every decoder's.
            samples: of each channel that they play then; None if nobody knows, then they play all that is left.

        Raises:
            NotMpeg: there is no frame.
        """
        if self._first is None:
            raise NotMpeg("there is no frame")
        self._flush()
        in_one = samples_per_frame(self._first.rate_hz)
        info = Info(
            constant=constant,
            quality=quality,
            frames=self._frames,
            size_bytes=self._size_bytes,
            toc=[self._place(entry) for entry in range(TOC_ENTRIES)],
            delay=delay,
            padding=0 if samples is None else max(0, self._frames * in_one - delay - samples),
            crc=self._crc,
        )
        self._file.seek(len(self._tag))
        self._file.write(info_frame(self._first, info))

    def _begin(self, frame: bytes) -> None:
        """Make room for what comes in front of the first frame."""
        self._first = header(frame)
        self._size_bytes = info_bytes(self._first)
        self._file.write(self._tag + bytes(self._size_bytes))

    def _remember(self, number: int, at: int) -> int:
        """Remember where a frame lies; return the number of the next one that is to be remembered."""
        self._places.append(at)
        number += self._apart
        if len(self._places) == 2 * _PLACES:
            del self._places[1::2]
            self._apart *= 2
        return number

    def _place(self, entry: int) -> int:
        frame = entry * self._frames // TOC_ENTRIES
        return 256 * self._places[min(frame // self._apart, len(self._places) - 1)] // self._size_bytes

    def _flush(self) -> None:
        from fastcrc import crc16

        data = b"".join(self._buffer)
        self._crc = crc16.arc(data, self._crc)
        self._file.write(data)
        self._buffer.clear()
