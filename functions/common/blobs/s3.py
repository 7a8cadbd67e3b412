"""Blobs in a bucket of Amazon S3, or of another server that speaks its protocol."""

import mimetypes
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, BinaryIO, Final, cast
from urllib.parse import SplitResult, quote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from functions.common.blobs import check_key, nothing
from functions.common.blobs.files import new_file
from functions.common.blobs.readers import reader
from functions.common.errors import BlobMissing, SettingError, StorageFull, Unavailable

if TYPE_CHECKING:
    from obstore import Attributes, ObjectMeta
    from obstore.store import ClientConfig, RetryConfig, S3Config

#: The smallest part that S3 takes. It takes 10,000 of them, so a blob may have 48 GiB.
_PART_BYTES: Final = 5 * 1024 * 1024
#: Parts of one blob that are on their way at once.
_PARTS_AT_ONCE: Final = 2
#: What a reader asks for at least.
_BUFFER_BYTES: Final = 64 * 1024
#: What a reader who goes straight on gets at once.
_READ_AHEAD_BYTES: Final = 1024 * 1024
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
#: What S3, MinIO, Ceph and versitygw answer where there is no room.
_FULL: Final = re.compile(r"<Code>(EntityTooLarge|QuotaExceeded|XMinio\w*(Full|QuotaExceeded))</Code>|status code: 507")
#: Settings of AWS's own names that are handed on; obstore looks for the rest of them in the environment itself.
_SETTINGS: Final = frozenset(
    f"AWS_{name}"
    for name in (
        *("REGION", "DEFAULT_REGION", "ENDPOINT_URL", "ENDPOINT_URL_S3", "VIRTUAL_HOSTED_STYLE_REQUEST"),
        *("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"),
        *("WEB_IDENTITY_TOKEN_FILE", "ROLE_ARN", "ROLE_SESSION_NAME", "ENDPOINT_URL_STS"),
        *("CONTAINER_CREDENTIALS_RELATIVE_URI", "CONTAINER_CREDENTIALS_FULL_URI"),
        "CONTAINER_AUTHORIZATION_TOKEN_FILE",
        *("SERVER_SIDE_ENCRYPTION", "SSE_KMS_KEY_ID", "SSE_BUCKET_KEY_ENABLED"),
    )
)
_RETRY: "Final[RetryConfig]" = {
    "max_retries": 3,
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2},
    "retry_timeout": timedelta(seconds=30),
}


