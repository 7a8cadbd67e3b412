"""The dispatcher as a process that dies at bad moments, on the real RabbitMQ, before functions that a test plays."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import pytest
from cloudevents.http import CloudEvent

from functions.common import events
from functions.common.amqp import AmqpPublisher
from local.cli.broker import EVENTING
from local.delivery.rules import Answer
from local.delivery.topology import Topology, with_connection
from local.delivery.triggers import load_broker, load_triggers
from tests.support.brokers import vhost
from tests.support.command import COMMAND, run
from tests.support.endpoints import OK, Functions, serve, until

JOB: Final = "01890a5d-ac96-774b-bcce-b302099a8057"
TOPOLOGY: Final = Topology(load_broker(EVENTING / "broker.yaml"), load_triggers(EVENTING / "triggers"))


@pytest.fixture
def host() -> Iterator[str]:
    """A virtual host of each test, with the queues of the manifests."""
    with vhost() as made:
        TOPOLOGY.declare(made)
        yield made


@pytest.fixture
def functions() -> Iterator[Functions]:
    """Every function."""
    with serve() as made:
        yield made


@contextmanager
def dispatcher(
    host: str, functions: Functions, *arguments: str, crash_at: str = ""
) -> Iterator["subprocess.Popen[bytes]"]:
    """`video2mp3 broker dispatcher` for the time of the block."""
    command = [COMMAND, "broker", "dispatcher", *arguments]
    for name in ("convert", "notify", "recover"):
        command += ["--service", f"{name}=http://127.0.0.1:{functions.port}/{name}"]
    env = {"PATH": os.environ["PATH"], "BROKER_URL": host, "CRASH_AT": crash_at}
    with subprocess.Popen(command, env=env, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


def publish(host: str, count: int) -> list[str]:
    """Publish so many events of uploads; their ids."""
    made = [events.make(events.UPLOADED, job_id=JOB, run=run) for run in range(1, count + 1)]
    with closing(AmqpPublisher(host, exchange=TOPOLOGY.exchange)) as publisher:
        for event in made:
            publisher.publish(event)
    return [str(event["id"]) for event in made]


def waiting(host: str) -> int:
    """How many messages wait in all queues."""
    counts = []

    def count(channel: object) -> None:
        for trigger in TOPOLOGY.triggers:
            for queue in (TOPOLOGY.queue(trigger), TOPOLOGY.dead_letter_queue(trigger)):
                counts.append(channel.queue_declare(queue, passive=True).method.message_count)  # type: ignore[attr-defined]  # pika has no types

    with_connection(host, count)
    return sum(counts)


def replying(event: CloudEvent) -> Answer:
    """Answer an upload's event as convert does."""
    run = int(str(event["id"]).split(".")[1])
    return Answer(200, *events.encode(events.make(events.SUCCEEDED, job_id=JOB, run=run)))


@pytest.mark.parametrize(("crash_at", "notified"), [("delivered-not-acked", 1), ("replied-not-acked", 2)])
def test_killed_before_the_ack(host: str, functions: Functions, crash_at: str, notified: int) -> None:
    """The event is delivered once more and answered alike; what follows from it comes at least once."""
    functions.at["/convert/"] = replying
    [event_id] = publish(host, 1)
    with dispatcher(host, functions, crash_at=crash_at) as process:
        assert process.wait(30) == -9
    assert functions.ids("/convert/") == [event_id]
    with dispatcher(host, functions):
        until(lambda: len(functions.ids("/convert/")) == 2 and len(functions.ids("/notify/")) == notified)
        until(lambda: waiting(host) == 0)
    assert set(functions.ids("/convert/")) == {event_id}
    assert waiting(host) == 0


def test_five_hundred_wait_for_the_first_worker(host: str, functions: Functions) -> None:
    """What waited is delivered as wide as is allowed and no wider, each event once."""
    ids = publish(host, 500)
    busy, most, lock = 0, 0, threading.Lock()

    def convert(event: CloudEvent) -> Answer:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        with lock:
            busy -= 1
        return replying(event)

    functions.at["/convert/"] = convert
    with dispatcher(host, functions, "--parallelism", "convert=2"):
        until(lambda: len(functions.ids("/notify/")) == 500, 60)
        until(lambda: waiting(host) == 0)
    assert sorted(functions.ids("/convert/")) == sorted(ids)
    assert 1 <= most <= 2


def test_a_poisonous_event_leaves_room_for_the_others(host: str, functions: Functions) -> None:
    """It holds one of P slots while it fails for minutes: P - 1 of the others are always delivered at once."""
    ids, slots = publish(host, 21), 3
    together = threading.Barrier(slots - 1)

    def convert(event: CloudEvent) -> Answer:
        if event["id"] == ids[0]:
            return Answer(503, {}, b"")
        # Goes on once so many of them are here; with fewer slots it never would.
        together.wait(20)
        return OK

    functions.at["/convert/"] = convert
    with dispatcher(host, functions, "--parallelism", f"convert={slots}"):
        until(lambda: set(ids) <= set(functions.ids("/convert/")), 60)
        until(lambda: waiting(host) == 0)
    assert not together.broken
    assert sorted(set(functions.ids("/convert/")) - {ids[0]}) == sorted(ids[1:])


def test_stopped_while_it_delivers(host: str, functions: Functions) -> None:
    """SIGTERM ends it at once; what it was at comes again from the next one."""
    gate = threading.Event()

    def convert(_: CloudEvent) -> Answer:
        gate.wait(30)
        return OK

    functions.at["/convert/"] = convert
    [event_id] = publish(host, 1)
    with ExitStack() as stack:
        process = stack.enter_context(dispatcher(host, functions))
        until(lambda: len(functions.received) == 1)
        process.terminate()
        assert process.wait(10) == 0
    gate.set()
    functions.at["/convert/"] = lambda _: OK
    with dispatcher(host, functions):
        until(lambda: functions.ids("/convert/") == [event_id] * 2)
        until(lambda: waiting(host) == 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--service", "convert"], "--service"), (["--parallelism", "convert=0"], "--parallelism")],
)
def test_wrong_usage(arguments: list[str], words: str, tmp_path: Path) -> None:
    """A sentence names the option."""
    env = {"PATH": os.environ["PATH"], "BROKER_URL": "amqp://localhost", "HOME": str(tmp_path)}
    done = run("broker", "dispatcher", *arguments, env=env)
    assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (1, True, False)


@pytest.mark.parametrize("program", ["ingress", "dispatcher"])
def test_without_a_broker(program: str) -> None:
    """Both programs say what is missing."""
    env = {"PATH": os.environ["PATH"], "BROKER_URL": "http://localhost"}
    done = subprocess.run([COMMAND, "broker", program], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, "BROKER_URL" in done.stderr) == (1, True)
