"""Cover pictures: what comes along as it is, and what no player should be given."""

import base64
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from mutagen.flac import FLAC, Picture
from mutagen.id3 import PictureType
from mutagen.mp3 import MP3
from mutagen.oggvorbis import OggVorbis

from tests.media.damage import attachment_bomb, cover_bomb, huge_png
from tests.media.encode import AAC, decoded_seconds, encode, sound, still
from tests.support.serving import Api, Served

ATTACHED: Final = ("-map", "0", "-map", "1", "-c:v", "copy", "-disposition:v", "attached_pic")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An account of a server of this module's."""
    with Served(tmp_path_factory.mktemp("covers") / "state") as served:
        yield served.account()


def in_mp4(folder: Path, cover: Path) -> Path:
    """Music with a cover, as shops sell it."""
    return encode(folder / "a.m4a", *sound(), "-i", cover, *ATTACHED, *AAC)


def in_video(folder: Path, cover: Path) -> Path:
    """A film with a poster."""
    moving = ("-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=2")
    maps = ("-map", "0", "-map", "1", "-map", "2", "-c:v:0", "mpeg4", "-c:v:1", "copy")
    return encode(folder / "a.mp4", *moving, *sound(), "-i", cover, *maps, "-disposition:v:1", "attached_pic", *AAC)


def in_matroska(folder: Path, cover: Path) -> Path:
    """A film with an attachment."""
    type_ = {".png": "image/png", ".jpg": "image/jpeg"}.get(cover.suffix, "image/gif")
    return encode(folder / "a.mkv", *sound(), "-attach", cover, "-metadata:s:t", f"mimetype={type_}", *AAC)


def in_mp3(folder: Path, cover: Path) -> Path:
    """An MP3, whose sound is copied."""
    return encode(folder / "a.mp3", *sound(), "-i", cover, *ATTACHED, "-c:a", "libmp3lame")


def pictures(*covers: tuple[int, Path]) -> list[Any]:
    """Pictures as FLAC and Ogg keep them."""
    made = []
    for type_, cover in covers:
        picture = Picture()
        picture.type, picture.mime, picture.data = type_, "image/jpeg", cover.read_bytes()
        made.append(picture)
    return made


def in_ogg(folder: Path, cover: Path) -> Path:
    """Music whose picture is a comment in Base64."""
    path = encode(folder / "a.ogg", *sound(), "-c:a", "libvorbis")
    file = OggVorbis(path)
    written = [base64.b64encode(picture.write()).decode() for picture in pictures((PictureType.COVER_FRONT, cover))]
    file["metadata_block_picture"] = written
    file.save()
    return path


def converted(api: Api, source: Path, **options: str) -> tuple[Path, list[str]]:
    """The MP3 of a source, and what the job says is missing of it."""
    job_id = api.upload_id(source, **options)
    job = api.ended(job_id)
    assert (job["state"], job["reason"]) == ("succeeded", None)
    result = source.with_name("result.mp3")
    result.write_bytes(api.download(job_id))
    assert decoded_seconds(result) == pytest.approx(2.0, abs=0.1)
    return result, job["omitted"]


def covers(result: Path) -> list[Any]:
    """The pictures of an MP3."""
    tags: Any = MP3(result).tags
    return [] if tags is None else list(tags.getall("APIC"))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("put", [in_mp4, in_video, in_matroska, in_mp3], ids=lambda put: str(put.__name__))
