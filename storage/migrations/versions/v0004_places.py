"""Numbers of a stream's partitions where it reads topics by a pattern."""

import sqlalchemy as sa
from alembic import op

revision = "v0004"
down_revision = "v0003"


def upgrade() -> None:
    """Create `places`."""
    op.create_table(
        "places",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "topic", "number", name=op.f("pk_places")),
        sa.UniqueConstraint("run", "stream", "partition", name=op.f("uq_places_run_stream_partition")),
    )
