"""The store of sources and results: one suite for the interface, on every backend."""

import hashlib
import io
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import requests

from functions.common.blobs import Blobs, chunks, from_url
from functions.common.blobs.directory import DirectoryBlobs
from functions.common.blobs.gridfs import GridFsBlobs
from functions.common.blobs.s3 import S3Blobs
from functions.common.errors import BlobMissing, ServiceError, SettingError, StorageFull, Unavailable
from local.loadtest.stores import keys_below
from tests.support.stores import Place, in_directory, in_held_directory, in_mongodb, in_s3

ROOT: Final = Path(__file__).parents[2]
KEY: Final = "mp3s/01890a5d-ac96-774b-bcce-b302099a8057/1"
OTHER: Final = "mp3s/01890a5d-ac96-774b-bcce-b302099a8057/2"
LARGE: Final = hashlib.shake_128(b"blob").digest(8 * 1024 * 1024)


#: One line per backend.
BACKENDS: Final[Mapping[str, Callable[[Path], AbstractContextManager[Place]]]] = {
    "directory": in_directory,
    "held": in_held_directory,
    "gridfs": lambda _folder: in_mongodb(),
    "s3": lambda _folder: in_s3(),
}


@dataclass(frozen=True)
class Store:
    """A store that is being tested."""

    blobs: Blobs
    #: A second one on the same blobs, as another process has it.
    again: Blobs
    everything: Callable[[], list[str]]
    #: How often threads that race do so.
    turns: int

    def put(self, key: str, data: bytes, *, size: int = 1024 * 1024) -> None:
        """Store a blob in pieces of a size."""
        with self.blobs.create(key) as writer:
            for chunk in chunks(io.BytesIO(data), size=size):
                writer.write(chunk)
            writer.commit()

    def get(self, key: str) -> bytes:
        """A blob's bytes, as another process reads them."""
        with self.again.open(key) as stream:
            return stream.read()


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each backend."""
    with BACKENDS[request.param](tmp_path / "blobs") as place:
        turns = 8 if request.param in ("gridfs", "s3") else 40
        made = Store(place.make(), place.make(), place.everything, turns)
        yield made
        made.blobs.close()
        made.again.close()


def test_round_trip(store: Store) -> None:
    """What was committed is read back."""
    store.put(KEY, b"ID3 and so on")
    assert store.get(KEY) == b"ID3 and so on"
    assert len(store.everything()) == 1


def test_empty_blob(store: Store) -> None:
    """A blob without bytes is a blob."""
    store.put(KEY, b"")
    assert store.get(KEY) == b""


@pytest.mark.parametrize("size", [65_536, 99_991, 1024 * 1024, 8 * 1024 * 1024])
def test_large_blob(store: Store, size: int) -> None:
    """Eight mebibytes come back whole whatever the sizes of the pieces they were handed over in."""
    store.put(KEY, LARGE, size=size)
    assert hashlib.sha256(store.get(KEY)).digest() == hashlib.sha256(LARGE).digest()


def test_pieces_of_odd_sizes(store: Store) -> None:
    """Empty, tiny and large pieces are joined in their order."""
    sizes = [0, 1, 2, 3, 4095, 4096, 4097, 0, 262_143, 262_144, 262_145, 1_000_003, 7]
    with store.blobs.create(KEY) as writer:
        position = 0
        for size in sizes:
            writer.write(LARGE[position : position + size])
            position += size
        writer.commit()
    assert store.get(KEY) == LARGE[: sum(sizes)]


def test_short_pieces(store: Store) -> None:
    """A source that comes in small pieces, as a slow connection hands it over, is stored to its end."""
    store.put(KEY, LARGE[:1_234_567], size=1000)
    assert store.get(KEY) == LARGE[:1_234_567]


def test_nobody_sees_what_is_not_committed(store: Store) -> None:
    """Until its commit a blob does not exist, however much of it is written."""
    with store.blobs.create(KEY) as writer:
        writer.write(LARGE)
        with pytest.raises(BlobMissing):
            store.again.open(KEY)
        writer.commit()
        assert store.get(KEY) == LARGE


@pytest.mark.parametrize("data", [b"", b"abc", LARGE], ids=["nothing", "little", "much"])
def test_leaving_without_commit(store: Store, data: bytes) -> None:
    """A block that is left without a commit leaves nothing behind, not even a part under another name."""
    with store.blobs.create(KEY) as writer:
        writer.write(data)
    with pytest.raises(BlobMissing):
        store.again.open(KEY)
    assert store.everything() == []


def test_leaving_by_an_error(store: Store) -> None:
    """An error in the block passes through, leaves nothing, and leaves an earlier blob as it was."""
    store.put(OTHER, b"earlier")

    def fail(key: str) -> None:
        with store.blobs.create(key) as writer:
            writer.write(LARGE)
            raise KeyError("boom")

    before = store.everything()
    for key in (KEY, OTHER):
        with pytest.raises(KeyError, match="boom"):
            fail(key)
    assert store.get(OTHER) == b"earlier"
    assert store.everything() == before


def test_an_error_after_the_commit(store: Store) -> None:
    """What was committed stays, whatever happens afterwards in the block."""

    def fail() -> None:
        with store.blobs.create(KEY) as writer:
            writer.write(b"abc")
            writer.commit()
            raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        fail()
    assert store.get(KEY) == b"abc"


def test_commit_replaces(store: Store) -> None:
    """A second commit of a key replaces the first whole, be it shorter or longer."""
    for data in (b"a" * 100_000, b"b" * 10, b"", b"c" * 1000):
        store.put(KEY, data)
        assert store.get(KEY) == data
    assert len(store.everything()) == 1


def test_seek_and_ranges(store: Store) -> None:
    """A reader gets any part that it asks for, forwards and backwards, and knows where it is."""
    store.put(KEY, LARGE)
    with store.again.open(KEY) as stream:
        assert stream.seekable()
        assert stream.readable()
        assert stream.seek(0, os.SEEK_END) == len(LARGE)
        assert stream.read() == b""
        for begin, size in ((5_000_000, 1000), (0, 1), (len(LARGE) - 3, 100), (261_000, 3_000_000)):
            assert stream.seek(begin) == begin
            assert stream.read(size) == LARGE[begin : begin + size]
            assert stream.tell() == min(begin + size, len(LARGE))
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == LARGE[-10:]
        stream.seek(100)
        stream.seek(-50, os.SEEK_CUR)
        assert stream.read(4) == LARGE[50:54]


def test_chunks_of_a_blob(store: Store) -> None:
    """Reading to the end in pieces gives every byte once."""
    store.put(KEY, LARGE[:2_500_000])
    with store.again.open(KEY) as stream:
        parts = list(chunks(stream))
    assert [len(part) for part in parts] == [1_048_576, 1_048_576, 402_848]
    assert b"".join(parts) == LARGE[:2_500_000]


def test_missing(store: Store, tmp_path: Path) -> None:
    """What is not there cannot be opened or fetched, and no file appears for it."""
    target = tmp_path / "fetched"
    for key in (KEY, "never", "a/b/c"):
        with pytest.raises(BlobMissing):
            store.blobs.open(key)
        with pytest.raises(BlobMissing):
            store.blobs.fetch(key, target)
    assert not target.exists()


def test_delete(store: Store) -> None:
    """A deleted blob is gone, its neighbours are not, and deleting it again does no harm."""
    store.put(KEY, b"one")
    store.put(OTHER, b"two")
    for _ in range(3):
        store.blobs.delete(KEY)
        with pytest.raises(BlobMissing):
            store.again.open(KEY)
    assert store.get(OTHER) == b"two"
    store.blobs.delete(OTHER)
    assert store.everything() == []


def test_delete_of_what_never_was(store: Store) -> None:
    """Deleting from an empty store, too, is no error, and the store works afterwards."""
    store.blobs.delete(KEY)
    store.blobs.delete("never")
    store.put(KEY, b"x")
    assert store.get(KEY) == b"x"


def test_a_key_can_be_used_again(store: Store) -> None:
    """After a deletion the key is as good as new."""
    for data in (b"first", b"second"):
        store.put(KEY, data)
        assert store.get(KEY) == data
        store.blobs.delete(KEY)


def test_use_after_close(store: Store) -> None:
    """A store that was closed connects again when it is used."""
    store.put(KEY, b"abc")
    store.again.close()
    assert store.get(KEY) == b"abc"


def rest_of(stream: io.BufferedIOBase) -> bytes | None:
    """What is left of a stream, or None if reading it fails."""
    try:
        return stream.read()
    except (ServiceError, OSError):
        return None


@pytest.mark.parametrize("change", ["delete", "replace"])
def test_reader_in_the_middle_of_a_change(store: Store, change: str) -> None:
    """A reader goes on with the bytes of what it opened, or fails, but never gets others."""
    store.put(KEY, LARGE)
    with store.again.open(KEY) as stream:
        assert stream.read(1_000_000) == LARGE[:1_000_000]
        if change == "delete":
            store.blobs.delete(KEY)
        else:
            store.put(KEY, bytes(len(LARGE)))
        assert rest_of(stream) in (LARGE[1_000_000:], None)  # type: ignore[arg-type]  # a BinaryIO is one


def test_fetch(store: Store, tmp_path: Path) -> None:
    """A fetched blob has the same bytes under the given path, and stays when the blob goes."""
    store.put(KEY, LARGE)
    target = tmp_path / "fetched"
    store.again.fetch(KEY, target)
    assert target.read_bytes() == LARGE
    store.blobs.delete(KEY)
    assert target.read_bytes() == LARGE


def test_an_address_is_the_bytes_and_their_name(store: Store) -> None:
    """Where a store has addresses, one gives the blob under the file name that it was stored with."""
    with store.blobs.create(KEY, file_name="an MP3.mp3") as writer:
        writer.write(b"ID3 and so on")
        writer.commit()
    assert store.get(KEY) == b"ID3 and so on"
    address = store.again.address(KEY, seconds=60)
    if address is not None:
        answer = requests.get(address, timeout=30)
        assert answer.content == b"ID3 and so on"
        assert 'filename="an MP3.mp3"' in answer.headers["Content-Disposition"]


def test_a_fetched_file_may_be_removed(store: Store, tmp_path: Path) -> None:
    """Removing the fetched file leaves the blob alone, and it can be fetched again."""
    store.put(KEY, b"abc")
    target = tmp_path / "fetched"
    for _ in range(2):
        store.blobs.fetch(KEY, target)
        target.unlink()
    assert store.get(KEY) == b"abc"


def test_a_replaced_blob_leaves_what_was_fetched(store: Store, tmp_path: Path) -> None:
    """A new blob of the same key does not write into files that were fetched before."""
    store.put(KEY, b"first")
    store.blobs.fetch(KEY, tmp_path / "fetched")
    store.put(KEY, b"second")
    assert (tmp_path / "fetched").read_bytes() == b"first"


def test_fetch_to_a_folder_that_is_not_there(store: Store, tmp_path: Path) -> None:
    """Where the target's folder is missing, the blob is not called missing: a job would be failed for it."""
    store.put(KEY, b"abc")
    with pytest.raises((ServiceError, OSError)) as caught:
        store.blobs.fetch(KEY, tmp_path / "gone" / "fetched")
    assert not isinstance(caught.value, BlobMissing)


