"""bridge beside an older system: its messages become jobs, it is told of the MP3s, and no fault loses either."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import pytest
import requests

from functions.common import events
from functions.common.blobs.gridfs import GridFsBlobs
from functions.common.job import result_key, source_key
from functions.common.publisher import HttpPublisher
from functions.recover.overdue import Overdue
from tests.faults.installation import Installation, installed
from tests.faults.rig import send, succeeded
from tests.support.older import deliver, message
from tests.support.relay import relay
from tests.support.serving import PASSWORD, Served, free_port

VIDEO: Final = bytes(range(256)) * 1200
SECOND: Final = 1_000_000
NOWHERE: Final = "0" * 24


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Installation]:
    """An installation on SQLite, for what no database has a part in."""
    with installed(tmp_path, "sqlite") as made:
        yield made


@pytest.mark.parametrize("engine_name", ["sqlite", "mysql"])
def test_a_message_goes_the_whole_way(tmp_path: Path, short: Path, engine_name: str) -> None:
    """A video of theirs becomes a job of its owner's, then an MP3 that their gateway finds by the id it is told."""
    with installed(tmp_path, engine_name) as home, home.bridge() as bridge:
        video_fid = home.older.put(short.read_bytes(), filename="../My\u202e holiday.mp4")
        assert deliver(bridge.url, message(video_fid, "Someone@Example.com")) == 204
        job = home.job()
        assert (job["state"], job["filename"], job["run"]) == ("queued", "My holiday.mp4", 1)
        assert (job["email"], job["username"], job["video_fid"]) == (
            "someone@example.com",
            "Someone@Example.com",
            video_fid,
        )
        assert home.source(job["id"]) == short.read_bytes()
        assert home.sink.taken == [f"{job['id']}.1.uploaded"]
        assert home.older.videos()[video_fid] == short.read_bytes()
        with Served(home.state, function="convert", env=home.env) as convert:
            assert send(convert.url, events.make(events.UPLOADED, job_id=job["id"], run=1)).reply is not None
        assert send(bridge.url, succeeded(job["id"])).status == 204
        [told] = home.older.taken()
        assert told == {"video_fid": video_fid, "mp3_fid": told["mp3_fid"], "username": "Someone@Example.com"}
        with home.blobs.open(result_key(job["id"], 1)) as mp3:
            assert home.older.mp3(told["mp3_fid"]) == mp3.read() != b""
        assert not any(secret in bridge.log() for secret in (urlsplit(home.older.amqp_url).password or "", "Someone@"))


def test_an_account_that_bridge_made_has_no_password(home: Installation, tmp_path: Path) -> None:
    """Nobody logs in to it by any password, and its address cannot be registered; theirs keep their accounts."""
    auth = Served(tmp_path / "auth", function="auth", env=home.env)
    with auth, home.bridge() as bridge:
        for username in ("new@example.com", "old@example.com"):
            if username.startswith("old"):
                auth.account(username)
            assert deliver(bridge.url, message(home.older.put(VIDEO), username)) == 204
        for password in ("", "*", PASSWORD, "A" * 43):
            answer = requests.post(f"{auth.url}/login", auth=("new@example.com", password), timeout=30)
            assert answer.status_code == 401
        taken = requests.post(
            f"{auth.url}/register", data={"email": "new@example.com", "password": PASSWORD}, timeout=30
        )
        assert taken.status_code == 409
        assert requests.post(f"{auth.url}/login", auth=("old@example.com", PASSWORD), timeout=30).ok
    assert len(home.rows("SELECT * FROM accounts")) == len(home.rows("SELECT * FROM jobs")) == 2


@pytest.mark.parametrize(
    "content_type", [None, "application/json", "text/plain", "application/octet-stream", "text/plain; charset=utf-16"]
)
def test_json_is_json_whatever_it_is_declared(home: Installation, content_type: str | None) -> None:
    """Their producer declares nothing, others what they like; the message counts."""
    with home.bridge() as bridge:
        video_fid = home.older.put(VIDEO)
        assert deliver(bridge.url, message(video_fid.upper()), content_type=content_type) == 204
        assert (home.job()["video_fid"], home.job()["filename"]) == (video_fid, video_fid)


