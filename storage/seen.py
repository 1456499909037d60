"""The entities of a stream, a row each, wherever they were seen: a long series that is cut in time has several
partitions of a run, and so has one that has moved."""

from typing import Any

import sqlalchemy as sa

from storage import schema

KEY = (schema.entities.c.run, schema.entities.c.stream, schema.entities.c.entity)


def each(*which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Rows as `entities` has them, of those that `which` lets through, one for each entity: its first slot in any
    partition, and all else as of the partition that has seen it last."""
    table = schema.entities
    first = sa.func.min(table.c.first_slot).over(partition_by=KEY).label("first_slot")
    newest = sa.func.row_number().over(
        partition_by=KEY, order_by=(table.c.last_slot.desc(), table.c.partition.desc())
    )  # fmt: skip
    rest = [column for column in table.c if column.name != "first_slot"]
    inner = sa.select(*rest, first, newest.label("newest")).where(*which).subquery()
    return sa.select(*(inner.c[column.name] for column in table.c)).where(inner.c.newest == 1)
