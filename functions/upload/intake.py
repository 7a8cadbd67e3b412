"""Reading an upload's body as it arrives: multipart/form-data (RFC 7578) or raw bytes, never whole in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

from multipart import MultipartError, MultipartSegment, PushMultipartParser
from werkzeug.exceptions import ClientDisconnected

from functions.common.errors import Malformed
from functions.common.filenames import clean_name

_READ_BYTES: Final = 1024 * 1024
_MOST_PARTS: Final = 32
_LONGEST_FIELD: Final = 4096


@dataclass(frozen=True)
class Field:
    """A form field."""

    name: str
    text: str


@dataclass(frozen=True)
class File:
    """The file; its chunks must be read before the next part is asked for."""

    name: str
    chunks: Iterator[bytes]


def raw(stream: IO[bytes], filename: str) -> Iterator[Field | File]:
    """The one part of a body that is the file itself."""
    yield File(clean_name(filename), _read(stream))


def multipart(stream: IO[bytes], boundary: str) -> Iterator[Field | File]:
    """The parts of a form, in their order.

    Raises:
        Malformed: the body is no such form, or ends early.
    """
    events = _events(stream, boundary)
    for segment in events:
        if not isinstance(segment, MultipartSegment):
            raise Malformed("The form's parts are out of order.")
        chunks = _payload(events)
        if segment.filename is None:
            yield Field(segment.name, _text(chunks))
        elif segment.name != "file":
            raise Malformed("The file belongs into the form field `file`.")
        else:
            yield File(clean_name(segment.filename), chunks)
            for _ in chunks:
                raise AssertionError("a file's chunks were not read to their end")


def _events(stream: IO[bytes], boundary: str) -> Iterator[MultipartSegment | bytes | None]:
    try:
        with PushMultipartParser(boundary, max_segment_count=_MOST_PARTS) as parser:
            for chunk in _read(stream):
                yield from parser.parse(chunk)
    except MultipartError as error:
        raise Malformed("The body is not a complete multipart form.") from error


def _payload(events: Iterator[MultipartSegment | bytes | None]) -> Iterator[bytes]:
    for event in events:
        if not isinstance(event, bytes | bytearray):
            return
        yield bytes(event)


def _text(chunks: Iterator[bytes]) -> str:
    text = b""
    for chunk in chunks:
        text += chunk
        if len(text) > _LONGEST_FIELD:
            raise Malformed("A form field is too long.")
    return text.decode(errors="replace")


def _read(stream: IO[bytes]) -> Iterator[bytes]:
    try:
        while chunk := stream.read(_READ_BYTES):
            yield chunk
    except (ClientDisconnected, OSError) as error:
        raise Malformed("The upload was interrupted.") from error
