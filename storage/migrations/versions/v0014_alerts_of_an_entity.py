"""The alerts of an entity by time, however many others there are."""

from alembic import op

revision = "v0014"
down_revision = "v0013"


def upgrade() -> None:
    """Index `alerts` by entity."""
    op.create_index(op.f("ix_alerts_run_entity_first_time_id"), "alerts", ["run", "entity", "first_time", "id"])