def test_what_can_never_work_is_dropped_with_a_word(home: Installation) -> None:
    """No JSON, no id, no such video, no address, a blob of ours, too long: 2xx, a line in the log, and nothing made."""
    with home.blobs.create(source_key("01890000-0000-7000-8000-000000000000", 0)) as writer:
        writer.write(VIDEO)
        writer.commit()
    [ours] = home.older.videos()
    video_fid = home.older.put(VIDEO)
    wrong = {
        b"": "no JSON",
        b"{": "no JSON",
        b"\xff\xfe\xfd": "no JSON",
        b"[" * 60_000: "malformed event",
        b"null": "no JSON object",
        b"[]": "no JSON object",
        b"{}": "video_fid is no ObjectId",
        message("twelve bytes"): "video_fid is no ObjectId",
        message("z" * 24): "video_fid is no ObjectId",
        message(f"{video_fid}\n"): "video_fid is no ObjectId",
        message(video_fid, "nobody"): "username is no address",
        message(video_fid, " " * 400 + "someone@example.com"): "username is no address",
        message(video_fid, "\ud800@example.com"): "username is no address",
        message(video_fid).replace(b'"someone@example.com"', b"7"): "username is no address",
        message(NOWHERE): "there is no video",
        message(ours): "there is no video",
        message(video_fid) + b" " * 70_000: "malformed event",
    }
    with home.bridge() as bridge:
        for body, words in wrong.items():
            before = len(bridge.log())
            assert deliver(bridge.url, body) == 204, body[:100]
            # The line is written before the answer is sent.
            said = bridge.log()[before:]
            assert words in said, body[:100]
            assert "exception" not in said, body[:100]
        assert home.nothing_made()
        assert home.sink.taken == []


def test_foreign_events_change_nothing(home: Installation) -> None:
    """Successes of jobs of our own, of earlier runs, of nobody, and other types are answered 2xx; nobody is told."""
    with home.bridge() as bridge:
        assert deliver(bridge.url, message(home.older.put(VIDEO))) == 204
        job_id = home.job()["id"]
        # Forged: it has not succeeded.
        assert send(bridge.url, succeeded(job_id)).status == 204
        assert home.job()["owed"] is not None
        home.convert(job_id)
        for event in (succeeded(job_id, 2), succeeded("01890000-0000-7000-8000-000000000000")):
            assert send(bridge.url, event).status == 204
        for type_ in (events.FAILED, events.UPLOADED):
            assert send(bridge.url, events.make(type_, job_id=job_id, run=1)).status == 204
        assert home.older.taken() == []
        home.shift("DELETE FROM bridged")
        assert send(bridge.url, succeeded(job_id)).status == 204
        assert home.older.taken() == []
        assert requests.get(bridge.url, timeout=30).status_code == 405
        assert requests.post(f"{bridge.url}/elsewhere", timeout=30).status_code == 404


def test_repeats_make_no_second_job(home: Installation) -> None:
    """The same video of the same user is one job at every stage; after its success they are told again."""
    with home.bridge() as bridge:
        body = message(home.older.put(VIDEO))
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda number: deliver(bridge.url, body, id_=str(number)), range(4)))
        assert set(answers) <= {204, 409}
        assert 204 in answers
        job_id = home.job()["id"]
        assert deliver(bridge.url, body) == 204
        home.convert(job_id)
        assert home.older.taken() == []
        for _ in range(2):
            assert send(bridge.url, succeeded(job_id)).status == 204
        # The event that comes again for the sake of a mail tells them nothing new.
        assert len(home.older.taken()) == 1
        assert deliver(bridge.url, body) == 204
        assert len(home.older.taken()) == 1
        assert home.job()["id"] == job_id
        assert home.jobs.delete(job_id, home.job()["owner"]) is not None
    home.shift("UPDATE jobs SET deleted = deleted - :day", day=25 * 3600 * SECOND)
    home.sweep()
    assert home.rows("SELECT * FROM bridged") == home.rows("SELECT * FROM jobs") == []
    assert list(home.older.videos().values()) == [VIDEO]


def test_two_users_of_one_video(home: Installation) -> None:
    """The job belongs to whom the message names: another user's message is another job."""
    with home.bridge() as bridge:
        video_fid = home.older.put(VIDEO)
        for username in ("one@example.com", "two@example.com"):
            assert deliver(bridge.url, message(video_fid, username)) == 204
    assert len(home.rows("SELECT DISTINCT owner FROM jobs")) == 2


@pytest.mark.parametrize("point", ["receiving-half-a-blob", "stored-not-queued", "queued-not-published"])
def test_a_crash_in_the_middle_loses_nothing(home: Installation, point: str) -> None:
    """The next delivery waits for a sign of life for half a minute and then takes the copy over: one job, whole."""
    body = message(home.older.put(VIDEO))
    with home.bridge(CRASH_AT=point) as bridge:
        with pytest.raises(requests.ConnectionError):
            deliver(bridge.url, body)
        assert bridge.ended() == -9
    job_id = home.job()["id"]
    with home.bridge() as bridge:
        if point != "queued-not-published":
            assert deliver(bridge.url, body) == 409
            assert home.shift("UPDATE jobs SET due = due - :silent", silent=31 * SECOND) == 1
        assert deliver(bridge.url, body) == 204
        job = home.job()
        assert (job["id"], job["state"]) == (job_id, "queued")
        assert home.source(job_id) == VIDEO
        assert f"{job_id}.1.uploaded" in home.sink.taken
    assert sorted(home.older.videos().values()) == [VIDEO, VIDEO]


