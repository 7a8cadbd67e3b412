"""Kills random processes of `--services` and its servers under load, and proves that nothing was lost or doubled.

For anyone to run again: `python -m tests.faults.storm --seed 1 --faults 50 --jobs 100`; exits with 1 where a promise
was broken.
"""

import argparse
import io
import random
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psutil
import requests
from mutagen.mp3 import MP3

from local.testservers.server import Server
from tests.faults.cluster import Cluster, cluster
from tests.faults.evidence import mailed
from tests.faults.proof import SLACK_SECONDS
from tests.media.corpus import clip
from tests.media.encode import encode, sound
from tests.support.serving import Api, Served, eventually

LENGTHS: Final = (0.5, 2.0, 60.0, 300.0)
#: What is longer is a recording without a picture.
SHORT_SECONDS: Final = 10.0
UPLOADERS: Final = 4
#: Between two faults.
PAUSE_SECONDS: Final = (0.2, 1.5)
#: How long a killed server stays away.
AWAY_SECONDS: Final = (0.0, 3.0)
#: What is killed, and how often in comparison; whatever else runs counts 1 each.
SERVERS: Final = {"rabbitmq": 1, "mariadb": 1}
#: A job that was taken down so often is let through: its fifth claim would be refused by contract.
MOST_CLAIMS: Final = 3
QUIET_SECONDS: Final = 300.0


@dataclass
class Diary:
    """What was done, and what was promised."""

    #: Length in seconds of the clip of each job that had its 202.
    accepted: dict[str, float] = field(default_factory=dict)
    #: The jobs that each Idempotency-Key got.
    keys: dict[str, set[str]] = field(default_factory=dict)
    #: Answers that no client should see.
    refused: list[str] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    #: Set when nobody is to go on.
    over: threading.Event = field(default_factory=threading.Event)


def upload(api: Api, clips: dict[Path, float], jobs: list[float], seed: int, diary: Diary) -> None:
    """Upload until there are no more jobs to be made, each again and again until it had its 202.

    Args:
        api: the gateway, as an account sees it.
        clips: what is uploaded, with its length in seconds.
        jobs: after how many kills each job comes, the first one last.
        seed: of every choice.
        diary: what was promised.
    """
    while not diary.over.is_set():
        with diary.lock:
            if not jobs:
                return
            number = jobs.pop()
        while diary.killed.total() < number and not diary.over.wait(0.05):
            pass
        path = random.Random(f"{seed}.{number}").choice(list(clips))  # noqa: S311 - a test's choice, no secret
        key = f"{seed}.{number}"
        while not upload_once(api, path, clips[path], key, diary) and not diary.over.wait(0.2):
            pass


def upload_once(api: Api, path: Path, seconds: float, key: str, diary: Diary) -> bool:
    """Try it once; whether there was an answer that is final."""
    try:
        with path.open("rb") as file:
            files = {"file": (path.name, file)}
            answer = api.call("POST", "/upload", files=files, headers={"Idempotency-Key": key}, timeout=60)
        found = answer.json()
    except (requests.RequestException, ValueError):
        return False
    with diary.lock:
        if answer.status_code == 202:
            diary.accepted[found["id"]] = seconds
            diary.keys.setdefault(key, set()).add(found["id"])
            return True
        # What is away is told to be, and an upload that was cut off may still be known as arriving.
        if answer.status_code not in (409, 503) or (answer.status_code == 503 and "Retry-After" not in answer.headers):
            diary.refused.append(f"{answer.status_code} {answer.text[:200]}")
    return False


def strike(servers: Cluster, served: Served, when: random.Random, diary: Diary) -> None:
    """Kill something, and bring it back if nobody else does."""
    programs = served.programs()
    targets = {**dict.fromkeys(programs, 1), **SERVERS}
    name = when.choices(list(targets), list(targets.values()))[0]
    if name == "convert":
        often = "SELECT id FROM jobs WHERE state IN ('queued', 'converting') AND claims >= :most"
        eventually(lambda: not servers.rows(often, most=MOST_CLAIMS), seconds=QUIET_SECONDS)
    if name in SERVERS:
        server: Server = getattr(servers, name)
        server.kill()
        time.sleep(when.uniform(*AWAY_SECONDS))
        server.start()
    else:
        with suppress(psutil.NoSuchProcess):
            # Master or worker of a gunicorn: either may be what the kernel chooses.
            family = [programs[name], *programs[name].children(recursive=True)]
            when.choice(family).kill()
    diary.killed[name] += 1