WRONG_KEYS: Final = (
    *("", "/", "/abs", "/etc/passwd", "../x", "..", "a/../b", "a/..", ".", "./a", "a/./b"),
    *(".hidden", "a/.hidden", ".incoming/x", "a//b", "a/", "//a", "a\\b", "..\\x"),
    *("a\0b", "\0", "a\n", "a\nb", "a b", " a", "a:b", "a*", "%2e%2e/x", "~", "a?b", "ä", "日本", "a\u202eb"),
    *("a" * 129, "a" * 300, "x/" + "a" * 10_000),
)


@pytest.mark.parametrize("key", WRONG_KEYS, ids=lambda key: repr(key[:20]))
def test_keys_that_are_none(store: Store, tmp_path: Path, key: str) -> None:
    """A key that could lead elsewhere is refused by every method, and nothing is written or removed for it."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="key"), store.blobs.create(key) as writer:
        writer.commit()
    with pytest.raises(ValueError, match="key"):
        store.blobs.open(key)
    with pytest.raises(ValueError, match="key"):
        store.blobs.fetch(key, tmp_path / "fetched")
    with pytest.raises(ValueError, match="key"):
        store.blobs.address(key, seconds=60)
    with pytest.raises(ValueError, match="key"):
        store.blobs.delete(key)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("key", ["a", "a/b/c/d", "A-Z_0.9/x..y", "-", "_", "a" * 128, "0/1"])
def test_keys_that_are_some(store: Store, key: str) -> None:
    """Words of letters, digits, and -_. inside, joined by slashes, are keys."""
    store.put(key, b"x")
    assert store.get(key) == b"x"


def test_two_writers_to_one_key(store: Store) -> None:
    """Two blobs of one key that are written at once do not mix; the last to commit stands."""
    with store.blobs.create(KEY) as first, store.again.create(KEY) as second:
        for _ in range(10):
            first.write(b"1" * 10_000)
            second.write(b"2" * 9_000)
        second.commit()
        assert store.get(KEY) == b"2" * 90_000
        first.commit()
    assert store.get(KEY) == b"1" * 100_000
    assert len(store.everything()) == 1


def test_one_of_two_writers_gives_up(store: Store) -> None:
    """A writer that leaves without commit does not take the other's blob with it."""
    with store.blobs.create(KEY) as first:
        first.write(b"1")
        with store.again.create(KEY) as second:
            second.write(b"2")
            second.commit()
    assert store.get(KEY) == b"2"


