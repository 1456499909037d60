"""What must hold of the whole path: topics, promotions, evictions, storms, owners, databases."""

from typing import Any

import pytest

from storage.read import AlertFilter
from tests.tsad.streams import (
    FIT_SLOTS,
    STREAM,
    ListApp,
    cells_with_anomalies,
    differences,
    final_rows,
    line,
    payloads,
    record,
    run_through,
)
from tsad.runner import ENDED, LeaseLostError, Limits, Runner

TELEMETRY = payloads(cells_with_anomalies(), FIT_SLOTS)
LINES = [
    line(entity, slot, f"INFO request {slot * 7} of user {entity} served in {slot % 13} ms", second)
    for slot in range(FIT_SLOTS, 420)
    if slot % 20 < 15  # minutes without any line are not covered
    for entity in ("a", "b")
    for second in (3, 9)
]
BURST = [line("a", 350, f"ERROR disk sd{n} failed after {n} ms", n % 60) for n in range(80)]
LOGS = sorted(LINES + BURST, key=lambda payload: payload.split(b'"time":')[1].split(b",")[0])
BOTH: dict[str, Any] = {"telemetry": TELEMETRY, "logs": LOGS}


def turns(pattern: str) -> Any:
    """An interleaving: t and l by turns as `pattern` says, as far as each topic is not paused."""

    def next_topic(self: Runner) -> Any:
        going = [topic for topic in self.sources if topic not in self.positions.get(ENDED, [])]
        ready = [topic for topic in going if not self.partition.windower.paused(topic)] or going
        if not ready:
            return None
        self._turn += 1
        wanted = {"t": "telemetry", "l": "logs"}[pattern[self._turn % len(pattern)]]
        return wanted if wanted in ready else ready[0]

    return next_topic


def run_in_turns(app: ListApp, pattern: str, limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Runner, "_next_topic", turns(pattern))
    run_through(app, limits)


@pytest.mark.parametrize(("pattern", "poll"), [("l", 500), ("t", 500), ("ttl", 3), ("llllt", 17), ("tl", 100)])
def test_the_interleaving_of_two_topics_does_not_matter(
    make_app: Any, monkeypatch: pytest.MonkeyPatch, pattern: str, poll: int
) -> None:
    plain = make_app(BOTH, cold=True, logs={})
    run_through(plain, Limits(poll=40))
    other = make_app(BOTH, cold=True, logs={})
    run_in_turns(other, pattern, Limits(poll=poll), monkeypatch)
    assert plain.reader.templates(STREAM)
    assert differences(final_rows(other), final_rows(plain)) == []


@pytest.mark.parametrize("snapshot_every", [1, 10_000])
def test_a_crash_while_one_topic_waits_changes_nothing(
    make_app: Any, monkeypatch: pytest.MonkeyPatch, snapshot_every: int
) -> None:
    plain = make_app(BOTH, cold=True, logs={})
    run_through(plain, Limits(poll=40))
    crashes = {"poll": set(range(30, len(TELEMETRY), 30))}
    app = make_app(BOTH, crashes, cold=True, logs={})
    run_in_turns(app, "llt", Limits(poll=30, snapshot_every=snapshot_every), monkeypatch)
    assert not crashes["poll"]
    assert differences(final_rows(app), final_rows(plain)) == []


def fitted_with_logs(make_app: Any) -> ListApp:
    history = {key: values for key, values in cells_with_anomalies().items() if key[1] < FIT_SLOTS}
    calm = [
        line(entity, slot, f"INFO request {slot} of user {entity} served in {slot % 13} ms", second)
        for slot in range(FIT_SLOTS)
        for entity in ("a", "b")
        for second in (3, 9)
    ]
    app: ListApp = make_app({"telemetry": payloads(history), "logs": calm}, cold=True, logs={})
    app.models.promote(STREAM, app.fit(STREAM, app.collect(STREAM, {})).version)
    app.lists = dict(BOTH)
    return app


