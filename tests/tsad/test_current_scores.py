"""`tsad_anomaly_score`: what Prometheus is told of each entity is what was judged, bounded, and of who is there."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import free_port

from tests.tsad.scraping import get, scraped, served
from tests.tsad.streams import FIT_SLOTS, START, STREAM, cells_with_anomalies, payloads
from tsad.currentscores import CurrentScores, foremost
from tsad.runner import Limits, Runner
from tsad.serving import serving
from tsad.watch import Watch

CELLS = cells_with_anomalies()
LIVE = payloads(CELLS, FIT_SLOTS)
BASE = START // 60
STRANGE = 333
"""A slot in which `a` is strange, and nobody else."""


def told(port: int) -> dict[str, float]:
    """Scores by entity."""
    found = {key: value for key, value in scraped(port).items() if key[0] == "tsad_anomaly_score"}
    assert all(key[2:] == (STREAM, STREAM) for key in found), "labels: entity, for, stream"
    return {key[1]: value for key, value in found.items()}


def steps(runner: Runner, watch: Watch, until: int) -> None:
    """Go on until `until` (from the beginning of the data on) has closed, and note it."""
    while runner.partition.windower.closed_through != BASE + until:
        assert runner.step()
    watch.note({0: runner})


@pytest.fixture
def poll_by_slot() -> Limits:
    return Limits(poll=3)


def test_the_scores_are_those_of_the_last_closed_slot(make_app: Callable[..., Any], poll_by_slot: Limits) -> None:
    app = make_app({"telemetry": LIVE})
    with served(app) as (watch, port):
        runner = app.runner(STREAM, {}, limits=poll_by_slot)
        steps(runner, watch, FIT_SLOTS + 20)
        calm = told(port)
        steps(runner, watch, STRANGE)
        strange, omitted = told(port), scraped(port)["tsad_anomaly_score_omitted",]
    assert calm.keys() == strange.keys() == {"a", "b", "c"}
    assert max(calm.values()) < 1 < strange["a"]
    assert max(strange["b"], strange["c"]) < 1
    assert omitted == 0
    rows = {row["slot"]: row["score"] for row in app.reader.scores(STREAM, "a", limit=1000)}
    assert strange["a"] == pytest.approx(rows[BASE + STRANGE])


def test_before_the_first_slot_there_is_nothing_to_tell(make_app: Callable[..., Any]) -> None:
    app = make_app({"telemetry": LIVE[:3]})
    with served(app) as (watch, port):
        watch.note({0: app.runner(STREAM, {})})
        assert told(port) == {}
        assert scraped(port)["tsad_anomaly_score_omitted",] == 0


@pytest.mark.parametrize(("series", "names"), [(0, set()), (1, {"a"}), (2, {"a"}), (3, {"a", "b", "c"})])
def test_of_more_the_strangest_are_told_and_the_rest_is_counted(
    make_app: Callable[..., Any], poll_by_slot: Limits, series: int, names: set[str]
) -> None:
    app = make_app({"telemetry": LIVE})
    with served(app, series=series) as (watch, port):
        steps(app.runner(STREAM, {}, limits=poll_by_slot), watch, STRANGE)
        found, omitted = told(port), scraped(port)["tsad_anomaly_score_omitted",]
    assert names <= found.keys()
    assert (len(found), omitted) == (series, 3 - series)


def test_who_alerts_is_told_before_who_is_stranger_now(make_app: Callable[..., Any], poll_by_slot: Limits) -> None:
    """`a` has been quiet for two slots, and its alert runs still."""
    app = make_app({"telemetry": LIVE})
    with served(app, series=1) as (watch, port):
        runner = app.runner(STREAM, {}, limits=poll_by_slot)
        watch.note({0: runner})
        alone = []
        while runner.partition.windower.closed_through != BASE + 343:
            assert runner.step()
            watch.note({0: runner})
            running = [row for row, _ in runner.partition.judge.running()]
            if [runner.partition.windower.roster.names[row] for row in running] == ["a"]:
                alone.append(told(port))
    assert len(alone) > 8
    assert all(found.keys() == {"a"} for found in alone)
    assert min(found["a"] for found in alone) < 1, "quiet again"


def test_who_has_gone_is_told_no_more(make_app: Callable[..., Any]) -> None:
    """`b` says nothing from a slot on; `forget_after` slots later it is closed."""
    stays = {key: value for key, value in CELLS.items() if key[0] != "b" or key[1] < 310}
    app = make_app({"telemetry": payloads(stays, FIT_SLOTS)}, forget_after=5)
    with served(app) as (watch, port):
        runner = app.runner(STREAM, {}, limits=Limits(poll=1))
        steps(runner, watch, 309)
        assert told(port).keys() == {"a", "b", "c"}
        steps(runner, watch, 314)
        assert told(port).keys() == {"a", "b", "c"}, "silence is a sign for so long"
        steps(runner, watch, 315)
        assert told(port).keys() == {"a", "c"}


def test_who_was_driven_out_is_told_no_more(make_app: Callable[..., Any], poll_by_slot: Limits) -> None:
    app = make_app({"telemetry": LIVE}, max_entities=2)
    with served(app) as (watch, port):
        runner = app.runner(STREAM, {}, limits=poll_by_slot)
        for until in range(FIT_SLOTS + 1, FIT_SLOTS + 6):
            steps(runner, watch, until)
            held = {name for name in runner.partition.windower.roster.names if name}
            assert told(port).keys() <= held


def test_a_start_from_a_snapshot_tells_the_same(make_app: Callable[..., Any], poll_by_slot: Limits) -> None:
    app = make_app({"telemetry": LIVE})
    runner = app.runner(STREAM, {}, limits=poll_by_slot)
    with served(app) as (watch, port):
        steps(runner, watch, STRANGE)
        before = told(port)
        runner.snapshot()
        watch.note({0: app.runner(STREAM, {})})
        assert told(port) == before


def test_names_from_outside_break_nothing(make_app: Callable[..., Any], poll_by_slot: Limits) -> None:
    """Prometheus' own parser reads back what an entity is called."""
    name = 'x"} tsad_ready 7\n\\é\u2028'
    cells = {(name if key[0] == "a" else key[0], key[1]): value for key, value in CELLS.items()}
    app = make_app({"telemetry": payloads(cells, FIT_SLOTS)})
    with served(app) as (watch, port):
        steps(app.runner(STREAM, {}, limits=poll_by_slot), watch, FIT_SLOTS + 20)
        assert told(port).keys() == {name, "b", "c"}
        assert get(port, "/metrics")[1].count("\ntsad_ready{") == 1


