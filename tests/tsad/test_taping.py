"""Refits of streams from Kafka fit what scores lines and judges sessions on the lines that the topics still hold."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.linemodel import FittedLines
from detectors.rarity import Rarity
from detectors.types import Rows
from streaming.settings import SECOND
from streaming.types import State
from tests.tsad.block_lines import LIVE_SLOT, configured, payloads
from tests.tsad.block_lines import said as block_lines
from tests.tsad.kafka_streams import KafkaStream, read_out, rows_read, step_until
from tests.tsad.streams import FIT_SLOTS, NOW, STREAM, configuration, line, list_app
from tests.tsad.test_kafka_sessions import SECTION, send
from tests.tsad.test_rereading import UNKEPT, table
from tests.tsad.test_two_topics import BURST, LOGS, fitted_with_logs
from tests.tsad.test_two_topics import LIVE as WITH_LOGS
from tsad.app import App, sessions_of
from tsad.archive import Archive
from tsad.background import answer
from tsad.linefit import with_lines
from tsad.models import Model
from tsad.refit import request_of
from tsad.rereading import reread
from tsad.retraining import training
from tsad.runner import Limits
from tsad.taping import learnt, rescored, taped

__all__ = ["fitted_with_logs"]
HOUR = 3600 * SECOND
COLD: dict[str, Any] = {
    "telemetry": False, "refit": "7d", "shadow": "1h", "fit_after": 100, "history_days": 30,
    "sessions": {"key": r"(round-\d+)", "gap": "40s"},
}  # fmt: skip
ODD = "nobody has ever written this"


def said(slots: range) -> list[bytes]:
    """What two hosts write, the same in each slot but for values and how often."""
    rng, lines = random.Random(slots.start), []
    for slot in slots:
        for entity in ("a", "b"):
            texts = ["begin of"] + [f"work took {rng.randrange(90)} ms in"] * rng.randrange(1, 4) + ["end of"]
            name = f"round-{2 * slot + (entity == 'b')}"
            lines += [line(entity, slot, f"{text} {name}", 5 * place) for place, text in enumerate(texts)]
    return lines


@pytest.fixture
def cold(kafka_server: str, tmp_path: Path) -> Iterator[KafkaStream]:
    """Log lines alone, on one partition, and no model."""
    made = KafkaStream(kafka_server, tmp_path / "kafka", None)
    yield made
    made.close()


def same(one: FittedLines | None, other: FittedLines | None) -> None:
    assert one is not None and other is not None
    assert one.texts == other.texts
    mine, theirs = one.state().arrays, other.state().arrays
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        np.testing.assert_array_equal(array, theirs[name])


def rows_of(app: App) -> Rows:
    """What a refit would be fitted on, were there no incidents."""
    with reread(app, STREAM) as archive:
        return training(archive, lambda *_: (), 1).rows


def test_a_stream_that_began_cold_soon_judges_by_its_lines(cold: KafkaStream) -> None:
    """Its first refit is due at once, or when enough has come; behind the shadow lines are scored as they come."""
    first = said(range(300))
    cold.fill({"logs": first})
    now = [NOW]
    app = cold.app(**COLD)
    app.clock = lambda: now[0]
    worker = app.worker(STREAM, limits=Limits(poll=200))

    def child_is(there: bool) -> bool:
        now[0] += 10 * SECOND
        return (app.refits.of(STREAM).child is not None) == there

    def work(passed: int) -> None:
        now[0] += passed
        step_until([worker], lambda: child_is(True))
        child = app.refits.of(STREAM).child
        assert child is not None
        child.wait()
        step_until([worker], lambda: child_is(False))

    def found(kind: str) -> list[dict[str, Any]]:
        return [row["detail"] for row in app.reader.audit(STREAM, limit=1000) if row["kind"] == kind]

    step_until([worker], lambda: rows_read([worker]) == len(first), 2000)
    begun = app.active_model(STREAM)
    assert begun is not None and begun.lines is begun.sessions is None
    for attempt in range(3):  # it may have begun before there were slots enough
        if not any(row["outcome"] == "candidate" for row in found("refit")):
            work(HOUR if attempt else 0)
    (fitted,) = [row for row in found("refit") if row["outcome"] == "candidate"]
    second = said(range(300, 390))
    cold.fill({"logs": second})
    step_until([worker], lambda: rows_read([worker]) == len(first) + len(second), 2000)
    work(2 * HOUR)
    (judged,) = found("shadow")
    assert judged["decision"] == "promoted", judged
    after = app.active_model(STREAM)
    assert after is not None and after.lines is not None and after.sessions is not None
    assert {"log.rare", "log.sequence"} <= set(after.lines.features) & set(after.ensemble.features)
    assert fitted["version"] == app.models.active(STREAM).version  # type: ignore[union-attr]
    third = said(range(390, 401)) + [line("a", 400, ODD, 30 + place) for place in range(3)] + said(range(401, 480))
    cold.fill({"logs": third})
    worker.read_out()
    kept = [row for row in table(Archive(app.history_folder(STREAM), 60 * SECOND)) if row.get("value:log.rare")]
    assert [(row["entity"], row["value:log.rare"]) for row in kept] == [("a", 2.0)], "the first is new"


def test_what_is_fitted_is_what_tsad_fit_makes_of_the_same_lines(cold: KafkaStream, tmp_path: Path) -> None:
    lines = said(range(120))
    cold.fill({"logs": lines})
    app = cold.app(**COLD | {"history_days": 0})
    read_out(app)
    rows, model, _ = learnt(app, STREAM, rows_of(app), None)
    other = list_app(configuration(tmp_path, f"sqlite:///{tmp_path}/f.db", telemetry=False, logs={}), {"logs": lines})
    collected = other.collect(STREAM, {})
    other.close()
    wanted, by_fit = with_lines(collected.rows, collected.tape, app.config.of(STREAM).logs.line_scorers)  # type: ignore[union-attr]
    same(model, by_fit)
    for name in by_fit.features:  # type: ignore[union-attr]
        mine, theirs = (found.values[:, found.features.index(name)] for found in (rows, wanted))
        np.testing.assert_array_equal(mine, theirs)


def test_where_lines_are_gone_their_scores_are_missing(cold: KafkaStream) -> None:
    """Rows of the history that reach farther back than the topic does."""
    lines = said(range(240))
    cold.fill({"logs": lines})
    app = cold.app(**COLD)
    read_out(app)
    half = len(lines) // 2
    rows, model, _ = learnt(app, STREAM, rows_of(app), None, most=half)
    assert model is not None
    begun = rows.slots.min() + 120 + 1
    rare = rows.values[:, rows.features.index("log.rare")]
    np.testing.assert_array_equal(np.isnan(rare), rows.slots < begun)
    assert not rare[rows.slots >= begun].any()
    here = rescored(app, STREAM, Archive(app.history_folder(STREAM), 60 * SECOND), model, most=half)
    kept = table(here)
    assert {row["slot"] < begun for row in kept} == {True, False}
    assert all((row["value:log.rare"] is None) == (row["slot"] < begun) for row in kept)


@pytest.fixture(scope="module")
def both(kafka_server: str, tmp_path_factory: pytest.TempPathFactory, fitted_with_logs: Any) -> Iterator[App]:
    """Metrics and log lines on several partitions, read to the end by a version with scorers of its own."""
    made = KafkaStream(kafka_server, tmp_path_factory.mktemp("taping"), fitted_with_logs, partitions=3)
    made.fill(dict(WITH_LOGS))  # type: ignore[arg-type]
    logs = {"source": "kafka", "topic": made.topics["logs"], **LOGS["logs"]}
    app = made.app(**UNKEPT | {"history_days": 30, "fit_after": 100, "shadow": "1h"}, logs=logs)
    read_out(app)
    yield app
    made.close()


def kept_by(app: App) -> Archive:
    return Archive(app.history_folder(STREAM), app.config.of(STREAM).step)


def fitted_on(app: App, incidents: bool = True) -> FittedLines:
    """The line scorers of a refit from the history, which leaves incidents out unless told otherwise."""

    def stretches(first: int, last: int) -> Sequence[Any]:
        return app.reader.stretches(STREAM, first, last) if incidents else ()

    rows = training(kept_by(app), stretches, 90).rows
    found = learnt(app, STREAM, rows, None)[1]
    assert found is not None
    return found


def test_the_lines_of_all_partitions_are_one_history(both: App) -> None:
    assert len({row["partition"] for row in both.reader.entities(STREAM)}) > 1
    found = taped(both, STREAM)
    assert set(found.tape.names) == {"a", "b", "c"}
    assert len(found.tape.read().ids) == len(WITH_LOGS["logs"])
    texts = found.tape.texts(np.unique(found.tape.read().ids).tolist())
    assert len(texts) == len(set(texts)) == 5
    assert (found.slots, found.bounded) == (120, False)
    assert taped(both, STREAM, most=100).bounded


def test_lines_of_incidents_are_not_learnt(both: App) -> None:
    stretches = both.reader.stretches(STREAM, 0, 1 << 40)
    first = min(row["slot"] for row in table(kept_by(both)))
    assert any(
        one.entity == "b" and one.first_slot <= first - FIT_SLOTS + BURST[0] + 3 <= one.last_slot for one in stretches
    )
    assert not any(text.startswith("ERROR") for text in fitted_on(both).texts)
    assert any(text.startswith("ERROR") for text in fitted_on(both, incidents=False).texts)


def test_of_too_little_time_nothing_is_learnt_where_something_is_in_force(both: App) -> None:
    active = both.active_model(STREAM)
    assert active is not None
    config = both.config.of(STREAM)
    rows = training(kept_by(both), lambda *_: (), 90).rows

    def of(fit_after: int, most: int = 1_000_000) -> FittedLines | None:
        streams = {STREAM: config.model_copy(update={"fit_after": fit_after})}
        app = App(both.config.model_copy(update={"stream": streams}), both.database, both.clock)
        return learnt(app, STREAM, rows, active, most)[1]

    assert of(121) is active.lines
    assert of(120) is not active.lines
    assert of(10_000, most=1000) is not active.lines, "as many as a fit looks at"


def test_a_shadow_knows_what_the_candidate_says_of_lines(both: App) -> None:
    """As the candidate scores the lines of the topics as they are read, were it in force."""
    lines = fitted_on(both)
    active, row = both.active_model(STREAM), both.models.active(STREAM)
    assert active is not None and row is not None
    kept, again = table(kept_by(both)), table(rescored(both, STREAM, kept_by(both), lines))
    candidate = both.shelf(STREAM).write(replace(active, lines=lines), both.now())
    both.models.add(candidate)
    both.models.promote(STREAM, candidate.version)
    try:
        with reread(both, STREAM) as archive:
            wanted = {(one["entity"], one["slot"]): one for one in table(archive)}
    finally:
        both.models.promote(STREAM, row.version)
    names = [f"value:{name}" for name in lines.features]
    assert sum(one["value:log.rare"] or 0 for one in again) > 5
    assert [one["value:log.rare"] for one in again] != [one["value:log.rare"] for one in kept]
    for one in again:
        there = wanted[one["entity"], one["slot"]]
        assert [one[name] for name in names] == [there[name] for name in names]
    others = [name for name in kept[0] if name.removeprefix("value:") not in active.lines.features]  # type: ignore[union-attr]
    assert [[one[name] for name in others] for one in again] == [[one[name] for name in others] for one in kept]


def test_a_candidate_that_finds_every_line_strange_is_seen_through(both: App) -> None:
    active = both.active_model(STREAM)
    assert active is not None
    rarity = Rarity()
    rarity.restore(State({"usual": np.array([False, True])}))
    odd = replace(active, lines=FittedLines(["a line that never comes"], {"rare": rarity}))
    row = both.shelf(STREAM).write(odd, both.now())
    place = {name: getattr(row, name) for name in ("version", "file", "checksum")}
    detail = {
        "model": place,
        "columns": {str(number): {} for number in range(3)},
        "through": kept_by(both).newest() - 61,
    }  # type: ignore[operator]
    calm, loud = (
        answer(request_of(both.config, STREAM, NOW, "shadow", detail | {"anew": anew}))["figures"]
        for anew in (False, True)
    )
    assert (calm["slots"], calm["windows"]) == (loud["slots"], loud["windows"])
    assert loud["episodes"] > calm["episodes"]


@pytest.mark.parametrize("partitions", [1, 2])
def test_sessions_of_all_partitions_are_fitted_on(kafka_server: str, tmp_path: Path, partitions: int) -> None:
    """What is fitted is what `tsad fit` makes of the same sessions; those in force go on where there are too few."""
    lines = block_lines(90, seed=2)
    stream = KafkaStream(kafka_server, tmp_path / "kafka", None, partitions)
    stream.fill({"logs": []})
    send(stream, lines)
    app = stream.app(**SECTION)
    read_out(app)
    nothing = Rows([], np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros((0, 0), np.float32), [])
    model = learnt(app, STREAM, nothing, None)[2]
    other = list_app(configured(tmp_path), {"logs": payloads(lines, LIVE_SLOT)})
    by_fit = sessions_of(other.config.of(STREAM), other.collect(STREAM, {}).sessions)
    other.close()
    assert model is not None and by_fit is not None
    assert sorted(model.texts) == sorted(by_fit.texts)
    if partitions == 1:
        assert model.state().meta == by_fit.state().meta
        for name, array in by_fit.state().arrays.items():
            np.testing.assert_array_equal(model.state().arrays[name], array)
    active = Model(None, None, sessions=by_fit)  # type: ignore[arg-type]
    assert learnt(app, STREAM, nothing, active)[2] is by_fit, "these are of a few slots"
    stream.close()
