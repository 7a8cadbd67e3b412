"""Reading an upload's body: forms as browsers and programs send them, and as nobody should."""

import io
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.exceptions import ClientDisconnected

from functions.common.errors import Malformed
from functions.common.filenames import clean_name
from functions.upload.intake import Field, File, multipart, raw

BOUNDARY: Final = "----boundary7MA4YWxk"
Part = tuple[str, bytes]


def field(name: str, value: bytes | str) -> Part:
    """A form field."""
    return f'form-data; name="{name}"', value.encode() if isinstance(value, str) else value


def file(content: bytes, *, filename: str = "film.mp4", name: str = "file") -> Part:
    """A file."""
    return f'form-data; name="{name}"; filename="{filename}"', content


def form(*parts: Part, boundary: str = BOUNDARY) -> bytes:
    """A body as curl and browsers send it."""
    body = b""
    for disposition, content in parts:
        body += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()


class Slow:
    """A connection that gives few bytes at a time, and then ends, or breaks."""

    def __init__(self, body: bytes, most: int, error: Exception | None = None) -> None:
        self._body = io.BytesIO(body)
        self._most = most
        self._error = error

    def read(self, size: int = -1) -> bytes:
        """Give a part of what was asked for."""
        chunk = self._body.read(min(size, self._most) if size >= 0 else self._most)
        if not chunk and self._error is not None:
            raise self._error
        return chunk


def read(body: bytes, *, most: int = 1 << 20, boundary: str = BOUNDARY) -> list[tuple[str, str | bytes]]:
    """Every part of a body: fields by name and text, files by their shown name and bytes."""
    return whole(multipart(cast(IO[bytes], Slow(body, most)), boundary))


def whole(parts: Iterator[Field | File]) -> list[tuple[str, str | bytes]]:
    """What parts hold."""
    return [(part.name, part.text) if isinstance(part, Field) else (part.name, b"".join(part.chunks)) for part in parts]


@pytest.mark.parametrize("most", [1, 2, 3, 7, 64, 1 << 20])
def test_fields_around_a_file(most: int) -> None:
    """Fields before and after the file arrive in their order, in whatever pieces the network cuts the body."""
    content = bytes(range(256)) * 8
    body = form(field("bitrate", "128"), file(content), field("start", "1.5"), field("empty", ""))
    assert read(body, most=most) == [
        ("bitrate", "128"),
        ("film.mp4", content),
        ("start", "1.5"),
        ("empty", ""),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"\r\n--",
        b"--" + BOUNDARY.encode(),
        b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n",
        b"\r\n--" + BOUNDARY.encode()[:-1] + b"--\r\n",
        b"\n--" + BOUNDARY.encode() + b"--\n",
        b"Content-Disposition: form-data; name=x\r\n\r\n",
        b"\0" * 5000,
        b"\r" * 5000,
    ],
    ids=range(10),
)
@pytest.mark.parametrize("most", [1, 5, 1 << 20])
def test_content_that_looks_like_a_form(content: bytes, most: int) -> None:
    """A file may hold anything but the boundary itself; no byte of it is lost, added or taken for a part."""
    assert read(form(file(content), field("end", "3")), most=most) == [("film.mp4", content), ("end", "3")]


@given(
    st.lists(st.tuples(st.sampled_from(["bitrate", "start", "x"]), st.text(max_size=50)), max_size=4),
    st.binary(max_size=500),
    st.integers(1, 200),
)
def test_any_form(fields: list[tuple[str, str]], content: bytes, most: int) -> None:
    """Any fields and bytes come out as they went in."""
    body = form(*(field(name, text.encode()) for name, text in fields), file(content))
    assert read(body, most=most) == [*fields, ("film.mp4", content)]


def test_a_large_file_comes_in_pieces() -> None:
    """A file is handed on as it arrives, in pieces of about a mebibyte, never whole."""
    content = bytes(5 * 1024 * 1024)
    [part] = [part for part in _parts_of(form(file(content))) if isinstance(part[0], File)]
    assert sum(part[1]) == len(content)
    assert max(part[1]) <= 1024 * 1024 + 1024


def _parts_of(body: bytes) -> Iterator[tuple[Field | File, list[int]]]:
    for part in multipart(cast(IO[bytes], io.BytesIO(body)), BOUNDARY):
        yield part, [len(chunk) for chunk in part.chunks] if isinstance(part, File) else []


CUT: Final = form(field("bitrate", "128"), file(b"x" * 100))


@pytest.mark.parametrize("length", [*range(0, len(CUT) - 4, 7), len(CUT) - 4])
def test_a_body_that_ends_early(length: int) -> None:
    """A form that is cut anywhere before its end is refused, however much of the file arrived."""
    with pytest.raises(Malformed):
        read(CUT[:length])