def test_writers_and_deleters_at_once(store: Store) -> None:
    """Threads that write and delete blobs of one folder disturb neither each other nor what is written."""
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        barrier.wait(10)
        for turn in range(store.turns):
            key = f"mp3s/job/{number}"
            data = f"{number}.{turn}".encode() * 100
            store.put(key, data)
            assert store.get(key) == data
            store.blobs.delete(key)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert store.everything() == []


# What only a directory can suffer.

FULL: Final = """
import resource, sys
from pathlib import Path
from functions.common.blobs.directory import DirectoryBlobs
from functions.common.blobs.gridfs import GridFsBlobs
from functions.common.blobs.s3 import S3Blobs
from functions.common.errors import StorageFull

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
blobs = DirectoryBlobs(Path(sys.argv[1]))
written = 0
try:
    with blobs.create("videos/job/0") as writer:
        while True:
            writer.write(b"x" * 30_000)
            written += 1
except StorageFull as error:
    print(written, error.status, error.retry_after_seconds is not None)
with blobs.create("videos/job/1") as writer:
    writer.write(b"x" * 90_000)
    writer.commit()
"""


def test_full_disk(tmp_path: Path) -> None:
    """Where there is no room a blob is refused with its own error and nothing is left of it; smaller ones still fit."""
    folder = tmp_path / "blobs"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FULL, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("3 507 True\n", "")
    assert keys_below(folder) == ["videos/job/1"]


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    """A directory that cannot be used makes every method say that the store is out of reach."""
    folder = tmp_path / "blobs"
    folder.write_text("in the way")
    blobs = DirectoryBlobs(folder)
    with pytest.raises(Unavailable), blobs.create(KEY):
        pass
    with pytest.raises(Unavailable):
        blobs.open(KEY)
    with pytest.raises(Unavailable):
        blobs.fetch(KEY, tmp_path / "fetched")
    with pytest.raises(Unavailable):
        blobs.delete(KEY)
    assert folder.read_text() == "in the way"


