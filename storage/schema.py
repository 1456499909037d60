"""The tables, in SQLAlchemy Core, the same on SQLite and PostgreSQL.

In every table the primary key's columns come first. `run` belongs to every key except that of `models` (a version
serves all runs of its stream) and `alerts` (whose id hashes it, and what hangs on that id). `saved_at` is when a row
was last written; retention goes by it. What people and the HTTP API write is in `storage.served`. Change a table only
together with a new file under `migrations/versions`.
"""

import sqlalchemy as sa

from storage.columns import KEY, Name, blob, document, instant, metadata, name, partition_key, real, whole

streams = sa.Table(
    "streams",
    metadata,
    name("run", **KEY),
    name("stream", **KEY),
    whole("step_ns"),
    document("settings"),
    instant("saved_at"),
)

entities = sa.Table(
    "entities",
    metadata,
    *partition_key(),
    name("entity", **KEY),
    document("labels"),
    whole("first_slot"),
    whole("last_slot"),
    instant("saved_at"),
)

models = sa.Table(
    "models",
    metadata,
    name("stream", **KEY),
    name("version", **KEY),
    name("file"),
    name("checksum"),
    instant("created_at"),
    name("state"),
    instant("activated_at", nullable=True),
    document("meta"),
)
sa.Index(
    "uq_models_active",
    models.c.stream,
    unique=True,
    sqlite_where=models.c.state == "active",
    postgresql_where=models.c.state == "active",
)

alerts = sa.Table(
    "alerts",
    metadata,
    name("id", **KEY),
    name("run"),
    name("stream"),
    whole("partition"),
    name("entity"),
    whole("opened_slot"),
    whole("first_slot"),
    whole("last_slot"),
    whole("peak_slot"),
    instant("first_time"),
    instant("last_time"),
    instant("peak_time"),
    name("state"),
    name("severity"),
    real("score"),
    real("p"),
    real("confidence"),
    name("model_version"),
    instant("detected_at"),
    instant("ingested_at", nullable=True),
    instant("amended_at", nullable=True),
    document("votes"),
    document("attribution"),
    name("explanation"),
    name("explained_by", nullable=True),
    name("sentence"),
    blob("window", nullable=True),
    document("evidence"),
    name("merged_into", nullable=True),
    name("reason"),
    # the context event that explains it away; empty where none does
    sa.Column("explained_by_event", sa.JSON, nullable=False, server_default="{}"),
    instant("saved_at", index=True),
    sa.Index(None, "run", "stream", "first_time"),
    sa.Index(None, "run", "first_time", "id"),
    sa.Index(None, "run", "score", "id"),
    sa.Index(None, "run", "entity", "first_time", "id"),
    sa.Index(None, "state"),
    sa.Index(None, "explanation"),
)

explanations = sa.Table(
    "explanations",
    metadata,
    sa.Column("alert_id", Name, sa.ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True),
    whole("slot", **KEY),
    name("target", **KEY),
    name("feature", **KEY),
    real("value"),
    real("share"),
    real("base"),
    real("score"),
    real("residual"),
    real("fidelity", nullable=True),
    name("explained_by"),
)

scores = sa.Table(
    "scores",
    metadata,
    *partition_key(),
    name("entity", **KEY),
    whole("slot", **KEY),
    instant("time"),
    real("score"),
    real("p"),
    document("votes"),
    name("model_version"),
    instant("saved_at", index=True),
)

score_rollups = sa.Table(
    "score_rollups",
    metadata,
    *partition_key(),
    name("entity", **KEY),
    instant("hour", **KEY),
    real("maximum"),
    real("mean"),
    whole("count"),
    instant("saved_at", index=True),
)

log_templates = sa.Table(
    "log_templates",
    metadata,
    *partition_key(),
    whole("template_id", **KEY),
    name("text"),
    whole("count"),
    instant("saved_at"),
)

