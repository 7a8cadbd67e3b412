"""What of a recording's own could not come along into its MP3."""

from alembic import op
from sqlalchemy import JSON, Column

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("jobs", Column("omitted", JSON))
