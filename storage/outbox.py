"""What goes out: messages written in the transaction of what they tell of, and kept until they are delivered.

A message that was sent and not taken out (the process died in between) is sent again: at least once. Gray and Reuter,
"Transaction Processing", 1993, call it a recoverable queue; today it is known as a transactional outbox.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import schema
from storage.documents import dump_json
from storage.engine import Database, chunks
from storage.leases import held
from storage.types import LIVE, Announcement, Changes, Message
from storage.upsert import encode, upsert

Place = tuple[str, str, int]
"""Run, stream and partition."""


@dataclass(frozen=True, slots=True)
class Post:
    """A message without its number."""

    topic: str
    key: str
    payload: bytes
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Told:
    """A row of `announced`."""

    alert_id: str
    revision: int
    content: str


class Outbox:
    """The messages of a database that wait; `take` and then `delivered` empty it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, stream: str, epochs: Mapping[int, int], limit: int, run: str = LIVE) -> list[Message]:
        """The oldest `limit` messages of the partitions that are held under `epochs`, by partition and sequence."""
        table, leases = schema.outbox, schema.leases
        owned = sa.select(leases.c.partition, leases.c.epoch).where(leases.c.run == run, leases.c.stream == stream)
        names = ("partition", "sequence", "topic", "key", "payload", "headers")
        query = sa.select(*(table.c[name] for name in names)).order_by(table.c.partition, table.c.sequence).limit(limit)

        def work(connection: Connection) -> list[Message]:
            mine = [number for number, epoch in connection.execute(owned) if epochs.get(number) == epoch]
            here = sa.and_(table.c.run == run, table.c.stream == stream, table.c.partition.in_(mine))
            return [Message(**row) for row in connection.execute(query.where(here)).mappings()] if mine else []

        return self._database.read(work)

    def waiting(self, stream: str, run: str = LIVE) -> dict[int, tuple[int, datetime]]:
        """How many messages each partition of `stream` has here, and when the oldest of them was saved."""
        table = schema.outbox
        query = sa.select(
            table.c.partition, sa.func.count(), sa.func.min(table.c.saved_at, type_=table.c.saved_at.type)
        )
        query = query.where(table.c.run == run, table.c.stream == stream).group_by(table.c.partition)
        return self._database.read(
            lambda connection: {number: (count, oldest) for number, count, oldest in connection.execute(query)}
        )

    def delivered(self, stream: str, partition: int, epoch: int, through: int, run: str = LIVE) -> bool:
        """Take out the partition's messages up to sequence `through`; False, and nothing, if `epoch` is over."""
        table = schema.outbox
        mine = sa.and_(table.c.run == run, table.c.stream == stream, table.c.partition == partition)

        def work(connection: Connection) -> bool:
            if not held(connection, run, stream, partition, epoch):
                return False
            connection.execute(sa.delete(table).where(mine, table.c.sequence <= through))
            return True

        return self._database.write(work)


def told(connection: Connection, announcements: Iterable[Announcement]) -> list[Post]:
    """The messages of those that say something new of their alert, under the next revision; of an alert the last."""
    latest = {one.alert_id: one for one in announcements}
    if not latest:
        return []
    table = schema.announced
    before: dict[str, tuple[int, str]] = {}
    for ids in chunks(sorted(latest)):
        query = sa.select(table.c.alert_id, table.c.revision, table.c.content).where(table.c.alert_id.in_(ids))
        before |= {row.alert_id: (row.revision, row.content) for row in connection.execute(query)}
    due = [one for one in latest.values() if one.alert_id in before or not one.quiet]
    fresh = [one for one in due if before.get(one.alert_id, (0, ""))[1] != one.content]
    rows = [_Told(one.alert_id, before.get(one.alert_id, (0, ""))[0] + 1, one.content) for one in fresh]
    upsert(connection, table, encode(table, connection.dialect, rows, {}), frozenset())
    return [
        Post(one.topic, one.alert_id, dump_json(one.body | {"revision": row.revision}).encode(), {})
        for one, row in zip(fresh, rows, strict=True)
    ]


def unseen(connection: Connection, bundle: Changes) -> list[Post]:
    """The messages of those dead letters of the bundle that are not stored yet."""
    if not bundle.forwards:
        return []
    table = schema.dead_letters
    mine = sa.and_(table.c.run == bundle.run, table.c.stream == bundle.stream, table.c.partition == bundle.partition)
    places = {(one.letter.topic, one.letter.position): one for one in bundle.forwards}
    stored = set()
    for topic in {topic for topic, _ in places}:
        positions = sorted(position for name, position in places if name == topic)
        for part in chunks(positions):
            query = sa.select(table.c.position).where(mine, table.c.topic == topic, table.c.position.in_(part))
            stored |= {(topic, position) for position in connection.execute(query).scalars()}
    return [
        Post(one.topic, one.key, one.letter.payload or b"", one.headers)
        for place, one in places.items()
        if place not in stored
    ]


def fresh(connection: Connection, bundle: Changes) -> list[Post]:
    """The messages of those notices of the bundle whose state is not stored yet."""
    if not bundle.notices:
        return []
    table = schema.no_data
    mine = sa.and_(table.c.run == bundle.run, table.c.stream == bundle.stream, table.c.partition == bundle.partition)
    query = sa.select(table.c.topic, table.c.since, table.c.resolved_at)
    query = query.where(mine, table.c.since.in_({one.about.since for one in bundle.notices}))
    stored = {(topic, since): resolved for topic, since, resolved in connection.execute(query)}
    return [
        Post(one.topic, one.about.id, dump_json(one.body).encode(), {})
        for one in bundle.notices
        if stored.get((one.about.topic, one.about.since), "none") != one.about.resolved_at
    ]


def write(connection: Connection, place: Place, posts: Sequence[Post], now: datetime) -> None:
    """Add `posts` to the outbox of `place`, in order."""
    if not posts:
        return
    run, stream, partition = place
    first = numbers(connection, place, len(posts)) - len(posts) + 1
    rows = [Message(partition, n, p.topic, p.key, p.payload, p.headers) for n, p in enumerate(posts, first)]
    shared = {"run": run, "stream": stream, "saved_at": now}
    upsert(connection, schema.outbox, encode(schema.outbox, connection.dialect, rows, shared), None)


def numbers(connection: Connection, place: Place, wanted: int) -> int:
    """The last of `wanted` new numbers. The lease's row gives them out, and stays locked until the transaction ends:
    take it first (0 numbers will do), as every save does, and no two transactions wait for each other."""
    run, stream, partition = place
    leases = schema.leases
    mine = sa.and_(leases.c.run == run, leases.c.stream == stream, leases.c.partition == partition)
    renewed = sa.update(leases).where(mine).values(outbox=leases.c.outbox + wanted).returning(leases.c.outbox)
    last: int = connection.execute(renewed).scalar_one()
    return last
