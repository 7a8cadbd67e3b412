"""Blobs in MongoDB, as GridFS lays files out (bucket `fs`)."""

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from bson import ObjectId
from bson.codec_options import CodecOptions
from bson.int64 import Int64
from pymongo import MongoClient, ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.cursor import Cursor
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri

from functions.common.blobs import check_key, nothing
from functions.common.blobs.files import new_file
from functions.common.blobs.readers import reader
from functions.common.errors import BlobMissing, ServiceError, SettingError, StorageFull, Unavailable

_log = logging.getLogger(__name__)

Document = dict[str, Any]

#: First words of keys that have a database of their own, as systems of this kind have long had them. The list is
#: closed: an open one would let a key write into `admin`.
_DATABASES: Final = frozenset({"videos", "mp3s"})
_OTHERS: Final = "blobs"
#: How the keys of sources begin: with a job.
_SOURCE: Final = re.compile(r"videos/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/")
#: The chunk size of every GridFS driver.
_CHUNK_BYTES: Final = 255 * 1024
#: What is gathered before it is sent; pymongo's own GridIn gathers 48 MB for each open file.
_BATCH_BYTES: Final = 4 * 1024 * 1024
#: What a reader who goes straight on gets at once, in whole chunks.
_READ_AHEAD_BYTES: Final = 1024 * 1024
#: Chunks in a row that are asked for one by one before a reader counts as going straight on.
_SINGLY: Final = 3
_OUT_OF_DISK_SPACE: Final = 14031
#: Used where the URL does not say otherwise; the names are pymongo's.
_TIMEOUTS: Final = {"serverSelectionTimeoutMS": 5_000, "connectTimeoutMS": 5_000, "socketTimeoutMS": 20_000}
_OWN: Final = ("database_prefix=", "chunk_size_bytes=")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]{0,40}")
_INDEXES: Final = {
    "files": ({"filename": 1, "uploadDate": 1}, False),
    "chunks": ({"files_id": 1, "n": 1}, True),
}


class _Bucket(NamedTuple):
    files: Collection[Document]
    chunks: Collection[Document]
    #: One document per upload that was begun and not yet committed: its `_id` and the key as its `filename`.
    uploads: Collection[Document]

    def named(self, key: str) -> list[Document]:
        """The files of a key, the newest last."""
        return sorted(self.files.find({"filename": key}), key=lambda file: (file["uploadDate"], file["_id"]))

    def remove(self, file_id: object) -> None:
        """Remove a file, finished or not.

        Whatever names the chunks outlives them, so a removal that breaks off can be done again by key. A reader in
        between finds a chunk missing, which is an error and never other bytes. The upload's document goes before the
        file's: a commit at the same moment then either misses its own or makes a file that the last line takes.
        """
        self.chunks.delete_many({"files_id": file_id})
        self.uploads.delete_one({"_id": file_id})
        self.files.delete_one({"_id": file_id})


