"""Stores of blobs that are a test's own: in a directory, and on the real servers."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from xml.etree import ElementTree

import obstore
import requests
from obstore.store import S3Store
from pymongo import MongoClient

from functions.common.blobs import Blobs
from functions.common.blobs.directory import DirectoryBlobs
from functions.common.blobs.gridfs import GridFsBlobs
from functions.common.blobs.s3 import S3Blobs
from local.loadtest.stores import keys_below
from tests.support.held import HeldBlobs
from tests.support.servers import url, urls


@dataclass(frozen=True)
class Place:
    """Where blobs can be kept."""

    #: Makes a store; all stores of one place hold the same blobs.
    make: Callable[[], Blobs]
    #: One name for each blob, and for whatever is left of an unfinished one.
    everything: Callable[[], list[str]]


@contextmanager
def in_directory(folder: Path) -> Iterator[Place]:
    """A place in the file system."""
    yield Place(lambda: DirectoryBlobs(folder), lambda: keys_below(folder))


@contextmanager
def in_held_directory(folder: Path) -> Iterator[Place]:
    """The same, through the store that a test can make hang."""
    yield Place(lambda: HeldBlobs(DirectoryBlobs(folder)), lambda: keys_below(folder))


@dataclass(frozen=True)
class MongoPlace(Place):
    """A place in MongoDB."""

    #: What `BLOBS_URL` would say.
    url: str
    #: Opens one of its databases.
    database: Callable[[str], Any]


@contextmanager
def in_mongodb() -> Iterator[MongoPlace]:
    """Databases whose names begin with a prefix of the test's own; in small chunks, as FerretDB needs them."""
    prefix = f"test-{secrets.token_hex(8)}-"
    blobs_url = f"{url('MONGODB_URL')}?database_prefix={prefix}&chunk_size_bytes=131072"
    with MongoClient[dict[str, Any]](url("MONGODB_URL")) as client:

        def databases() -> list[str]:
            return [name for name in client.list_database_names() if name.startswith(prefix)]

        def everything() -> list[str]:
            found = set()
            for name in databases():
                for collection, field in (("fs.files", "_id"), ("fs.uploads", "_id"), ("fs.chunks", "files_id")):
                    found |= {f"{name}/{each[field]}" for each in client[name][collection].find({}, {field: 1})}
            return sorted(found)

        try:
            yield MongoPlace(
                lambda: GridFsBlobs(blobs_url), everything, blobs_url, lambda name: client[f"{prefix}{name}"]
            )
        finally:
            for name in databases():
                client.drop_database(name)


@dataclass(frozen=True)
class S3Place(Place):
    """A place in S3."""

    #: What `BLOBS_URL` would say.
    url: str
    #: The settings that go with it.
    aws: Mapping[str, str]


@contextmanager
def in_s3() -> Iterator[S3Place]:
    """A prefix of the test's own in the server's bucket."""
    bucket, prefix = url("S3_URL").removeprefix("s3://"), f"test-{secrets.token_hex(8)}"
    aws = {name: value for name, value in urls().items() if name.startswith("AWS_")}
    store = S3Store(
        bucket,
        prefix=prefix,
        endpoint=aws["AWS_ENDPOINT_URL"],
        region=aws["AWS_REGION"],
        access_key_id=aws["AWS_ACCESS_KEY_ID"],
        secret_access_key=aws["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
    )

    def objects() -> list[str]:
        return [found["path"] for batch in obstore.list(store) for found in batch]

    def everything() -> list[str]:
        return sorted([*objects(), *(f"unfinished {key}" for key in _unfinished(aws, bucket, prefix))])

    blobs_url = f"s3://{bucket}/{prefix}"
    try:
        yield S3Place(lambda: S3Blobs(blobs_url, aws), everything, blobs_url, aws)
    finally:
        for path in objects():
            obstore.delete(store, path)


_NOTHING: Final = hashlib.sha256(b"").hexdigest()


def _unfinished(aws: Mapping[str, str], bucket: str, prefix: str) -> list[str]:
    """Keys of the multipart uploads that were begun and neither finished nor given up, which obstore cannot list.

    Signed as `Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)` says.
    """
    endpoint, region = aws["AWS_ENDPOINT_URL"], aws["AWS_REGION"]
    now = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    headers = {"host": endpoint.partition("://")[2], "x-amz-content-sha256": _NOTHING, "x-amz-date": now}
    names, scope = ";".join(headers), f"{now[:8]}/{region}/s3/aws4_request"
    query = f"prefix={quote(prefix, safe='')}&uploads="
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"GET\n/{bucket}\n{query}\n{lines}\n{names}\n{_NOTHING}"
    signed = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{aws['AWS_SECRET_ACCESS_KEY']}".encode()
    for word in (*scope.split("/"), signed):
        key = hmac.digest(key, word.encode(), "sha256")
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={aws['AWS_ACCESS_KEY_ID']}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    )
    answer = requests.get(f"{endpoint}/{bucket}?{query}", headers=headers, timeout=10)
    answer.raise_for_status()
    # The server is the tests' own.
    tree = ElementTree.fromstring(answer.content)  # noqa: S314
    return [each.findtext("{*}Key", "") for each in tree.iterfind("{*}Upload")]
