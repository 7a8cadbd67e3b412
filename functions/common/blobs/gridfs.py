"""Blobs in MongoDB, as GridFS lays files out (bucket `fs`)."""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from bson import ObjectId
from bson.codec_options import CodecOptions
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from functions.common.blobs import check_key, nothing
from functions.common.blobs.files import new_file
from functions.common.blobs.gridfs_bucket import Bucket, Chunks, Document, Writer, translated
from functions.common.errors import BlobMissing, SettingError

#: Databases by the first words of keys, as systems of this kind have long had them; who may use those two needs no more
#: for waveforms. The list is closed: an open one would let a key write into `admin`.
_DATABASES: Final = {"videos": "videos", "mp3s": "mp3s", "waveforms": "mp3s"}
_OTHERS: Final = "blobs"
#: How the keys of sources begin: with a job.
_SOURCE: Final = re.compile(r"videos/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/")
#: The chunk size of every GridFS driver.
_CHUNK_BYTES: Final = 255 * 1024
#: Used where the URL does not say otherwise; the names are pymongo's.
_TIMEOUTS: Final = {"serverSelectionTimeoutMS": 5_000, "connectTimeoutMS": 5_000, "socketTimeoutMS": 20_000}
_OWN: Final = ("database_prefix=", "chunk_size_bytes=")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{0,40}")
_INDEXES: Final = {
    "files": ({"filename": 1, "uploadDate": 1}, False),
    "chunks": ({"files_id": 1, "n": 1}, True),
}


