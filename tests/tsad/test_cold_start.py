"""A stream without a model: `vote` alone, the first fit in mid-stream, and the same rows through crashes and polls."""

from typing import Any

import pytest

from storage.read import AlertFilter
from tests.tsad.streams import (
    ENTITIES,
    SLOTS,
    START,
    STREAM,
    ListApp,
    cells_with_anomalies,
    differences,
    final_rows,
    payloads,
    run_through,
)
from tests.tsad.test_path import shuffled_late
from tests.tsad.test_two_topics import cells, log_lines, sizes
from tsad.models import COLD
from tsad.runner import Limits

FIRST = START // 60
TELEMETRY = payloads(cells_with_anomalies())
LONG: dict[str, Any] = {"cold": True, "fit_after": 10_000}
SHORT: dict[str, Any] = {"cold": True, "fit_after": 150}
WANTED = 150 + 8 + 5
"""Slots until the first fit: `fit_after`, and those that late data may still change (late_horizon + settle)."""


@pytest.fixture(scope="module")
def fitting(make_shared: Any) -> ListApp:
    """A stream that fits itself after 150 slots, run to the end."""
    app: ListApp = make_shared({"telemetry": TELEMETRY}, **SHORT)
    run_through(app, Limits())
    return app


def orders(app: ListApp) -> list[tuple[str, int]]:
    return [(order.version, order.first_slot) for order in app.store.restore("live", STREAM, 0).orders]


def versions_by_slot(app: ListApp) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {}
    for entity in ENTITIES:
        for row in app.reader.scores(STREAM, entity, limit=100_000):
            found.setdefault(row["slot"], set()).add(row["model_version"])
    return found


def test_vote_alone_judges_from_the_first_windows_on(make_app: Any) -> None:
    app = make_app({"telemetry": TELEMETRY}, **LONG)
    run_through(app, Limits())
    assert orders(app) == []
    assert app.models.listing(STREAM) == []
    alerts = app.reader.alerts(AlertFilter(stream=STREAM, limit=None))
    assert alerts
    assert {a.model_version for a in alerts} == {COLD}
    assert all(set(a.votes) == {"vote"} for a in alerts)
    assert all(a.explanation == "done" and a.explained_by == "vote" and a.sentence for a in alerts)
    assert all(0 <= a.confidence < 1 for a in alerts)


def test_a_cold_explanation_adds_up_to_its_score(make_app: Any) -> None:
    app = make_app({"telemetry": TELEMETRY}, **LONG)
    run_through(app, Limits())
    for alert in app.reader.alerts(AlertFilter(stream=STREAM, limit=None)):
        parts = [p for p in app.reader.alert(alert.id)[1] if p.target == "decision"]
        for slot in {part.slot for part in parts}:
            own = [part for part in parts if part.slot == slot]
            assert own[0].base + sum(p.value for p in own) + own[0].residual == pytest.approx(own[0].score, abs=1e-4)


def test_the_first_fit_comes_after_so_many_slots_and_is_an_order(fitting: ListApp) -> None:
    (model,) = fitting.models.listing(STREAM)
    assert model.state == "active"
    assert orders(fitting) == [(model.version, FIRST + WANTED)]
    for slot, versions in versions_by_slot(fitting).items():
        assert versions == {COLD if slot < FIRST + WANTED else model.version}


def test_only_slots_that_nothing_can_change_teach(fitting: ListApp) -> None:
    (row,) = fitting.models.listing(STREAM)
    figures = fitting.shelf(STREAM).read(row).figures
    assert figures["rows"] == len(ENTITIES) * 150
    assert figures["entities"] == len(ENTITIES)


