"""The tables that people and the HTTP API write, as `storage.schema` has those that workers do."""

import sqlalchemy as sa

from storage.columns import KEY, Name, document, instant, metadata, name, real, whole

tokens = sa.Table(
    "tokens",
    metadata,
    name("name", **KEY),
    name("role"),
    name("digest", index=True, unique=True),
    instant("created_at"),
    instant("expires_at", nullable=True),
    instant("revoked_at", nullable=True),
)

# who changed what; each row carries the hash of the one before
acts = sa.Table(
    "acts",
    metadata,
    whole("sequence", **KEY),
    instant("at"),
    name("by"),
    name("action"),
    name("target"),
    # canonical JSON, as it was hashed
    name("detail"),
    name("previous"),
    name("hash"),
    sa.Index(None, "target"),
)

# one row: where the chain of `acts` ends, so that a missing end is noticed too
act_heads = sa.Table("act_heads", metadata, whole("id", **KEY), whole("sequence"), name("hash"))

marks = sa.Table(
    "marks",
    metadata,
    name("id", **KEY),
    name("kind"),
    # "alert" or "incident", and its id
    name("about"),
    name("target"),
    name("answer", nullable=True),
    name("note"),
    instant("until", nullable=True),
    name("by"),
    instant("at"),
    name("undone_by", nullable=True),
    instant("undone_at", nullable=True),
    document("detail"),
    sa.Index(None, "about", "target"),
    sa.Index(None, "kind", "at"),
)

# the alerts that a mark on an incident bears on, each as it looked when it was made
mark_alerts = sa.Table(
    "mark_alerts",
    metadata,
    name("mark", **KEY),
    name("alert_id", **KEY),
    document("detail"),
    sa.Index(None, "alert_id"),
)

rulebooks = sa.Table(
    "rulebooks",
    metadata,
    whole("version", **KEY),
    instant("at"),
    instant("since"),
    name("by"),
    name("cause"),
    document("rules"),
    whole("undoes", nullable=True),
)

calendars = sa.Table("calendars", metadata, name("name", **KEY), document("calendar"), name("by"), instant("saved_at"))

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("alert_id", Name, sa.ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True),
    name("standing"),
    name("severity"),
    name("reason"),
    name("rule"),
    name("thread"),
    whole("version"),
    instant("saved_at", index=True),
    sa.Index(None, "standing"),
)

# what is to be told on which route; written with the decision that it tells of, kept until it is sent
deliveries = sa.Table(
    "deliveries",
    metadata,
    whole("sequence", **KEY),
    name("route"),
    # what the receiver takes for the same thing: the alert that others go on
    name("key"),
    name("alert_id"),
    name("status"),
    name("severity"),
    document("body"),
    name("state"),
    whole("attempts"),
    instant("next_at"),
    name("error"),
    instant("saved_at", index=True),
    sa.Index(None, "state", "next_at"),
    sa.Index(None, "route", "alert_id", "sequence"),
    sa.Index(None, "route", "key", "sequence"),
)

triage = sa.Table(
    "triage",
    metadata,
    name("run", **KEY),
    whole("epoch"),
    instant("reached", nullable=True),
    whole("number"),
    instant("saved_at"),
)

incidents = sa.Table(
    "incidents",
    metadata,
    name("id", **KEY),
    name("run"),
    whole("number"),
    name("stream"),
    name("state"),
    name("severity"),
    real("severity_score"),
    real("score"),
    instant("first_time"),
    instant("last_time"),
    name("entity"),
    name("feature"),
    name("title"),
    whole("alerts"),
    whole("entities"),
    document("suspects"),
    document("signature"),
    # the incident that was the first of its type
    name("type", nullable=True),
    real("likeness", nullable=True),
    name("merged_into", nullable=True),
    instant("opened_at"),
    instant("saved_at", index=True),
    sa.Index(None, "run", "first_time", "id"),
    sa.Index(None, "run", "severity_score", "id"),
    sa.Index(None, "run", "state", "first_time", "id"),
    sa.Index(None, "run", "entity", "first_time", "id"),
    sa.Index(None, "run", "number", unique=True),
    sa.Index(None, "type", "first_time", "id"),
)

# where triage has put each alert, and what it has to know of it; no incident: explained away
incident_alerts = sa.Table(
    "incident_alerts",
    metadata,
    sa.Column("alert_id", Name, sa.ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True),
    name("run"),
    name("incident", nullable=True),
    instant("started", nullable=True),
    instant("first_time"),
    instant("end_time"),
    document("digest"),
    instant("seen_at"),
    sa.Index(None, "run", "first_time", "alert_id"),
    sa.Index(None, "incident", "first_time", "alert_id"),
)

incident_types = sa.Table(
    "incident_types",
    metadata,
    name("id", **KEY),
    name("run"),
    whole("number"),
    instant("first_time"),
    name("title"),
    document("signature"),
    sa.Index(None, "run", "first_time", "id"),
)

# runs over history: what each reads, and how far its units are
backfills = sa.Table(
    "backfills",
    metadata,
    name("run", **KEY),
    name("stream"),
    name("model_version"),
    # as it was planned: the same words again go on with it
    document("spec"),
    name("state"),
    # whoever drives it raises this: only the newest may say what became of a unit
    whole("epoch"),
    instant("created_at"),
    instant("ended_at", nullable=True),
)

backfill_units = sa.Table(
    "backfill_units",
    metadata,
    name("run", **KEY),
    whole("unit", **KEY),
    name("state"),
    whole("attempts"),
    document("spec"),
    whole("entities"),
    # of the input: as planned at first, then as read
    whole("rows"),
    whole("alerts"),
    real("seconds"),
    name("reason"),
    instant("updated_at"),
)