class S3Blobs:
    """Keeps each blob in an object named like its key, below the URL's prefix.

    An object appears whole or not at all, and S3 checks each part by its SHA-256. A crash in the middle of an upload
    leaves parts that no object shows and that cannot be deleted by key: the bucket needs a lifecycle rule that ends
    unfinished multipart uploads.

    Args:
        url: `s3://bucket` or `s3://bucket/a/prefix`.
        settings: endpoint, region and credentials under AWS's own names (`AWS_...`); others are passed over.

    Raises:
        SettingError: the URL or the endpoint is none.
    """

    def __init__(self, url: str, settings: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        if not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
            raise SettingError("BLOBS_URL must be s3://a-bucket or s3://a-bucket/a/prefix")
        self._bucket = parts.netloc
        self._prefix = _prefix(parts)
        self._settings = {name: value for name, value in settings.items() if name in _SETTINGS}
        for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_PUBLIC"):
            if name in settings and not re.match(r"https?://[^/]", settings[name]):
                raise SettingError(f"{name} must begin with http:// or https://")
        self._endpoint = settings.get("AWS_ENDPOINT_URL_S3") or settings.get("AWS_ENDPOINT_URL", "")
        # Not a name of Amazon's: a signature covers the host, and clients may know the store by another one than we do.
        self._public = settings.get("AWS_ENDPOINT_URL_PUBLIC") or self._endpoint
        self._made: dict[str, S3Store] = {}
        self._lock = threading.Lock()

    @contextmanager
    def create(self, key: str, *, file_name: str | None = None) -> Iterator["_Writer"]:
        """See Blobs.create; the file name, and the type that it tells, are kept with the object."""
        check_key(key)
        writer = _Writer(self._store(), key, _attributes(file_name) if file_name else None)
        try:
            yield writer
        finally:
            writer.close()

    def open(self, key: str) -> BinaryIO:
        """See Blobs.open; a blob that is replaced or deleted meanwhile fails the reader."""
        check_key(key)
        store = self._store()
        try:
            with _translated():
                found = _Object(store, key, obstore.head(store, key))
        except BlobMissing:
            # An answer to HEAD has no body that could tell a missing object from a missing bucket.
            with _translated():
                found = _Object(store, key, obstore.get(store, key).meta)
        return reader(found.read, size_bytes=found.size, buffer_bytes=_BUFFER_BYTES)

    def fetch(self, key: str, path: Path, *, check: Callable[[], None] = nothing) -> None:
        """See Blobs.fetch."""
        check_key(key)
        with _translated():
            found = obstore.get(self._store(), key)
            stream = iter(found.stream(_READ_AHEAD_BYTES))
        missing = found.meta["size"]
        with new_file(path) as file:
            while missing > 0:
                check()
                with _translated():
                    piece = next(stream, b"")
                if not piece:
                    raise Unavailable("The stored file breaks off.", retry_after_seconds=30)
                file.write(piece)
                missing -= len(piece)

    def address(self, key: str, *, seconds: int) -> str | None:
        """See Blobs.address: signed with the settings' own credentials, for the host that clients know the store by."""
        check_key(key)
        with _translated():
            return obstore.sign(self._store(self._public), "GET", key, timedelta(seconds=seconds))

    def delete(self, key: str) -> None:
        """See Blobs.delete."""
        check_key(key)
        with suppress(BlobMissing), _translated():
            obstore.delete(self._store(), key)

    def close(self) -> None:
        """See Blobs.close; obstore's connections go with their store."""
        with self._lock:
            self._made.clear()

    def _store(self, endpoint: str | None = None) -> S3Store:
        chosen = self._endpoint if endpoint is None else endpoint
        with self._lock:
            if chosen not in self._made:
                self._made[chosen] = self._make(chosen)
            return self._made[chosen]

    def _make(self, endpoint: str) -> S3Store:
        config = {name.lower(): value for name, value in self._settings.items()}
        if endpoint:
            # Of the two names the one that goes first, in the environment too.
            config["aws_endpoint_url_s3"] = endpoint
        # Other servers than Amazon's know the bucket by the path; a name with a dot fits no certificate of Amazon's.
        by_host = not endpoint and "." not in self._bucket
        config.setdefault("aws_virtual_hosted_style_request", str(by_host).lower())
        # Not every server knows the request that deletes many at once, and one is all that is deleted here.
        config["aws_disable_bulk_delete"] = "true"
        client: ClientConfig = {
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": "5s",
            "read_timeout": "30s",
            # Of a whole answer: longer than any request of a function may take.
            "timeout": "600s",
        }
        try:
            return S3Store(
                self._bucket,
                prefix=self._prefix or None,
                # The type lists only some of the spellings that are taken, and these are the environment's.
                config=cast("S3Config", config),
                client_options=client,
                retry_config=_RETRY,
            )
        except BaseError as error:
            raise SettingError("the AWS_... settings do not fit together") from error


class _Writer:
    """Sends a small blob at its commit, a larger one part by part."""

    def __init__(self, store: S3Store, key: str, attributes: "Attributes | None") -> None:
        self._store = store
        self._key = key
        self._attributes = attributes
        self._gathered = bytearray()
        self._length = 0
        self._upload: _Upload | None = None

    def write(self, data: bytes) -> None:
        self._length += len(data)
        view = memoryview(data)
        while view:
            room = _PART_BYTES - len(self._gathered)
            self._gathered += view[:room]
            view = view[room:]
            if len(self._gathered) == _PART_BYTES:
                if self._upload is None:
                    self._upload = _Upload(self._store, self._key, self._attributes)
                self._hand_over(self._upload)

    def commit(self) -> None:
        if self._upload is None:
            with _translated():
                data = bytes(self._gathered)
                obstore.put(self._store, self._key, data, attributes=self._attributes, use_multipart=False)
        else:
            if self._gathered:
                self._hand_over(self._upload)
            with _translated():
                self._upload.finish()
        try:
            with _translated():
                length = obstore.head(self._store, self._key)["size"]
        except BlobMissing:
            length = -1
        if length != self._length:
            raise Unavailable("The blob was deleted or replaced while it was written.", retry_after_seconds=30)

    def close(self) -> None:
        if self._upload is not None:
            self._upload.stop()

    def _hand_over(self, upload: "_Upload") -> None:
        with _translated():
            upload.add(bytes(self._gathered))
        self._gathered.clear()


class _Stopped(Exception):
    """The writer gave up."""


class _Upload:
    """A multipart upload that a thread of its own draws parts for: obstore wants to be the one that asks."""

    def __init__(self, store: S3Store, key: str, attributes: "Attributes | None") -> None:
        self._store = store
        self._key = key
        self._attributes = attributes
        #: One part waits while others are on their way; None is the end.
        self._parts: Queue[bytes | None] = Queue(1)
        self._ended = False
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="s3-upload", daemon=True)
        self._thread.start()

    def add(self, part: bytes) -> None:
        """Hand over a part; blocks while the one before it waits."""
        self._check()
        self._parts.put(part)

    def finish(self) -> None:
        """Wait until the object is there."""
        self._check()
        self._end()
        self._check()

    def stop(self) -> None:
        """Give up what was not finished; what was sent of it is taken back."""
        self._stopped = True
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._parts.put(None)
            self._thread.join()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        parts = self._drawn()
        try:
            obstore.put(
                self._store,
                self._key,
                parts,
                attributes=self._attributes,
                use_multipart=True,
                chunk_size=_PART_BYTES,
                max_concurrency=_PARTS_AT_ONCE,
            )
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that writes
            self._error = error
            # So that nobody waits for a place in the queue: what comes now is thrown away.
            with suppress(_Stopped):
                for _ in self._drawn():
                    pass

    def _drawn(self) -> Iterator[bytes]:
        while (part := self._parts.get()) is not None:
            yield part
        self._parts.put(None)
        if self._stopped:
            # An error, and only that, makes obstore end the upload on the server, too.
            raise _Stopped


