"""What people answer and rule, and the chain of who changed what."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "v0011"
down_revision = "v0010"


def upgrade() -> None:
    """Create `acts`, `act_heads`, `marks`, `rulebooks`, `calendars` and `decisions`; the chain begins at nothing."""
    op.create_table(
        "acts",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        _instant("at"),
        *_texts("by", "action", "target", "detail", "previous", "hash"),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_acts")),
    )
    op.create_index(op.f("ix_acts_target"), "acts", ["target"])
    heads = op.create_table(
        "act_heads",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        *_texts("hash"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_act_heads")),
    )
    op.bulk_insert(heads, [{"id": 1, "sequence": 0, "hash": ""}])
    op.create_table(
        "marks",
        *_texts("id", "kind", "about", "target"),
        sa.Column("answer", sa.Text(), nullable=True),
        *_texts("note"),
        _instant("until", nullable=True),
        *_texts("by"),
        _instant("at"),
        sa.Column("undone_by", sa.Text(), nullable=True),
        _instant("undone_at", nullable=True),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marks")),
    )
    op.create_index(op.f("ix_marks_about_target"), "marks", ["about", "target"])
    op.create_index(op.f("ix_marks_kind_at"), "marks", ["kind", "at"])
    _rulings()


def _rulings() -> None:
    op.create_table(
        "rulebooks",
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        _instant("at"),
        _instant("since"),
        *_texts("by", "cause"),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("undoes", sa.BigInteger(), autoincrement=False, nullable=True),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_rulebooks")),
    )
    op.create_table(
        "calendars",
        *_texts("name"),
        sa.Column("calendar", sa.JSON(), nullable=False),
        *_texts("by"),
        _instant("saved_at"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_calendars")),
    )
    op.create_table(
        "decisions",
        *_texts("alert_id", "standing", "severity", "reason", "rule", "thread"),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        _instant("saved_at"),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name=op.f("fk_decisions_alert_id_alerts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_decisions")),
    )
    op.create_index(op.f("ix_decisions_saved_at"), "decisions", ["saved_at"])
    op.create_index(op.f("ix_decisions_standing"), "decisions", ["standing"])


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _instant(name: str, *, nullable: bool = False) -> "sa.Column[datetime]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