def test_an_abandoned_copy_blocks_nobody(home: Installation) -> None:
    """Where the deliveries gave up before, recover clears the row and the pieces away; the next message begins anew."""
    body = message(home.older.put(VIDEO))
    with home.bridge(CRASH_AT="stored-not-queued") as bridge, pytest.raises(requests.ConnectionError):
        deliver(bridge.url, body)
    job_id = home.job()["id"]
    home.shift("UPDATE jobs SET due = due - :quarter", quarter=901 * SECOND)
    Overdue(home.database).abandon()
    with home.bridge() as bridge:
        assert deliver(bridge.url, body) == 204
        home.sweep()
        assert home.job()["id"] != job_id
        assert home.source(home.job()["id"]) == VIDEO
    assert len(home.older.videos()) == 2


def test_the_broker_is_away(home: Installation) -> None:
    """The promise stands without its event; the message's repeat, or recover, makes up for it."""
    home.sink.status = 503
    with home.bridge() as bridge:
        body = message(home.older.put(VIDEO))
        assert deliver(bridge.url, body) == 204
        assert home.sink.taken == []
        home.sink.status = 202
        assert deliver(bridge.url, body) == 204
        assert home.sink.taken == [f"{home.job()['id']}.1.uploaded"]


def through(address: str, port: int) -> str:
    """The same URL by another port."""
    parts = urlsplit(address)
    login = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}"))


def test_their_rabbitmq_is_away(home: Installation) -> None:
    """A success cannot be told: 503, and it stays owed; the next delivery of the event tells it, once."""
    port = free_port()
    with home.bridge(BRIDGE_AMQP_URL=through(home.older.amqp_url, port)) as bridge:
        body = message(home.older.put(VIDEO))
        assert deliver(bridge.url, body) == 204
        job_id = home.job()["id"]
        home.convert(job_id)
        assert send(bridge.url, succeeded(job_id)).status == 503
        assert deliver(bridge.url, body) == 503
        assert home.job()["owed"] is not None
        with relay(urlsplit(home.older.amqp_url).port or 0, at=port):
            assert send(bridge.url, succeeded(job_id)).status == 204
        assert home.job()["owed"] is None
        assert len(home.older.taken()) == 1
        assert (urlsplit(home.older.amqp_url).password or "") not in bridge.log()


def test_their_rabbitmq_is_away_for_long(home: Installation) -> None:
    """What all tries failed for is not forgotten: recover publishes the success again, less and less often."""
    with home.bridge() as bridge:
        assert deliver(bridge.url, message(home.older.put(VIDEO))) == 204
        job_id = home.job()["id"]
        home.convert(job_id)
        home.shift("UPDATE jobs SET due = NULL")  # the mail is sent
        home.sink.taken.clear()
        home.sweep()
        assert home.sink.taken == []
        for minutes in (11, 20):
            home.shift(
                "UPDATE jobs SET finished = :clock - :age", clock=home.database.clock(), age=minutes * 60 * SECOND
            )
            home.shift("UPDATE bridged SET due = :clock", clock=home.database.clock())
            home.sweep()
            home.sweep()
            delay = (home.job()["owed"] - home.database.clock()) / SECOND
            assert delay == pytest.approx(minutes * 60, abs=30)
        assert home.sink.taken == [f"{job_id}.1.succeeded"] * 2
        assert send(bridge.url, succeeded(job_id)).status == 204
        home.sweep()
        assert (home.job()["owed"], len(home.sink.taken)) == (None, 2)


def test_their_queue_is_of_another_kind_or_not_there(home: Installation) -> None:
    """Whatever properties their queue has, the message lands in it; one that is missing is made durable."""
    with home.bridge() as bridge:
        body = message(home.older.put(VIDEO))
        assert deliver(bridge.url, body) == 204
        home.convert(home.job()["id"])
        for arguments in ({"x-queue-type": "quorum"}, {"x-max-length": 1_000}, None):
            with home.older._channel() as channel:
                channel.queue_delete("mp3")
            if arguments:
                home.older.declare(arguments=arguments)
            assert deliver(bridge.url, body) == 204
            home.older.declare(arguments=arguments)
            assert len(home.older.taken()) == 1


