"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None


def streams() -> None:
    """Create `streams`."""
    op.create_table(
        "streams",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("step_ns", sa.BigInteger(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", name=op.f("pk_streams")),
    )


def entities() -> None:
    """Create `entities`."""
    op.create_table(
        "entities",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("first_slot", sa.BigInteger(), nullable=False),
        sa.Column("last_slot", sa.BigInteger(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "partition", "entity", name=op.f("pk_entities")),
    )


def models() -> None:
    """Create `models`."""
    op.create_table(
        "models",
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("stream", "version", name=op.f("pk_models")),
    )
    op.create_index(
        op.f("uq_models_active"),
        "models",
        ["stream"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )


def alerts() -> None:
    """Create `alerts`."""
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("opened_slot", sa.BigInteger(), nullable=False),
        sa.Column("first_slot", sa.BigInteger(), nullable=False),
        sa.Column("last_slot", sa.BigInteger(), nullable=False),
        sa.Column("peak_slot", sa.BigInteger(), nullable=False),
        sa.Column("first_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("peak_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("p", sa.Double(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("detected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ingested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("amended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("votes", sa.JSON(), nullable=False),
        sa.Column("attribution", sa.JSON(), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("explained_by", sa.Text(), nullable=True),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("window", sa.LargeBinary(), nullable=True),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("merged_into", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index(op.f("ix_alerts_explanation"), "alerts", ["explanation"])
    op.create_index(op.f("ix_alerts_run_stream_first_time"), "alerts", ["run", "stream", "first_time"])
    op.create_index(op.f("ix_alerts_saved_at"), "alerts", ["saved_at"])
    op.create_index(op.f("ix_alerts_state"), "alerts", ["state"])


def explanations() -> None:
    """Create `explanations`."""
    op.create_table(
        "explanations",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("feature", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.Column("base", sa.Double(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("residual", sa.Double(), nullable=False),
        sa.Column("fidelity", sa.Double(), nullable=True),
        sa.Column("explained_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_explanations_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alert_id", "slot", "target", "feature", name=op.f("pk_explanations")),
    )


def scores() -> None:
    """Create `scores`."""
    op.create_table(
        "scores",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("p", sa.Double(), nullable=False),
        sa.Column("votes", sa.JSON(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "partition", "entity", "slot", name=op.f("pk_scores")),
    )
    op.create_index(op.f("ix_scores_saved_at"), "scores", ["saved_at"])


def score_rollups() -> None:
    """Create `score_rollups`."""
    op.create_table(
        "score_rollups",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("maximum", sa.Double(), nullable=False),
        sa.Column("mean", sa.Double(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "partition", "entity", "hour", name=op.f("pk_score_rollups")),
    )
    op.create_index(op.f("ix_score_rollups_saved_at"), "score_rollups", ["saved_at"])


def log_templates() -> None:
    """Create `log_templates`."""
    op.create_table(
        "log_templates",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("template_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "partition", "template_id", name=op.f("pk_log_templates")),
    )


def dead_letters() -> None:
    """Create `dead_letters`."""
    op.create_table(
        "dead_letters",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=True),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "partition", "topic", "position", name=op.f("pk_dead_letters")),
    )
    op.create_index(op.f("ix_dead_letters_saved_at"), "dead_letters", ["saved_at"])


def checkpoints() -> None:
    """Create `checkpoints`."""
    op.create_table(
        "checkpoints",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("positions", sa.JSON(), nullable=False),
        sa.Column("next_slot", sa.BigInteger(), nullable=True),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "partition", name=op.f("pk_checkpoints")),
    )


def snapshots() -> None:
    """Create `snapshots`."""
    op.create_table(
        "snapshots",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("slot", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("position", sa.JSON(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("checksum", sa.Text(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "partition", "slot", name=op.f("pk_snapshots")),
    )


def orders() -> None:
    """Create `orders`."""
    op.create_table(
        "orders",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("first_slot", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "partition", "first_slot", "kind", "version", name=op.f("pk_orders")),
    )


def audit() -> None:
    """Create `audit`."""
    op.create_table(
        "audit",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("entity", sa.Text(), nullable=True),
        sa.Column("alert_id", sa.Text(), nullable=True),
        sa.Column("slot", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "partition", "content", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_saved_at"), "audit", ["saved_at"])


def leases() -> None:
    """Create `leases`."""
    op.create_table(
        "leases",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "partition", name=op.f("pk_leases")),
    )


def evicted_states() -> None:
    """Create `evicted_states`."""
    op.create_table(
        "evicted_states",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("blob", sa.LargeBinary(), nullable=False),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "partition", "entity", "slot", name=op.f("pk_evicted_states")),
    )
    op.create_index(op.f("ix_evicted_states_saved_at"), "evicted_states", ["saved_at"])


def upgrade() -> None:
    """Create every table."""
    streams()
    entities()
    models()
    alerts()
    explanations()
    scores()
    score_rollups()
    log_templates()
    dead_letters()
    checkpoints()
    snapshots()
    orders()
    audit()
    leases()
    evicted_states()
