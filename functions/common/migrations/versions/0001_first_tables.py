"""The first tables: accounts, jobs, mails, dead letters."""

from typing import Any, Final

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Double, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.dialects.mysql import LONGTEXT

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_MYSQL: Final[dict[str, Any]] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "accounts",
        Column("id", String(36), primary_key=True),
        Column("email", String(320), nullable=False, unique=True),
        Column("password_hash", String(255), nullable=False),
        Column("created", BigInteger, nullable=False),
        **_MYSQL,
    )
    op.create_table(
        "jobs",
        Column("id", String(36), primary_key=True),
        Column("owner", String(36), nullable=False),
        Column("idempotency_key", String(64)),
        Column("filename", String(255), nullable=False),
        Column("options", JSON, nullable=False),
        Column("traceparent", String(55)),
        Column("state", String(16), nullable=False),
        Column("reason", String(32)),
        Column("run", Integer, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("claims", Integer, nullable=False),
        Column("lease_until", BigInteger),
        Column("due", BigInteger),
        Column("rounds", Integer, nullable=False),
        Column("published", BigInteger),
        Column("dead_letters", Integer, nullable=False),
        Column("phase", String(16)),
        Column("percent", Integer, nullable=False),
        Column("sources", JSON, nullable=False),
        Column("sources_until", BigInteger),
        Column("result_size_bytes", BigInteger),
        Column("result_sha256", String(64)),
        Column("duration_seconds", Double),
        Column("swept", Integer, nullable=False),
        Column("created", BigInteger, nullable=False),
        Column("updated", BigInteger, nullable=False),
        Column("started", BigInteger),
        Column("finished", BigInteger),
        Column("expires", BigInteger),
        Column("deleted", BigInteger),
        UniqueConstraint("owner", "idempotency_key", name="jobs_idempotency"),
        Index("jobs_history", "owner", "id"),
        Index("jobs_changes", "owner", "updated"),
        Index("jobs_due", "due"),
        Index("jobs_expires", "expires"),
        Index("jobs_sources_until", "sources_until"),
        **_MYSQL,
    )
    op.create_table(
        "mails",
        Column("job_id", String(36), primary_key=True),
        Column("run", Integer, primary_key=True, autoincrement=False),
        Column("outcome", String(16), primary_key=True),
        Column("created", BigInteger, nullable=False),
        Column("lease_until", BigInteger),
        Column("sent", BigInteger),
        Column("undelivered", BigInteger),
        **_MYSQL,
    )
    op.create_table(
        "dead_letters",
        Column("id", String(36), primary_key=True),
        Column("job_id", String(64)),
        Column("event", Text().with_variant(LONGTEXT, "mysql"), nullable=False),
        Column("error_code", String(16)),
        Column("error_dest", Text),
        Column("received", BigInteger, nullable=False),
        Index("dead_letters_received", "received"),
        **_MYSQL,
    )