def test_a_cover_comes_along(api: Api, tmp_path: Path, put: Any, suffix: str) -> None:
    """It is the same, byte for byte, and players find it."""
    cover = still(tmp_path / f"cover{suffix}")
    result, omitted = converted(api, put(tmp_path, cover))
    assert omitted == []
    [found] = covers(result)
    assert (found.type, found.data) == (PictureType.COVER_FRONT, cover.read_bytes())
    assert found.mime == {".jpg": "image/jpeg", ".png": "image/png"}[suffix]
    codec = {".jpg": "mjpeg", ".png": "png"}[suffix]
    asked = ["-v", "error", "-show_entries", "stream=codec_name,width:stream_disposition=attached_pic"]
    told = subprocess.run(["ffprobe", *asked, "-of", "csv=p=0", result], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["mp3,0", f"{codec},640,1"]


def test_a_cover_in_base64(api: Api, tmp_path: Path) -> None:
    """Ogg's comes along as well."""
    cover = still(tmp_path / "cover.jpg", size="64x48")
    result, _ = converted(api, in_ogg(tmp_path, cover))
    assert [found.data for found in covers(result)] == [cover.read_bytes()]


def test_the_front_goes_before_others(api: Api, tmp_path: Path) -> None:
    """Of several pictures the listener gets the one that is called the front, else the first."""
    back, front, other = (still(tmp_path / f"{name}.jpg", size="64x48") for name in ("back", "front", "other"))
    source = encode(tmp_path / "a.flac", *sound())
    for order, wanted in (
        ([(PictureType.COVER_BACK, back), (PictureType.COVER_FRONT, front), (PictureType.COVER_FRONT, other)], front),
        ([(PictureType.COVER_BACK, back), (PictureType.OTHER, other)], back),
    ):
        file = FLAC(source)
        file.clear_pictures()
        for picture in pictures(*order):
            file.add_picture(picture)
        file.save()
        result, _ = converted(api, source)
        assert [found.data for found in covers(result)] == [wanted.read_bytes()]


def test_no_cover_is_wanted(api: Api, tmp_path: Path) -> None:
    """Then there is none, and nothing is missing."""
    result, omitted = converted(api, in_mp4(tmp_path, still(tmp_path / "cover.jpg")), cover="no")
    assert (covers(result), omitted) == ([], [])


def jpeg(width: int, height: int, *, before: bytes = b"", behind: bytes = b"") -> bytes:
    """A JPEG that ends with the header of its frame (ITU-T T.81, B.2.2)."""
    frame = struct.pack(">HHBHHB", 0xFFC0, 11, 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0" + before + frame + behind


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bomb.png", huge_png()),
        ("wide.jpg", jpeg(65_000, 65_000)),
        ("heavy.jpg", jpeg(100, 100, behind=bytes(11 * 1024 * 1024))),
        ("endless.jpg", b"\xff\xd8\xff\xe0" + bytes(5 * 1024 * 1024)),
        ("cut.jpg", jpeg(100, 100)[:12]),
        ("cut.png", huge_png(16)[:12]),
        ("empty.png", huge_png(16).replace(b"\0\0\0\x10", b"\0\0\0\0")),
        ("other.gif", b"GIF89a" + bytes(64)),
        ("page.png", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_covers_that_are_left_out(api: Api, tmp_path: Path, name: str, data: bytes) -> None:
    """Too large, too many pixels, broken, or what not every player shows: the job says so, and the sound is there."""
    cover = tmp_path / name
    cover.write_bytes(data)
    result, omitted = converted(api, in_matroska(tmp_path, cover))
    assert (covers(result), omitted) == ([], ["cover"])


@pytest.mark.parametrize("make", [cover_bomb, attachment_bomb], ids=lambda make: str(make.__name__))
def test_bombs(api: Api, tmp_path: Path, make: Any) -> None:
    """A picture of 16,000 by 16,000 is left out of whatever holds it."""
    make(tmp_path / "bomb.bin")
    result, omitted = converted(api, tmp_path / "bomb.bin")
    assert (covers(result), omitted) == ([], ["cover"])


def test_a_large_cover_is_no_bomb(api: Api, tmp_path: Path) -> None:
    """What shops sell comes along."""
    cover = tmp_path / "cover.jpg"
    cover.write_bytes(jpeg(4000, 4000, behind=bytes(9 * 1024 * 1024)))
    result, omitted = converted(api, in_matroska(tmp_path, cover))
    assert ([found.data for found in covers(result)], omitted) == ([cover.read_bytes()], [])
