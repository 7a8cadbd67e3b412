"""Processes that fight for the same jobs; started by test_jobs, tells on standard output what each of them won."""

import json
import multiprocessing
import random
import sys
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from typing import Final

from functions.common.database import Database
from functions.common.jobs import Claim, Jobs

#: A job is given back until it was won so many times; who wins it last keeps it.
ATTEMPTS: Final = 2
_LONGEST_SECONDS: Final = 40
Won = list[tuple[str, int]]


def fight(url: str, job_ids: Sequence[str], start: Barrier) -> Won:
    """Claim every job until all of them are kept by somebody; the (job, attempt) pairs that this process won."""
    jobs = Jobs(Database(url), result_days=30, source_days=1)
    left = random.sample(job_ids, len(job_ids))
    won: Won = []
    start.wait(_LONGEST_SECONDS)
    ends = time.monotonic() + _LONGEST_SECONDS
    while left and time.monotonic() < ends:
        for job_id in list(left):
            seen = jobs.get(job_id)
            if seen is not None and seen.attempt == ATTEMPTS:
                # Kept by somebody; no need to ask for the lock.
                left.remove(job_id)
                continue
            claim, job = jobs.claim(job_id, 1)
            if job is None or claim not in (Claim.WON, Claim.LEASED):
                raise AssertionError(f"{job_id}: {claim}")
            if claim is Claim.WON:
                won.append((job.id, job.attempt))
                if job.attempt < ATTEMPTS and not jobs.give_back(job):
                    raise AssertionError(f"{job_id}: a live claim was lost")
    return won


def main(url: str, processes: int) -> list[Won]:
    """Let so many processes fight; what each won.

    They are forked of this one, which has imported everything once and opened nothing, as gunicorn's workers are.
    """
    job_ids = json.load(sys.stdin)
    fork = multiprocessing.get_context("fork")
    start, results = fork.Barrier(processes), fork.SimpleQueue()

    def one() -> None:
        won: Won = []
        try:
            won = fight(url, job_ids, start)
        finally:
            results.put(won)

    fighters = [fork.Process(target=one, daemon=True) for _ in range(processes)]
    for fighter in fighters:
        fighter.start()
    won = [results.get() for _ in fighters]
    for fighter in fighters:
        fighter.join()
    return won


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))  # noqa: T201 - the result goes to the test through a pipe