def test_an_unfinished_file_that_was_taken_away(tmp_path: Path) -> None:
    """Where somebody clears away what is being written, the writer says so by an error of writers."""
    folder = tmp_path / "blobs"
    with DirectoryBlobs(folder).create(KEY) as writer:
        writer.write(b"abc")
        shutil.rmtree(folder / ".incoming")
        with pytest.raises((Unavailable, StorageFull)):
            writer.commit()
    assert keys_below(folder) == []


def test_unfinished_files_are_private(tmp_path: Path) -> None:
    """Blobs are files that only their owner can read, from the first byte on."""
    folder = tmp_path / "blobs"
    with DirectoryBlobs(folder).create(KEY) as writer:
        writer.write(b"abc")
        [unfinished] = (folder / ".incoming").iterdir()
        assert unfinished.stat().st_mode & 0o077 == 0
        writer.commit()
    assert (folder / KEY).stat().st_mode & 0o077 == 0


def test_sweep(tmp_path: Path) -> None:
    """A sweep takes away what crashed writers left, and no blob."""
    folder = tmp_path / "blobs"
    blobs = DirectoryBlobs(folder)
    blobs.sweep()
    with blobs.create(KEY) as writer:
        writer.write(b"abc")
        writer.commit()
    (folder / ".incoming" / "crashed").write_bytes(b"half")
    blobs.sweep()
    assert keys_below(folder) == [KEY]
    with blobs.create(OTHER) as writer:
        writer.commit()
    assert keys_below(folder) == [KEY, OTHER]


