"""What a burst makes of what the generator, a server's rows, processes and a cluster tell it."""

import io
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from local.loadtest import snapshot
from local.loadtest.journal import Journal
from local.loadtest.live import picture
from local.loadtest.media import Clip
from local.loadtest.plan import draw
from local.loadtest.pods import SERVICE, cpus, read_pod, size_bytes
from local.loadtest.processes import Beside, OneTree
from local.loadtest.remote import shift
from local.loadtest.server import OwnServer
from tests.unit.test_burst_figures import sample


def journal(jobs: int = 2) -> Journal:
    """Of jobs that upload one clip, begun at 100 s."""
    clips = [Clip(Path("clip.mp4"), 2.0, 10, "a" * 64)]
    made = Journal(draw([0.0] * jobs, clips, accounts=1, seed=1))
    made.hear(json.dumps({"what": "began", "at": 100.0}))
    return made


def hear(made: Journal, what: str, at: float, **more: Any) -> None:
    """A line of the generator."""
    made.hear(json.dumps({"what": what, "at": at, "job": 0, **more}))


def test_a_job_from_its_first_byte_to_its_mail() -> None:
    """Where it stands follows from what was heard and seen; the first POST counts, however often it was sent."""
    made = journal()
    record = made.records[0]
    standings = [record.standing]
    hear(made, "sent", 101.0)
    standings.append(record.standing)
    hear(made, "refused", 101.5, status=503, retry_after="5", why="full")
    hear(made, "broken", 101.6, why="reset")
    hear(made, "sent", 102.0)
    hear(made, "accepted", 103.0, id="x")
    standings.append(record.standing)
    row = {"state": "converting", "started": 104.0, "finished": None, "mailed": None}
    for more in ({}, {"state": "succeeded", "finished": 105.0}, {"mailed": 106.0}):
        row = {**row, **more}
        made.see({"x": row}, asked={"x"})
        standings.append(record.standing)
    assert standings == ["not sent", "uploading", "queued", "converting", "succeeded", "mailed"]
    assert (record.sent, record.accepted, record.started, record.finished, record.mailed) == (1.0, 3.0, 4.0, 5.0, 6.0)
    assert (record.broken, record.refusals[0].retry_after) == (["reset after 1.6 s"], "5")


def test_only_a_row_that_was_asked_for_can_be_gone() -> None:
    """An upload that is answered while the rows are read is not lost."""
    made = journal(1)
    hear(made, "accepted", 101.0, id="x")
    made.see({}, asked=set())
    assert (made.records[0].standing, made.unfinished()) == ("queued", 1)
    made.see({}, asked={"x"})
    assert (made.records[0].standing, made.unfinished()) == ("lost", 0)


def test_an_upload_that_was_given_up_is_an_end() -> None:
    """Nobody waits for it."""
    made = journal(1)
    hear(made, "given_up", 101.0)
    assert (made.records[0].standing, made.unfinished()) == ("given up", 0)


def test_the_picture_of_a_moment() -> None:
    """Jobs by state, what runs, what waits, how long jobs take, and how long the rest takes if it goes on so."""
    made = journal(8)
    ended = {"state": "succeeded", "started": 102.0, "finished": 110.0, "mailed": None}
    for number in range(4):
        made.hear(json.dumps({"what": "accepted", "at": 101.0, "job": number, "id": str(number)}))
    made.see({str(number): ended for number in range(4)}, asked=set())
    instances = {"convert": {"Ready": 2, "Pending": 1}}
    jobs = {"succeeded": 4, "not sent": 4}
    there = sample(12.0, jobs=jobs, instances=instances, queues={"video2mp3.convert": 7})
    console = Console(width=120, file=io.StringIO(), force_terminal=True)
    with console.capture() as shown:
        console.print(picture(there, made))
    words = re.sub(r"\x1b\[[\d;]*m", "", shown.get())
    assert re.search(r"succeeded\s+4 ", words)
    assert re.search(r"convert\s+3", words)
    assert re.search(r"video2mp3.convert\s+7", words)
    assert "12 s; upload to MP3: p50 10.0 s, p95 10.0 s; about 12 s left" in words


def pod(**more: Any) -> dict[str, Any]:
    """A pod as the API tells of it."""
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:03Z"}
    metadata = {"labels": {SERVICE: "convert"}, "creationTimestamp": "2026-01-01T00:00:00Z", "uid": "u"}
    metadata |= more.pop("metadata", {})
    return {"metadata": metadata, "status": {"phase": "Running", "conditions": [ready], **more}}


def test_phases_of_a_pod() -> None:
    """Pending, starting, ready, ending; how long it took to be ready."""
    found = read_pod(pod())
    assert (found.function, found.phase, (found.ready or 0) - found.created) == ("convert", "Ready", 3.0)
    assert read_pod(pod(conditions=[])).phase == "Starting"
    assert read_pod(pod(phase="Pending", conditions=None)).phase == "Pending"
    assert read_pod(pod(metadata={"deletionTimestamp": "2026-01-01T00:01:00Z"})).phase == "Ending"
    assert read_pod(pod(phase="Failed", conditions=[])).phase == "Failed"


def test_quantities() -> None:
    """As Kubernetes writes processors and bytes."""
    assert [round(cpus(text), 9) for text in ("2", "250m", "1500000n", "30u")] == [2.0, 0.25, 0.0015, 0.00003]
    assert [size_bytes(text) for text in ("64", "64Ki", "1Mi", "2G")] == [64, 65536, 1048576, 2_000_000_000]


def test_clocks_that_differ() -> None:
    """Within what POST and 202 allow nothing is shifted; beyond it by the middle."""
    assert shift((-0.5, 0.2)) == 0.0
    assert shift((9.0, 11.0)) == 10.0
    assert shift((float("-inf"), float("inf"))) == 0.0


def test_children_that_lived_shorter_than_a_look_are_counted() -> None:
    """What they used is in the counters of whoever waited for them."""
    work = "import hashlib\nfor _ in range(60): hashlib.sha256(b'x' * 4_000_000).digest()"
    run = f"subprocess.run([sys.executable, '-c', {work!r}])"
    script = f"import subprocess, sys\n{run}\nprint(1, flush=True)\nsys.stdin.read()"
    with psutil.Popen(["python3", "-c", script], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        there = snapshot.take()
        root = there.find(process.pid)
        assert root is not None
        found = OneTree().look(replace(root, parent=0), there)
        assert found["ffmpeg"].cpu_seconds > 0.02
        assert found["ffmpeg"].instances == 0
        # As a server beside ours, those that are there count, each for itself.
        assert Beside().look([process.pid], there) == root.own_cpu_seconds
        process.stdin.close()


def test_a_line_of_proc() -> None:
    """Names may hold what separates fields (proc(5))."""
    stat = "7 (a (b) c) S 3 " + " ".join(str(number) for number in range(5, 53))
    found = snapshot.parsed(stat, 10, 4096)
    assert (found.pid, found.parent, found.name) == (7, 3, "a (b) c")
    assert (found.own_cpu_seconds, found.ended_cpu_seconds) == (2.9, 3.3)
    assert (found.began, found.memory_bytes) == (22.0, 24 * 4096)


def test_a_server_whose_reaper_is_gone_takes_nobody_elses_orphans(tmp_path: Path) -> None:
    """While it is being killed it belongs to init, whose children are no encoders of ours."""
    server = OwnServer(tmp_path, {})
    with subprocess.Popen(["true"]) as reaper, psutil.Popen(["sleep", "60"]) as stranger:
        server._process, server._root = reaper, stranger
        assert server.usage(snapshot.take()) == {}
        stranger.kill()
