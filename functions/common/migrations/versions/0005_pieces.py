"""Resumable uploads: the numbers of their pieces, and what their clients call them."""

from alembic import op
from sqlalchemy import Column, Integer, Text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("jobs", Column("pieces", Integer))
    op.add_column("jobs", Column("upload_metadata", Text))
