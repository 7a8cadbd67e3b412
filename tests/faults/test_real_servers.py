"""Servers that die under load: whatever goes, every job that was promised ends, and once."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from functions.common.job import MICROSECONDS, SILENT_SECONDS
from tests.faults.cluster import Cluster, cluster, upload_all
from tests.faults.evidence import mailed
from tests.faults.programs import Gate
from tests.support.serving import Api, Served, eventually
from tests.support.wire import Wire

SLOTS = 4


@pytest.fixture(scope="module")
def servers() -> Iterator[Cluster]:
    """RabbitMQ, MariaDB and S3 of this module's own."""
    with cluster() as made:
        yield made


@pytest.fixture(scope="module")
def served(servers: Cluster, gate: Gate) -> Iterator[Served]:
    """The functions, whose ffmpeg waits for us."""
    with servers.served({"CONVERT_SLOTS": str(SLOTS), "PATH": gate.path}) as made:
        yield made


@pytest.fixture
def me(served: Served, servers: Cluster, gate: Gate) -> Iterator[Api]:
    """Somebody with an account, on servers that all run; nothing is left to do afterwards."""
    gate.open()
    yield served.account()
    gate.open()
    for server in servers.servers:
        server.start()
    servers.quiet(served)


def all_succeed(servers: Cluster, served: Served, api: Api, jobs: list[str]) -> None:
    """Each of these jobs ends well, and one mail tells so."""
    servers.quiet(served)
    assert {job_id: api.job(job_id)["state"] for job_id in jobs} == dict.fromkeys(jobs, "succeeded")
    sent = mailed(servers.state)
    assert {job_id: sent.get((job_id, 1, "succeeded")) for job_id in jobs} == dict.fromkeys(jobs, 1)


def test_rabbitmq_killed_under_load(servers: Cluster, served: Served, me: Api, gate: Gate, short: Path) -> None:
    """With 50 events queued and 4 in delivery RabbitMQ is killed and comes back: all 54 jobs end."""
    gate.close()
    jobs = upload_all(me, [short] * (50 + SLOTS))
    eventually(lambda: servers.count("converting") == SLOTS)
    assert servers.count("queued") == 50
    servers.rabbitmq.kill()
    servers.rabbitmq.start()
    gate.open()
    all_succeed(servers, served, me, jobs)


def test_rabbitmq_away_at_an_upload(servers: Cluster, served: Served, me: Api, short: Path) -> None:
    """An upload is a promise all the same, and kept when RabbitMQ is back."""
    servers.rabbitmq.kill()
    jobs = upload_all(me, [short] * 3)
    assert [job["state"] for job in map(me.job, jobs)] == ["queued"] * 3
    servers.rabbitmq.start()
    all_succeed(servers, served, me, jobs)


def test_rabbitmq_lost_its_data(servers: Cluster, served: Served, me: Api, gate: Gate, short: Path) -> None:
    """What it held is published again when it is due, into queues that were made anew."""
    gate.close()
    jobs = upload_all(me, [short] * (SLOTS + 6))
    eventually(lambda: servers.count("converting") == SLOTS)
    servers.rabbitmq.kill()
    shutil.rmtree(servers.rabbitmq.folder / "mnesia")
    servers.rabbitmq.start()
    gate.open()
    eventually(lambda: servers.count("converting") == 0)
    # Ten minutes pass.
    servers.change("UPDATE jobs SET due = 1 WHERE state = 'queued' OR due IS NOT NULL")
    all_succeed(servers, served, me, jobs)


def test_mariadb_killed_in_the_middle_of_a_job(
    servers: Cluster, served: Served, me: Api, gate: Gate, short: Path
) -> None:
    """Meanwhile every request is 503 with Retry-After; the job ends as soon as the database is back."""
    gate.close()
    jobs = upload_all(me, [short])
    eventually(lambda: servers.count("converting") == 1)
    servers.mariadb.kill()
    requests_ = (
        ("GET", "/jobs"),
        ("GET", f"/jobs/{jobs[0]}"),
        ("GET", f"/download?fid={jobs[0]}"),
        ("POST", f"/jobs/{jobs[0]}/cancel"),
        ("POST", "/upload?filename=a.mp4"),
    )
    for method, path in requests_:
        answer = me.call(method, path, data=short.read_bytes() if "upload" in path else None)
        assert (path, answer.status_code, bool(answer.headers.get("Retry-After"))) == (path, 503, True)
    login = Api(served.url).call("POST", "/login", auth=("someone@example.com", "wrong"))
    assert (login.status_code, bool(login.headers.get("Retry-After"))) == (503, True)
    gate.open()
    servers.mariadb.start()
    all_succeed(servers, served, me, jobs)


def test_the_store_away_while_a_result_is_stored(
    servers: Cluster, served: Served, me: Api, gate: Gate, short: Path
) -> None:
    """The event is tried again until the MP3 can be stored; uploads are refused meanwhile and leave nothing."""
    gate.close()
    jobs = upload_all(me, [short])
    eventually(lambda: me.job(jobs[0])["phase"] == "encoding")
    servers.s3.kill()
    gate.open()
    answer = me.upload(short)
    assert (answer.status_code, bool(answer.headers.get("Retry-After"))) == (503, True)
    eventually(lambda: me.job(jobs[0])["state"] == "queued")
    servers.s3.start()
    all_succeed(servers, served, me, jobs)
    assert servers.count("receiving") == 0


def test_an_upload_that_died_leaves_its_key_to_the_next(servers: Cluster, served: Served, me: Api, short: Path) -> None:
    """The same Idempotency-Key is refused only while the first upload may be alive, not until it is swept away."""
    headers = {**me.headers, "Idempotency-Key": "once"}
    with Wire(me.url) as wire:
        wire.head("POST", "/upload?filename=a.mp4", {**headers, "Content-Length": "9000000"})
        wire.send(short.read_bytes().ljust(2_000_000, b"\0"))
        eventually(lambda: servers.count("receiving"))
        for worker in served.programs()["upload"].children():
            worker.kill()
        again = partial(me.call, "POST", "/upload?filename=a.mp4", headers=headers, data=short.read_bytes())
        eventually(lambda: again().status_code != 503)
        early = again()
        assert (early.status_code, early.headers["Retry-After"]) == (409, str(SILENT_SECONDS))
        silence = (SILENT_SECONDS + 1) * MICROSECONDS
        servers.change("UPDATE jobs SET due = due - :silence WHERE state = 'receiving'", silence=silence)
        taken = again()
        assert (taken.status_code, taken.json()["state"]) == (202, "queued")
        assert again().json()["id"] == taken.json()["id"]
    assert me.ended(taken.json()["id"])["state"] == "succeeded"
    servers.sweep(served)
    assert servers.count("receiving") == 0
