"""What happens around a stream, and the alerts that it explains away."""

import sqlalchemy as sa
from alembic import op

revision = "v0008"
down_revision = "v0007"


def upgrade() -> None:
    """Create `context_events`; alerts may name one."""
    op.create_table(
        "context_events",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=True),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end", sa.DateTime(timezone=True), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "id", name=op.f("pk_context_events")),
    )
    op.create_index(op.f("ix_context_events_run_stream_start"), "context_events", ["run", "stream", "start"])
    op.create_index(op.f("ix_context_events_saved_at"), "context_events", ["saved_at"])
    op.add_column("alerts", sa.Column("explained_by_event", sa.JSON(), nullable=False, server_default="{}"))
