"""Blobs on real servers: our stores beside the bare client libraries, which copy the same file to the same server."""

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import obstore
from gridfs import GridFSBucket
from obstore.store import S3Store
from pymongo import MongoClient

from functions.common.blobs import Blobs, chunks, from_url
from local.measure.figures import Bound, Figure, compared, interleaved
from local.testservers.fleet import Fleet

_MIB: Final = 1024 * 1024
_LEAST: Final = Bound(0.80, at_most=False)
_KEY: Final = "videos/benchmark/0"
#: FerretDB, which stands for MongoDB here, cannot hand out larger ones to a bare driver.
_CHUNK_BYTES: Final = 128 * 1024


@dataclass(frozen=True)
class Side:
    """One way to copy a file to a server and back."""

    put: Callable[[Path], None]
    fetch: Callable[[Path], None]
    #: Remove what `put` stored; not measured.
    delete: Callable[[], None]


def measure(folder: Path, *, quick: bool, say: Callable[[str], None]) -> list[Figure]:
    """Compare throughput, up and down, on each server that runs.

    Args:
        folder: an empty folder to work in; needs twice the largest size.
        quick: whether to see only that it works.
        say: told what is going on.
    """
    urls = Fleet().urls()
    figures = []
    # FerretDB's own time grows faster than the file.
    for name, setting, sides, mebibytes in (("S3", "S3_URL", _s3, 512), ("GridFS", "MONGODB_URL", _gridfs, 48)):
        if setting not in urls:
            say(f"{name} is left out: its server does not run. local/services up starts it.")
            continue
        with sides(urls) as (ours, bare):
            figures += _compared(name, ours, bare, folder, 8 if quick else mebibytes, 2 if quick else 8, say)
    return figures


def _compared(
    name: str, ours: Side, bare: Side, folder: Path, mebibytes: int, repeats: int, say: Callable[[str], None]
) -> list[Figure]:
    source, target = folder / "source", folder / "target"
    with source.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(_MIB))

    def turn(side: Side) -> tuple[float, float]:
        put = _seconds(lambda: side.put(source))
        fetch = _seconds(lambda: side.fetch(target))
        if target.stat().st_size != mebibytes * _MIB:
            raise RuntimeError(f"{name}: {target.stat().st_size} bytes came back of {mebibytes} MiB")
        target.unlink()
        side.delete()
        return put, fetch

    # What a first copy loads and connects is not measured.
    turn(ours)
    turn(bare)
    pairs = []
    for one, other in interleaved(repeats, lambda: turn(ours), lambda: turn(bare)):
        pairs.append((one, other))
        say(f"{name}, pair {len(pairs)} of {repeats}: {one[0]:.2f} s beside {other[0]:.2f} s up")
    return [
        compared(
            f"{name}: {way} {mebibytes} MiB",
            "MiB/s",
            [(mebibytes / one[number], mebibytes / other[number]) for one, other in pairs],
            _LEAST,
        )
        for number, way in enumerate(("store", "fetch"))
    ]


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _ours(blobs: Blobs) -> Side:
    def put(path: Path) -> None:
        with path.open("rb") as stream, blobs.create(_KEY) as writer:
            for chunk in chunks(stream):
                writer.write(chunk)
            writer.commit()

    return Side(put, lambda path: blobs.fetch(_KEY, path), lambda: blobs.delete(_KEY))


@contextmanager
def _s3(urls: Mapping[str, str]) -> Iterator[tuple[Side, Side]]:
    prefix = f"benchmark-{secrets.token_hex(8)}"
    blobs = from_url(f"{urls['S3_URL']}/{prefix}", aws=urls)
    store = S3Store(
        urls["S3_URL"].removeprefix("s3://"),
        prefix=prefix,
        endpoint=urls["AWS_ENDPOINT_URL"],
        region=urls["AWS_REGION"],
        access_key_id=urls["AWS_ACCESS_KEY_ID"],
        secret_access_key=urls["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
    )

    def put(path: Path) -> None:
        with path.open("rb") as stream:
            obstore.put(store, _KEY, stream)

    def fetch(path: Path) -> None:
        with path.open("wb") as file:
            for chunk in obstore.get(store, _KEY).stream():
                file.write(chunk)

    yield _ours(blobs), Side(put, fetch, lambda: obstore.delete(store, _KEY))
    blobs.close()


@contextmanager
def _gridfs(urls: Mapping[str, str]) -> Iterator[tuple[Side, Side]]:
    prefix = f"benchmark-{secrets.token_hex(8)}-"
    blobs = from_url(f"{urls['MONGODB_URL']}?database_prefix={prefix}&chunk_size_bytes={_CHUNK_BYTES}", aws={})
    with MongoClient[dict[str, Any]](urls["MONGODB_URL"]) as client:
        bucket = GridFSBucket(client[f"{prefix}bare"], chunk_size_bytes=_CHUNK_BYTES)

        def put(path: Path) -> None:
            with path.open("rb") as stream:
                bucket.upload_from_stream(_KEY, stream)

        def fetch(path: Path) -> None:
            with path.open("wb") as file:
                bucket.download_to_stream_by_name(_KEY, file)

        def delete() -> None:
            for found in bucket.find({"filename": _KEY}):
                bucket.delete(found._id)

        try:
            yield _ours(blobs), Side(put, fetch, delete)
        finally:
            blobs.close()
            for name in ("bare", "videos"):
                client.drop_database(f"{prefix}{name}")