class _Object:
    """One version of an object: every range of it is asked for by its ETag."""

    def __init__(self, store: S3Store, key: str, meta: "ObjectMeta") -> None:
        self._store = store
        self._key = key
        self._e_tag = meta["e_tag"]
        self.size = meta["size"]
        self._begin = 0
        self._block = memoryview(b"")

    def read(self, offset: int, size: int) -> memoryview:
        """Bytes from an offset on, at most so many."""
        begin = offset - self._begin
        if not 0 <= begin < len(self._block):
            # A reader who comes back for what follows will want more of it.
            goes_on = begin == len(self._block) > 0
            wanted = max(size, _READ_AHEAD_BYTES) if goes_on else size
            self._block = self._range(offset, min(self.size, offset + wanted))
            self._begin, begin = offset, 0
        return self._block[begin : begin + size]

    def _range(self, begin: int, end: int) -> memoryview:
        with _translated():
            got = obstore.get(self._store, self._key, options={"range": (begin, end), "if_match": self._e_tag})
            data = memoryview(got.bytes())
        if len(data) != end - begin:
            raise Unavailable("The stored file breaks off.", retry_after_seconds=30)
        return data


def _attributes(file_name: str) -> "Attributes":
    # Stored, since obstore signs no query of ours (response-content-disposition). A library that does would either know
    # keys alone, and none of the roles and tokens that obstore finds itself, or weigh 16 MB, as botocore does.
    return {
        "Content-Disposition": _disposition(file_name),
        "Content-Type": mimetypes.guess_type(file_name)[0] or "application/octet-stream",
    }


def _disposition(file_name: str) -> str:
    """Content-Disposition with the name, and one that old programs take instead (RFC 6266, section 4.3, appendix D)."""
    ascii_name = unicodedata.normalize("NFKD", file_name).encode("ascii", "ignore").decode()
    # Neither what quotes nor what needs quoting; and a run of spaces would be signed as one.
    simple = re.sub(r'[^ -~]|["\\%/]', "_", " ".join(ascii_name.split()))
    if simple.startswith("."):
        simple = f"download{simple}"
    return f"attachment; filename=\"{simple}\"; filename*=UTF-8''{quote(file_name, safe='', errors='replace')}"


def _prefix(parts: SplitResult) -> str:
    prefix = parts.path.strip("/")
    if prefix:
        try:
            check_key(prefix)
        except ValueError as error:
            raise SettingError("BLOBS_URL: the prefix is made of words like a key's") from error
    return prefix


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if "<Code>NoSuchBucket</Code>" in str(error):
            raise Unavailable(retry_after_seconds=30) from error
        raise BlobMissing from error
    except BaseError as error:
        if _FULL.search(str(error)):
            raise StorageFull(retry_after_seconds=60) from error
        raise Unavailable(retry_after_seconds=30) from error
