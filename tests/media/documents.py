"""Uploads whose first bytes say that they are no media; each must be refused before a job exists."""

import gzip
import io
import zipfile
import zlib
from pathlib import Path

from tests.media.damage import huge_png
from tests.media.encode import clip_bytes, encode, picture
from tests.media.sample import REFUSED, Sample, holding, sample

UNSUPPORTED = "415"
EMPTY = "422"
HTML = b"<!DOCTYPE html>\n<html><script>alert(1)</script></html>\n"
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
#: An empty archive: signature, version 0.4, checksum of a start header of 20 zero bytes, that header.
SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c\x00\x04" + zlib.crc32(bytes(20)).to_bytes(4, "little") + bytes(20)
#: RAR 5 and RAR 4 signatures, each with the beginning of a header.
RAR_5 = b"Rar!\x1a\x07\x01\x00" + b"\x33\x92\xb5\xe5\x0a\x01\x05\x06\x00\x05\x01\x01\x80\x80\x00"
RAR_4 = b"Rar!\x1a\x07\x00" + b"\xcf\x90\x73\x00\x00\x0d\x00\x00\x00\x00\x00\x00\x00"


def zipped(path: Path) -> None:
    """Write a ZIP archive that holds a clip, stored as it is."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as container:
        container.writestr("film.mp4", clip_bytes())
    path.write_bytes(archive.getvalue())


def gzipped(path: Path) -> None:
    """Write a clip compressed by gzip."""
    path.write_bytes(gzip.compress(clip_bytes(), mtime=0))


def after_html(path: Path) -> None:
    """Write a clip with an HTML page in front, which a browser that sniffs would show."""
    path.write_bytes(HTML + clip_bytes())


def still(path: Path, *arguments: str) -> None:
    """Write one picture in the format that `arguments` choose."""
    encode(path, *picture(1), "-frames:v", "1", *arguments)


DOCUMENTS: tuple[Sample, ...] = (
    holding("empty.mp4", b"", REFUSED, reason=EMPTY),
    holding("one_byte_text.mp4", b"a", REFUSED, reason=UNSUPPORTED),
    holding("text.mp4", b"Not a film, whatever the name says.\n", REFUSED, reason=UNSUPPORTED),
    holding("text_utf8.mp4", "Kein Film, sondern Wörter.\n".encode("utf-8-sig"), REFUSED, reason=UNSUPPORTED),
    holding("page.mp4", HTML, REFUSED, reason=UNSUPPORTED),
    sample("html_prefix.mp4", after_html, REFUSED, reason=UNSUPPORTED),
    sample("zip.mp4", zipped, REFUSED, reason=UNSUPPORTED),
    sample("gzip.mp4", gzipped, REFUSED, reason=UNSUPPORTED),
    holding("7z.mp4", SEVEN_ZIP, REFUSED, reason=UNSUPPORTED),
    holding("rar_5.mp4", RAR_5, REFUSED, reason=UNSUPPORTED),
    holding("rar_4.mp4", RAR_4, REFUSED, reason=UNSUPPORTED),
    holding("pdf.mp4", PDF, REFUSED, reason=UNSUPPORTED),
    holding("png.mp4", huge_png(64), REFUSED, reason=UNSUPPORTED),
    sample("jpeg.mp4", lambda path: still(path, "-f", "mjpeg"), REFUSED, reason=UNSUPPORTED),
    sample("gif.mp4", lambda path: still(path, "-f", "gif"), REFUSED, reason=UNSUPPORTED),
    # RIFF like AVI and WAV; only bytes 8 to 11 tell them apart.
    sample("webp.mp4", lambda path: still(path, "-f", "webp"), REFUSED, reason=UNSUPPORTED),
)
