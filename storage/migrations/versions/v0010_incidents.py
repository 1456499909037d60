"""Incidents: what alerts that belong together are, their types, and how far triage has come."""

import sqlalchemy as sa
from alembic import op

revision = "v0010"
down_revision = "v0009"

Moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create `triage`, `incidents`, `incident_alerts`, `incident_types`."""
    op.create_table(
        "triage",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("reached", Moment, nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("saved_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("run", name=op.f("pk_triage")),
    )
    _incidents()
    op.create_table(
        "incident_alerts",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("incident", sa.Text(), nullable=True),
        sa.Column("started", Moment, nullable=True),
        sa.Column("first_time", Moment, nullable=False),
        sa.Column("end_time", Moment, nullable=False),
        sa.Column("digest", sa.JSON(), nullable=False),
        sa.Column("seen_at", Moment, nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_incident_alerts_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_incident_alerts")),
    )
    _index("incident_alerts", "run", "first_time", "alert_id")
    _index("incident_alerts", "incident", "first_time", "alert_id")
    op.create_table(
        "incident_types",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("first_time", Moment, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("signature", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident_types")),
    )
    _index("incident_types", "run", "first_time", "id")


def _incidents() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("severity_score", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("first_time", Moment, nullable=False),
        sa.Column("last_time", Moment, nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("feature", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("alerts", sa.BigInteger(), nullable=False),
        sa.Column("entities", sa.BigInteger(), nullable=False),
        sa.Column("suspects", sa.JSON(), nullable=False),
        sa.Column("signature", sa.JSON(), nullable=False),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("likeness", sa.Double(), nullable=True),
        sa.Column("merged_into", sa.Text(), nullable=True),
        sa.Column("opened_at", Moment, nullable=False),
        sa.Column("saved_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
    )
    _index("incidents", "saved_at")
    _index("incidents", "run", "first_time", "id")
    _index("incidents", "run", "severity_score", "id")
    _index("incidents", "run", "state", "first_time", "id")
    _index("incidents", "run", "entity", "first_time", "id")
    _index("incidents", "run", "number", unique=True)
    _index("incidents", "type", "first_time", "id")


def _index(table: str, *columns: str, unique: bool = False) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns), unique=unique)
