"""The schema's versions: bring a database up to the code's, or say what is wrong with it."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from storage.connect import create_engine, label, parse_url
from storage.types import StoreError

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(url: str) -> None:
    """Create or upgrade the schema, in one transaction; StoreError if the database cannot be used or is newer."""
    parsed = parse_url(url)
    engine = create_engine(parsed)
    try:
        with engine.execution_options(writes=True).begin() as connection:
            if connection.dialect.name == "postgresql":
                # Two processes that upgrade at once: the second waits, then finds nothing to do.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7473616400)")
            if known(current(connection), label(parsed)):
                upgrade_connection(connection)
    except DBAPIError as error:
        raise StoreError(f"{label(parsed)} cannot be upgraded: {error.orig}") from error
    finally:
        engine.dispose()


def upgrade_connection(connection: Connection) -> None:
    """Run the migrations that are missing, within the caller's transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def current(connection: Connection) -> str | None:
    """The schema version of the database; None when it has none."""
    return MigrationContext.configure(connection).get_current_revision()


def known(revision: str | None, database: str) -> bool:
    """Whether there is something to upgrade from `revision`; StoreError for a version that this code does not know."""
    head, *older = _revisions(MIGRATIONS)
    if revision is not None and revision not in (head, *older):
        raise StoreError(f"{database} has schema version {revision}, written by a newer tsad (this one knows {head})")
    return revision != head


@cache
def _revisions(folder: Path) -> tuple[str, ...]:
    """Every schema version, newest first; read once, since each is a file that is run."""
    return tuple(script.revision for script in ScriptDirectory(str(folder)).walk_revisions())


def check(connection: Connection, database: str) -> None:
    """StoreError unless the database's schema is the code's."""
    revision = current(connection)
    if known(revision, database):
        state = "has no tsad tables yet" if revision is None else f"has the older schema version {revision}"
        raise StoreError(f"{database} {state}: run `tsad db upgrade`")