def test_a_queue_that_takes_nothing(home: Installation) -> None:
    """A message that RabbitMQ does not confirm counts as not told."""
    with home.older._channel() as channel:
        channel.queue_delete("mp3")
    home.older.declare(arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    with home.bridge() as bridge:
        body = message(home.older.put(VIDEO))
        assert deliver(bridge.url, body) == 204
        home.convert(home.job()["id"])
        assert deliver(bridge.url, body) == 503
        assert home.job()["owed"] is not None


def test_mongodb_is_away(home: Installation) -> None:
    """Nothing is made and 503 is answered; when it is back the same message works."""
    port = free_port()
    blobs_url = f"{through(home.env['BLOBS_URL'], port)}&serverSelectionTimeoutMS=500"
    with home.bridge(BLOBS_URL=blobs_url) as bridge:
        body = message(home.older.put(VIDEO))
        assert deliver(bridge.url, body) == 503
        assert home.nothing_made()
        with relay(urlsplit(home.env["BLOBS_URL"]).port or 0, at=port):
            assert deliver(bridge.url, body) == 204
        assert home.source(home.job()["id"]) == VIDEO


def test_a_video_that_lacks_a_piece(home: Installation) -> None:
    """A copy that cannot be finished leaves no promise, and the next delivery need not wait for it."""
    with home.bridge() as bridge:
        video_fid = home.older.put(VIDEO)
        pieces = home.older.mongo.database("videos")["fs.chunks"]
        piece = pieces.find_one({"n": 1})
        pieces.delete_one({"_id": piece["_id"]})
        assert deliver(bridge.url, message(video_fid)) == 503
        assert [row["state"] for row in home.rows("SELECT * FROM jobs WHERE deleted IS NULL")] == []
        pieces.insert_one(piece)
        assert deliver(bridge.url, message(video_fid)) == 204
        home.sweep()
        assert home.source(home.job()["id"]) == VIDEO
    assert len(home.older.videos()) == 2


def test_the_database_is_away(home: Installation) -> None:
    """Without the rows nothing can be promised: 503."""
    nobody = f"mysql+pymysql://a:b@127.0.0.1:{free_port()}/c"
    with home.bridge(DATABASE_URL=nobody) as bridge:
        assert deliver(bridge.url, message(home.older.put(VIDEO))) == 503
        assert send(bridge.url, succeeded("01890000-0000-7000-8000-000000000000")).status == 503


def test_a_copy_that_was_thought_dead(home: Installation) -> None:
    """One that goes on after another took it over ends without replacing what was promised."""
    from functions.bridge.rows import Rows
    from functions.bridge.service import Bridge
    from functions.common.errors import Conflict

    class Told:
        def publish(self, body: bytes) -> None:
            raise AssertionError(body)

    def made(blobs: Any) -> Bridge:
        return Bridge(
            jobs=home.jobs,
            rows=Rows(home.database),
            blobs=blobs,
            publisher=HttpPublisher(home.sink.url),
            queue=Told(),
        )

    body = message(home.older.put(VIDEO))
    quick = made(home.blobs)
    promised: list[str] = []

    class Slow(GridFsBlobs):
        """Opens a video and then sleeps for longer than it is given, while another comes by."""

        def open_video(self, file_id: str) -> Any:
            name, video = super().open_video(file_id)
            read = video.read

            def late(size: int = -1) -> bytes:
                if not home.sink.taken:
                    home.shift("UPDATE jobs SET due = due - :silent", silent=31 * SECOND)
                    quick.take(body, traceparent="")
                    promised.append(home.blobs.file_id(source_key(home.job()["id"], 0)))
                return read(size)

            stack = ExitStack()
            stack.callback(video.close)
            stack.read = late  # type: ignore[attr-defined]
            return name, stack

    slow = Slow(home.older.mongo.url)
    with pytest.raises(Conflict):
        made(slow).take(body, traceparent="")
    slow.close()
    job = home.job()
    assert job["state"] == "queued"
    assert promised == [home.blobs.file_id(source_key(job["id"], 0))]
    assert home.source(job["id"]) == VIDEO
    assert len(home.older.videos()) == 2


@pytest.mark.parametrize("setting", ["BLOBS_URL", "BRIDGE_AMQP_URL"])
def test_beside_the_other_functions_it_has_nothing_to_do(tmp_path: Path, setting: str) -> None:
    """In one process without an older system a message that reaches it all the same is not taken."""
    from functions.common.app import create_app
    from functions.common.backends import Backends
    from functions.common.config import load

    env = {
        "BLOBS_URL": "mongodb://nobody",
        "BRIDGE_AMQP_URL": "amqp://nobody",
        "DATABASE_URL": f"sqlite:///{tmp_path}/a.db",
    }
    env[setting] = "" if setting == "BRIDGE_AMQP_URL" else f"file://{tmp_path}"
    client = create_app("bridge", Backends(load(env))).test_client()
    headers = {"ce-specversion": "1.0", "ce-type": "dev.knative.rabbitmq.event", "ce-source": "/s", "ce-id": "1"}
    assert client.post("/", data=message(NOWHERE), headers=headers).status_code == 503
