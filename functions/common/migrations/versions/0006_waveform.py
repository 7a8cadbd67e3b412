"""How long the waveform beside an MP3 is, where there is one."""

from alembic import op
from sqlalchemy import BigInteger, Column

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("jobs", Column("waveform_size_bytes", BigInteger))
