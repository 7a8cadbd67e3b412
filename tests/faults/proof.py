"""What a run of `tests.faults.kills` must have left, job by job."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from mutagen import MutagenError
from mutagen.mp3 import MP3

from tests.faults.evidence import litter, mailed, mp3s, sources, waveforms
from tests.faults.programs import commands_naming
from tests.support.serving import Api
from tests.support.traces import rows

#: What an encoder may add to a clip, and a container may round.
SLACK_SECONDS: Final = 0.15
Mail = tuple[str, int, str]


class Promises(Protocol):
    """What clients were told; see `tests.faults.kills.Diary`."""

    accepted: dict[str, float]
    keys: dict[str, set[str]]
    unanswered: int
    refused: list[str]
    unmarked: dict[Mail, set[int]]


def broken_promises(state: Path, api: Api, promises: Promises) -> list[str]:
    """Every promise that the state directory does not keep, in words; empty where all is well."""
    jobs = {job["id"]: job for job in rows(state, "SELECT * FROM jobs")}
    broken = [f"a client was answered {answer}" for answer in promises.refused]
    broken += [f"{job_id} had its 202 and is lost" for job_id in promises.accepted if job_id not in jobs]
    broken += [f"key {key} got {len(ids)} jobs" for key, ids in promises.keys.items() if len(ids) != 1]
    surplus = len(jobs.keys() - promises.accepted.keys())
    if surplus > promises.unanswered:
        broken.append(f"{surplus} jobs nobody was told of, but only {promises.unanswered} uploads were cut off")
    for job_id, job in jobs.items():
        seconds = promises.accepted.get(job_id)
        broken += [f"{job_id} {fault}" for fault in _faults(state, api, job, seconds)]
    broken += _mail_faults(state, jobs, promises.unmarked)
    broken += [f"{path} lies about" for path in litter(state)]
    broken += [f"ffmpeg {number} still runs" for number in commands_naming(state / "work")]
    return broken


def _faults(state: Path, api: Api, job: Mapping[str, Any], seconds: float | None) -> list[str]:
    """What is wrong with one job; its length is known where its upload was answered."""
    if job["state"] != "succeeded" or job["run"] != 1:
        return [f"ended {job['state']} ({job['reason']}) in run {job['run']} after {job['claims']} claims"]
    faults = []
    if waveforms(state, job["id"]) not in ([], [str(job["attempt"])]):
        faults.append(f"has the waveforms of attempts {waveforms(state, job['id'])}, the row says {job['attempt']}")
    if mp3s(state, job["id"]) != [str(job["attempt"])]:
        faults.append(f"has the MP3s of attempts {mp3s(state, job['id'])}, the row says {job['attempt']}")
    if sources(state, job["id"]) != ["0"]:
        faults.append(f"has the source pieces {sources(state, job['id'])}")
    answer = api.call("GET", f"/download?fid={job['id']}")
    if answer.status_code != 200 or len(answer.content) != job["result_size_bytes"]:
        return [*faults, f"is downloaded as {answer.status_code} of {len(answer.content)} bytes"]
    try:
        info: Any = MP3(io.BytesIO(answer.content)).info
    except MutagenError as error:
        return [*faults, f"is no MP3: {error}"]
    expected = seconds or job["duration_seconds"]
    if abs(info.length - expected) > SLACK_SECONDS:
        faults.append(f"lasts {info.length} s instead of {expected} s")
    return faults


def _mail_faults(state: Path, jobs: Mapping[str, Any], unmarked: Mapping[Mail, set[int]]) -> list[str]:
    """Every mail too few, and every one too many that no kill between the 250 and our mark explains."""
    expected: dict[Mail, int] = {(job_id, 1, "succeeded"): 1 for job_id in jobs}
    for mail, copies in unmarked.items():
        expected[mail] = max(copies) + 1
    found = mailed(state)
    return [
        f"{mail} was mailed {found.get(mail, 0)} times instead of {expected.get(mail, 0)}"
        for mail in sorted(expected.keys() | found.keys())
        if found.get(mail, 0) != expected.get(mail, 0)
    ]
