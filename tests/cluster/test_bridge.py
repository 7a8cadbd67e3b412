"""The optional function bridge, beside an older system whose MongoDB and RabbitMQ are reached from here."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gridfs
import pytest
from bson import ObjectId
from mutagen.mp3 import MP3
from pymongo import MongoClient

from functions.common.blobs.gridfs import GridFsBlobs
from tests.cluster.conftest import NAMESPACE, People
from tests.cluster.forward import reached
from tests.cluster.kube import Kube
from tests.cluster.traffic import JOB_SECONDS
from tests.support.older import Older, message
from tests.support.stores import MongoPlace


@pytest.fixture
def older(kube: Kube) -> Iterator[Older]:
    """The older system, by the addresses that bridge has of it; where there is no bridge the test is skipped."""
    if not kube.has("ksvc", "bridge"):
        pytest.skip(f"there is no bridge in namespace {NAMESPACE} (knative/components/bridge)")
    blobs_url, amqp_url = kube.secret("blobs")["BLOBS_URL"], kube.secret("bridge")["BRIDGE_AMQP_URL"]
    with ExitStack() as stack:
        mongo_url = stack.enter_context(reached(kube, _with_port(blobs_url, 27017)))
        queue_url = stack.enter_context(reached(kube, _with_port(amqp_url, 5672)))
        # A replica set would send us to names that are known inside alone.
        direct = f"{mongo_url}{'&' if urlsplit(mongo_url).query else '?'}directConnection=true"
        client: MongoClient[dict[str, Any]] = stack.enter_context(MongoClient(direct))
        place = MongoPlace(lambda: GridFsBlobs(direct), list, direct, lambda name: client[name])
        made = Older(place, queue_url)
        # As its notifier does when it starts; nothing can be taken from a queue that is not there.
        made.declare()
        yield made


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    return url if parts.port else parts._replace(netloc=f"{parts.netloc}:{port}").geturl()


def test_a_message_of_the_older_system_comes_back_with_an_mp3(
    kube: Kube, older: Older, people: People, short: Path
) -> None:
    """What is put on its queue `video` comes out on `mp3`, with the id of an MP3 in its GridFS."""
    client = people()
    video_fid = older.put(short.read_bytes(), filename="holiday.mp4")
    try:
        older.ask(message(video_fid, client.email))

        def look() -> dict[str, Any] | None:
            return next((each for each in older.taken() if each["video_fid"] == video_fid), None)

        told = kube.until("a message on `mp3`", look, seconds=JOB_SECONDS)
        assert told is not None
        assert told["username"] == client.email
        info: Any = MP3(io.BytesIO(older.mp3(told["mp3_fid"]))).info
        assert info.length == pytest.approx(5, abs=0.15)
        [job] = client.call("GET", "/jobs").json()["jobs"]
        assert (job["state"], job["filename"]) == ("succeeded", "holiday.mp4")
    finally:
        gridfs.GridFS(older.mongo.database("videos")).delete(ObjectId(video_fid))
