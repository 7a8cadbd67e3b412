"""Stores behind a network: what they may cost, how files lie there, and what becomes of them when something breaks."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import gridfs
import pytest
from bson import ObjectId

from functions.common.blobs import Blobs, from_url
from functions.common.errors import BlobMissing, Unavailable
from tests.support.relay import Relay, relay
from tests.support.stores import MongoPlace, S3Place, in_mongodb, in_s3

ROOT: Final = Path(__file__).parents[2]
KEY: Final = "videos/01890a5d-ac96-774b-bcce-b302099a8057/0"
DATA: Final = hashlib.shake_128(b"remote").digest(3 * 1024 * 1024 + 11)
#: As tests.support.stores makes them.
CHUNK_BYTES: Final = 128 * 1024
#: What it takes to hand over 100 bytes: what a reader asks for at least, and what a protocol says besides.
MOST_BYTES_FOR_A_FEW: Final = CHUNK_BYTES + 16 * 1024


@dataclass(frozen=True)
class Remote:
    """A place on a server, and how to get there."""

    url: str
    aws: Mapping[str, str]
    everything: Callable[[], list[str]]
    #: Mebibytes that its server takes in a few seconds.
    mebibytes: int

    @contextmanager
    def blobs(self) -> Iterator[Blobs]:
        """A store, as a process makes it."""
        with closing(from_url(self.url, aws=self.aws)) as made:
            yield made

    @contextmanager
    def through_relay(self) -> Iterator[tuple[Relay, "Remote"]]:
        """The same place, with something between it and us."""
        address = self.aws.get("AWS_ENDPOINT_URL") or self.url
        port = urlsplit(address).port
        assert port is not None
        with relay(port) as between:
            there, here = f"127.0.0.1:{port}", f"127.0.0.1:{between.port}"
            # A client that has lost its server gives up before a person would.
            url = f"{self.url.replace(there, here)}&serverSelectionTimeoutMS=500&socketTimeoutMS=3000"
            aws = {name: value.replace(there, here) for name, value in self.aws.items()}
            yield between, replace(self, url=self.url if self.aws else url, aws=aws)


@pytest.fixture(params=["gridfs", "s3"])
def remote(request: pytest.FixtureRequest) -> Iterator[Remote]:
    """A place of the test's own on each server."""
    if request.param == "s3":
        with in_s3() as s3:
            yield Remote(s3.url, s3.aws, s3.everything, 512)
    else:
        with in_mongodb() as mongo:
            # FerretDB reads all chunks of a file to sort them, so its time grows with the file.
            yield Remote(mongo.url, {}, mongo.everything, 60)


@pytest.fixture
def mongo() -> Iterator[MongoPlace]:
    """A place of the test's own in MongoDB."""
    with in_mongodb() as place:
        yield place


def put(blobs: Blobs, data: bytes, *, key: str = KEY) -> None:
    """Store a blob in pieces as they come over a network."""
    with blobs.create(key) as writer:
        stream = io.BytesIO(data)
        while piece := stream.read(99_991):
            writer.write(piece)
        writer.commit()


def read(blobs: Blobs, *, key: str = KEY) -> bytes:
    """All of a blob."""
    with blobs.open(key) as stream:
        return stream.read()


MEMORY: Final = """
import os, sys
from pathlib import Path
from functions.common.blobs import from_url

def held(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024

blobs = from_url(sys.argv[1], aws=os.environ)
key, path, mebibytes = sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
with blobs.create("videos/first") as writer:
    writer.write(b"x")
    writer.commit()
with blobs.open("videos/first") as stream:
    stream.read()
idle, piece = held("VmRSS"), os.urandom(1 << 20)
with blobs.create(key) as writer:
    for _ in range(mebibytes):
        writer.write(piece)
    writer.commit()
blobs.fetch(key, path)
with blobs.open(key) as stream:
    read_bytes = sum(len(part) for part in iter(lambda: stream.read(1 << 20), b""))
blobs.close()
print(path.stat().st_size, read_bytes, held("VmHWM") - idle)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's peak by /proc")
def test_memory_stays_flat(remote: Remote, tmp_path: Path) -> None:
    """Storing, fetching and reading a large blob takes at most 64 MiB more than an idle process that has connected."""
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        MEMORY,
        remote.url,
        KEY,
        str(tmp_path / "big"),
        str(remote.mebibytes),
    ]
    done = subprocess.run(
        command, env={**os.environ, **remote.aws}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    fetched, opened, peak = map(int, done.stdout.split())
    assert fetched == opened == remote.mebibytes << 20
    assert peak <= 64 << 20


def test_a_few_bytes_of_a_large_blob(remote: Remote) -> None:
    """Reading a little at the front, in the middle and at the end brings no more than a chunk over the line each."""
    with remote.blobs() as blobs:
        put(blobs, DATA)
    with remote.through_relay() as (between, seen), seen.blobs() as blobs, blobs.open(KEY) as stream:
        for begin in (0, len(DATA) // 2, len(DATA) - 100):
            before = between.sent_bytes
            stream.seek(begin)
            assert stream.read(100) == DATA[begin : begin + 100]
            assert between.sent_bytes - before <= MOST_BYTES_FOR_A_FEW


def test_opening_brings_nothing(remote: Remote) -> None:
    """Who only looks at a blob's size is sent none of it."""
    with remote.blobs() as blobs:
        put(blobs, DATA)
    with remote.through_relay() as (between, seen), seen.blobs() as blobs:
        with blobs.open(KEY) as stream:
            assert stream.seek(0, os.SEEK_END) == len(DATA)
        assert between.sent_bytes <= 16 * 1024