def test_planted_anomalies_behind_the_fit_are_found(fitting: ListApp) -> None:
    alerts = fitting.reader.alerts(AlertFilter(stream=STREAM, limit=None))
    standing = [a for a in alerts if a.state != "retracted" and a.opened_slot >= FIRST + WANTED]
    assert any(a.entity == "a" and 330 <= a.first_slot - FIRST <= 336 for a in standing)
    assert any(a.entity == "c" and 385 <= a.first_slot - FIRST <= 396 for a in standing)
    assert {name for a in standing for name in a.votes} == {"subspace", "vote"}


def test_it_says_how_many_slots_are_missing(make_app: Any) -> None:
    app = make_app({"telemetry": TELEMETRY}, **SHORT)
    runner = app.runner(STREAM, {}, limits=Limits(poll=3))
    told = []
    while runner.step():
        told.append((runner.progress.slot, runner.progress.missing_slots))
    missing = {slot: left for slot, left in told if slot is not None and left is not None}
    assert missing[FIRST] == WANTED - 1
    assert all(left == WANTED - 1 - (slot - FIRST) for slot, left in missing.items())
    assert told[-1][1] is None


@pytest.mark.parametrize(("poll", "late"), [(1, False), (13, True), (1000, True)])
def test_poll_size_does_not_matter(make_app: Any, poll: int, late: bool) -> None:
    lines = shuffled_late(TELEMETRY, 17, 12) if late else TELEMETRY
    one, other = (make_app({"telemetry": lines}, **SHORT) for _ in range(2))
    run_through(one, Limits(poll=90))
    run_through(other, Limits(poll=poll))
    assert orders(other) == orders(one)
    assert differences(final_rows(other), final_rows(one)) == []


@pytest.mark.parametrize(("snapshot_every", "where"), [(1, "poll"), (40, "save"), (10_000, "poll"), (10_000, "save")])
def test_crashes_before_in_and_after_the_first_fit_change_nothing(
    make_app: Any, fitting: ListApp, snapshot_every: int, where: str
) -> None:
    poll = 41
    crashes = {where: set(range(poll, len(TELEMETRY), 3 * poll)) | {12 * poll, 13 * poll}}
    app = make_app({"telemetry": TELEMETRY}, crashes, **SHORT)
    assert run_through(app, Limits(poll=poll, snapshot_every=snapshot_every)) >= 10
    assert orders(app) == orders(fitting)
    assert len(app.models.listing(STREAM)) == 1
    assert differences(final_rows(app), final_rows(fitting)) == []


def test_a_crash_between_the_fit_and_its_save_fits_the_same_again(make_app: Any, fitting: ListApp) -> None:
    """The model is written, the order is not; the replay comes to the same slot and the same model."""
    behind = 3 * (WANTED + 2)
    app = make_app({"telemetry": TELEMETRY}, {"save": {behind}}, **SHORT)
    assert run_through(app, Limits(poll=behind)) == 1
    assert orders(app) == orders(fitting)
    assert differences(final_rows(app), final_rows(fitting)) == []


def test_an_order_that_was_stored_before_its_version_was_activated_is_made_good(make_app: Any) -> None:
    app = make_app({"telemetry": TELEMETRY}, **SHORT)
    run_through(app, Limits())
    (model,) = app.models.listing(STREAM)
    forget = "UPDATE models SET state = 'candidate', activated_at = NULL"
    app.database.write(lambda connection: connection.exec_driver_sql(forget))
    assert app.models.active(STREAM) is None
    app.runner(STREAM, {})
    active = app.models.active(STREAM)
    assert active is not None
    assert active.version == model.version
    assert len(orders(app)) == 1


def test_features_that_come_later_join_the_cold_vote(make_app: Any) -> None:
    """`net` comes at slot 60: it is watched from then on, and the first fit knows it."""
    early = [line.replace(b'"net":', b'"ten":') for line in TELEMETRY[: 3 * 60]]
    app = make_app({"telemetry": [line.replace(b'"ten"', b'"net2"') for line in early] + TELEMETRY[3 * 60 :]}, **SHORT)
    run_through(app, Limits(poll=70))
    (model,) = app.models.listing(STREAM)
    features = app.shelf(STREAM).read(model).ensemble.features
    assert set(features) == {"cpu", "mem", "disk", "net", "net2"}
    again = make_app(app.lists, {"poll": {70, 210, 350, 490, 630}}, **SHORT)
    assert run_through(again, Limits(poll=70, snapshot_every=10_000)) == 5
    assert differences(final_rows(again), final_rows(app)) == []


