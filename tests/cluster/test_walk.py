"""One person's way: from the registration to the MP3 and the mail, and what a file that is no video comes to."""

import io
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mutagen.mp3 import MP3

from functions.common.job import REASONS
from tests.cluster.conftest import People, Record
from tests.cluster.kube import Kube
from tests.cluster.pods import Pods
from tests.cluster.stores import Mailbox
from tests.cluster.traffic import JOB_SECONDS, Client, Door, ended, followed, measured

#: What an encoder may add to a clip, and a container may round.
_SLACK_SECONDS = 0.15


def _length_seconds(mp3: bytes) -> float:
    info: Any = MP3(io.BytesIO(mp3)).info
    return float(info.length)


def test_the_walk(people: People, short: Path) -> None:
    """Register, log in, upload, follow by SSE, download: the MP3 is as long as the video."""
    client = people()
    job_id = client.upload_id(short, name="My holiday.mp4")
    told = followed(client, job_id)
    assert told[-1] == "succeeded"
    assert told == sorted(told, key=["queued", "converting", "succeeded"].index)
    mp3 = client.download(job_id)
    assert len(mp3) == client.job(job_id)["size_bytes"]
    assert _length_seconds(mp3) == pytest.approx(5, abs=_SLACK_SECONDS)


def test_the_mail_names_the_job_and_its_link_opens_the_mp3(
    kube: Kube, door: Door, people: People, mailbox: Mailbox, short: Path, pods: Pods, record: Record
) -> None:
    """The mail has the words that people's scripts look for, and a link that needs no token."""
    client = people()
    job, seconds = measured(kube, client, short, mailbox)
    record("the walk", seconds, pods.most)
    assert job["state"] == "succeeded"
    subject, text = mailbox.text(job["id"])
    assert subject == "MP3 Download"
    first, link = text.splitlines()[:2]
    assert first == f"mp3 file_id: {job['id']} is now ready!"
    parts = urlsplit(link)
    assert Client(door).call("GET", f"{parts.path}?{parts.query}").content == client.download(job["id"])
    assert mailbox.about(job["id"]) == [f"{job['id']}.1.succeeded"]


def test_a_poison_file_fails_and_the_mail_says_why(
    kube: Kube, people: People, mailbox: Mailbox, tmp_path: Path
) -> None:
    """What is no media ends as failed, once, with a reason that the mail has in a sentence."""
    path = tmp_path / "broken.mp4"
    path.write_bytes(bytes(range(256)) * 256)
    client = people()
    job_id = client.upload_id(path)
    job = ended(kube, client, job_id)
    assert (job["state"], job["reason"]) == ("failed", "unreadable")
    kube.until(f"a mail about job {job_id}", lambda: mailbox.about(job_id), seconds=JOB_SECONDS)
    assert REASONS["unreadable"] in mailbox.text(job_id)[1]
    assert mailbox.about(job_id) == [f"{job_id}.1.failed"]
