"""The older system that bridge works beside: its GridFS and its RabbitMQ, used as its own programs use them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import gridfs
import pika
import requests
from bson import ObjectId

from tests.support.brokers import vhost
from tests.support.stores import MongoPlace, in_mongodb

#: What its producer's messages arrive as: it declares no content type.
UNDECLARED: Final = None
_CHUNK_BYTES: Final = 131_072


class Older:
    """One installation, in databases and a virtual host of a test's own.

    Args:
        mongo: its MongoDB.
        amqp_url: its RabbitMQ.
    """

    def __init__(self, mongo: MongoPlace, amqp_url: str) -> None:
        self.mongo = mongo
        self.amqp_url = amqp_url

    def put(self, content: bytes, **fields: object) -> str:
        """Keep a video as its gateway does; its id."""
        files = gridfs.GridFS(self.mongo.database("videos"))
        return str(files.put(content, chunk_size=_CHUNK_BYTES, **fields))

    def mp3(self, fid: str) -> bytes:
        """An MP3 as its gateway hands it out."""
        return bytes(gridfs.GridFS(self.mongo.database("mp3s")).get(ObjectId(fid)).read())

    def videos(self) -> dict[str, bytes]:
        """All that lies in its database `videos`, by id."""
        files = gridfs.GridFS(self.mongo.database("videos"))
        return {str(file._id): file.read() for file in files.find()}

    def declare(self, *, arguments: dict[str, Any] | None = None) -> None:
        """Make its queue of MP3s."""
        with self._channel() as channel:
            channel.queue_declare("mp3", durable=True, arguments=arguments)

    def ask(self, body: bytes) -> None:
        """Put a message into its queue of videos, as its gateway does."""
        with self._channel() as channel:
            channel.queue_declare("video", durable=True)
            channel.basic_publish("", "video", body, pika.BasicProperties(delivery_mode=2))

    def taken(self) -> list[dict[str, Any]]:
        """Take what its notifier would be given next."""
        found: list[dict[str, Any]] = []
        with self._channel() as channel:
            while True:
                method, properties, body = channel.basic_get("mp3", auto_ack=True)
                if method is None:
                    return found
                assert properties.delivery_mode == 2
                found.append(json.loads(body))

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp_url))
        try:
            yield connection.channel()
        finally:
            connection.close()


@contextmanager
def older_system() -> Iterator[Older]:
    """An installation with its queue of MP3s, gone afterwards."""
    with in_mongodb() as mongo, vhost() as amqp_url:
        made = Older(mongo, amqp_url)
        made.declare()
        yield made


def message(video_fid: str, username: str = "someone@example.com") -> bytes:
    """What its gateway puts into the queue `video`."""
    return json.dumps({"video_fid": video_fid, "mp3_fid": None, "username": username}).encode()


def deliver(bridge_url: str, body: bytes, *, content_type: str | None = UNDECLARED, id_: str = "a-message") -> int:
    """Post a message as a RabbitmqSource does, once; the answer's status."""
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "dev.knative.rabbitmq.event",
        "ce-source": "/apis/v1/namespaces/default/rabbitmqsources/bridge#video",
        "ce-id": id_,
    }
    if content_type is not None:
        headers["Content-Type"] = content_type
    return requests.post(f"{bridge_url}/", data=body, headers=headers, timeout=60, allow_redirects=False).status_code