def test_a_feature_behind_the_first_fit_changes_no_row(make_app: Any, fitting: ListApp) -> None:
    extra = [
        line.replace(b'"cpu":', b'"gpu":1.5,"cpu":') if place >= 3 * (WANTED + 20) else line
        for place, line in enumerate(TELEMETRY)
    ]
    app = make_app({"telemetry": extra}, {"poll": {600, 900}}, **SHORT)
    run_through(app, Limits(poll=60, snapshot_every=10_000))
    assert differences(final_rows(app), final_rows(fitting)) == []


def test_without_history_there_is_nothing_to_fit_on_and_vote_goes_on(make_app: Any) -> None:
    app = make_app({"telemetry": TELEMETRY}, history_days=0, **SHORT)
    run_through(app, Limits(poll=100))
    assert orders(app) == []
    assert set().union(*versions_by_slot(app).values()) == {COLD}


def test_a_model_promoted_in_a_cold_start_ends_it(make_app: Any, fitted: Any) -> None:
    app = make_app({"telemetry": TELEMETRY}, **LONG)
    runner = app.runner(STREAM, {}, limits=Limits(poll=90))
    runner.step()
    app.models.add(fitted[1])
    app.models.promote(STREAM, fitted[1].version)
    runner.follow(runner)
    runner.run()
    assert orders(app) == [(fitted[1].version, FIRST + 30)]
    found = versions_by_slot(app)
    assert all(versions == {fitted[1].version} for slot, versions in found.items() if slot >= FIRST + 30)


# --- with logs

BOTH: dict[str, Any] = {"telemetry": payloads(cells()), "logs": log_lines(range(SLOTS))}
LOGS: dict[str, Any] = {**SHORT, "logs": {"templates": 3}}


@pytest.fixture(scope="module")
def fitting_with_logs(make_shared: Any) -> ListApp:
    app: ListApp = make_shared(BOTH, **LOGS)
    run_through(app, Limits(poll=500))
    return app


def test_the_first_fit_knows_the_most_frequent_templates(fitting_with_logs: ListApp) -> None:
    (model,) = fitting_with_logs.models.listing(STREAM)
    templates = fitting_with_logs.shelf(STREAM).read(model).templates
    assert len(templates) == 3
    assert any(text.startswith("GET") for text in templates.values())
    assert not any(text.startswith("cache rebuilt") for text in templates.values())


@pytest.mark.parametrize(("telemetry", "logs"), [(300, 9), (2, 900)])
def test_interleaving_around_the_first_fit_does_not_matter(
    make_app: Any, fitting_with_logs: ListApp, telemetry: int, logs: int
) -> None:
    app = make_app(BOTH, **LOGS)
    app.sizes = {"telemetry": sizes(1, telemetry), "logs": sizes(2, logs)}
    run_through(app, Limits())
    assert orders(app) == orders(fitting_with_logs)
    assert differences(final_rows(app), final_rows(fitting_with_logs)) == []


@pytest.mark.parametrize("snapshot_every", [30, 10_000])
def test_crashes_around_the_first_fit_with_logs_change_nothing(
    make_app: Any, fitting_with_logs: ListApp, snapshot_every: int
) -> None:
    crashes = {"poll": set(range(100, 1200, 200)), "logs save": set(range(300, 4500, 600))}
    app = make_app(BOTH, crashes, **LOGS)
    assert run_through(app, Limits(poll=100, snapshot_every=snapshot_every)) >= 10
    assert differences(final_rows(app), final_rows(fitting_with_logs)) == []
