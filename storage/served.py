"""The tables that people and the HTTP API write, as `storage.schema` has those that workers do."""

import sqlalchemy as sa

from storage.columns import KEY, instant, metadata, name

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
