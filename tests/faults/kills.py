"""Kills the one-process server at random moments under load, and proves afterwards that nothing was lost or doubled.

For anyone to run again: `python -m tests.faults.kills --seed 1 --kills 200`; exits with 1 where a promise was broken.
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import requests

from tests.faults.evidence import mailed
from tests.faults.proof import broken_promises
from tests.media.corpus import clip
from tests.media.encode import encode, sound
from tests.support.serving import Api, Served, eventually
from tests.support.traces import rows

#: Lengths of the small videos that are uploaded, in seconds; a recording of 11 MB and a minute is the last file.
LENGTHS: Final = (0.5, 1.0, 2.0, 4.0)
#: Uploads that run at once.
UPLOADERS: Final = 4
#: No further upload while so many jobs are unfinished, so that the end comes soon after the last kill.
MOST_UNFINISHED: Final = 10
#: The share of kills that fall into a start.
DURING_START: Final = 0.3
START_SECONDS: Final = 1.2
READY_SECONDS: Final = 1.5
#: A job that was taken down so often is let through: its fifth claim would be refused by contract.
MOST_CLAIMS: Final = 3
#: How long the last server may take for what is left.
QUIET_SECONDS: Final = 120.0


@dataclass
class Diary:
    """What was done to the servers and what they promised."""

    #: Length in seconds of the clip of each job that had its 202.
    accepted: dict[str, float] = field(default_factory=dict)
    #: The job that each Idempotency-Key got.
    keys: dict[str, set[str]] = field(default_factory=dict)
    #: Uploads whose answer never came.
    unanswered: int = 0
    #: Answers that no client should see.
    refused: list[str] = field(default_factory=list)
    #: For each mail, how many copies lay in the mailbox whenever a kill found the last one not yet marked as sent.
    unmarked: dict[tuple[str, int, str], set[int]] = field(default_factory=dict)
    kills: int = 0
    #: What jobs were doing when the server was killed.
    moments: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Uploaders:
    """Clients that upload without end, whatever becomes of the server.

    Args:
        clips: what they upload, with its length in seconds.
        seed: of every choice they make.
        diary: where they write down what they were told.
    """

    def __init__(self, clips: Mapping[Path, float], *, state: Path, seed: int, diary: Diary) -> None:
        self._clips = clips
        self._state = state
        self._diary = diary
        self._api: Api | None = None
        self._stopping = threading.Event()
        self._serving = threading.Event()
        self._threads = [
            threading.Thread(target=self._upload, args=(random.Random(f"{seed}.{number}"),), daemon=True)  # noqa: S311
            for number in range(UPLOADERS)
        ]

    def use(self, api: Api | None) -> None:
        """Go on with this server; None while there is none."""
        self._api = api
        if api is None:
            self._serving.clear()
        else:
            self._serving.set()

    def start(self) -> None:
        """Begin to upload."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Upload nothing new, and wait until every upload that was begun had its answer."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(60)

    def _upload(self, choose: random.Random) -> None:
        paths = list(self._clips)
        while not self._stopping.is_set():
            if not self._serving.wait(0.1) or unfinished(self._state) >= MOST_UNFINISHED:
                self._stopping.wait(0.05)
                continue
            path = choose.choice(paths)
            # A program that gives its upload a key may repeat it until it is answered.
            key = f"{choose.getrandbits(64):x}" if choose.random() < 0.5 else None
            while not self._upload_once(path, key) and key and not self._stopping.is_set():
                self._serving.wait(0.1)

    def _upload_once(self, path: Path, key: str | None) -> bool:
        """Try it once; whether there was an answer."""
        api = self._api
        if api is None:
            return False
        headers = {"Idempotency-Key": key} if key else {}
        try:
            with path.open("rb") as file:
                answer = api.call("POST", "/upload", files={"file": (path.name, file)}, headers=headers, timeout=30)
            job_id = answer.json()["id"] if answer.status_code == 202 else None
        except (requests.RequestException, ValueError):
            with self._diary.lock:
                self._diary.unanswered += 1
            return False
        with self._diary.lock:
            if job_id is None:
                self._diary.refused.append(f"{answer.status_code} {answer.text[:200]}")
                return True
            self._diary.accepted[job_id] = self._clips[path]
            if key:
                self._diary.keys.setdefault(key, set()).add(job_id)
        return True


def unfinished(state: Path) -> int:
    """How many jobs have not ended."""
    open_ = "SELECT COUNT(*) AS n FROM jobs WHERE state IN ('receiving', 'queued', 'converting')"
    return int(rows(state, open_)[0]["n"])


def often_claimed(state: Path) -> bool:
    """Whether a job was taken down so often that it is spared the next kill."""
    query = "SELECT id FROM jobs WHERE state IN ('queued', 'converting') AND claims >= ?"
    return bool(rows(state, query, MOST_CLAIMS))