class GridFsBlobs:
    """Keeps each blob in a GridFS file whose `filename` is its key and whose `_id` is an ObjectId.

    `videos/...` is in the database `videos`, `mp3s/...` in `mp3s`, every other key in `blobs`. The chunks of an upload
    belong to no file before its commit, and a crash would leave them where nobody finds them. So a document in
    `fs.uploads` names id and key before the first chunk is written, and `delete` looks there too: files are found by
    reckoning their keys, and no store is ever listed. Where a key has several files, the newest counts.

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
    def create(self, key: str, *, file_name: str | None = None) -> Iterator["_Writer"]:  # noqa: ARG002 - no address
        """See Blobs.create."""
        bucket = self._bucket(key)
        with _translated():
            self._index(bucket)
        writer = _Writer(bucket, key, self._chunk_bytes)
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
        with _translated():
            file = bucket.files.find_one({"_id": ObjectId(file_id)})
        name = file.get("filename") if file is not None else None
        if file is None or (isinstance(name, str) and _SOURCE.match(name)):
            raise BlobMissing
        return (name if isinstance(name, str) else None), _Chunks(bucket, file).stream()

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
        with _translated():
            for document in [*bucket.named(key), *bucket.uploads.find({"filename": key})]:
                bucket.remove(document["_id"])

    def close(self) -> None:
        """See Blobs.close."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def _chunks(self, key: str) -> "_Chunks":
        bucket = self._bucket(key)
        return _Chunks(bucket, self._file(bucket, key))

    def _file(self, bucket: _Bucket, key: str) -> Document:
        with _translated():
            files = bucket.named(key)
        if not files:
            raise BlobMissing
        return files[-1]

    def _bucket(self, key: str) -> _Bucket:
        check_key(key)
        first, slash, _ = key.partition("/")
        return self._bucket_in(first if slash and first in _DATABASES else _OTHERS)

    def _bucket_in(self, name: str) -> _Bucket:
        with _translated():
            # Whatever the URL says: a blob that was committed survives the loss of a server, and is seen by the next
            # reader.
            database = self._client().get_database(
                f"{self._prefix}{name}",
                codec_options=CodecOptions(tz_aware=True),
                write_concern=WriteConcern("majority"),
                read_preference=ReadPreference.PRIMARY,
            )
        return _Bucket(database["fs.files"], database["fs.chunks"], database["fs.uploads"])

    def _client(self) -> MongoClient[Document]:
        with self._lock:
            if self._made is None:
                self._made = MongoClient(self._url, appname="video2mp3", **self._timeouts)
            return self._made

    def _index(self, bucket: _Bucket) -> None:
        name = bucket.files.database.name
        with self._lock:
            if name in self._indexed:
                return
            # Asked first: an index that another driver made may differ in its name, and is as good.
            for collection, (keys, unique) in zip((bucket.files, bucket.chunks), _INDEXES.values(), strict=True):
                if keys not in [dict(index["key"]) for index in collection.list_indexes()]:
                    collection.create_index(list(keys.items()), unique=unique)
            self._indexed.add(name)


