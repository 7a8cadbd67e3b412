"""Surgery on containers that ffmpeg would never write: ISO BMFF boxes, and bytes at known places elsewhere.

ISO/IEC 14496-12 gives the boxes; only 32-bit sizes occur in clips this small.
"""

import struct
from collections.abc import Callable, Iterator

HEADER_BYTES = 8


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and body of every box in `data`."""
    offset = 0
    while offset < len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        yield kind, data[offset + HEADER_BYTES : offset + size]
        offset += size


def box(kind: bytes, body: bytes) -> bytes:
    """Return a box with its header."""
    return struct.pack(">I4s", HEADER_BYTES + len(body), kind) + body


def edit(data: bytes, path: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    """Return `data` with the body of every box at `path` changed and all sizes around it put right.

    Offsets in `stco` are left alone, so a change of length needs a `moov` behind its `mdat`.

    Raises:
        LookupError: no box has this path.
    """
    if path[0] not in {kind for kind, _ in boxes(data)}:
        raise LookupError(path)
    edited = []
    for kind, body in boxes(data):
        if kind != path[0]:
            edited.append(box(kind, body))
        else:
            edited.append(box(kind, edit(body, path[1:], change) if path[1:] else change(body)))
    return b"".join(edited)


def without(data: bytes, kind: bytes) -> bytes:
    """Return `data` without the top-level boxes of this kind."""
    return b"".join(box(name, body) for name, body in boxes(data) if name != kind)


def upto(data: bytes, kind: bytes) -> bytes:
    """Return everything in front of the first top-level box of this kind."""
    return data[: _start(data, kind)]


def halved(data: bytes, kind: bytes) -> bytes:
    """Return `data` cut in the middle of the first top-level box of this kind."""
    start = _start(data, kind)
    (size,) = struct.unpack_from(">I", data, start)
    return data[: start + size // 2]


def overwrite(data: bytes, offset: int, layout: str, values: tuple[float, ...]) -> bytes:
    """Return `data` with `values` packed over what is at `offset`."""
    packed = struct.pack(layout, *values)
    return data[:offset] + packed + data[offset + len(packed) :]


def overwrite_after(data: bytes, mark: bytes, layout: str, values: tuple[float, ...]) -> bytes:
    """Return `data` with `values` packed over what follows the first `mark`.

    Raises:
        ValueError: the mark is missing.
    """
    return overwrite(data, data.index(mark) + len(mark), layout, values)


def _start(data: bytes, kind: bytes) -> int:
    offset = 0
    for name, body in boxes(data):
        if name == kind:
            return offset
        offset += HEADER_BYTES + len(body)
    raise LookupError(kind)
