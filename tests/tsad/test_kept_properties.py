"""Readings, hourly roll-ups and the history, whatever is done with them: what plain dictionaries would hold."""

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.settings import SECOND
from streaming.types import State
from tests.tsad.test_history import MINUTE, add, cells, flush_due
from tests.tsad.test_readings import STEP, Hours, told
from tsad.history import History
from tsad.readings import Readings, Rollups

ROWS = 6
SCORE = st.one_of(st.just(float("nan")), st.integers(0, 64).map(lambda sixteenths: sixteenths / 16))
SOME_ROWS = st.lists(st.integers(0, ROWS - 1), unique=True, max_size=ROWS).map(sorted)


def codes(rows: list[int]) -> np.ndarray:
    return np.array(rows, np.int32)


def copied(state: State) -> State:
    """As a snapshot gives it back."""
    return State({name: array.copy() for name, array in state.arrays.items()}, dict(state.meta))


def same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)


CELL = st.tuples(st.integers(0, ROWS - 1), st.integers(-9, 12))
READING = st.tuples(st.just("write"), st.dictionaries(CELL, SCORE, max_size=8))
FORGET = st.tuples(st.just("forget"), SOME_ROWS)
RESTART = st.tuples(st.just("restart"), st.none())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(READING, FORGET, RESTART), max_size=25), st.integers(1, 30))
def test_readings_of_many_rows_and_slots_at_once_with_forgetting_and_restarts(
    steps: list[tuple[str, Any]], horizon: int
) -> None:
    """Slots in any order, those before the epoch too: the last to be written at a place is there."""
    readings, plain, size = Readings(horizon), dict[tuple[int, int], tuple[int, float]](), horizon + 1
    for what, given_ in steps:
        if what == "write":
            # a place is written once by a call
            places = {(row, slot % size): (slot, score) for (row, slot), score in given_.items()}
            rows = codes([row for row, _ in places])
            slots = np.array([slot for slot, _ in places.values()], np.int64)
            scores = np.array([score for _, score in places.values()], np.float32)
            readings.write(rows, slots, scores, scores.astype(np.float64) / 8, scores / 2)
            plain |= places
        elif what == "forget":
            readings.forget(codes([*given_, 4000]))
            plain = {key: kept for key, kept in plain.items() if key[0] not in given_}
        else:
            kept, readings = copied(readings.state()), Readings(horizon)
            readings.restore(kept)
    for slot in range(-9, 13):
        held = {row: score for (row, _), (at, score) in plain.items() if at == slot}
        assert readings.at(slot).tolist() == sorted(held)
        assert readings.flagged(slot).tolist() == sorted(row for row, score in held.items() if score > 1)
        for row in range(ROWS):
            one, score = readings.reading(row, slot), held.get(row, float("nan"))
            assert same(one.score, score)
            assert same(one.p, score / 8)
            assert same(one.settled, score / 2)


