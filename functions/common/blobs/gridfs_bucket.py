"""One GridFS bucket: its files, how one is written, and how its chunks are read."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Final, NamedTuple

from bson import ObjectId
from bson.int64 import Int64
from pymongo.collection import Collection
from pymongo.cursor import Cursor
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from functions.common.blobs.readers import reader
from functions.common.errors import ServiceError, StorageFull, Unavailable

_log = logging.getLogger(__name__)

Document = dict[str, Any]

#: What is gathered before it is sent; pymongo's own GridIn gathers 48 MB for each open file.
_BATCH_BYTES: Final = 4 * 1024 * 1024
#: What a reader who goes straight on gets at once, in whole chunks.
_READ_AHEAD_BYTES: Final = 1024 * 1024
#: Chunks in a row that are asked for one by one before a reader counts as going straight on.
_SINGLY: Final = 3
_OUT_OF_DISK_SPACE: Final = 14031


class Bucket(NamedTuple):
    """The collections of a bucket."""

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


class Writer:
    """Writes one file; see BlobWriter.

    Args:
        bucket: where it goes.
        key: its filename.
        chunk_bytes: the size of its chunks.
    """

    def __init__(self, bucket: Bucket, key: str, chunk_bytes: int) -> None:
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
        """See BlobWriter.write."""
        self._length += len(data)
        view = memoryview(data)
        while view:
            room = self._batch_bytes - len(self._gathered)
            self._gathered += view[:room]
            view = view[room:]
            if len(self._gathered) == self._batch_bytes:
                self._send()

    def commit(self) -> None:
        """See BlobWriter.commit; what the store reports must be as long as what was written."""
        self._send()
        with translated():
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
        """Remove what was not committed."""
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
        with translated():
            self._begin()
            self._bucket.chunks.insert_many(documents)
        self._sent_chunks += len(documents)
        self._gathered.clear()


class Chunks:
    """The chunks of one file, by number.

    A chunk that is asked for out of turn costs one query by equality, and nothing beyond it is fetched. A reader who
    goes straight on gets a cursor, a few chunks at a time.
    """

    def __init__(self, bucket: Bucket, file: Mapping[str, Any]) -> None:
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
            with translated():
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
        """Let go of a cursor."""
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


@contextmanager
def _logged(words: str) -> Iterator[None]:
    try:
        with translated():
            yield
    except ServiceError:
        _log.warning(words, exc_info=True)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what pymongo raises into errors of ours."""
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
