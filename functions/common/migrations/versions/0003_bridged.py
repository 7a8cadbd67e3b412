"""Jobs that came from the queues of another system."""

from typing import Any, Final

from alembic import op
from sqlalchemy import BigInteger, Column, Index, String

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MYSQL: Final[dict[str, Any]] = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "bridged",
        Column("job_id", String(36), primary_key=True),
        Column("video_fid", String(24), nullable=False),
        Column("username", String(320), nullable=False),
        Column("due", BigInteger),
        Index("bridged_due", "due"),
        **_MYSQL,
    )
