"""Uploads that are broken, empty, encrypted, or larger inside than outside."""

import hashlib
import io
import tempfile
import zipfile
import zlib
from functools import partial
from itertools import count
from pathlib import Path

from tests.media.boxes import box, edit, halved, overwrite_after, upto, without
from tests.media.encode import H264, clip, clip_bytes, encode, picture
from tests.media.sample import EITHER, FAILED, SUCCEEDED, Sample, holding, sample

GIB = 2**30
#: One file whose size takes more than 31 bits shows what size does; the others are only about where the hole is.
FILM_BYTES = 9 * GIB // 4
HOLE_BYTES = GIB // 4
FASTSTART = ("-movflags", "+faststart")
FRAGMENTED = ("-movflags", "+frag_keyframe+empty_moov+default_base_moof")
COVER_PIXELS = 16000
SECONDS_OF_A_LOOP = 60


def noise(size: int, seed: int = 0) -> bytes:
    """Return `size` bytes that look random and are the same at every run."""
    return hashlib.shake_128(f"noise {seed}".encode()).digest(size)


def bit_flips(path: Path, *, seed: int, muxer: str, flips: int = 40) -> None:
    """Write a clip with `flips` bits turned over at places that the seed chooses."""
    data = bytearray(clip_bytes(muxer=muxer, more=FASTSTART if muxer == "mp4" else ()))
    choices = noise(4 * flips, seed)
    for at in range(0, len(choices), 4):
        bit = int.from_bytes(choices[at : at + 4], "big") % (8 * len(data))
        data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def half(path: Path, muxer: str) -> None:
    """Write the first half of a clip's bytes."""
    whole = clip_bytes(muxer=muxer)
    path.write_bytes(whole[: len(whole) // 2])


def silent_film(path: Path) -> None:
    """Write a video without an audio stream."""
    encode(path, *picture(), *H264)


def encrypted(path: Path, *, more: tuple[str, ...] = ()) -> None:
    """Write a clip encrypted by Common Encryption (ISO/IEC 23001-7, scheme `cenc`)."""
    key = ("-encryption_key", "00112233445566778899aabbccddeeff", "-encryption_kid", "f0" * 16)
    clip(path, more=("-encryption_scheme", "cenc-aes-ctr", *key, *more))


def with_zip(path: Path) -> None:
    """Write a clip with a ZIP archive appended, which opens as either."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as container:
        container.writestr("readme.txt", "Both a film and an archive.\n")
    path.write_bytes(clip_bytes() + archive.getvalue())


def sparse(path: Path, *, head: bytes, size_bytes: int = FILM_BYTES) -> None:
    """Write `head` and then nothing up to `size_bytes`; the hole takes no room on the disk."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size_bytes)


def huge_png(pixels: int = COVER_PIXELS) -> bytes:
    """Return a black PNG of `pixels` by `pixels` in 24-bit colour, 768 MB once it is unpacked.

    Every row is the same, so one compressed row is repeated instead of compressing all of them.
    """
    row = bytes(1 + 3 * pixels)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    once = packer.compress(row) + packer.flush(zlib.Z_FULL_FLUSH)
    # Adler-32 of n zero bytes (RFC 1950): the low half stays 1, the high half counts the bytes.
    checksum = (len(row) * pixels % 65521) << 16 | 1
    packed = b"\x78\xda" + once * pixels + packer.flush() + checksum.to_bytes(4, "big")
    header = pixels.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, body) for kind, body in chunks)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def cover_bomb(path: Path) -> None:
    """Write an MP4 with a 16000x16000 picture as its cover, the way music players store one."""
    data = box(b"data", b"\0\0\0\x0e\0\0\0\0" + huge_png())  # 14: PNG
    handler = box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
    meta = box(b"meta", bytes(4) + handler + box(b"ilst", box(b"covr", data)))
    path.write_bytes(edit(clip_bytes(), (b"moov",), lambda moov: moov + box(b"udta", meta)))


def attachment_bomb(path: Path) -> None:
    """Write a Matroska with a 16000x16000 picture attached."""
    with tempfile.TemporaryDirectory() as folder:
        cover = Path(folder, "cover.png")
        cover.write_bytes(huge_png())
        attached = ("-attach", str(cover), "-metadata:s:t", "mimetype=image/png")
        clip(path, muxer="matroska", more=attached)


def hours(path: Path, *, of: float, muxer: str) -> None:
    """Write `of` hours of Opus silence in a few MB, by copying one encoded minute over and over.

    In Opus' longest frames: what such a file costs, here and wherever it is read, it costs by the packet.
    """
    with tempfile.TemporaryDirectory() as folder:
        silence = ("-f", "lavfi", "-i", f"anullsrc=r=48000:cl=mono:d={SECONDS_OF_A_LOOP}")
        opus = ("-c:a", "libopus", "-b:a", "6k", "-frame_duration", "120", "-vbr", "on", "-compression_level", "0")
        minute = encode(Path(folder, "minute.ogg"), *silence, *opus)
        loops = str(round(of * 3600 / SECONDS_OF_A_LOOP) - 1)
        encode(path, "-stream_loop", loops, "-i", minute, "-c", "copy", "-f", muxer)