ADD = st.tuples(st.just("add"), st.tuples(st.integers(0, 9), st.lists(SCORE, min_size=ROWS, max_size=ROWS), SOME_ROWS))
FLUSH = st.tuples(st.just("flush"), SOME_ROWS)
LOOK = st.tuples(st.just("look"), st.none())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(ADD, FLUSH, LOOK, RESTART), max_size=30), st.integers(-40, 40))
def test_hours_are_given_out_once_whatever_is_flushed_looked_at_or_restarted(
    steps: list[tuple[str, Any]], slot: int
) -> None:
    """`add` gives what the plain hour holds when the row's next hour begins, `flush` gives it at once."""
    rollups, open_hours = Rollups(STEP), defaultdict[int, list[float]](list)
    hour_of: dict[int, int] = {}

    def ended(rows: list[int]) -> Hours:
        done = {row: open_hours.pop(row) for row in rows if row in open_hours}
        return {(row, hour_of[row]): (max(of), sum(of) / len(of), len(of)) for row, of in done.items()}

    def agree(found: Hours, expected: Hours) -> None:
        assert found.keys() == expected.keys()
        for key, (high, mean, count) in expected.items():
            assert found[key] == (high, pytest.approx(mean, rel=1e-5, abs=1e-6), count)

    for what, given_ in steps:
        if what == "add":
            ahead, scores, rows = given_
            slot += ahead
            counted = [row for row in rows if scores[row] == scores[row]]
            expected = ended([row for row in counted if hour_of.get(row) != slot // 6])
            added = rollups.add(codes(rows), slot, np.array([scores[row] for row in rows], np.float32))
            agree(told(added), expected)
            for row in counted:
                hour_of[row] = slot // 6
                open_hours[row].append(scores[row])
        elif what == "flush":
            agree(told(rollups.flush(codes(given_))), ended(given_))
        elif what == "look":
            before = dict(open_hours)
            agree(told(rollups.copy().everyone()), ended(list(open_hours)))
            open_hours |= before
            agree(told(rollups.copy().flush(codes(list(range(ROWS))))), ended(list(open_hours)))
            open_hours |= before
        else:
            kept, rollups = copied(rollups.state()), Rollups(STEP)
            rollups.restore(kept)
    agree(told(rollups.everyone()), ended(list(open_hours)))


NAMES = st.sampled_from(["a", "b", "ü/ü", ""])
WIDTHS = st.dictionaries(NAMES, st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3), min_size=1)


@settings(max_examples=30, deadline=None)
@given(
    slots=st.dictionaries(st.integers(-12, 12), WIDTHS, min_size=1, max_size=10),
    later=st.tuples(st.integers(-12, 12), st.integers(-12, 12)),
    flushes=st.sets(st.integers(-12, 12)),
    restart=st.integers(-12, 12),
    back=st.integers(0, 8),
)
def test_history_with_columns_that_come_later_replays_and_slots_before_the_epoch(
    tmp_path_factory: pytest.TempPathFactory, slots: Any, later: Any, flushes: Any, restart: int, back: int
) -> None:
    """At `restart` the process dies (its buffer with it) and writes the slots again from `back` before it."""
    folder, expected = tmp_path_factory.mktemp("any"), {}
    history, features = History(folder, MINUTE, 30), ["x"]
    order = sorted(slots)
    behind = [slot for slot in order if slot < restart]
    unsaved = behind[max((n + 1 for n, slot in enumerate(behind) if slot in flushes), default=0) :]
    first = min([restart - back, *unsaved])
    for slot in [*behind, None, *(slot for slot in order if slot >= first)]:
        if slot is None:
            history, features = History(folder, MINUTE, 30), list(features)
            continue
        width = 1 + sum(slot >= start for start in later)
        features += ["x", "y", "z"][len(features) : width]
        # a column is missing before it came, also when the second life knows it already
        values = {name: row[:width] + [float("nan")] * (3 - width) for name, row in slots[slot].items()}
        add(history, slot, {name: row[: len(features)] for name, row in values.items()}, features)
        expected |= {(name, slot): row for name, row in values.items()}
        if slot in flushes:
            history.flush()
    rows = history.rows(["x", "y", "z"], 99)
    found = cells(rows)
    assert len(rows.slots) == len(found), "each once"
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert all(same(one, other) for one, other in zip(found[key], row, strict=True))


@pytest.mark.parametrize(("first", "last"), [(-9, -3), (-2, 4), (0, 0), (10**9, 10**9 + 1)])
def test_what_is_written_is_read_wherever_its_slots_lie(tmp_path: Any, first: int, last: int) -> None:
    history = History(tmp_path, MINUTE, 30)
    for slot in (first, last):
        add(history, slot, {"a": [1.0]}, ["x"])
    history.flush()
    assert sorted(cells(History(tmp_path, MINUTE, 30).rows(["x"], 10**12))) == sorted({("a", first), ("a", last)})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 60), st.integers(-200, 200))
def test_files_go_when_their_hour_is_too_old(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], days: int, start: int
) -> None:
    """Two slots a flush; a slot is a day, and so a file, before or behind the epoch."""
    folder, step = tmp_path_factory.mktemp("old"), 86_400 * SECOND
    history, slots = History(folder, step, days), [start]
    for gap in gaps:
        slots.append(slots[-1] + gap)
    pairs = [slots[at : at + 2] for at in range(0, len(slots), 2)]
    for pair in pairs:
        for slot in pair:
            add(history, slot, {"a": [1.0]}, ["x"])
        history.flush()
    kept = [slot for slot in slots if slot >= slots[-1] - days]
    assert [slot for _, slot in sorted(cells(history.rows(["x"], 10**6)), key=lambda cell: cell[1])] == kept


def test_a_buffer_that_is_full_is_written_when_it_was_saved(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsad.history.BUFFERED", 6)
    history = History(tmp_path, MINUTE, 30)
    for slot in range(5):
        add(history, slot, {"a": [1.0], "b": [2.0]}, ["x"])
        if slot == 3:
            assert list(tmp_path.iterdir()) == []
            flush_due(history)
    flush_due(history)
    (file,) = tmp_path.iterdir()
    assert pq.read_table(file).column("slot").to_pylist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len(history.rows(["x"], 9).slots) == 10