@pytest.mark.parametrize("error", [ClientDisconnected(), OSError(104, "reset"), TimeoutError()])
@pytest.mark.parametrize("length", [0, 40, 200])
def test_a_connection_that_breaks(error: Exception, length: int) -> None:
    """Where the connection breaks, the upload was interrupted, and nobody takes its part for the whole."""
    stream = cast(IO[bytes], Slow(CUT[:length], 50, error))
    with pytest.raises(Malformed, match="interrupted"):
        whole(multipart(stream, BOUNDARY))


def test_a_raw_body_that_breaks() -> None:
    """The same for a body that is the file itself."""
    with pytest.raises(Malformed, match="interrupted"):
        whole(raw(cast(IO[bytes], Slow(b"abc", 2, ClientDisconnected())), "a.mp4"))


def test_raw() -> None:
    """A raw body is one file with the name that the query gives it."""
    assert whole(raw(io.BytesIO(b"abc"), "dir/a.mp4")) == [("a.mp4", b"abc")]
    assert whole(raw(io.BytesIO(b""), "")) == [("upload", b"")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"garbage",
        b"garbage" * 100_000,
        b"--" + BOUNDARY.encode(),
        b"--" + BOUNDARY.encode() + b"\r\n\r\nno headers\r\n--" + BOUNDARY.encode() + b"--\r\n",
        b"--other\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n--other--\r\n",
        form(("attachment; filename=a", b"x")),
        form(('form-data; name="a"\r\nno colon here', b"x")),
        form(('form-data; name="a"\r\n' + "X: y\r\n" * 5000 + "Z: z", b"x")),
        form(('form-data; name="' + "a" * 100_000 + '"', b"x")),
    ],
    ids=range(10),
)
def test_bodies_that_are_no_form(body: bytes) -> None:
    """Whatever is no form is refused as such."""
    with pytest.raises(Malformed):
        read(body)


@given(st.binary(max_size=300), st.integers(0, len(CUT)), st.integers(0, 40))
def test_garbage(garbage: bytes, place: int, cut: int) -> None:
    """A form with any bytes put into it anywhere is read or refused, and nothing else happens."""
    body = CUT[:place] + garbage + CUT[place + cut :]
    with suppress(Malformed):
        read(body)


def test_a_field_of_the_longest_length() -> None:
    """Options are short; a field that is longer than any could be is refused before it fills the memory."""
    assert read(form(field("a", "x" * 4096))) == [("a", "x" * 4096)]
    with pytest.raises(Malformed, match="too long"):
        read(form(field("a", "x" * 4097)))


def test_many_parts() -> None:
    """A form of more parts than there are options is refused."""
    assert len(read(form(*[field("a", "1")] * 32))) == 32
    with pytest.raises(Malformed):
        read(form(*[field("a", "1")] * 33))


@pytest.mark.parametrize("name", ["video", "File", "files[]", ""])
def test_a_file_in_another_field(name: str) -> None:
    """A file under another name is refused with the name that it should have, before a byte of it is taken."""
    with pytest.raises(Malformed, match="`file`"):
        read(form(file(b"x", name=name)))


def test_the_name_file_without_a_file_name() -> None:
    """A field called file that is no file is a field."""
    assert read(form(field("file", "text"))) == [("file", "text")]


def test_a_field_that_is_no_utf8() -> None:
    """Bytes that are no text become the sign for that, and no error."""
    assert read(form(field("a", b"\xff\xfe1"))) == [("a", "\ufffd\ufffd1")]


@pytest.mark.parametrize("boundary", ["b", "'()+_,-./:=?", "x" * 70])
def test_boundaries(boundary: str) -> None:
    """Every boundary that RFC 2046 allows is understood."""
    assert read(form(file(b"abc"), boundary=boundary), boundary=boundary) == [("film.mp4", b"abc")]


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("film.mp4", "film.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\film.mp4", "film.mp4"),
        ("dir/", "upload"),
        ("", "upload"),
        ("  film .mp4 ", "film .mp4"),
        ("a\nb\r\0\x1b[31mc.mp4", "ab[31mc.mp4"),
        ("right\u202e4pm.exe", "right4pm.exe"),
        ("\u2066\u2069", "upload"),
        ("\U0001f3ac 日本語 ä.mp4", "\U0001f3ac 日本語 ä.mp4"),
        ('%s%n*?:|<>".mp4', '%s%n*?:|<>".mp4'),
        ("lone\ud800.mp4", "lone.mp4"),
        ("x" * 300, "x" * 255),
    ],
)
def test_clean_name(given_name: str, shown: str) -> None:
    """People see the last part of a name, without what would deceive their eyes or obey nobody."""
    assert clean_name(given_name) == shown


@given(st.text(max_size=400))
def test_any_name(name: str) -> None:
    """Whatever a name holds, what is shown of it is short, safe to print, free of folders, and not empty."""
    shown = clean_name(name)
    assert 1 <= len(shown) <= 255
    assert not set(shown) & set("/\\\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cs"}
    shown.encode()