def test_a_server_that_is_away(remote: Remote, tmp_path: Path) -> None:
    """Where nobody answers, every method says that the store is out of reach, and no file appears."""
    with remote.through_relay() as (between, seen), seen.blobs() as blobs:
        between.cut()
        with pytest.raises(Unavailable), blobs.create(KEY) as writer:
            writer.commit()
        with pytest.raises(Unavailable):
            blobs.open(KEY)
        with pytest.raises(Unavailable):
            blobs.fetch(KEY, tmp_path / "fetched")
        with pytest.raises(Unavailable):
            blobs.delete(KEY)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_goes_away_while_it_is_written_to(remote: Remote) -> None:
    """The writer hears of it by our own error, and what was begun is gone once the key is deleted."""

    def upload(blobs: Blobs, between: Relay) -> None:
        with blobs.create(KEY) as writer:
            for _ in range(4):
                writer.write(DATA)
            between.cut()
            for _ in range(8):
                writer.write(DATA)
            writer.commit()

    with remote.through_relay() as (between, seen), seen.blobs() as blobs, pytest.raises(Unavailable):
        upload(blobs, between)
    with remote.blobs() as blobs:
        blobs.delete(KEY)
        with pytest.raises(BlobMissing):
            blobs.open(KEY)
    # Parts that S3 has, and no object shows, are for the bucket's lifecycle rule.
    assert [name for name in remote.everything() if not name.startswith("unfinished ")] == []


