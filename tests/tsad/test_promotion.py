"""A promotion in mid-stream: an order from a slot on, the old version for what lies before, and a replay that obeys."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.read import AlertFilter
from storage.types import FileRefusedError, ModelRow
from tests.tsad.streams import (
    FEATURES,
    FIT_SLOTS,
    SLOTS,
    START,
    STREAM,
    Crash,
    ListApp,
    cells_with_anomalies,
    configuration,
    differences,
    final_rows,
    list_app,
    payloads,
    record,
)
from tests.tsad.test_path import shuffled_late
from tsad.runner import Limits, Runner

FIRST = START // 60
GPU_FROM = 340
"""The slot from which records have a feature that the first model does not know."""


def live(late: bool = False) -> list[bytes]:
    """The stream of the other tests, with `gpu` in its later part: calm but for a jump of `b` at 400."""
    return shuffled_late(list(on_time()), 17, 12) if late else list(on_time())


@cache
def on_time() -> tuple[bytes, ...]:
    """`live`, in event-time order."""
    rng = np.random.default_rng(9)
    lines = []
    for (entity, slot), values in sorted(cells_with_anomalies().items(), key=lambda item: (item[0][1], item[0][0])):
        named: dict[str, float | None] = dict(zip(FEATURES, map(float, values), strict=True))
        level = float(np.sin(slot / 15) + rng.normal(0, 0.1))
        if slot >= GPU_FROM:
            named["gpu"] = level + (9 if entity == "b" and 400 <= slot < 405 else 0)
        if slot >= FIT_SLOTS:
            lines.append(record(entity, slot, named))
    return tuple(lines)


def history(gpu: bool) -> list[bytes]:
    """What the second model is fitted on: `gpu` was there."""
    rng = np.random.default_rng(3)
    lines = []
    for (entity, slot), values in sorted(cells_with_anomalies().items(), key=lambda item: (item[0][1], item[0][0])):
        named: dict[str, float | None] = dict(zip(FEATURES, map(float, values), strict=True))
        if gpu:
            named["gpu"] = float(np.sin(slot / 15) + rng.normal(0, 0.1))
        if 60 <= slot < FIT_SLOTS:
            lines.append(record(entity, slot, named))
    return lines


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, fitted: Any) -> dict[bool, ModelRow]:
    """The rows of two further models beside the fitted one: with `gpu`, and without."""
    rows = {}
    for gpu in (True, False):
        folder = tmp_path_factory.mktemp("second")
        (folder / "models").mkdir()
        (folder / "models" / "models").symlink_to(fitted[0] / "models")
        app = list_app(configuration(folder, f"sqlite:///{folder}/fit.db"), {"telemetry": history(gpu)})
        rows[gpu] = app.fit(STREAM, app.collect(STREAM, {}))
        app.close()
    return rows


@pytest.fixture
def make_two(make_app: Any, second: dict[bool, ModelRow]) -> Callable[..., tuple[ListApp, str]]:
    """Makes applications with the first model active and a second one (with `gpu`, or without) as a candidate."""

    def make(gpu: bool = True, late: bool = False, crashes: Any = None, **stream: Any) -> tuple[ListApp, str]:
        app: ListApp = make_app({"telemetry": live(late)}, crashes, **stream)
        app.models.add(second[gpu])
        return app, second[gpu].version

    return make


def orders(app: ListApp) -> list[tuple[str, int]]:
    return [(order.version, order.first_slot) for order in app.store.restore("live", STREAM, 0).orders]


def active(app: ListApp) -> str:
    row = app.models.active(STREAM)
    assert row is not None
    return row.version


def drive(app: ListApp, limits: Limits, promotions: dict[int, str], snapshot_at: frozenset[int] = frozenset()) -> int:
    """Run to the end, promoting a version when so many rows were read, starting again after crashes; how many."""
    crashed, left = 0, dict(promotions)
    while True:
        try:
            runner = app.runner(STREAM, {}, limits=limits)
            while promote(app, runner, left) and runner.step():
                if runner.positions["telemetry"]["row"] in snapshot_at:
                    runner.snapshot()
            runner.finish()
            return crashed
        except Crash:
            crashed += 1


def promote(app: ListApp, runner: Runner, left: dict[int, str]) -> bool:
    row = (runner.positions.get("telemetry") or {"row": 0})["row"]
    for at in [at for at in left if at <= row]:
        app.models.promote(STREAM, left.pop(at))
        runner.follow(runner)
        runner.save()  # the order is stored: what is promoted behind it is another one
    return True


def test_an_order_takes_effect_behind_what_was_read(make_two: Any) -> None:
    app, second = make_two()
    first = active(app)
    drive(app, Limits(poll=30), {150: second})
    assert orders(app) == [(first, 0), (second, FIRST + FIT_SLOTS + 50)]
    assert active(app) == second


def test_rows_carry_the_version_that_judged_them(make_two: Any) -> None:
    app, second = make_two()
    first = active(app)
    drive(app, Limits(poll=30), {150: second})
    border = orders(app)[1][1]
    rows = [row for entity in "abc" for row in app.reader.scores(STREAM, entity, limit=100_000)]
    assert {row["model_version"] for row in rows} == {first, second}
    assert all(row["model_version"] == (second if row["slot"] >= border else first) for row in rows)


def test_a_feature_of_the_new_model_counts_from_then_on(make_two: Any) -> None:
    app, second = make_two()
    drive(app, Limits(poll=30), {150: second})
    alerts = app.reader.alerts(AlertFilter(stream=STREAM, entity="b", limit=None))
    jump = [a for a in alerts if a.state != "retracted" and a.first_slot <= FIRST + 404 and a.last_slot >= FIRST + 400]
    assert jump
    observed = {row["model_version"] for row in app.reader.scores(STREAM, "b", limit=100_000)}
    assert second in observed
    _, parts = app.reader.alert(jump[0].id)
    assert any(part.feature == "gpu" and part.value > 0 for part in parts if part.target == "decision")


def test_before_the_promotion_the_new_feature_is_counted_as_unknown(make_two: Any) -> None:
    app, second = make_two()
    drive(app, Limits(poll=30), {240: second})
    counts = app.reader.health(STREAM)["partitions"][0]["counts"]
    assert counts["unknown:gpu"] == 240 - 3 * (GPU_FROM - FIT_SLOTS)


@pytest.mark.parametrize("poll", [1, 30, 75])
@pytest.mark.parametrize("late", [False, True])
def test_poll_size_does_not_matter_to_what_an_order_does(make_two: Any, poll: int, late: bool) -> None:
    """At 150 rows every poll size has read the same."""
    one, second = make_two(late=late)
    drive(one, Limits(poll=50), {150: second})
    other, _ = make_two(late=late)
    drive(other, Limits(poll=poll), {150: second})
    assert orders(other) == orders(one)
    assert differences(final_rows(other), final_rows(one)) == []


@pytest.mark.parametrize(
    ("snapshot_every", "where", "late"),
    [(1, "poll", False), (25, "save", True), (10_000, "poll", True), (10_000, "save", False)],
)
def test_crashes_around_a_promotion_change_nothing(make_two: Any, snapshot_every: int, where: str, late: bool) -> None:
    limits = Limits(poll=30, snapshot_every=snapshot_every)
    plain, second = make_two(late=late)
    drive(plain, Limits(poll=30), {150: second})
    app, _ = make_two(late=late, crashes={where: {90, 120, 180, 210, 300}})
    assert drive(app, limits, {150: second}) == 5
    assert orders(app) == orders(plain)
    assert differences(final_rows(app), final_rows(plain)) == []


def test_a_snapshot_between_the_order_and_its_first_slot_holds_both(make_two: Any) -> None:
    plain, second = make_two()
    drive(plain, Limits(poll=30), {150: second})
    app, _ = make_two(crashes={"poll": {180, 210}})
    drive(app, Limits(poll=30, snapshot_every=10_000), {150: second}, frozenset({150, 180}))
    assert differences(final_rows(app), final_rows(plain)) == []


@pytest.mark.parametrize("snapshot_every", [7, 10_000])
def test_a_rollback_is_an_order_too(make_two: Any, snapshot_every: int) -> None:
    plain, second = make_two()
    first = active(plain)
    drive(plain, Limits(poll=30), {150: second, 240: first})
    assert [version for version, _ in orders(plain)] == [first, second, first]
    borders = [slot for _, slot in orders(plain)]
    rows = [row for entity in "abc" for row in plain.reader.scores(STREAM, entity, limit=100_000)]
    for row in rows:
        assert (row["model_version"] == second) == (borders[1] <= row["slot"] < borders[2])
    app, _ = make_two(crashes={"poll": {120, 180, 270, 330}})
    assert drive(app, Limits(poll=30, snapshot_every=snapshot_every), {150: second, 240: first}) == 4
    assert differences(final_rows(app), final_rows(plain)) == []


@pytest.mark.parametrize("row", [0, 150])
def test_of_promotions_within_one_slot_the_last_one_stays(make_two: Any, row: int) -> None:
    """Back and forth before another record is read, at the very beginning too: a restart knows which came last."""
    plain, second = make_two()
    first = active(plain)

    def run(app: ListApp, crashes: int) -> None:
        runner, crashed = app.runner(STREAM, {}, limits=Limits(poll=30, snapshot_every=9)), 0
        while (runner.positions.get("telemetry") or {"row": 0})["row"] < row:
            runner.step()
        for version in (second, first, second, first) if row else (second, first, second):
            app.models.promote(STREAM, version)
            runner.follow(runner)
            runner.save()
        while crashed < crashes:
            runner, crashed = app.runner(STREAM, {}, limits=Limits(poll=30)), crashed + 1
        assert runner.director.newest == active(app)
        runner.run()
        runner.finish()

    run(plain, 0)
    told = [version for version, _ in orders(plain)]
    slots = [slot for _, slot in orders(plain)]
    assert told == ([first, second, first, second, first] if row else [first, second, first, second])
    assert slots == sorted(set(slots))
    judged = {one["model_version"] for one in plain.reader.scores(STREAM, "b") if one["slot"] >= slots[-1]}
    assert judged == {told[-1]}
    app, _ = make_two()
    run(app, 2)
    assert differences(final_rows(app), final_rows(plain)) == []


def test_promotions_close_to_each_other_keep_every_version_that_late_data_may_reach(make_two: Any) -> None:
    plain, second = make_two(late=True)
    first = active(plain)
    steps = {150: second, 165: first, 180: second}
    drive(plain, Limits(poll=15), steps)
    assert [version for version, _ in orders(plain)] == [first, second, first, second]
    app, _ = make_two(late=True, crashes={"poll": {150, 165, 180, 195}, "save": {210}})
    assert drive(app, Limits(poll=15, snapshot_every=9), steps) == 5
    assert differences(final_rows(app), final_rows(plain)) == []


def test_late_data_of_the_old_versions_slots_is_judged_by_it(make_two: Any) -> None:
    """A jump of `a` right before the border comes a few slots behind it."""
    border = FIT_SLOTS + 50
    held_back = record("a", border - 2, {"cpu": 40.0, "mem": 0.0, "disk": 0.0, "net": 0.0})
    app, second = make_two()
    first = active(app)
    lines = [line for line in live() if line != original("a", border - 2)]
    behind = next(place for place, line in enumerate(lines) if line == original("a", border + 3))
    app.lists = {"telemetry": [*lines[: behind + 1], held_back, *lines[behind + 1 :]]}
    drive(app, Limits(poll=30), {150: second})
    assert app.reader.health(STREAM)["partitions"][0]["counts"]["late"] == 1
    slot = FIRST + border - 2
    begun = orders(app)[1][1]
    rows = {row["slot"]: row for row in app.reader.scores(STREAM, "a", limit=100_000)}
    assert rows[slot]["model_version"] == first
    assert rows[slot]["score"] > 1
    assert slot < begun < slot + 8
    touched = [row for at, row in rows.items() if slot <= at < slot + 8]
    assert {row["model_version"] for row in touched} == {first, second}
    assert all((row["model_version"] == second) == (row["slot"] >= begun) for row in touched)
    alerts = app.reader.alerts(AlertFilter(stream=STREAM, entity="a", limit=None))
    (found,) = [a for a in alerts if a.state != "retracted" and a.first_slot <= slot <= a.last_slot]
    assert found.amended_at is not None
    assert found.last_slot >= slot


def original(entity: str, slot: int) -> bytes:
    """The line of `live` for this cell."""
    lines = [line for line in live() if f'"entity":"{entity}","time":{START + 60 * slot},'.encode() in line]
    assert len(lines) == 1
    return lines[0]


def test_an_episode_runs_on_across_versions(make_two: Any) -> None:
    """`c` is off from 390 to 410; the version changes in the midst of it."""
    app, second = make_two(gpu=False)
    drive(app, Limits(poll=15), {3 * (400 - FIT_SLOTS): second})
    border = orders(app)[1][1]
    alerts = app.reader.alerts(AlertFilter(stream=STREAM, entity="c", limit=None))
    across = [a for a in alerts if a.state != "retracted" and a.first_slot < border <= a.last_slot]
    assert len(across) == 1


def test_the_end_of_a_run_is_no_border_for_orders(make_two: Any) -> None:
    """Promoted between two runs of the same stream: in force from the first slot behind."""
    app, second = make_two()
    whole = app.lists["telemetry"]
    app.lists = {"telemetry": whole[:180]}
    drive(app, Limits(poll=30), {})
    app.models.promote(STREAM, second)
    app.lists = {"telemetry": whole}
    drive(app, Limits(poll=30), {})
    assert orders(app)[1] == (second, FIRST + FIT_SLOTS + 60)
    slots = [row["slot"] for row in app.reader.scores(STREAM, "c", limit=9999) if row["model_version"] == second]
    assert slots
    assert min(slots) >= FIRST + FIT_SLOTS + 60


def test_a_version_whose_file_changed_is_refused_at_the_start(make_two: Any) -> None:
    app, second = make_two()
    row = next(row for row in app.models.listing(STREAM) if row.version == second)
    path = Path(app.config.models, row.file)
    before = path.read_bytes()
    app.models.promote(STREAM, second)
    try:
        path.write_bytes(before[:-100] + b"changed!" + before[-92:])
        with pytest.raises(FileRefusedError, match=second):
            app.runner(STREAM, {})
    finally:
        path.write_bytes(before)
    app.runner(STREAM, {})


def test_payloads_are_those_of_the_shared_stream() -> None:
    """What this file adds to the stream of the other tests is `gpu` only."""
    plain = payloads(cells_with_anomalies(), FIT_SLOTS)
    ours = live()
    assert len(ours) == len(plain) == 3 * (SLOTS - FIT_SLOTS)
    same = [one == other for one, other in zip(ours, plain, strict=True)]
    assert same == [place < 3 * (GPU_FROM - FIT_SLOTS) for place in range(len(ours))]
