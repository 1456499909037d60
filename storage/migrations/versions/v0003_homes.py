"""Which partition an entity belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "v0003"
down_revision = "v0002"


def upgrade() -> None:
    """Create `homes`; the entities that are known belong to the partition that had them first."""
    op.create_table(
        "homes",
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("stray", sa.BigInteger(), nullable=True),
        sa.Column("strayed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("saved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("run", "stream", "entity", name=op.f("pk_homes")),
    )
    names = ("run", "stream", "entity", "partition", "first_slot", "saved_at")
    known = sa.table("entities", *(sa.column(name) for name in names))
    key = (known.c.run, known.c.stream, known.c.entity)
    place = sa.func.row_number().over(partition_by=key, order_by=(known.c.first_slot, known.c.partition))
    ranked = sa.select(*key, known.c.partition, known.c.saved_at, place.label("place")).subquery()
    first = sa.select(ranked.c.run, ranked.c.stream, ranked.c.entity, ranked.c.partition, ranked.c.saved_at)
    homes = sa.table("homes", *(sa.column(name) for name in ("run", "stream", "entity", "partition", "saved_at")))
    op.execute(sa.insert(homes).from_select([c.name for c in homes.columns], first.where(ranked.c.place == 1)))
