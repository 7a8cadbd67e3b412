"""State directories as benchmarks need them: an account with its token, and jobs in the state they begin with."""

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from functions.auth.accounts import Accounts
from functions.auth.issuing import issuer
from functions.auth.passwords import hash_password
from functions.common import events
from functions.common.backends import Backends
from functions.common.config import load
from functions.common.events import Notice
from functions.common.job import Job, Piece, blob_keys, result_key, source_key
from functions.common.jobs import Claim
from functions.common.options import parse
from local.server.state import settings

EMAIL: Final = "someone@example.com"
PASSWORD: Final = "Admin123"  # noqa: S105 - of an account that lives as long as the benchmark


class Home:
    """A state directory of our own, with one account; nothing serves it yet.

    Args:
        directory: where it goes; made where it does not exist.
        env: settings that go before those of the directory.
    """

    def __init__(self, directory: Path, *, env: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        #: As functions.common.config reads them.
        self.settings = {"PUBLIC_URL": "http://localhost:8080", **settings(directory, env=env or {})}
        config = load(self.settings)
        self.backends = Backends(config)
        self.password_hash = hash_password(PASSWORD)
        account = Accounts(self.backends.database).add(EMAIL, self.password_hash)
        if account is None:
            raise ValueError(f"{directory} is no fresh directory")
        self._owner = account.id
        self.token = issuer(config.token_private_key, config.token_seconds).issue(account.id, account.email)

    def queued(self, source: Path, options: Mapping[str, str] | None = None) -> Notice:
        """Store a source as upload does; return what its event says."""
        job = self._received(source, options or {})
        return Notice(events.UPLOADED, f"{job.id}.{job.run}.uploaded", job.id, job.run, None)

    def succeeded(self, source: Path, mp3: bytes) -> str:
        """A job that has ended well with these bytes; its id."""
        received = self._received(source, {})
        claim, job = self.backends.jobs.claim(received.id, received.run)
        if claim is not Claim.WON or job is None:
            raise RuntimeError(f"a fresh job could not be claimed: {claim}")
        stored = self._store(result_key(job.id, job.attempt), mp3)
        self.backends.jobs.succeed(job, result=stored, duration_seconds=1.0)
        return job.id

    def remove(self, job_id: str) -> None:
        """Delete what is stored of a job."""
        job = self.backends.jobs.get(job_id)
        for key in blob_keys(job) if job is not None else ():
            self.backends.blobs.delete(key)

    def mails(self) -> int:
        """Count the mails that were sent."""
        try:
            return sum(entry.name.endswith(".eml") for entry in os.scandir(self.directory / "mail"))
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Let go of the database."""
        self.backends.close()

    def _received(self, source: Path, options: Mapping[str, str]) -> Job:
        chosen = parse(options)
        jobs = self.backends.jobs
        job = jobs.create(
            owner=self._owner, filename=source.name, options=chosen, idempotency_key=None, traceparent=None
        )
        if job is None:
            raise RuntimeError("a job without a key was refused for its key")
        stored = self._store(source_key(job.id, 0), source.read_bytes())
        jobs.queue(job.id, sources=[stored], options=chosen, filename=source.name)
        return job

    def _store(self, key: str, content: bytes) -> Piece:
        with self.backends.blobs.create(key) as writer:
            writer.write(content)
            writer.commit()
        return Piece(len(content), sha256(content).hexdigest())
