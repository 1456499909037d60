"""Alembic's entry: runs on the connection, and within the transaction, that `storage.migrate` hands over."""

from alembic import context

import storage.schema
import storage.served  # noqa: F401 (its tables are the metadata's)
from storage.columns import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
