"""Which alerts a mark on an incident bears on."""

import sqlalchemy as sa
from alembic import op

revision = "v0013"
down_revision = "v0012"


def upgrade() -> None:
    """Create `mark_alerts`."""
    op.create_table(
        "mark_alerts",
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("mark", "alert_id", name=op.f("pk_mark_alerts")),
    )
    op.create_index(op.f("ix_mark_alerts_alert_id"), "mark_alerts", ["alert_id"])
