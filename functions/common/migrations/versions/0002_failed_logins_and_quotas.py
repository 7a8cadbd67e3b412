"""A table of failed logins; the size of a job's sources as a number that can be summed, filled from their list."""

from typing import Any, Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, Index, Integer, String

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MYSQL: Final[dict[str, Any]] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}


def upgrade() -> None:
    """Make the table, the column and the indexes."""
    op.create_table(
        "login_failures",
        Column("address", String(64), primary_key=True),
        Column("failures", Integer, nullable=False),
        Column("blocked_until", BigInteger, nullable=False),
        Column("updated", BigInteger, nullable=False),
        Index("login_failures_updated", "updated"),
        **_MYSQL,
    )
    op.add_column("jobs", Column("source_bytes", BigInteger))
    _fill()
    op.create_index("jobs_created", "jobs", ["owner", "created"])
    op.create_index(
        "jobs_kept", "jobs", ["owner", "state", "deleted", "sources_until", "source_bytes", "result_size_bytes"]
    )


def _fill() -> None:
    """Sum up the sources of each job; here, since every engine reads JSON in a way of its own."""
    jobs = sa.table("jobs", Column("id", String), Column("sources", sa.JSON), Column("source_bytes", BigInteger))
    connection = op.get_bind()
    fill = sa.update(jobs).where(jobs.c.id == sa.bindparam("job")).values(source_bytes=sa.bindparam("sum"))
    last = ""
    while rows := connection.execute(
        sa.select(jobs.c.id, jobs.c.sources).where(jobs.c.id > last).order_by(jobs.c.id).limit(1000)
    ).all():
        stored = [{"job": job, "sum": sum(size for size, _ in sources)} for job, sources in rows if sources]
        if stored:
            connection.execute(fill, stored)
        last = rows[-1].id
