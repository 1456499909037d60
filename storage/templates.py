"""What log templates were called before, and what people call them."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.documents import storable
from storage.engine import Database
from storage.leases import Clock, utc_now
from storage.types import LIVE
from storage.upsert import encode, upsert


@dataclass(frozen=True, slots=True)
class _Named:
    template: str
    name: str


class TemplateNames:
    """Names of a database's log templates, by public id; `clock` dates them."""

    def __init__(self, database: Database, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    def former(self, stream: str, run: str = LIVE) -> list[dict[str, Any]]:
        """partition, template_id, alias: the public ids of texts that a miner's template had before."""
        table = schema.template_aliases
        mine = sa.and_(table.c.run == run, table.c.stream == stream)
        query = sa.select(table).where(mine).order_by(table.c.partition, table.c.alias)
        return self._database.read(lambda connection: [dict(row) for row in connection.execute(query).mappings()])

    def of(self, stream: str) -> dict[str, str]:
        """What people call the stream's templates."""
        table = schema.template_names
        query = sa.select(table.c.template, table.c.name).where(table.c.stream == stream).order_by(table.c.template)
        return self._database.read(lambda connection: dict(connection.execute(query).tuples().all()))

    def give(self, stream: str, template: str, name: str) -> None:
        """Call a template `name` from now on; an empty name takes it away."""
        table = schema.template_names
        if name:
            shared = {"stream": stream, "saved_at": self._clock()}
            rows = encode(table, self._database.dialect, [_Named(template, storable(name))], shared)
            self._database.write(lambda connection: upsert(connection, table, rows, frozenset()))
        else:
            gone = sa.delete(table).where(table.c.stream == stream, table.c.template == template)
            self._database.write(lambda connection: connection.execute(gone))
