"""Telemetry and log lines in one stream: the same rows however the two are interleaved, and logs that count."""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from storage.read import AlertFilter
from storage.types import ModelRow
from streaming.settings import SECOND
from tests.tsad.streams import (
    ENTITIES,
    FIT_SLOTS,
    NOW,
    SLOTS,
    START,
    STREAM,
    cells_with_anomalies,
    configuration,
    differences,
    final_rows,
    line,
    list_app,
    normal,
    payloads,
    run_through,
)
from tsad.archive import Archive
from tsad.background import answer
from tsad.refit import request_of
from tsad.report import alert_row, explanation_table
from tsad.runner import Limits

BURST = range(345, 351)
"""Slots in which `b` cannot reach its database, which its telemetry does not show."""
RETRIES = range(375, 381)
"""Slots in which `c` repeats a line that everybody writes now and then."""
UNCOVERED = range(355, 361)
"""Slots without a line of anybody."""


def log_lines(slots: range = range(SLOTS), seed: int = 5) -> list[bytes]:
    """A handful of lines a slot, in event-time order; the rare template comes every 50 slots only."""
    rng, lines = random.Random(seed), []
    for slot in range(slots.stop):
        for entity in ENTITIES:
            said = [f"GET /item/{rng.randrange(9000)} took {rng.randrange(90)} ms" for _ in range(rng.randrange(2, 5))]
            said += [f"retry {rng.randrange(9)} of the upload"] * (rng.random() < 0.3)
            said += [f"user u{rng.randrange(500)} logged in from 10.0.0.{rng.randrange(99)}"] * (rng.random() < 0.5)
            said += ["cache rebuilt from scratch"] * (slot % 50 == 17)
            if entity == "b" and slot in BURST:
                said += [f"ERROR connection to database {rng.randrange(9)} refused, password=hunter2"] * 6
            if entity == "c" and slot in RETRIES:
                said += [f"retry {rng.randrange(9)} of the upload"] * 12
            if slot in slots and slot not in UNCOVERED:
                lines += [line(entity, slot, text, 3 * place % 60) for place, text in enumerate(said)]
    return lines


def cells() -> dict[tuple[str, int], np.ndarray]:
    """The telemetry of the other tests, without its anomalies but the first."""
    calm = normal(SLOTS, ENTITIES, 1)
    return calm | {key: values for key, values in cells_with_anomalies().items() if key[1] < 340}


LIVE = {"telemetry": payloads(cells(), FIT_SLOTS), "logs": log_lines(range(FIT_SLOTS, SLOTS))}
LOGS: dict[str, Any] = {"logs": {"templates": 8}}


