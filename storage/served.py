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
