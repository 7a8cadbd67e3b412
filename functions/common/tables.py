"""The tables: accounts, jobs, mails and what belongs to them. Times are BIGINT microseconds by the database's clock.

A change here is a new revision in `functions.common.migrations`.
"""

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.mysql import LONGTEXT

#: Bytes are compared as bytes, whatever the database was made with: MySQL's own idea of equality ignores case and
#: accents, and with them whose address and whose key it is.
_MYSQL: Final[dict[str, Any]] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}

metadata = MetaData()

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(36), primary_key=True),
    # Normalised by auth, so that every engine's idea of letter case agrees.
    Column("email", String(320), nullable=False, unique=True),
    Column("password_hash", String(255), nullable=False),
    Column("created", BigInteger, nullable=False),
    **_MYSQL,
)

login_failures = Table(
    "login_failures",
    metadata,
    # SHA-256 of the normalised address in lower-case hex: one that has no account counts like any other.
    Column("address", String(64), primary_key=True),
    # Wrong passwords since the last right one.
    Column("failures", Integer, nullable=False),
    Column("blocked_until", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Index("login_failures_updated", "updated"),
    **_MYSQL,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner", String(36), nullable=False),
    # A digest of what the client sent: some engines take no notice of spaces at an end.
    Column("idempotency_key", String(64)),
    Column("filename", String(255), nullable=False),
    Column("options", JSON, nullable=False),
    Column("traceparent", String(55)),
    Column("state", String(16), nullable=False),
    Column("reason", String(32)),
    Column("run", Integer, nullable=False),
    # The fencing number: only ever grows, also across runs.
    Column("attempt", Integer, nullable=False),
    # Claims of this run; a file that kills its worker is given up by this count.
    Column("claims", Integer, nullable=False),
    Column("lease_until", BigInteger),
    # When the row's event is owed again; empty only when nothing is owed.
    Column("due", BigInteger),
    # Publications by recover since the last progress; each doubles the delay.
    Column("rounds", Integer, nullable=False),
    Column("published", BigInteger),
    # Dead letters of this run that counted.
    Column("dead_letters", Integer, nullable=False),
    Column("phase", String(16)),
    Column("percent", Integer, nullable=False),
    Column("sources", JSON, nullable=False),
    # Numbers given out to pieces of a resumable upload; empty for a source that came at once.
    Column("pieces", Integer),
    # The Upload-Metadata header of a resumable upload.
    Column("upload_metadata", Text),
    # Sum of the sources' sizes: for a resumable upload from its beginning, for others once they are stored; empty
    # where an older program queued the job.
    Column("source_bytes", BigInteger),
    Column("sources_until", BigInteger),
    Column("result_size_bytes", BigInteger),
    Column("result_sha256", String(64)),
    Column("duration_seconds", Double),
    # Names of what could not come along; empty where an older program made the result.
    Column("omitted", JSON),
    # Empty where there is no waveform.
    Column("waveform_size_bytes", BigInteger),
    # Attempts up to this one have no leftover results any more.
    Column("swept", Integer, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("started", BigInteger),
    Column("finished", BigInteger),
    Column("expires", BigInteger),
    # Tombstone: gone for its owner, its row kept for a day.
    Column("deleted", BigInteger),
    UniqueConstraint("owner", "idempotency_key", name="jobs_idempotency"),
    Index("jobs_history", "owner", "id"),
    Index("jobs_changes", "owner", "updated"),
    # Both serve the owner's quotas; the second holds all that is summed, so that no row is read for it.
    Index("jobs_created", "owner", "created"),
    Index("jobs_kept", "owner", "state", "deleted", "sources_until", "source_bytes", "result_size_bytes"),
    Index("jobs_due", "due"),
    Index("jobs_expires", "expires"),
    Index("jobs_sources_until", "sources_until"),
    **_MYSQL,
)

mails = Table(
    "mails",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("outcome", String(16), primary_key=True),
    Column("created", BigInteger, nullable=False),
    Column("lease_until", BigInteger),
    # Set after the mail server took it; only this silences repeats.
    Column("sent", BigInteger),
    # Set when it was given up, or withdrawn by a retry or a deletion.
    Column("undelivered", BigInteger),
    **_MYSQL,
)

bridged = Table(
    "bridged",
    metadata,
    Column("job_id", String(36), primary_key=True),
    # `_id` of the source in the GridFS of the system beside us.
    Column("video_fid", String(24), nullable=False),
    # Its user, spelled as it spells it.
    Column("username", String(320), nullable=False),
    # When that system is to be told of the MP3 again; empty once its RabbitMQ has confirmed the message.
    Column("due", BigInteger),
    Index("bridged_due", "due"),
    **_MYSQL,
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("job_id", String(64)),
    Column("event", Text().with_variant(LONGTEXT, "mysql"), nullable=False),
    Column("error_code", String(16)),
    Column("error_dest", Text),
    Column("received", BigInteger, nullable=False),
    Index("dead_letters_received", "received"),
    **_MYSQL,
)