def one_hour(path: Path) -> None:
    """Write an hour of silence in less than one MB."""
    encode(path, "-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono:d=3600", "-c:a", "flac", "-f", "matroska")


def hours_called_seconds(path: Path) -> None:
    """Write five hours of silence in a WebM that claims to last two seconds."""
    hours(path, of=5, muxer="webm")
    path.write_bytes(overwrite_after(path.read_bytes(), b"\x44\x89\x88", ">d", values=(2000.0,)))


def _flips() -> tuple[Sample, ...]:
    muxers = {"mp4": "mp4", "mkv": "matroska", "ts": "mpegts", "avi": "avi", "flv": "flv"}
    return tuple(
        sample(f"bit_flips_{seed}.{suffix}", partial(bit_flips, seed=seed, muxer=muxer), EITHER)
        for seed, (suffix, muxer) in zip(count(), muxers.items(), strict=False)
    )


def zero_samples(path: Path) -> None:
    """Write an initialization segment: tracks with everything but samples."""
    path.write_bytes(upto(clip_bytes(more=FRAGMENTED), b"moof"))


def moov_missing(path: Path) -> None:
    """Write the samples of a clip without the box that explains them."""
    path.write_bytes(without(clip_bytes(), b"moov"))


def mdat_cut(path: Path) -> None:
    """Write a clip whose tables are whole and whose second half of samples is missing."""
    path.write_bytes(halved(clip_bytes(more=FASTSTART), b"mdat"))


def sparse_film(path: Path) -> None:
    """Write a clip with a hole of 3 GB behind it."""
    sparse(path, head=clip_bytes())


def sparse_inside(path: Path) -> None:
    """Write a clip with a hole of 3 GB, wrapped in a box, between its samples and the moov they need."""
    film = clip_bytes()
    samples = upto(film, b"moov")
    with path.open("wb") as file:
        file.write(samples)
        file.write((16 + HOLE_BYTES).to_bytes(4, "big") + b"free")
        file.seek(len(samples) + 16 + HOLE_BYTES)
        file.write(film[len(samples) :])


DAMAGE: tuple[Sample, ...] = (
    sample("no_audio.mp4", silent_film, FAILED, reason="no_audio"),
    sample("zero_samples.mp4", zero_samples, FAILED, reason="no_audio"),
    sample("moov_missing.mp4", moov_missing, FAILED, reason="unreadable"),
    sample("mdat_cut.mp4", mdat_cut, FAILED, reason="truncated"),
    # moov stands at the end, so half a file has none.
    sample("half.mp4", partial(half, muxer="mp4"), FAILED, reason="unreadable"),
    # These declare no duration of the audio stream, or one that ffmpeg takes from the half that is there:
    # only a product that also trusts the container's can call them truncated.
    sample("half.mkv", partial(half, muxer="matroska"), EITHER),
    sample("half.flv", partial(half, muxer="flv"), EITHER),
    sample("half.ts", partial(half, muxer="mpegts"), EITHER),
    holding("random.mp4", noise(65536), FAILED, reason="unreadable"),
    holding("one_byte_binary.mp4", b"\xff", FAILED, reason="unreadable"),
    holding("one_byte_nul.mp4", b"\0", FAILED, reason="unreadable"),
    *_flips(),
    sample("encrypted.mp4", encrypted, FAILED, reason="encrypted"),
    # ffmpeg 5.1 writes fragments here that it can't read again ("saio atom found without saiz") and shows no
    # packet, so the only sign of encryption is the `enca` sample entry: encrypted, no_audio or unreadable.
    sample("encrypted_fragmented.mp4", partial(encrypted, more=FRAGMENTED), FAILED),
    sample("appended_zip.mp4", with_zip, SUCCEEDED, seconds=2.0),
    sample("sparse_film.mp4", sparse_film, SUCCEEDED, seconds=2.0),
    sample("sparse_box.mp4", sparse_inside, SUCCEEDED, seconds=2.0),
    sample("sparse.mp4", partial(sparse, head=b"", size_bytes=HOLE_BYTES), FAILED, reason="unreadable"),
    sample("cover_bomb.mp4", cover_bomb, SUCCEEDED, seconds=2.0),
    sample("cover_bomb.mkv", attachment_bomb, SUCCEEDED, seconds=2.0),
    # The longest conversion of the corpus: several seconds.
    sample("one_hour.mkv", one_hour, SUCCEEDED, seconds=3600.0),
    sample("five_hours.webm", partial(hours, of=5, muxer="webm"), FAILED, reason="too_long"),
    sample("six_hours.mp4", partial(hours, of=6, muxer="mp4"), FAILED, reason="too_long"),
    sample("five_hours_called_two_seconds.webm", hours_called_seconds, FAILED, reason="too_long"),
)