template_aliases = sa.Table(
    "template_aliases",
    metadata,
    *partition_key(),
    name("alias", **KEY),
    whole("template_id"),
    instant("saved_at"),
)

template_names = sa.Table(
    "template_names",
    metadata,
    name("stream", **KEY),
    name("template", **KEY),
    name("name"),
    instant("saved_at"),
)

dead_letters = sa.Table(
    "dead_letters",
    metadata,
    *partition_key(),
    name("topic", **KEY),
    whole("position", **KEY),
    name("reason"),
    name("detail"),
    blob("payload", nullable=True),
    instant("saved_at", index=True),
)

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    *partition_key(),
    document("positions"),
    whole("next_slot", nullable=True),
    document("counts"),
    instant("saved_at"),
)

snapshots = sa.Table(
    "snapshots",
    metadata,
    *partition_key(),
    whole("slot", **KEY),
    document("position"),
    name("file"),
    name("checksum"),
    instant("saved_at"),
)

orders = sa.Table(
    "orders",
    metadata,
    *partition_key(),
    whole("first_slot", **KEY),
    name("kind", **KEY),
    name("version", **KEY),
    document("detail"),
    instant("saved_at"),
)

audit = sa.Table(
    "audit",
    metadata,
    *partition_key(),
    name("content", **KEY),
    name("kind"),
    instant("at"),
    name("entity", nullable=True),
    name("alert_id", nullable=True),
    whole("slot", nullable=True),
    document("detail"),
    instant("saved_at", index=True),
)

homes = sa.Table(
    "homes",
    metadata,
    name("run", **KEY),
    name("stream", **KEY),
    name("entity", **KEY),
    whole("partition"),
    whole("stray", nullable=True),
    instant("strayed_at", nullable=True),
    instant("saved_at"),
)

places = sa.Table(
    "places",
    metadata,
    name("run", **KEY),
    name("stream", **KEY),
    name("topic", **KEY),
    whole("number", **KEY),
    whole("partition"),
    instant("saved_at"),
    sa.UniqueConstraint("run", "stream", "partition"),
)

leases = sa.Table(
    "leases",
    metadata,
    *partition_key(),
    whole("epoch"),
    name("owner"),
    instant("taken_at"),
    # the number of the last message that went into the partition's outbox
    whole("outbox", server_default="0"),
)

outbox = sa.Table(
    "outbox",
    metadata,
    *partition_key(),
    whole("sequence", **KEY),
    name("topic"),
    name("key"),
    blob("payload"),
    document("headers"),
    instant("saved_at"),
)

announced = sa.Table(
    "announced",
    metadata,
    sa.Column("alert_id", Name, sa.ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True),
    whole("revision"),
    name("content"),
)

# by the clock: apart from what is a function of the records
no_data = sa.Table(
    "no_data",
    metadata,
    *partition_key(),
    name("topic", **KEY),
    instant("since", **KEY),
    name("id"),
    instant("opened_at"),
    instant("resolved_at", nullable=True),
    instant("saved_at", index=True),
)

context_events = sa.Table(
    "context_events",
    metadata,
    name("run", **KEY),
    name("stream", **KEY),
    name("id", **KEY),
    name("kind"),
    name("entity", nullable=True),
    instant("start"),
    instant("end", nullable=True),
    name("title"),
    document("detail"),
    name("source"),
    instant("saved_at", index=True),
    sa.Index(None, "run", "stream", "start"),
)

refits = sa.Table(
    "refits",
    metadata,
    name("run", **KEY),
    name("stream", **KEY),
    whole("epoch"),
    name("owner"),
    name("step"),
    instant("next_at"),
    name("version", nullable=True),
    document("detail"),
    instant("saved_at"),
)

evicted_states = sa.Table(
    "evicted_states",
    metadata,
    *partition_key(),
    name("entity", **KEY),
    whole("slot", **KEY),
    blob("blob"),
    instant("saved_at", index=True),
)