@pytest.fixture(scope="module")
def fitted_with_logs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model fitted on both topics of the first slots, as (folder, row)."""
    folder = tmp_path_factory.mktemp("fitted")
    calm = {key: values for key, values in cells().items() if key[1] < FIT_SLOTS}
    history = {"telemetry": payloads(calm), "logs": log_lines(range(FIT_SLOTS))}
    app = list_app(configuration(folder, f"sqlite:///{folder}/fit.db", **LOGS), history)
    row = app.fit(STREAM, app.collect(STREAM, {}))
    app.close()
    return folder / "models", row


@contextmanager
def log_app_maker(room: Path, fitted_with_logs: Any, template: Path) -> Iterator[Any]:
    """Makes applications that read both topics, with the fitted model active (or none: `cold`)."""
    models, row = fitted_with_logs
    made: list[Any] = []

    def make(lists: Any = LIVE, crashes: Any = None, cold: bool = False, **stream: Any) -> Any:
        folder = room / f"logs{len(made)}"
        (folder / "models").mkdir(parents=True)
        (folder / "models" / "models").symlink_to(models / "models")
        shutil.copy(template, folder / "tsad.db")
        app = list_app(configuration(folder, f"sqlite:///{folder}/tsad.db", **(LOGS | stream)), lists, crashes)
        if not cold:
            app.models.add(row)
            app.models.promote(STREAM, row.version)
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


@pytest.fixture
def make_log_app(tmp_path: Path, fitted_with_logs: Any, sqlite_template: Path) -> Iterator[Any]:
    """`log_app_maker` for one test."""
    with log_app_maker(tmp_path, fitted_with_logs, sqlite_template) as make:
        yield make


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, fitted_with_logs: Any, sqlite_template: Path) -> Any:
    """Both topics, run to the end. Not to be changed."""
    with log_app_maker(tmp_path_factory.mktemp("undisturbed"), fitted_with_logs, sqlite_template) as make:
        app = make()
        run_through(app, Limits())
        yield app


def alerts(app: Any, entity: str, slots: range) -> list[Any]:
    """The standing alerts of an entity that touch `slots`."""
    first, last = ((START + 60 * slot) // 60 for slot in (slots.start, slots.stop))
    found = app.reader.alerts(AlertFilter(stream=STREAM, entity=entity, limit=None))
    return [a for a in found if a.state != "retracted" and a.first_slot < last and a.last_slot >= first]


def test_log_features_reach_the_model(fitted_with_logs: Any, make_log_app: Any) -> None:
    _, row = fitted_with_logs
    model = make_log_app().shelf(STREAM).read(row)
    assert {"cpu", "log.lines", "log.other", "log.severity.error"} <= set(model.ensemble.features)
    texts = sorted(model.templates.values())
    assert any(text.startswith("GET") for text in texts)
    assert any(text.startswith("retry") for text in texts)
    assert set(model.templates) == {name for name in model.ensemble.features if name.startswith("log.template.")}


def test_what_scores_lines_is_part_of_the_version(fitted_with_logs: Any, make_log_app: Any) -> None:
    _, row = fitted_with_logs
    model = make_log_app().shelf(STREAM).read(row)
    assert model.lines.features == ["log.rare", "log.sequence", "log.field"], "no relations are configured"
    assert set(model.lines.features) <= set(model.ensemble.features)
    assert set(model.templates.values()) <= set(model.lines.texts)


def history(app: Any) -> Archive:
    return Archive(app.history_folder(STREAM), app.config.of(STREAM).step)


def test_lines_are_scored_by_the_version_in_force(undisturbed: Any) -> None:
    found = {}
    for batch in history(undisturbed).batches(0, -(1 << 60), 1 << 60):
        columns = [batch.column(name).to_pylist() for name in ("entity", "slot", "value:log.rare", "value:log.new")]
        found |= {(entity, slot - START // 60): said for entity, slot, *said in zip(*columns, strict=True)}
    begun, *others = (tuple(found["b", slot]) for slot in BURST)
    assert begun == (5.0, 1.0), "a line that founds a template counts as that"
    assert set(others) == {(6.0, 0.0)}
    known = [cell for cell in found if cell[0] != "b" and cell[1] not in UNCOVERED]
    assert len(known) > 200
    assert {tuple(found[cell]) for cell in known} == {(0.0, 0.0)}, "the fit has seen these templates"


def test_a_refit_from_closed_slots_goes_on_with_what_scores_the_lines(make_log_app: Any) -> None:
    app = make_log_app(refit="7d", fit_after=100)
    run_through(app, Limits())
    row = app.models.active(STREAM)
    said = answer(request_of(app.config, STREAM, NOW, "fit", {}))
    candidate = app.shelf(STREAM).read(ModelRow(STREAM, **said["model"], created_at=row.created_at))
    lines = app.shelf(STREAM).read(row).lines
    assert set(lines.features) <= set(candidate.ensemble.features)
    assert candidate.lines.texts == lines.texts
    for name, array in lines.state().arrays.items():
        np.testing.assert_array_equal(candidate.lines.state().arrays[name], array)


def test_a_burst_of_a_line_never_seen_is_an_alert_that_shows_logs(undisturbed: Any) -> None:
    found = alerts(undisturbed, "b", BURST)
    assert found
    assert any(name in {"log.new", "log.other", "log.severity.error", "log.lines"} for name in found[0].attribution)
    said = found[0].evidence["said"]
    assert (
        said["log.other"][0] == said["log.rare"][0] == "ERROR connection to database <NUM> refused, password=<PASSWORD>"
    )
    _, parts = undisturbed.reader.alert(found[0].id)
    assert any(part.feature.startswith("log.") and part.value > 0 for part in parts if part.target == "decision")


def test_it_quotes_the_lines_as_they_came_but_for_secrets(undisturbed: Any) -> None:
    (found, *_) = alerts(undisturbed, "b", BURST)
    quoted = found.evidence["lines"][0]["line"]
    assert re.fullmatch(r"ERROR connection to database \d refused, password=<PASSWORD>", quoted)
    assert "hunter2" not in repr(found)
    assert 1 <= len(found.evidence["lines"]) <= 5
    assert all(said["feature"].startswith("log.") for said in found.evidence["lines"])
    row = alert_row(*undisturbed.reader.alert(found.id))
    console = Console(file=StringIO(), width=120)
    console.print(explanation_table(row, []))
    assert f": {quoted}" in console.file.getvalue()


def test_a_known_line_that_comes_too_often_is_named_with_its_template(undisturbed: Any) -> None:
    found = alerts(undisturbed, "c", RETRIES)
    assert found
    assert any(re.fullmatch(r"retry \d of the upload", said["line"]) for said in found[0].evidence["lines"])
    texts = found[0].evidence["texts"]
    assert any(text.startswith("retry") for text in texts.values())
    assert set(texts) <= set(found[0].evidence["features"])


def windows_of(app: Any) -> tuple[list[str], dict[tuple[str, int], np.ndarray]]:
    """Features, and every closed cell, as the windower derives them."""
    rows = app.collect(STREAM, {}).rows
    by_cell = zip(rows.codes.tolist(), rows.slots.tolist(), rows.values, strict=True)
    return list(rows.features), {(rows.names[code], slot - START // 60): values for code, slot, values in by_cell}


def test_minutes_without_log_coverage_are_missing_and_not_zero(make_log_app: Any) -> None:
    features, closed = windows_of(make_log_app())
    lines, other = features.index("log.lines"), features.index("log.severity.error")
    assert all(np.isnan(closed[entity, slot][lines]) for entity in ENTITIES for slot in UNCOVERED)
    assert all(np.isnan(closed[entity, slot][other]) for entity in ENTITIES for slot in UNCOVERED)
    covered = [slot for slot in range(FIT_SLOTS + 5, SLOTS) if slot not in UNCOVERED]
    assert all(closed["a", slot][lines] >= 2 for slot in covered)
    assert {closed["a", slot][other] for slot in covered if slot > BURST.start} == {0.0}


def test_counts_are_those_of_the_lines(make_log_app: Any) -> None:
    features, closed = windows_of(make_log_app())
    lines = features.index("log.lines")
    counted = sum(values[lines] for values in closed.values() if not np.isnan(values[lines]))
    assert counted == len(LIVE["logs"])


def test_log_silence_of_everybody_is_no_alert_by_itself(undisturbed: Any) -> None:
    found = undisturbed.reader.alerts(AlertFilter(stream=STREAM, limit=None))
    assert found
    assert not [a for a in found if a.state != "retracted" and a.opened_slot - START // 60 in UNCOVERED]


@pytest.mark.parametrize("poll", [1, 5, 64, 5000])
def test_poll_size_does_not_matter(make_log_app: Any, undisturbed: Any, poll: int) -> None:
    app = make_log_app()
    run_through(app, Limits(poll=poll))
    assert differences(final_rows(app), final_rows(undisturbed)) == []


def sizes(seed: int, largest: int, idle: float = 0.2) -> Callable[[], int]:
    """How many records each poll gives: now and then none."""
    rng = random.Random(seed)
    return lambda: 0 if rng.random() < idle else rng.randint(1, largest)


INTERLEAVINGS: dict[str, tuple[int, int]] = {
    "telemetry far ahead": (300, 9),
    "logs far ahead": (2, 900),
    "in step": (20, 90),
    "one by one": (1, 6),
}


@pytest.mark.parametrize("name", INTERLEAVINGS)
def test_interleaving_does_not_matter(make_log_app: Any, undisturbed: Any, name: str) -> None:
    app = make_log_app()
    telemetry, logs = INTERLEAVINGS[name]
    app.sizes = {"telemetry": sizes(1, telemetry), "logs": sizes(2, logs)}
    run_through(app, Limits())
    assert differences(final_rows(app), final_rows(undisturbed)) == []


def paused_at_a_snapshot(app: Any, limits: Limits) -> bool:
    """Run to the end; whether a snapshot was taken while a topic was paused."""
    runner = app.runner(STREAM, {}, limits=limits)
    seen, last = False, None
    going = True
    while going:
        going = runner.step()
        if runner.snapshot_slot != last:
            last = runner.snapshot_slot
            seen |= any(runner.partition.windower.paused(topic) for topic in runner.sources)
    runner.finish()
    return seen


def test_a_snapshot_may_be_taken_while_a_topic_is_paused(make_log_app: Any, undisturbed: Any) -> None:
    app = make_log_app()
    app.sizes = {"telemetry": sizes(1, 5, 0), "logs": sizes(2, 700, 0)}
    assert paused_at_a_snapshot(app, Limits(snapshot_every=4))
    assert differences(final_rows(app), final_rows(undisturbed)) == []


@pytest.mark.parametrize(
    ("snapshot_every", "where", "ahead"),
    [(3, "poll", "telemetry"), (25, "save", "logs"), (10_000, "poll", "logs"), (10_000, "save", "telemetry")],
)
def test_crashes_with_one_topic_paused_change_nothing(
    make_log_app: Any, undisturbed: Any, snapshot_every: int, where: str, ahead: str
) -> None:
    telemetry, logs = len(LIVE["telemetry"]), len(LIVE["logs"])
    crashes = {where: set(range(1, telemetry, 40)), f"logs {where}": set(range(1, logs, 150))}
    app = make_log_app(crashes=crashes)
    few, many = 7, 400
    most = {"telemetry": many, "logs": few * 4} if ahead == "telemetry" else {"telemetry": few, "logs": many}
    app.sizes = {topic: sizes(3, count, 0.1) for topic, count in most.items()}
    crashed = run_through(app, Limits(snapshot_every=snapshot_every))
    assert crashed >= (6 if where == "poll" else 1)
    assert differences(final_rows(app), final_rows(undisturbed)) == []


def known(runner: Any) -> dict[str, Any]:
    """Every bit of what lies before the judgement."""
    states = runner.inputs() | {"windower": runner.partition.windower.state()}
    return {
        name: (
            json.dumps(state.meta, sort_keys=True),
            {key: (one.dtype, one.tobytes()) for key, one in state.arrays.items()},
        )
        for name, state in states.items()
    }


def test_what_is_known_of_lines_survives_a_restart_bit_for_bit(make_log_app: Any) -> None:
    """Miner, last lines, what scores them, what is quoted of them."""
    app = make_log_app()
    runner = app.runner(STREAM, {}, limits=Limits(poll=50))
    while runner.progress.rows < 1500:
        runner.step()
    runner.snapshot()
    before = known(runner)
    assert all(said in before["intake"][0] for said in ('"miner"', '"last"', '"ordinary"', "of the upload"))
    assert "took" in before["windower"][0]
    assert known(app.runner(STREAM, {}, limits=Limits(poll=50))) == before


def later(lines: list[bytes], every: int, by: int) -> list[bytes]:
    """Every so many-th line comes `by` lines later."""
    on_time = [text for place, text in enumerate(lines) if place % every]
    for place in range(0, len(lines), every):
        on_time.insert(min(place + by, len(on_time)), lines[place])
    return on_time


@pytest.mark.parametrize(("telemetry", "logs"), [(300, 9), (2, 900), (13, 64)])
def test_late_lines_and_records_give_the_same_rows_for_every_interleaving(
    make_log_app: Any, telemetry: int, logs: int
) -> None:
    lists = {"telemetry": later(LIVE["telemetry"], 17, 12), "logs": later(LIVE["logs"], 23, 40)}
    first, again = make_log_app(lists), make_log_app(lists)
    run_through(first, Limits(poll=200))
    again.sizes = {"telemetry": sizes(1, telemetry), "logs": sizes(2, logs)}
    run_through(again, Limits())
    assert first.reader.health(STREAM)["partitions"][0]["counts"]["late"] > 50
    assert differences(final_rows(again), final_rows(first)) == []


def test_templates_and_their_counts_are_stored(undisturbed: Any) -> None:
    stored = undisturbed.reader.templates(STREAM)
    assert sum(row["count"] for row in stored) == len(LIVE["logs"])
    assert any("connection to database" in row["text"] for row in stored)


def test_logs_alone_are_a_stream_too(make_log_app: Any) -> None:
    app = make_log_app({"logs": log_lines(range(FIT_SLOTS))}, cold=True, telemetry=False)
    row = app.fit(STREAM, app.collect(STREAM, {}))
    app.models.promote(STREAM, row.version)
    app.lists = {"logs": LIVE["logs"]}
    run_through(app, Limits())
    assert alerts(app, "b", BURST)
    health = app.reader.health(STREAM)["partitions"][0]
    assert health["positions"]["logs"]["row"] == len(LIVE["logs"])


def test_a_stream_whose_logs_end_early_goes_on_with_telemetry(make_log_app: Any) -> None:
    app = make_log_app(LIVE | {"logs": log_lines(range(FIT_SLOTS, 320))})
    run_through(app, Limits(poll=50))
    assert app.reader.health(STREAM)["partitions"][0]["next_slot"] == START // 60 + SLOTS - 1
    assert alerts(app, "a", range(330, 337))


def test_the_clock_of_logs_is_in_seconds_and_slots_in_minutes(make_log_app: Any) -> None:
    """A line in the last second of a slot counts in that slot."""
    lists = {"telemetry": LIVE["telemetry"][:30], "logs": [line("a", FIT_SLOTS + 3, "one", 59)]}
    features, closed = windows_of(make_log_app(lists))
    assert closed["a", FIT_SLOTS + 3][features.index("log.lines")] == 1
    assert np.isnan(closed["a", FIT_SLOTS + 4][features.index("log.lines")])
    assert make_log_app(lists).config.of(STREAM).step == 60 * SECOND
