"""What an overview asks: counts, busy entities, progress, near misses, what has changed, on both databases."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from stored_samples import START, Clock, alert, at, bundle, empty

from storage import overview
from storage.engine import Database
from storage.leases import Leases
from storage.overview import Overview
from storage.store import Store
from storage.types import Alert, Checkpoint, EntityRow, Rollup, ScoreRow, StreamRow

MINUTE = 60 * 10**9
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def slot(minute: int) -> int:
    """The slot of a minute after `START`."""
    return int((at(minute) - EPOCH).total_seconds()) // 60


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database: Database, clock: Clock) -> Store:
    Leases(database, clock).acquire("fleet", [0, 1], "host-a")
    made = Store(database, clock)
    made.put_stream(StreamRow("live", "fleet", MINUTE, {}))
    made.put_stream(StreamRow("live", "idle", MINUTE, {}))
    return made


@pytest.fixture
def asked(database: Database) -> Overview:
    return Overview(database)


def kept(store: Store, *alerts: Alert, **changes: Any) -> None:
    store.save([empty(alerts=list(alerts), **changes)])


def test_what_goes_on_is_counted_by_severity_as_far_as_is_bearable(
    store: Store, asked: Overview, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked.going_on() == {}
    kept(
        store, alert("a"), alert("b", severity="critical", state="confirmed"), alert("c", 12),
        alert("d", state="resolved"), alert("e", state="retracted"),
    )  # fmt: skip
    assert asked.going_on() == asked.going_on("fleet") == {"warning": 2, "critical": 1}
    assert asked.going_on("idle") == asked.going_on(run="past") == {}
    monkeypatch.setattr(overview, "COUNTED", 1)
    assert sum(asked.going_on().values()) == 2, "one more than is counted: there are more"


def test_alerts_are_counted_by_the_time_of_their_beginning(store: Store, asked: Overview) -> None:
    kept(
        store, alert("a", 1), alert("b", 59), alert("b", 60, severity="info"), alert("c", 61), alert("d", 500),
        alert("e", 2, state="retracted"),
    )  # fmt: skip
    first = int(START.timestamp()) // 3600

    def found(since: int = 0, until: int = 240, **which: Any) -> list[tuple[int, str, int]]:
        rows = asked.over_time(at(since), at(until), 3600, which.get("stream"), which.get("entity"))
        return sorted((row["bucket"] - first, row["severity"], row["count"]) for row in rows)

    assert found() == [(0, "warning", 2), (1, "info", 1), (1, "warning", 1)]
    assert found(until=501)[-1] == (8, "warning", 1)
    assert found(since=59, until=60) == [(0, "warning", 1)], "the end does not belong to it"
    assert found(entity="b") == [(0, "warning", 1), (1, "info", 1)]
    assert found(stream="idle") == []
    assert asked.newest() == at(500)
    assert asked.newest("idle") is None


def test_of_very_many_alerts_the_newest_are_looked_at(
    store: Store, asked: Overview, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(store, *(alert(f"web-{number % 3}", number) for number in range(10)))
    monkeypatch.setattr(overview, "NEWEST", 4)
    rows = asked.over_time(at(0), at(100), 60, None, None)
    assert sum(row["count"] for row in rows) == 4
    assert sum(count for _, count in asked.busiest(at(0), at(100), None, 10)) == 4


def test_the_busiest_entities_come_first(store: Store, asked: Overview) -> None:
    kept(store, alert("b", 1), alert("a", 2), alert("b", 3), alert("c", 4, state="retracted"), alert("d", 400))
    assert asked.busiest(at(0), at(100), "fleet", 10) == [(("fleet", "b"), 2), (("fleet", "a"), 1)]
    assert asked.busiest(at(0), at(100), None, 1) == [(("fleet", "b"), 2)]
    assert asked.busiest(at(0), at(100), "idle", 10) == []


def test_hours_are_those_of_the_entities_that_are_asked_for(store: Store, asked: Overview) -> None:
    rows = [Rollup(name, at(60 * hour), 1.0 + hour, 0.2, 60) for name in ("a", "b") for hour in range(3)]
    kept(store, rollups=rows, entities=[EntityRow(name, {}, slot(0), slot(100)) for name in ("b", "a")])
    assert asked.some(None, 10) == asked.some("fleet", 10) == [("fleet", "a"), ("fleet", "b")]
    assert asked.some("fleet", 1) == [("fleet", "a")]
    found = asked.hours([("fleet", "b")], at(60), at(180))
    assert [(row["entity"], row["hour"], row["maximum"]) for row in found] == [("b", at(60), 2), ("b", at(120), 3)]
    assert asked.hours([], at(0), at(180)) == asked.hours([("idle", "b")], at(0), at(180)) == []
    assert asked.beginnings() == {"fleet": slot(0) * MINUTE}


def test_progress_tells_of_every_partition_and_of_streams_without_one(store: Store, asked: Overview) -> None:
    store.save([empty(checkpoint=Checkpoint({}, slot(30), {"late": 2})), empty(1, checkpoint=Checkpoint({}, None, {}))])
    rows = [
        (row["stream"], row["partition"], row["next_slot"], row["counts"], row["owner"]) for row in asked.progress()
    ]
    assert rows == [
        ("fleet", 0, slot(30), {"late": 2}, "host-a"), ("fleet", 1, None, {}, "host-a"),
        ("idle", None, None, None, None),
    ]  # fmt: skip
    assert asked.progress("past") == []


def test_an_entity_of_several_partitions_is_one(store: Store, asked: Overview) -> None:
    """A series of a run that is cut in time, or one that has moved."""
    later = [Rollup("a", at(60), 3.0, 0.2, 60)]
    store.save(
        [
            empty(alerts=[alert("a", 5)], entities=[EntityRow("a", {}, slot(30), slot(59))], rollups=later),
            empty(
                1, alerts=[replace(alert("a", 9), partition=1), replace(alert("b", 9), partition=1)],
                entities=[EntityRow("a", {}, slot(0), slot(29)), EntityRow("b", {}, slot(4), slot(4))],
                rollups=[Rollup("a", at(0), 2.0, 0.1, 60)],
            ),
        ]
    )  # fmt: skip
    a, b = ("fleet", "a"), ("fleet", "b")
    assert asked.partitions_of([a, b, ("idle", "a")]) == {a: [1, 0], b: [1]}
    assert asked.some(None, 10) == [a, b]
    assert asked.busiest(at(0), at(100), None, 10) == [(a, 2), (b, 1)]
    assert [(row["hour"], row["maximum"]) for row in asked.hours([a], at(0), at(100))] == [(at(0), 2.0), (at(60), 3.0)]


def test_near_misses_are_the_strangest_slots_outside_of_some_stretches(store: Store, asked: Overview) -> None:
    scores = [ScoreRow("a", slot(n), at(n), 0.5 + n / 10, 0.1, {}, "m1") for n in range(5)]
    kept(store, scores=[*scores, ScoreRow("b", slot(1), at(1), 9.0, 0.1, {}, "m1")])

    def found(without: list[tuple[datetime, datetime]], limit: int = 10) -> list[float]:
        rows = asked.strangest("fleet", "a", (at(0), at(4)), without, limit)
        return [round(row["score"], 1) for row in rows]

    assert found([]) == [0.8, 0.7, 0.6, 0.5]
    assert found([(at(2), at(3))]) == [0.6, 0.5]
    assert found([(at(0), at(0)), (at(3), at(9))], 1) == [0.7]


def test_alerts_that_touch_a_time_and_those_before_it(store: Store, asked: Overview) -> None:
    first, second = alert("a", 10, explanation="done"), alert("a", 30, explanation="done", state="retracted")
    other = alert("b", 20, explanation="pending")
    kept(store, first, second, other)
    assert [row["id"] for row in asked.touching("fleet", "a", at(12), at(30))] == [first.id]
    assert [row["id"] for row in asked.touching("fleet", "a", at(0), at(31))] == [second.id, first.id]
    assert [row["id"] for row in asked.past(second)] == [first.id], "explained ones, of any entity"
    assert asked.past(first) == []


def test_what_was_written_is_told_in_its_order(store: Store, asked: Overview, clock: Clock) -> None:
    begin = clock.now
    kept(store, alert("a"))
    clock.now += timedelta(seconds=5)
    kept(store, alert("b"))
    clock.now += timedelta(seconds=5)
    kept(store, replace(alert("a"), state="confirmed"))
    found = [(row["entity"], row["state"], row["saved_at"]) for row in asked.changed(begin, 10)]
    assert found == [
        ("b", "open", begin + timedelta(seconds=5)), ("a", "confirmed", begin + timedelta(seconds=10)),
    ]  # fmt: skip
    assert [row["entity"] for row in asked.changed(begin + timedelta(seconds=6), 10)] == ["a"]
    assert len(asked.changed(begin, 1)) == 1
    assert bundle().run == "live"
    assert asked.changed(begin, 10, run="past") == []