def broken_promises(servers: Cluster, api: Api, diary: Diary) -> tuple[list[str], int]:
    """Every promise that was not kept, in words, and how many mails were repeated."""
    jobs = {row["id"]: row for row in servers.rows("SELECT * FROM jobs WHERE deleted IS NULL")}
    broken = [f"a client was answered {answer}" for answer in diary.refused]
    broken += [f"{job_id} had its 202 and is lost" for job_id in diary.accepted.keys() - jobs.keys()]
    broken += [f"{job_id} is nobody's" for job_id in jobs.keys() - diary.accepted.keys()]
    broken += [f"key {key} got {len(ids)} jobs" for key, ids in diary.keys.items() if len(ids) != 1]
    sent = mailed(servers.state)
    for job_id, seconds in diary.accepted.items():
        broken += [f"{job_id} {fault}" for fault in _faults(servers, api, jobs.get(job_id, {}), seconds)]
        if not sent.pop((job_id, 1, "succeeded"), 0):
            broken.append(f"{job_id} was not told of")
    broken += [f"a mail that nobody is owed: {mail}" for mail in sent]
    copies = sum(mailed(servers.state).values()) - len(diary.accepted)
    if copies and not diary.killed.keys() & {"notify", "mariadb"}:
        broken.append(f"{copies} mails were repeated, though nothing died between a mail and its mark")
    return broken, copies


def _faults(servers: Cluster, api: Api, job: dict[str, Any], seconds: float) -> list[str]:
    if (job.get("state"), job.get("run")) != ("succeeded", 1):
        return [f"ended {job.get('state')} ({job.get('reason')}) in run {job.get('run')}, claims {job.get('claims')}"]
    faults = []
    stored = [path.name for path in (servers.s3.folder / "data").glob(f"*/mp3s/{job['id']}/*")]
    if stored != [str(job["attempt"])]:
        faults.append(f"has the MP3s of attempts {stored}, the row says {job['attempt']}")
    answer = api.call("GET", f"/download?fid={job['id']}")
    if answer.status_code != 200 or len(answer.content) != job["result_size_bytes"]:
        return [*faults, f"is downloaded as {answer.status_code} of {len(answer.content)} bytes"]
    info: Any = MP3(io.BytesIO(answer.content)).info
    if abs(info.length - seconds) > SLACK_SECONDS:
        faults.append(f"lasts {info.length} s instead of {seconds} s")
    return faults


def run(*, seed: int, faults: int, jobs: int) -> tuple[str, list[str]]:
    """Strike so often under so many jobs; a line that sums up, and every promise that was broken."""
    began = time.monotonic()
    diary, when = Diary(), random.Random(seed)  # noqa: S311 - a test's moments, no secret
    with TemporaryDirectory() as folder, cluster() as servers, servers.served() as served:
        clips = {_recording(Path(folder), length): length for length in LENGTHS}
        api = served.account()
        # Spread over all of the kills, so that each of them meets work.
        left = [faults * number / jobs for number in reversed(range(jobs))]
        uploaders = [
            threading.Thread(target=upload, args=(api, clips, left, seed, diary), daemon=True) for _ in range(UPLOADERS)
        ]
        for thread in uploaders:
            thread.start()
        try:
            for _ in range(faults):
                # The moments are the point of this program, so this is a sleep and no look.
                time.sleep(when.uniform(*PAUSE_SECONDS))
                strike(servers, served, when, diary)
            ends = time.monotonic() + QUIET_SECONDS
            for thread in uploaders:
                thread.join(max(0.0, ends - time.monotonic()))
            unended = sum(thread.is_alive() for thread in uploaders)
        finally:
            diary.over.set()
            for thread in uploaders:
                thread.join()
        servers.quiet(served, seconds=QUIET_SECONDS)
        # What lower attempts left is taken away by a sweep.
        eventually(lambda: not _leftovers(servers, served), seconds=120)
        broken, copies = broken_promises(servers, api, diary)
        if unended or len(diary.accepted) != jobs:
            broken.append(f"{len(diary.accepted)} of {jobs} uploads were taken, {unended} clients never ended")
        again = servers.rows("SELECT COUNT(*) AS n FROM jobs WHERE attempt > 1")[0]["n"]
    killed = ", ".join(f"{name} {count}" for name, count in sorted(diary.killed.items()))
    lost = sum("lost" in fault or "ended" in fault or "not told" in fault for fault in broken)
    line = (
        f"seed {seed}: {sum(diary.killed.values())} kills in {time.monotonic() - began:.0f} s ({killed});"
        f" {len(diary.accepted)} jobs, {again} of them worked on more than once; {lost} lost, {len(broken) - lost}"
        f" doubled or otherwise wrong; {copies} mails repeated"
    )
    return line, broken


def _recording(folder: Path, seconds: float) -> Path:
    if seconds < SHORT_SECONDS:
        return clip(folder / f"{seconds}.mp4", seconds=seconds)
    return encode(folder / f"{seconds}.m4a", *sound(seconds), "-b:a", "64k")


def _leftovers(servers: Cluster, served: Served) -> bool:
    servers.sweep(served)
    return bool(servers.rows("SELECT id FROM jobs WHERE state = 'succeeded' AND swept < attempt - 1"))


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=100)
    chosen = parser.parse_args()
    line, broken = run(seed=chosen.seed, faults=chosen.faults, jobs=chosen.jobs)
    sys.stdout.write(f"{line}\n" + "".join(f"BROKEN: {promise}\n" for promise in broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