def test_the_setting_counts(make_app: Callable[..., Any], poll_by_slot: Limits) -> None:
    app = make_app({"telemetry": LIVE})
    app.config = app.config.model_copy(update={"http": app.config.http.model_copy(update={"series": 2})})
    port = free_port()
    with serving(app, STREAM, f"127.0.0.1:{port}") as watch:
        watch.tick = count(0, 100).__next__
        steps(app.runner(STREAM, {}, limits=poll_by_slot), watch, STRANGE)
        assert (len(told(port)), scraped(port)["tsad_anomaly_score_omitted",]) == (2, 1)


# --- which ones, whatever there is

SCORES = st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=12)


def standing(scores: list[tuple[int, bool]], names: Iterator[int]) -> CurrentScores:
    """A partition's, in rows that are not those of the names."""
    rows = np.arange(len(scores), dtype=np.int32)[::-1]
    called = [f"e{next(names)}" for _ in scores]
    values = np.array([score / 10 for score, _ in scores], np.float32)
    return CurrentScores(called, rows, values, np.array([alerting for _, alerting in scores], bool))


@settings(max_examples=200, deadline=None)
@given(st.lists(SCORES, max_size=4), st.integers(0, 30))
def test_none_that_is_left_out_should_have_been_told(parts: list[list[tuple[int, bool]]], limit: int) -> None:
    names = count()
    made = [standing(scores, names) for scores in parts]
    all_of_them = {
        part.names[row]: (bool(alerting), float(score))
        for part in made
        for row, score, alerting in zip(part.rows, part.scores, part.alerting, strict=True)
    }
    chosen, omitted = foremost(made, limit)
    assert len(chosen) == min(limit, len(all_of_them))
    assert omitted == len(all_of_them) - len(chosen)
    assert all(all_of_them[name][1] == score for name, score in chosen)
    left = [value for name, value in all_of_them.items() if name not in dict(chosen)]
    assert not chosen or not left or min(all_of_them[name] for name, _ in chosen) >= max(left)
