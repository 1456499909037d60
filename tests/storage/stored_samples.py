"""Rows to store, as a pipeline would make them, and a look at all that is stored."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa

from storage.arrays import pack
from storage.columns import metadata
from storage.engine import Database
from storage.types import (
    LIVE,
    Alert,
    Announcement,
    Audit,
    Changes,
    Checkpoint,
    DeadLetter,
    EntityRow,
    EvictedState,
    Explanation,
    Forward,
    Order,
    Rollup,
    ScoreRow,
    SnapshotRow,
    Template,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
WINDOW = np.arange(12, dtype=np.float32).reshape(4, 3)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def at(slot: int) -> datetime:
    """The event time of a slot, one minute each."""
    return START + timedelta(minutes=slot)


def alert(entity: str = "web-1", slot: int = 10, partition: int = 0, **changes: Any) -> Alert:
    """An alert that opened at `slot`."""
    made = Alert(
        run=LIVE,
        stream="fleet",
        partition=partition,
        entity=entity,
        opened_slot=slot,
        first_slot=slot,
        last_slot=slot + 3,
        peak_slot=slot + 1,
        first_time=at(slot),
        last_time=at(slot + 3),
        peak_time=at(slot + 1),
        state="open",
        severity="warning",
        score=1.7,
        p=3e-6,
        confidence=0.9,
        model_version="m1",
        detected_at=at(slot + 5),
        ingested_at=at(slot + 4),
        votes={"forecast": {"p": 1e-5, "voted": True}, "vote": {"p": None, "voted": False}},
        attribution={"cpu": 0.75, "memory": 0.25},
        window=pack({"window": WINDOW}),
        evidence={"observed": {"cpu": [1.0, None, 3.5]}, "band": {"cpu": [[0, 1], [0, 2]]}},
        sentence="cpu rose",
    )
    return replace(made, **changes)


def explanation(of: Alert, feature: str = "cpu", slot: int | None = None, **changes: Any) -> Explanation:
    """One feature's part in `of`."""
    slot = of.opened_slot if slot is None else slot
    made = Explanation(of.id, slot, feature, 0.8, 0.75, 0.5, 1.7, 0.1, 0.93, "surrogate")
    return replace(made, **changes)


def announcement(of: Alert, content: str = "opened") -> Announcement:
    """What is said of `of`."""
    return Announcement(of.id, "alerts", {"id": of.id, "said": content}, content)


def forward(letter: DeadLetter) -> Forward:
    """`letter` on its way."""
    return Forward(letter, "dead", f"{letter.topic}:{letter.position}", {"reason": letter.reason})


def bundle(partition: int = 0, epoch: int = 1, **changes: Any) -> Changes:
    """A save's changes: one row of every kind, unless `changes` say otherwise."""
    first = alert(partition=partition)
    letter = DeadLetter("telemetry", 3, "wrong_type", "values.cpu is a string", b'{"cpu": "\xff"}')
    made = Changes(
        LIVE,
        "fleet",
        partition,
        epoch,
        checkpoint=Checkpoint({"telemetry": {"offset": 500}, "logs": {"offset": 7}}, 14, {"future": 2}),
        alerts=[first],
        explanations=[explanation(first), explanation(first, "memory", value=-0.3)],
        scores=[ScoreRow("web-1", 10, at(10), 1.7, 3e-6, {"vote": {"p": 0.2, "voted": False}}, "m1")],
        rollups=[Rollup("web-1", at(0), 1.7, 0.2, 60)],
        dead_letters=[letter],
        orders=[Order("model", "m1", 5, {"why": "promoted"})],
        audit=[Audit("amended", at(20), "web-1", first.id, 10, {"score": [1.2, 1.7]})],
        templates=[Template(1, "disk <*> is full", 12)],
        entities=[EntityRow("web-1", {"zone": "a"}, 0, 13)],
        evicted=[EvictedState("web-9", 4, pack({"mean": np.ones(3)}))],
        announcements=[announcement(first)],
        forwards=[forward(letter)],
        snapshots=[SnapshotRow(8, {"telemetry": {"offset": 300}}, "snapshots/a.zip", "ab" * 32)],
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def empty(partition: int = 0, epoch: int = 1, **changes: Any) -> Changes:
    """Changes of no kind but those in `changes`."""
    made = Changes(LIVE, "fleet", partition, epoch)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def stored(database: Database, *, times: bool = False) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, sorted; without `times`, but for what only says when it was written."""
    skipped = set() if times else {"saved_at", "taken_at"}

    def work(connection: sa.Connection) -> dict[str, list[tuple[Any, ...]]]:
        found = {}
        for table in metadata.sorted_tables:
            columns = [column for column in table.columns if column.name not in skipped]
            found[table.name] = sorted((tuple(row) for row in connection.execute(sa.select(*columns))), key=repr)
        return found

    return database.read(work)
