"""The tables that people and the HTTP API write, as `storage.schema` has those that workers do."""

import sqlalchemy as sa

from storage.columns import KEY, Name, document, instant, metadata, name, whole

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