class GridFsBlobs:
    """Keeps each blob in a GridFS file whose `filename` is its key and whose `_id` is an ObjectId.

    `videos/...` is in the database `videos`, `mp3s/...` and `waveforms/...` in `mp3s`, every other key in `blobs`. The
    chunks of an upload belong to no file before its commit, and a crash would leave them where nobody finds them. So a
    document in `fs.uploads` names id and key before the first chunk is written, and `delete` looks there too: files are
    found by reckoning their keys, and no store is ever listed. Where a key has several files, the newest counts.

    Args:
        url: a MongoDB connection string (`mongodb:` or `mongodb+srv:`), with two options of ours besides MongoDB's:
            `database_prefix` goes before the databases' names, `chunk_size_bytes` replaces 255 KiB for new files. A
            database in its path is what pymongo takes it for: the one to log in to.

    Raises:
        SettingError: it is none; the message does not repeat it.
    """

    def __init__(self, url: str) -> None:
        self._url, own = _split(url)
        self._prefix = own.get("database_prefix", "")
        self._chunk_bytes = _chunk_bytes(own.get("chunk_size_bytes", ""))
        if not _PREFIX.fullmatch(self._prefix):
            raise SettingError("BLOBS_URL: database_prefix is up to 40 letters, digits, - and _")
        given = _options(self._url)
        self._timeouts: dict[str, Any] = {name: value for name, value in _TIMEOUTS.items() if name.lower() not in given}
        self._made: MongoClient[Document] | None = None
        self._indexed: set[str] = set()
        self._lock = threading.Lock()

    @contextmanager
    def create(self, key: str, *, file_name: str | None = None) -> Iterator["Writer"]:  # noqa: ARG002 - no address
        """See Blobs.create."""
        bucket = self._bucket(key)
        with translated():
            self._index(bucket)
        writer = Writer(bucket, key, self._chunk_bytes)
        try:
            yield writer
        finally:
            writer.close()

    def open(self, key: str) -> BinaryIO:
        """See Blobs.open."""
        return self._chunks(key).stream()

    def open_video(self, file_id: str) -> tuple[str | None, BinaryIO]:
        """Open a file of the database `videos` that another system put there; give its name as well, if it has one.

        Args:
            file_id: its `_id`, an ObjectId as 24 digits of hex.

        Raises:
            BlobMissing: there is none, or it is a blob of ours, which is nobody else's to name.
        """
        bucket = self._bucket_in("videos")
        with translated():
            file = bucket.files.find_one({"_id": ObjectId(file_id)})
        name = file.get("filename") if file is not None else None
        if file is None or (isinstance(name, str) and _SOURCE.match(name)):
            raise BlobMissing
        return (name if isinstance(name, str) else None), Chunks(bucket, file).stream()

    def file_id(self, key: str) -> str:
        """The `_id` of the file that holds a blob, as 24 digits of hex.

        Raises:
            BlobMissing: there is no such blob.
        """
        return str(self._file(self._bucket(key), key)["_id"])

    def fetch(self, key: str, path: Path, *, check: Callable[[], None] = nothing) -> None:
        """See Blobs.fetch."""
        chunks = self._chunks(key)
        try:
            with new_file(path) as file:
                for number in range(chunks.count):
                    check()
                    file.write(chunks[number])
        finally:
            chunks.close()

    def address(self, key: str, *, seconds: int) -> str | None:  # noqa: ARG002 - there is none
        """See Blobs.address."""
        check_key(key)
        return None

    def delete(self, key: str) -> None:
        """See Blobs.delete; what a crashed upload of this key left goes as well."""
        bucket = self._bucket(key)
        with translated():
            for document in [*bucket.named(key), *bucket.uploads.find({"filename": key})]:
                bucket.remove(document["_id"])

    def close(self) -> None:
        """See Blobs.close."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def _chunks(self, key: str) -> "Chunks":
        bucket = self._bucket(key)
        return Chunks(bucket, self._file(bucket, key))

    def _file(self, bucket: Bucket, key: str) -> Document:
        with translated():
            files = bucket.named(key)
        if not files:
            raise BlobMissing
        return files[-1]

    def _bucket(self, key: str) -> Bucket:
        check_key(key)
        first, slash, _ = key.partition("/")
        return self._bucket_in(_DATABASES.get(first, _OTHERS) if slash else _OTHERS)

    def _bucket_in(self, name: str) -> Bucket:
        with translated():
            # Whatever the URL says: a blob that was committed survives the loss of a server, and is seen by the next
            # reader.
            database = self._client().get_database(
                f"{self._prefix}{name}",
                codec_options=CodecOptions(tz_aware=True),
                write_concern=WriteConcern("majority"),
                read_preference=ReadPreference.PRIMARY,
            )
        return Bucket(database["fs.files"], database["fs.chunks"], database["fs.uploads"])

    def _client(self) -> MongoClient[Document]:
        with self._lock:
            if self._made is None:
                self._made = MongoClient(self._url, appname="video2mp3", **self._timeouts)
            return self._made

    def _index(self, bucket: Bucket) -> None:
        name = bucket.files.database.name
        with self._lock:
            if name in self._indexed:
                return
            # Asked first: an index that another driver made may differ in its name, and is as good.
            for collection, (keys, unique) in zip((bucket.files, bucket.chunks), _INDEXES.values(), strict=True):
                if keys not in [dict(index["key"]) for index in collection.list_indexes()]:
                    collection.create_index(list(keys.items()), unique=unique)
            self._indexed.add(name)


def _split(url: str) -> tuple[str, dict[str, str]]:
    """Take our own options out of a connection string."""
    base, _, query = url.partition("?")
    options = [option for option in query.split("&") if option]
    own = dict(option.partition("=")[::2] for option in options if option.startswith(_OWN))
    rest = "&".join(option for option in options if not option.startswith(_OWN))
    return (f"{base}?{rest}" if rest else base), own


def _chunk_bytes(text: str) -> int:
    if not text:
        return _CHUNK_BYTES
    # A document, which holds a chunk, has at most 16 MiB.
    if not re.fullmatch(r"[0-9]{4,8}", text) or not 1024 <= int(text) <= 8 * 1024 * 1024:
        raise SettingError("BLOBS_URL: chunk_size_bytes is a number from 1024 to 8388608")
    return int(text)


def _options(url: str) -> Mapping[str, object]:
    """The options that a connection string gives, by their names in lower case."""
    try:
        # As if it were no mongodb+srv:, whose hosts would be asked for at once.
        parsed = parse_uri(url.replace("mongodb+srv:", "mongodb:", 1), warn=False)
    except (PyMongoError, ValueError):
        # The parser's words may repeat a part of the URL, which holds a password.
        raise SettingError("BLOBS_URL is not a MongoDB connection string") from None
    return {name.lower(): value for name, value in parsed["options"].items()}
