"""Entities that are evicted and come back, amid replays: what they learnt later does not count earlier."""

from typing import Any

import numpy as np
import pytest

from storage.read import AlertFilter
from tests.tsad.streams import (
    FEATURES,
    FIT_SLOTS,
    STREAM,
    ListApp,
    cells_with_anomalies,
    differences,
    final_rows,
    payloads,
    record,
    run_through,
)
from tsad.runner import Limits

TURN, END = 8, 404
FEW: dict[str, Any] = {"max_entities": 2}


def silent(entity: str, slot: int) -> bool:
    """Of three, one is silent at a time, and so gives its place to who comes back."""
    return (slot // TURN) % 3 == "abc".index(entity)


BACK = 2 * (352 - FIT_SLOTS)
"""The record with which `b` comes back after slots 344 to 351."""


def in_turns(names: dict[str, str] | None = None) -> list[bytes]:
    """The records of who speaks, under other `names`."""
    lines = []
    for (entity, slot), values in sorted(cells_with_anomalies().items(), key=lambda item: (item[0][1], item[0][0])):
        if FIT_SLOTS <= slot < END and not silent(entity, slot):
            name = (names or {}).get(entity, entity)
            lines.append(record(name, slot, dict(zip(FEATURES, map(float, values), strict=True))))
    return lines


def with_late_strangers() -> list[bytes]:
    """Now and then a record comes so late that its entity was evicted meanwhile."""
    lines = in_turns()
    late = list(range(40, len(lines), 37))
    rest = [text for place, text in enumerate(lines) if place not in late]
    for place in late:
        rest.insert(min(place + 11, len(rest)), lines[place])
    return rest


STREAMS = {"in turns": in_turns(), "late strangers": with_late_strangers()}


@pytest.fixture
def expected(make_app: Any, once: Any) -> Any:
    def run(name: str) -> Any:
        app = make_app({"telemetry": STREAMS[name]}, **FEW)
        run_through(app, Limits(poll=50))
        counts = app.reader.health(STREAM)["partitions"][0]["counts"]
        assert counts["evicted"] >= 10
        assert (counts["late"] > 0) == (name == "late strangers")
        return final_rows(app)

    return lambda name: once(("returning", name), lambda: run(name))


@pytest.mark.parametrize(
    ("name", "poll", "snapshot_every"),
    [("in turns", 9, 20), ("in turns", 16, 10_000), ("late strangers", 10, 1), ("late strangers", 13, 10_000)],
)
def test_crashes_before_and_behind_each_eviction_and_return(
    make_app: Any, expected: Any, name: str, poll: int, snapshot_every: int
) -> None:
    lines = STREAMS[name]
    crashes = {"poll": set(range(20, len(lines), 50)), "save": set(range(30, len(lines), 83))}
    app = make_app({"telemetry": lines}, crashes, **FEW)
    assert run_through(app, Limits(poll=poll, snapshot_every=snapshot_every)) >= len(lines) // 50
    assert differences(final_rows(app), expected(name)) == []


@pytest.mark.parametrize(("name", "poll"), [("in turns", 1000), ("late strangers", 3)])
def test_poll_size_does_not_matter_to_who_goes_and_who_comes(
    make_app: Any, expected: Any, name: str, poll: int
) -> None:
    app = make_app({"telemetry": STREAMS[name]}, **FEW)
    run_through(app, Limits(poll=poll))
    assert differences(final_rows(app), expected(name)) == []


def states(app: ListApp, entity: str, slot: int) -> list[int]:
    return [one.slot for one in app.reader.evicted("live", STREAM, 0, [entity], slot)]


def test_a_replay_takes_what_was_learnt_before_its_place_and_not_what_was_stored_since(
    make_app: Any, expected: Any
) -> None:
    """All evictions are stored when the stream is replayed from its start: none of them counts early."""
    lines = STREAMS["in turns"]
    app = make_app({"telemetry": lines}, **FEW)
    first = app.runner(STREAM, {}, limits=Limits(poll=20, snapshot_every=10_000))
    for _ in range(len(lines) // 20):
        first.step()
    learnt = first.partition.era.scorer.state().arrays
    latest = states(app, "a", 10**12)
    assert len(latest) == 1
    assert [] < states(app, "a", latest[0] - 1) < latest
    again = app.runner(STREAM, {}, limits=Limits(poll=7))
    assert again.partition.windower.roster.names == first.partition.windower.roster.names
    replayed = again.partition.era.scorer.state().arrays
    assert replayed.keys() == learnt.keys()
    for name, array in learnt.items():
        np.testing.assert_array_equal(replayed[name], array)
    again.run()
    assert differences(final_rows(app), expected("in turns")) == []


def test_who_comes_back_is_no_stranger(make_app: Any) -> None:
    """The same records under a new name are judged otherwise: nothing had been learnt of it; the model knows neither"""
    last = []
    for name in ("x", "y"):
        lines = [*in_turns({"b": "x"})[:BACK], *in_turns({"b": name})[BACK:]]
        app = make_app({"telemetry": lines}, **FEW)
        runner = app.runner(STREAM, {})
        runner.run()
        windower, readings = runner.partition.windower, runner.partition.readings
        row, closed = windower.roster.names.index(name), windower.closed_through
        last.append([readings.reading(row, slot).score for slot in range(closed - 3, closed + 1)])
    assert not np.isnan(last).any()
    assert last[0] != last[1]


def test_an_episode_ends_with_its_entity_and_its_row_stays(make_app: Any) -> None:
    """`a` is strange until it falls silent; `c`, who has not been there before, takes its place."""
    turn = FIT_SLOTS + 40
    cells = {
        (entity, slot): np.full(4, 30.0) if entity == "a" and slot >= turn - 6 else values
        for (entity, slot), values in cells_with_anomalies().items()
        if slot < turn + 30 and (entity == "b" or (entity == "a") == (slot < turn))
    }
    app = make_app({"telemetry": payloads(cells, FIT_SLOTS)}, **FEW)
    run_through(app, Limits(poll=10))
    gone = [row for row in app.reader.audit(STREAM, limit=10_000) if row["kind"] == "entity evicted"]
    assert [row["entity"] for row in gone] == ["a"]
    found = app.reader.alerts(AlertFilter(stream=STREAM, entity="a", limit=None))
    alerts = [alert for alert in found if alert.state != "retracted"]
    assert alerts
    assert all(alert.state == "resolved" and alert.last_slot <= gone[0]["slot"] for alert in alerts)
    assert all(alert.explanation == "done" for alert in alerts)
    ends = [row["detail"] for row in app.reader.audit(STREAM, limit=10_000) if row["kind"] == "alert"]
    assert "evicted" in {detail["reason"] for detail in ends}