def note_the_moment(state: Path, diary: Diary) -> None:
    """Write down what the kill interrupted: the jobs' states, and the mails between their 250 and our mark."""
    for job in rows(state, "SELECT state, phase FROM jobs WHERE state IN ('receiving', 'queued', 'converting')"):
        diary.moments[job["phase"] or job["state"]] += 1
    unmarked = rows(state, "SELECT job_id, run, outcome FROM mails WHERE sent IS NULL AND undelivered IS NULL")
    copies = mailed(state) if unmarked else {}
    for found in unmarked:
        mail = (found["job_id"], found["run"], found["outcome"])
        if mail in copies:
            diary.unmarked.setdefault(mail, set()).add(copies[mail])


def kill_once(server: Served, state: Path, uploaders: Uploaders, token: str, when: random.Random) -> None:
    """Kill a server that was just started, at a random moment."""
    begun = time.monotonic()
    starting = when.random() < DURING_START
    pause = when.uniform(0, START_SECONDS if starting else READY_SECONDS)
    if not starting:
        server.wait_ready()
        uploaders.use(Api(server.url, token))
        begun = time.monotonic()
    if often_claimed(state):
        server.wait_ready()
        uploaders.use(Api(server.url, token))
        eventually(lambda: not often_claimed(state), seconds=QUIET_SECONDS)
    # The moment itself is the point of this program, so it is a sleep and no look.
    time.sleep(max(0.0, begun + pause - time.monotonic()))
    assert server.process.poll() is None, f"the server ended by itself:\n{server.log()}"
    server.kill()
    uploaders.use(None)


@contextmanager
def last_server(state: Path) -> Iterator[Served]:
    """The server that does what is left, and one more after it, whose start sweeps once again."""
    with Served(state) as server:
        owed = "SELECT id FROM jobs WHERE due IS NOT NULL"
        eventually(lambda: not unfinished(state) and not rows(state, owed), seconds=QUIET_SECONDS)
        server.stop()
    with Served(state) as server:
        yield server


def run(state: Path, *, seed: int, kills: int) -> tuple[str, list[str]]:
    """Kill so many servers; a line that sums up, and every promise that was broken.

    Args:
        state: the servers' state directory.
        seed: of every choice; the same seed gives the same moments, though not the same interleavings.
        kills: how often.
    """
    began = time.monotonic()
    diary, when = Diary(), random.Random(seed)  # noqa: S311 - a test's moments, no secret
    uploaders = Uploaders(_files(state.parent), state=state, seed=seed, diary=diary)
    server = Served(state, afresh=True)
    try:
        server.wait_ready()
        token = server.account().headers["Authorization"].removeprefix("Bearer ")
        uploaders.start()
        for _ in range(kills):
            kill_once(server, state, uploaders, token, when)
            diary.kills += 1
            note_the_moment(state, diary)
            server = Served(state, afresh=True)
        server.wait_ready()
        uploaders.use(Api(server.url, token))
        uploaders.stop()
        assert server.stop() == 0, server.log()
        with last_server(state) as last:
            broken = broken_promises(state, Api(last.url, token), diary)
    finally:
        uploaders.stop()
        server.kill()
    return summary(state, seed, diary, time.monotonic() - began), broken


def _files(folder: Path) -> dict[Path, float]:
    """What is uploaded, with its length in seconds."""
    files = {clip(folder / f"{seconds}.mp4", seconds=seconds): seconds for seconds in LENGTHS}
    return {**files, encode(folder / "recording.wav", *sound(60), "-ac", "2"): 60.0}


def summary(state: Path, seed: int, diary: Diary, seconds: float) -> str:
    """One line for people."""
    done = rows(state, "SELECT COUNT(*) AS n, SUM(attempt > 1) AS again FROM jobs")[0]
    moments = ", ".join(f"{moment} {count}" for moment, count in diary.moments.most_common())
    return (
        f"seed {seed}: {diary.kills} kills in {seconds:.0f} s, {len(diary.accepted)} uploads answered 202,"
        f" {diary.unanswered} cut off; {done['n']} jobs, {done['again']} of them worked on more than once;"
        f" mails repeated: {sum(len(copies) for copies in diary.unmarked.values())}, each cut off between the mail"
        f" server's 250 and our mark; half-written mails left: {len(list((state / 'mail').glob('.*.part')))};"
        f" killed while: {moments or 'nothing ran'}"
    )


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="video2mp3-kills-"))
    line, broken = run(folder / "state", seed=chosen.seed, kills=chosen.kills)
    sys.stdout.write(f"{line}\n")
    if broken:
        sys.stdout.write("".join(f"BROKEN: {promise}\n" for promise in broken) + f"The evidence is in {folder}\n")
        return 1
    shutil.rmtree(folder)
    sys.stdout.write("Every promise was kept.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