def test_a_server_that_goes_away_while_it_is_read(remote: Remote, tmp_path: Path) -> None:
    """The reader hears of it by our own error, and fetching leaves no part of a file."""
    # More than the buffers on the way could hold, so that some of it is not there yet when the way is cut.
    with remote.blobs() as blobs:
        put(blobs, DATA * (64 * 1024 * 1024 // len(DATA)) if remote.url.startswith("s3:") else DATA)
    with remote.through_relay() as (between, seen), seen.blobs() as blobs, blobs.open(KEY) as stream:
        assert stream.read(10) == DATA[:10]

        def cut() -> None:
            if (tmp_path / "fetched").exists():
                between.cut()

        with pytest.raises(Unavailable):
            blobs.fetch(KEY, tmp_path / "fetched", check=cut)
        with pytest.raises(Unavailable):
            stream.read()
    assert list(tmp_path.iterdir()) == []


class Enough(Exception):
    """Nobody wants the file any more."""


def test_fetching_ends_when_it_is_told_to(remote: Remote, tmp_path: Path) -> None:
    """What `check` raises ends the fetching between two pieces, and no part of a file stays."""
    asked = []

    def check() -> None:
        asked.append((tmp_path / "fetched").stat().st_size)
        if len(asked) == 2:
            raise Enough

    with remote.blobs() as blobs:
        put(blobs, DATA)
        with pytest.raises(Enough):
            blobs.fetch(KEY, tmp_path / "fetched", check=check)
    assert list(tmp_path.iterdir()) == []


# What only MongoDB can show.


def test_a_mongodb_server_that_hangs(mongo: MongoPlace) -> None:
    """A server that takes what is sent and never answers is out of reach as well, by the URL's own time limit."""
    remote = Remote(mongo.url, {}, mongo.everything, 0)
    with remote.through_relay() as (between, seen), seen.blobs() as blobs:
        put(blobs, DATA)
        between.hold()
        with pytest.raises(Unavailable):
            blobs.open(KEY)
        between.let_go()
        assert read(blobs) == DATA


def test_how_files_lie(mongo: MongoPlace) -> None:
    """Sources are in `videos`, what is made in `mp3s`; each has an ObjectId, our key as its name, and whole chunks."""
    blobs = mongo.make()
    places = {"videos": "videos", "mp3s": "mp3s", "waveforms": "mp3s", "other": "blobs"}
    for word, place in places.items():
        key = KEY.replace("videos", word)
        put(blobs, DATA, key=key)
        database = mongo.database(place)
        [file] = database["fs.files"].find({"filename": key})
        assert (type(file["_id"]), file["filename"]) == (ObjectId, key)
        assert (file["length"], file["chunkSize"]) == (len(DATA), CHUNK_BYTES)
        parts = sorted(database["fs.chunks"].find({"files_id": file["_id"]}), key=lambda chunk: int(chunk["n"]))
        assert [chunk["n"] for chunk in parts] == list(range(25))
        assert [len(chunk["data"]) for chunk in parts] == [CHUNK_BYTES] * 24 + [11]
        assert database["fs.uploads"].count_documents({}) == 0
    blobs.close()


def test_other_programs_read_ours_and_we_theirs(mongo: MongoPlace) -> None:
    """The layout is GridFS's own, both ways."""
    blobs = mongo.make()
    put(blobs, DATA)
    bucket = gridfs.GridFSBucket(mongo.database("videos"), chunk_size_bytes=100_000)
    assert bucket.open_download_stream_by_name(KEY).read() == DATA
    bucket.upload_from_stream("videos/theirs/0", io.BytesIO(DATA))
    assert read(blobs, key="videos/theirs/0") == DATA
    blobs.close()


KILLED: Final = """
import sys
from functions.common.blobs import from_url

with from_url(sys.argv[1], aws={}).create(sys.argv[2]) as writer:
    for _ in range(10):
        writer.write(bytes(1 << 20))
    print("half", flush=True)
    sys.stdin.read()
"""


def test_a_killed_upload_is_found_by_its_key(mongo: MongoPlace) -> None:
    """What a writer left that was ended by kill -9 is no blob, and goes when its key is deleted."""
    command = [sys.executable, "-c", KILLED, mongo.url, KEY]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        writer.send_signal(signal.SIGKILL)
    left = mongo.everything()
    assert len(left) == 1
    assert mongo.database("videos")["fs.chunks"].count_documents({}) > 0
    blobs = mongo.make()
    with pytest.raises(BlobMissing):
        blobs.open(KEY)
    blobs.delete(KEY)
    assert mongo.everything() == []
    blobs.close()


@pytest.mark.parametrize("harm", ["missing", "short", "long"])
def test_a_chunk_that_is_not_as_it_should_be(mongo: MongoPlace, tmp_path: Path, harm: str) -> None:
    """A file with a chunk that is missing, cut or grown is never handed out as if it were whole."""
    blobs = mongo.make()
    put(blobs, DATA)
    stored = mongo.database("videos")["fs.chunks"]
    if harm == "missing":
        stored.delete_one({"n": 7})
    else:
        stored.update_one({"n": 7}, {"$set": {"data": bytes(CHUNK_BYTES + (1 if harm == "long" else -1))}})
    with pytest.raises(Unavailable):
        read(blobs)
    with pytest.raises(Unavailable):
        blobs.fetch(KEY, tmp_path / "fetched")
    assert list(tmp_path.iterdir()) == []
    blobs.close()


def test_a_blob_that_was_deleted_while_it_was_written(mongo: MongoPlace) -> None:
    """Its writer is told, and nothing of it stays."""

    def upload(blobs: Blobs) -> None:
        with blobs.create(KEY) as writer:
            for _ in range(3):
                writer.write(DATA)
            blobs.delete(KEY)
            writer.commit()

    with closing(mongo.make()) as blobs, pytest.raises(Unavailable, match="deleted"):
        upload(blobs)
    assert mongo.everything() == []


# What only a server of S3 can do that has gone wrong.


class Liar(BaseHTTPRequestHandler):
    """Takes every object, and has another size for it; hands out less than it promises."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        """Take an object."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"")

    def do_HEAD(self) -> None:
        """Tell a size."""
        self._answer(bytes(1000))

    def do_GET(self) -> None:
        """Begin to hand out an object."""
        self._answer(bytes(1000))

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"x"')
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 16:21:28 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:-1])
            self.close_connection = True

    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def liar() -> Iterator[S3Place]:
    """A server that lies about sizes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    aws = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
    }
    yield S3Place(lambda: from_url("s3://bucket", aws=aws), list, "s3://bucket", aws)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("size", [999, 1001])
def test_an_object_of_another_length_than_was_sent(liar: S3Place, size: int) -> None:
    """A store that keeps less or more than it was sent is not believed."""
    with pytest.raises(Unavailable):
        put(liar.make(), bytes(size))


def test_an_object_of_the_length_that_was_sent(liar: S3Place) -> None:
    """The same store is believed where its word is what was counted."""
    put(liar.make(), bytes(1000))


def test_an_object_that_breaks_off(liar: S3Place, tmp_path: Path) -> None:
    """An answer that ends before its length is no file."""
    with pytest.raises(Unavailable):
        liar.make().fetch(KEY, tmp_path / "fetched")
    assert list(tmp_path.iterdir()) == []
