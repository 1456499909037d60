"""The whole path: what is planted is found, and the rows do not depend on how the records came."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from storage.read import AlertFilter
from tests.tsad.streams import (
    FIT_SLOTS,
    SLOTS,
    START,
    STREAM,
    cells_with_anomalies,
    differences,
    final_rows,
    payloads,
    record,
    run_through,
)
from tsad.runner import Limits

TELEMETRY = payloads(cells_with_anomalies(), FIT_SLOTS)


def slot_of(time: datetime) -> int:
    return (int(time.timestamp()) - START) // 60


@pytest.fixture(scope="module")
def undisturbed(make_shared: Any) -> Any:
    app = make_shared({"telemetry": TELEMETRY})
    run_through(app, Limits())
    return app


def test_planted_anomalies_become_explained_alerts(undisturbed: Any) -> None:
    alerts = undisturbed.reader.alerts(AlertFilter(stream=STREAM, limit=None))
    standing = {(a.entity, slot_of(a.first_time)) for a in alerts if a.state != "retracted"}
    assert any(entity == "a" and 330 <= slot <= 333 for entity, slot in standing)
    assert any(entity == "c" and 390 <= slot <= 396 for entity, slot in standing)
    assert all(a.explanation == "done" and a.sentence and a.window is None for a in alerts)
    shift = next(a for a in alerts if a.entity == "a" and a.state != "retracted")
    assert next(iter(shift.attribution)) == "cpu"
    _, parts = undisturbed.reader.alert(shift.id)
    decision = [p for p in parts if p.target == "decision" and p.slot == parts[0].slot]
    total = decision[0].base + sum(p.value for p in decision) + decision[0].residual
    assert total == pytest.approx(decision[0].score, abs=1e-4)
    assert max(decision, key=lambda p: p.value).feature == "cpu"
    assert {v["voted"] for v in shift.votes.values()} <= {True, False}
    assert shift.first_time.tzinfo is UTC


def test_every_row_is_accounted_for(undisturbed: Any) -> None:
    health = undisturbed.reader.health(STREAM)
    place = health["partitions"][0]
    assert place["positions"]["telemetry"]["row"] == len(TELEMETRY)
    assert health["pending"] == 0
    hours = undisturbed.reader.rollups(STREAM, "a")
    assert sum(row["count"] for row in hours) == SLOTS - FIT_SLOTS


def test_the_same_input_again_adds_nothing(undisturbed: Any) -> None:
    before, counted = final_rows(undisturbed), undisturbed.reader.counts()
    runner = undisturbed.runner(STREAM, {})
    assert runner.run()
    assert (final_rows(undisturbed), undisturbed.reader.counts()) == (before, counted)
    assert runner.progress.rows == 0


@pytest.mark.parametrize("poll", [1, 2, 7, 50, 1000])
def test_poll_size_does_not_matter(make_app: Any, undisturbed: Any, poll: int) -> None:
    app = make_app({"telemetry": TELEMETRY})
    run_through(app, Limits(poll=poll))
    assert differences(final_rows(app), final_rows(undisturbed)) == []


@pytest.mark.parametrize("snapshot_every", [1, 9, 10_000])
@pytest.mark.parametrize("where", ["poll", "save"])
def test_a_crash_at_every_poll_changes_nothing(
    make_app: Any, undisturbed: Any, snapshot_every: int, where: str
) -> None:
    poll = 21
    crashes = {where: set(range(poll, len(TELEMETRY), poll))}
    app = make_app({"telemetry": TELEMETRY}, crashes)
    crashed = run_through(app, Limits(poll=poll, snapshot_every=snapshot_every))
    assert crashed == (len(TELEMETRY) - 1) // poll
    assert differences(final_rows(app), final_rows(undisturbed)) == []


def shuffled_late(lines: Sequence[bytes], every: int, by: int) -> list[bytes]:
    """Every so many-th record comes `by` records later."""
    on_time = [line for place, line in enumerate(lines) if place % every]
    for place in range(0, len(lines), every):
        on_time.insert(min(place + by, len(on_time)), lines[place])
    return on_time


@pytest.mark.parametrize("poll", [1, 13, 400])
def test_late_records_give_the_same_rows_for_every_poll_size(make_app: Any, poll: int) -> None:
    late = shuffled_late(TELEMETRY, 17, 12)
    first = make_app({"telemetry": late})
    run_through(first, Limits(poll=37))
    again = make_app({"telemetry": late})
    run_through(again, Limits(poll=poll))
    assert first.reader.health(STREAM)["partitions"][0]["counts"]["late"] > 10
    assert differences(final_rows(again), final_rows(first)) == []


@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("poll", [1, 400])
def test_a_stream_may_begin_with_late_records(make_app: Any, poll: int, cold: bool) -> None:
    lines = [TELEMETRY[18], *TELEMETRY[:18], *TELEMETRY[19:]]
    first = make_app({"telemetry": lines}, cold=cold)
    run_through(first, Limits(poll=37))
    again = make_app({"telemetry": lines}, cold=cold)
    run_through(again, Limits(poll=poll))
    assert first.reader.health(STREAM)["partitions"][0]["counts"]["late"] == 18
    assert {row["entity"] for row in first.reader.entities(STREAM)} == {"a", "b", "c"}
    assert differences(final_rows(again), final_rows(first)) == []


def test_entities_that_began_without_a_value_are_known(make_app: Any) -> None:
    lines = [record("early", 0, {}), record("early", 1, {"cpu": None}), *TELEMETRY[6:]]
    app = make_app({"telemetry": lines}, cold=True)
    run_through(app, Limits())
    assert {row["entity"] for row in app.reader.entities(STREAM)} == {"a", "b", "c", "early"}


def test_late_records_with_frozen_calibration_and_window_detectors_equal_records_on_time(make_app: Any) -> None:
    frozen: dict[str, Any] = {"calibration": "frozen", "detectors": ["subspace"]}
    lists = TELEMETRY, shuffled_late(TELEMETRY, 17, 12)
    apps = []
    for lines in lists:
        app = make_app({"telemetry": payloads(cells_with_anomalies())}, cold=True, **frozen)
        collected = app.collect(STREAM, {}, until=3 * FIT_SLOTS)
        app.models.promote(STREAM, app.fit(STREAM, collected).version)
        app.lists = {"telemetry": lines}
        run_through(app, Limits())
        apps.append(app)
    on_time, late = (final_rows(app) for app in apps)
    assert apps[1].reader.health(STREAM)["partitions"][0]["counts"]["late"] > 10
    for name in [name for name in on_time if name.startswith("hours")]:
        assert [(row["hour"], row["maximum"], row["count"]) for row in late[name]] == [
            (row["hour"], row["maximum"], row["count"]) for row in on_time[name]
        ]
    fields = ("entity", "first_slot", "last_slot", "peak_slot", "score")
    kept = [
        [tuple(a[name] for name in fields) for a in rows["alerts"] if a["state"] == "resolved"]
        for rows in (on_time, late)
    ]  # fmt: skip
    assert kept[1] == kept[0] != []