class _Writer:
    def __init__(self, bucket: _Bucket, key: str, chunk_bytes: int) -> None:
        self._bucket = bucket
        self._key = key
        self._chunk_bytes = chunk_bytes
        self._batch_bytes = max(1, _BATCH_BYTES // chunk_bytes) * chunk_bytes
        self._id = ObjectId()
        self._gathered = bytearray()
        self._sent_chunks = 0
        self._length = 0
        self._begun = False
        self._committed = False

    def write(self, data: bytes) -> None:
        self._length += len(data)
        view = memoryview(data)
        while view:
            room = self._batch_bytes - len(self._gathered)
            self._gathered += view[:room]
            view = view[room:]
            if len(self._gathered) == self._batch_bytes:
                self._send()

    def commit(self) -> None:
        self._send()
        with _translated():
            earlier = self._bucket.named(self._key)
            self._begin()
            self._bucket.files.insert_one(self._file(earlier))
            stored = self._bucket.files.find_one({"_id": self._id})
            begun = self._bucket.uploads.delete_one({"_id": self._id}).deleted_count
        if stored is None or stored["length"] != self._length or not begun:
            raise Unavailable("The blob was deleted while it was written.", retry_after_seconds=30)
        self._committed = True
        # It is visible, and the newest counts: an earlier one that cannot be removed now goes when the key is deleted.
        with _logged("an earlier file could not be removed"):
            for file in earlier:
                self._bucket.remove(file["_id"])

    def close(self) -> None:
        if self._begun and not self._committed:
            # Whatever ended the block is what the caller has to see; the next delete of the key finds the rest.
            with _logged("an unfinished file could not be removed"):
                self._bucket.remove(self._id)

    def _file(self, earlier: list[Document]) -> Document:
        # The clocks of two writers may differ, and tick once a millisecond; the last to commit is the newest all the
        # same.
        moment = datetime.now(UTC)
        if earlier:
            moment = max(moment, earlier[-1]["uploadDate"] + timedelta(milliseconds=1))
        return {
            "_id": self._id,
            "filename": self._key,
            "length": Int64(self._length),
            "chunkSize": self._chunk_bytes,
            "uploadDate": moment,
        }

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._bucket.uploads.insert_one({"_id": self._id, "filename": self._key})

    def _send(self) -> None:
        if not self._gathered:
            return
        documents = [
            {
                "files_id": self._id,
                "n": self._sent_chunks + number,
                "data": bytes(self._gathered[begin : begin + self._chunk_bytes]),
            }
            for number, begin in enumerate(range(0, len(self._gathered), self._chunk_bytes))
        ]
        with _translated():
            self._begin()
            self._bucket.chunks.insert_many(documents)
        self._sent_chunks += len(documents)
        self._gathered.clear()


class _Chunks:
    """The chunks of one file, by number.

    A chunk that is asked for out of turn costs one query by equality, and nothing beyond it is fetched. A reader who
    goes straight on gets a cursor, a few chunks at a time.
    """

    def __init__(self, bucket: _Bucket, file: Mapping[str, Any]) -> None:
        self._collection = bucket.chunks
        self._id = file["_id"]
        self.length = int(file["length"])
        self.size = int(file["chunkSize"])
        self.count = -(-self.length // self.size)
        self._number = -1
        self._data = b""
        self._in_a_row = 0
        self._cursor: Cursor[Document] | None = None

    def __getitem__(self, number: int) -> bytes:
        if number != self._number:
            with _translated():
                document = self._following() if number == self._number + 1 else self._single(number)
            data = bytes(document["data"]) if document is not None else b""
            found = document["n"] if document is not None else None
            if found != number or len(data) != min(self.size, self.length - number * self.size):
                raise Unavailable("A part of the stored file is missing.", retry_after_seconds=30)
            self._number, self._data = number, data
        return self._data

    def read(self, offset: int, size: int) -> memoryview:
        """Bytes from an offset on, to the end of their chunk at most."""
        number, begin = divmod(offset, self.size)
        return memoryview(self[number])[begin : begin + size]

    def stream(self) -> BinaryIO:
        """The whole file as a stream, which closes this."""
        return reader(self.read, size_bytes=self.length, buffer_bytes=self.size, close=self.close)

    def close(self) -> None:
        if self._cursor is not None:
            with _logged("a cursor could not be closed"):
                self._cursor.close()
            self._cursor = None

    def _single(self, number: int) -> Document | None:
        self.close()
        self._in_a_row = 1
        return self._collection.find_one({"files_id": self._id, "n": number})

    def _following(self) -> Document | None:
        number = self._number + 1
        if self._cursor is None and self._in_a_row < _SINGLY:
            self._in_a_row += 1
            return self._collection.find_one({"files_id": self._id, "n": number})
        if self._cursor is None:
            rest = {"files_id": self._id, "n": {"$gte": number}}
            ahead = max(1, _READ_AHEAD_BYTES // self.size)
            self._cursor = self._collection.find(rest).sort("n", 1).batch_size(ahead)
        return next(self._cursor, None)


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


@contextmanager
def _logged(words: str) -> Iterator[None]:
    try:
        with _translated():
            yield
    except ServiceError:
        _log.warning(words, exc_info=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        if _OUT_OF_DISK_SPACE in _codes(error):
            raise StorageFull(retry_after_seconds=60) from error
        raise Unavailable(retry_after_seconds=30) from error


def _codes(error: PyMongoError) -> set[object]:
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        refused = [*details.get("writeErrors", ()), *details.get("writeConcernErrors", ())]
        return {each.get("code") for each in refused}
    return {error.code} if isinstance(error, OperationFailure) else set()