def test_a_burst_of_errors_raises_an_alert_that_names_its_log_feature(make_app: Any) -> None:
    app = fitted_with_logs(make_app)
    run_through(app, Limits())
    alerts = app.reader.alerts(AlertFilter(stream=STREAM, entity="a", limit=None))
    burst = [
        a for a in alerts if abs(a.first_slot - a.first_slot // 1) == 0 and any("log." in f for f in a.attribution)
    ]
    assert burst
    assert any(name.startswith("log.") for name in list(burst[0].attribution)[:3])
    assert "c" not in {row["entity"] for row in app.reader.entities(STREAM)} - {"a", "b", "c"}


def test_minutes_without_any_line_are_missing_and_not_zero(make_app: Any) -> None:
    app = make_app(BOTH, cold=True, logs={})
    rows = app.collect(STREAM, {}).rows
    lines = rows.values[:, rows.features.index("log.lines")]
    first = int(rows.slots.min())
    for code, slot, value in zip(rows.codes, rows.slots, lines, strict=True):
        covered = (int(slot) - first + FIT_SLOTS) % 20 < 15
        if rows.names[code] == "c" or not covered:
            assert value != value  # NaN: never had a line, or nobody's lines were recorded
        else:
            assert value >= 2


def versions(app: ListApp) -> list[str]:
    return [row.version for row in app.models.listing(STREAM)]


def promoting(app: ListApp, version: str, at_row: int) -> None:
    """Promote `version` once `at_row` rows were polled (through the runner's own follow)."""
    inner = app.runner

    def runner(*args: Any, **named: Any) -> Runner:
        made = inner(*args, **named)
        follow, made.clock = made.follow, iter(range(10**18, 2 * 10**18, 10**10)).__next__

        def promoted(one: Runner) -> None:
            if one.sources["telemetry"].at >= at_row:  # type: ignore[attr-defined]
                app.models.promote(STREAM, version)
            follow(one)

        made.follow = promoted
        return made

    app.runner = runner  # type: ignore[method-assign]


def with_second_model(make_app: Any, crashes: Any = None) -> tuple[ListApp, str]:
    app = make_app({"telemetry": payloads(cells_with_anomalies())})
    settings = app.config.stream[STREAM]
    app.config = app.config.model_copy(
        update={"stream": {STREAM: settings.model_copy(update={"seed": 11, "quiet": 9})}}
    )
    second = app.fit(STREAM, app.collect(STREAM, {}, until=3 * FIT_SLOTS))
    app.config = app.config.model_copy(update={"stream": {STREAM: settings}})
    app.lists, app.crashes = {"telemetry": TELEMETRY}, crashes or {}
    return app, second.version


def test_a_promotion_in_mid_stream_is_an_order_that_a_replay_obeys(make_app: Any) -> None:
    plain, version = with_second_model(make_app)
    promoting(plain, version, 150)
    run_through(plain, Limits(poll=30))
    orders = plain.store.restore("live", STREAM, 0).orders
    assert [order.version for order in orders] == [*({*versions(plain)} - {version}), version]
    used = {row["model_version"] for entity in "abc" for row in plain.reader.scores(STREAM, entity, limit=10_000)}
    assert used == {order.version for order in orders}
    app, _ = with_second_model(make_app, {"poll": {180, 240, 300}, "save": {210, 270}})
    promoting(app, version, 150)
    assert run_through(app, Limits(poll=30, snapshot_every=10_000)) == 5
    assert differences(final_rows(app), final_rows(plain)) == []


def test_a_cold_start_fits_itself_and_goes_on_the_same_after_crashes(make_app: Any) -> None:
    lists = {"telemetry": payloads(cells_with_anomalies())}
    cold: dict[str, Any] = {"cold": True, "fit_after": 120}
    plain = make_app(lists, **cold)
    runner = plain.runner(STREAM, {}, limits=Limits(poll=90))
    runner.step()
    assert runner.progress.missing_slots is not None
    assert 0 < runner.progress.missing_slots < 120
    assert runner.partition.era.version == "cold"
    runner.run()
    assert plain.models.active(STREAM) is not None
    crashes = {"poll": set(range(100, 900, 100)), "save": set(range(150, 900, 100))}
    app = make_app(lists, crashes, **cold)
    assert run_through(app, Limits(poll=50, snapshot_every=40)) == 16
    assert differences(final_rows(app), final_rows(plain)) == []


def test_evicted_entities_come_back_with_what_they_had_learnt(make_app: Any) -> None:
    few = {"max_entities": 2, "forget_after": 30}
    # at each time only two of the three speak: who is silent goes when the third comes back
    silent = {"abc"[turn]: set(range(FIT_SLOTS + 20 * turn, 420, 60)) for turn in range(3)}
    cells = {
        (entity, slot): values
        for (entity, slot), values in cells_with_anomalies().items()
        if not any(first <= slot < first + 20 for first in silent[entity])
    }
    lists = {"telemetry": payloads(cells, FIT_SLOTS)}
    app = make_app(lists, **few)
    run_through(app, Limits(poll=50))
    assert app.reader.health(STREAM)["partitions"][0]["counts"]["evicted"] >= 4
    named = {row["entity"] for row in app.reader.audit(STREAM, limit=10_000) if row["kind"] == "entity evicted"}
    assert named == {"a", "b", "c"}
    again = make_app(lists, {"poll": set(range(40, 240, 40))}, **few)
    run_through(again, Limits(poll=7, snapshot_every=30))
    assert differences(final_rows(again), final_rows(app)) == []


def test_two_owners_of_one_partition(make_app: Any) -> None:
    app = make_app({"telemetry": TELEMETRY})
    older = app.runner(STREAM, {}, limits=Limits(poll=50))
    older.step()
    newer = app.runner(STREAM, {}, limits=Limits(poll=50))
    with pytest.raises(LeaseLostError, match="another owner"):
        older.run()
    newer.run()
    plain = make_app({"telemetry": TELEMETRY})
    run_through(plain, Limits())
    assert differences(final_rows(app), final_rows(plain)) == []


def storm() -> list[bytes]:
    cells = {key: values.copy() for key, values in cells_with_anomalies().items()}
    for entity, slot in cells:
        if 340 <= slot < 350:
            cells[entity, slot] += 9 if entity != "b" else -9
    return payloads(cells, FIT_SLOTS)


def test_a_storm_is_explained_in_the_end_and_nothing_stays_pending(make_app: Any) -> None:
    lists = {"telemetry": storm()}
    plain = make_app(lists)
    run_through(plain, Limits(poll=1000, explain_per_poll=50))
    app = make_app(lists)
    runner = app.runner(STREAM, {}, limits=Limits(poll=1000, explain_per_poll=1))
    runner.step()
    while runner.step():
        pass
    waiting = app.reader.pending(STREAM)
    assert waiting
    assert all(alert.window for alert in waiting)
    runner.finish()
    assert app.reader.pending(STREAM) == []
    assert differences(final_rows(app), final_rows(plain)) == []


@pytest.mark.parametrize("poll", [1, 7, 1000])
def test_what_waited_to_be_explained_waits_whatever_a_replay_explains_at_once(make_app: Any, poll: int) -> None:
    """A replay writes nothing: what it explains, since it polls otherwise, was still to be explained then."""
    lists = {"telemetry": storm()}
    plain = make_app(lists)
    run_through(plain, Limits(poll=1000))
    app = make_app(lists)
    limits = Limits(poll=(346 - FIT_SLOTS) * 3 // 2, explain_per_poll=1, snapshot_every=10_000)
    dying = app.runner(STREAM, {}, limits=limits)
    dying.step()  # and a snapshot
    dying.step()
    waiting = app.reader.pending(STREAM)
    assert len(waiting) > 1
    assert {alert.state for alert in waiting} & {"open", "confirmed"}, "more will be saved of them"
    app.runner(STREAM, {}, limits=Limits(poll=poll, explain_per_poll=5)).run()
    assert app.reader.pending(STREAM) == []
    assert differences(final_rows(app), final_rows(plain)) == []


def test_postgresql_gives_the_rows_of_sqlite(make_app: Any, postgresql_url: str) -> None:
    lite, big = make_app({"telemetry": TELEMETRY}), make_app({"telemetry": TELEMETRY}, url=postgresql_url)
    for app in (lite, big):
        run_through(app, Limits(poll=60))
    assert differences(final_rows(big), final_rows(lite)) == []


def test_an_entity_that_stops_is_noticed_and_its_alert_resolves(make_app: Any) -> None:
    cells = {key: values for key, values in cells_with_anomalies().items() if key[0] != "b" or key[1] < 340}
    app = make_app({"telemetry": payloads(cells, FIT_SLOTS)})
    run_through(app, Limits())
    counted = {e: sum(row["count"] for row in app.reader.rollups(STREAM, e)) for e in "ab"}
    assert counted["a"] == 120
    assert 40 <= counted["b"] <= 40 + 30
    open_alerts = [a for a in app.reader.alerts(AlertFilter(stream=STREAM, entity="b")) if a.state == "open"]
    assert open_alerts == []
    ignoring = make_app({"telemetry": payloads(cells, FIT_SLOTS)}, on_silence="ignore")
    run_through(ignoring, Limits())
    assert sum(row["count"] for row in ignoring.reader.rollups(STREAM, "b")) == 40


BAD = [
    b"{",
    b'{"entity": "a"}',
    b'{"entity": "a", "time": "soon", "values": {}}',
    b"\xff\xfe",
    record("a", 10**6, {"cpu": 1.0}),
]


def test_bad_input_changes_no_good_row(make_app: Any) -> None:
    plain = make_app({"telemetry": TELEMETRY})
    run_through(plain, Limits())
    mixed = list(TELEMETRY)
    for number, payload in enumerate(BAD):
        mixed.insert(40 * (number + 1), payload)
    app = make_app({"telemetry": mixed})
    run_through(app, Limits(poll=33))
    ours, theirs = final_rows(app), final_rows(plain)
    dead = ours.pop("dead_letters")
    theirs.pop("dead_letters")
    assert differences(ours, theirs) == []
    assert sorted(row["reason"] for row in dead) == sorted(
        ["broken_json", "missing_time", "bad_time", "bad_encoding", "future"]
    )


def test_an_unknown_feature_is_counted_and_changes_nothing(make_app: Any) -> None:
    plain = make_app({"telemetry": TELEMETRY})
    run_through(plain, Limits())
    extra = [payload.replace(b'"cpu":', b'"gpu":1.5,"cpu":') for payload in TELEMETRY]
    app = make_app({"telemetry": extra})
    run_through(app, Limits())
    assert app.reader.health(STREAM)["partitions"][0]["counts"]["unknown:gpu"] == len(TELEMETRY)
    assert differences(final_rows(app), final_rows(plain)) == []


def test_an_empty_source_ends_well(make_app: Any) -> None:
    app = make_app({"telemetry": []})
    runner = app.runner(STREAM, {})
    assert runner.run()
    assert runner.progress.rows == 0
    assert app.reader.alerts(AlertFilter(stream=STREAM)) == []