def test_an_empty_folder_goes(tmp_path: Path) -> None:
    """A job's folder goes with its last blob, so that a store does not fill with empty ones."""
    folder = tmp_path / "blobs"
    blobs = DirectoryBlobs(folder)
    for key in (KEY, OTHER):
        with blobs.create(key) as writer:
            writer.commit()
    blobs.delete(KEY)
    assert (folder / OTHER).is_file()
    blobs.delete(OTHER)
    assert [path.name for path in (folder / "mp3s").iterdir()] == []


def test_fetch_across_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no link can be made, a fetched blob is a copy."""

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    blobs = DirectoryBlobs(tmp_path / "blobs")
    with blobs.create(KEY) as writer:
        writer.write(b"abc")
        writer.commit()
    monkeypatch.setattr(os, "link", refuse)
    blobs.fetch(KEY, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == b"abc"


# Which store a setting names.


def test_from_url(tmp_path: Path) -> None:
    """A file URL names a directory, with its characters as URLs spell them."""
    folder = tmp_path / "with space & ü"
    made = from_url(folder.as_uri(), aws={})
    with made.create("a") as writer:
        writer.commit()
    assert (folder / "a").is_file()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("file:///blobs", DirectoryBlobs),
        ("mongodb://user:p%40ss@one:27017,two:27018/?replicaSet=rs", GridFsBlobs),
        ("mongodb://host/mp3s?authSource=admin&database_prefix=old_&chunk_size_bytes=131072", GridFsBlobs),
        ("mongodb+srv://user:pass@cluster.example.com/?retryWrites=true", GridFsBlobs),
        ("s3://bucket", S3Blobs),
        ("s3://my.bucket-1/a/prefix/", S3Blobs),
    ],
)
def test_from_url_of_each_kind(url: str, kind: type[Blobs]) -> None:
    """A store is made of each kind of URL, and nothing is asked of a server for it."""
    assert type(from_url(url, aws={})) is kind


WRONG_URLS: Final = (
    *("", "blobs", "/blobs", "file:blobs", "file://blobs", "file://host/blobs", "ftp://h/b"),
    *("mongodb:", "mongodb://", "mongodb:///x", "mongodb://host:port", "mongodb://host:99999", "mongodb+srv://"),
    *("mongodb://us:er:secret@host/", "mongodb://host/?database_prefix=a/b", "mongodb://host/?database_prefix=a.b"),
    *("mongodb://host/?chunk_size_bytes=1", "mongodb://host/?chunk_size_bytes=9999999", "mongodb://host/?tls=secret"),
    *("mongodb://host/?chunk_size_bytes=255KiB", f"mongodb://host/?database_prefix={'a' * 41}"),
    *("s3:", "s3://", "s3:bucket", "s3:///bucket", "s3://b", "s3://Bucket", "s3://user:secret@bucket"),
    "s3://bucket:80",
    *("s3://bucket/a b", "s3://bucket/../a", "s3://bucket/a//b", "s3://bucket/.a", "s3://bucket?region=x"),
)


@pytest.mark.parametrize("url", WRONG_URLS)
def test_from_url_refuses(url: str) -> None:
    """Whatever names no store is refused with the variable's name, and without the URL, which may hold a password."""
    with pytest.raises(SettingError, match="BLOBS_URL") as caught:
        from_url(url, aws={})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_PUBLIC"])
@pytest.mark.parametrize("endpoint", ["host:9000", "ftp://host", "http://"])
def test_a_wrong_endpoint(name: str, endpoint: str) -> None:
    """An endpoint that is no address of a web server is refused with the variable's name."""
    with pytest.raises(SettingError, match=name):
        from_url("s3://bucket", aws={name: endpoint})


UNLOADED: Final = """
import sys
from functions.common.blobs import from_url
from_url("file:///blobs", aws={})
print(sorted({"pymongo", "bson", "obstore"} & set(sys.modules)))
"""


def test_no_client_is_loaded_that_is_not_used() -> None:
    """Whoever keeps blobs in a directory needs neither client."""
    done = subprocess.run([sys.executable, "-c", UNLOADED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
