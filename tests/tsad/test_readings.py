"""The ring of readings and the hourly roll-ups against plain dictionaries."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.settings import SECOND
from streaming.types import State
from tsad.readings import HOUR, HourlyScores, Readings, Rollups, meta_rows

NAN = float("nan")


def write(readings: Readings, rows: list[int], slots: list[int] | int, scores: list[float]) -> None:
    at = slots if isinstance(slots, int) else np.array(slots, np.int64)
    score = np.array(scores, np.float32)
    readings.write(np.array(rows, np.int32), at, score, 10.0 ** -score.astype(np.float64), score + 1)


def test_a_reading_is_what_was_written() -> None:
    readings = Readings(4)
    write(readings, [0, 2], 7, [0.5, 2.0])
    one = readings.reading(2, 7)
    assert (one.slot, one.score, one.settled, one.flagged) == (7, 2.0, 3.0, True)
    assert one.p == pytest.approx(0.01)


def test_what_was_not_written_says_nothing() -> None:
    readings = Readings(4)
    write(readings, [0], 7, [0.5])
    for row, slot in ((0, 6), (0, 3), (0, 11), (1, 7), (900, 7)):
        one = readings.reading(row, slot)
        assert one.slot == slot
        assert one.score != one.score
        assert one.settled != one.settled
        assert not one.flagged


def test_rows_at_a_slot_and_those_that_are_flagged() -> None:
    readings = Readings(3)
    write(readings, [0, 1, 5], 4, [2.0, 0.9, 1.5])
    write(readings, [1], 5, [3.0])
    assert readings.at(4).tolist() == [0, 1, 5]
    assert readings.flagged(4).tolist() == [0, 5]
    assert readings.at(5).tolist() == readings.flagged(5).tolist() == [1]
    assert readings.at(1).tolist() == []


def test_exactly_one_is_no_flag_and_nan_is_none() -> None:
    readings = Readings(3)
    write(readings, [0, 1], 4, [1.0, NAN])
    assert readings.flagged(4).tolist() == []


def test_a_newer_slot_takes_the_place_of_the_one_a_horizon_and_a_lead_ago() -> None:
    readings = Readings(3, lead=2)
    write(readings, [0, 1], 1, [0.1, 0.2])
    write(readings, [0], 6, [0.3])
    assert readings.at(1).tolist() == [1]
    assert readings.at(6).tolist() == [0]


def test_forgotten_rows_are_empty_and_unknown_ones_are_no_fault() -> None:
    readings = Readings(3)
    write(readings, [0, 1], 1, [2.0, 2.0])
    readings.forget(np.array([1, 4000], np.int32))
    assert readings.at(1).tolist() == [0]


def test_nothing_to_write_makes_no_room() -> None:
    readings = Readings(3)
    write(readings, [], [], [])
    assert len(readings.written) == 0


WRITES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 30), st.floats(0, 4, width=32)),
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(WRITES, st.integers(1, 8), st.integers(1, 8), st.integers(0, 59))
def test_the_ring_is_a_dictionary_that_forgets(
    writes: list[tuple[int, int, float]], horizon: int, lead: int, restart: int
) -> None:
    readings, plain = Readings(horizon, lead), {}
    for number, (row, slot, score) in enumerate(sorted(writes, key=lambda one: one[1])):
        if number == restart:
            kept = State({name: array.copy() for name, array in readings.state().arrays.items()})
            readings = Readings(horizon, lead)
            readings.restore(kept)
        write(readings, [row], [slot], [score])
        plain[row, slot % (horizon + lead)] = (slot, score)
    for row in range(41):
        for slot in range(31):
            held = plain.get((row, slot % (horizon + lead)))
            score = readings.reading(row, slot).score
            assert score == held[1] if held is not None and held[0] == slot else score != score
    for slot in range(31):
        here = sorted(row for (row, _), (at, _) in plain.items() if at == slot)
        assert readings.at(slot).tolist() == here
        assert set(readings.flagged(slot).tolist()) == {row for row in here if readings.reading(row, slot).score > 1}


@settings(max_examples=60, deadline=None)
@given(WRITES, st.integers(1, 8), st.integers(1, 8))
def test_a_ring_of_another_lead_takes_over_what_lies_within_the_horizon(
    writes: list[tuple[int, int, float]], lead: int, later: int
) -> None:
    """A snapshot of a stream whose `max_lead` was another, or from before rings had one (lead 0)."""
    before, after = Readings(4, lead - 1), Readings(4, later)
    for row, slot, score in sorted(writes, key=lambda one: one[1]):
        write(before, [row], [slot], [score])
    after.restore(before.state())
    newest = max((slot for _, slot, _ in writes), default=0)
    for slot in range(newest - 3, newest + 1):
        assert after.at(slot).tolist() == before.at(slot).tolist()
        assert after.flagged(slot).tolist() == before.flagged(slot).tolist()
        for row in before.at(slot).tolist():
            assert after.reading(row, slot) == before.reading(row, slot)


# --- roll-ups

STEP = 600 * SECOND
"""Ten minutes: six slots an hour."""

Hours = dict[tuple[int, int], tuple[float, float, int]]


def told(ended: HourlyScores | None) -> Hours:
    """(maximum, mean, count) by (row, hour)."""
    if ended is None:
        return {}
    parts = (ended.rows, ended.hours // HOUR, ended.maxima, ended.means, ended.counts)
    return {(row, hour): (high, mean, n) for row, hour, high, mean, n in zip(*(p.tolist() for p in parts), strict=True)}


def add(rollups: Rollups, rows: list[int], slot: int, scores: list[float]) -> Hours:
    return told(rollups.add(np.array(rows, np.int32), slot, np.array(scores, np.float32)))


def test_an_hour_is_given_out_when_the_next_one_begins() -> None:
    rollups = Rollups(STEP)
    for slot, score in enumerate([1.0, 3.0, 2.0, 0.0, 0.0, 0.0]):
        assert add(rollups, [0], slot, [score]) == {}
    assert add(rollups, [0], 6, [9.0]) == {(0, 0): (3.0, 1.0, 6)}
    assert told(rollups.everyone()) == {(0, 1): (9.0, 9.0, 1)}


def test_rows_have_hours_of_their_own() -> None:
    rollups = Rollups(STEP)
    add(rollups, [0, 3], 5, [1.0, 2.0])
    assert add(rollups, [3], 6, [4.0]) == {(3, 0): (2.0, 2.0, 1)}
    assert told(rollups.everyone()) == {(0, 0): (1.0, 1.0, 1), (3, 1): (4.0, 4.0, 1)}


def test_what_says_nothing_is_not_counted() -> None:
    rollups = Rollups(STEP)
    add(rollups, [0, 1], 0, [NAN, 2.0])
    add(rollups, [0, 1], 1, [NAN, NAN])
    assert told(rollups.everyone()) == {(1, 0): (2.0, 2.0, 1)}


def test_an_hour_without_any_score_is_no_row() -> None:
    rollups = Rollups(STEP)
    add(rollups, [0], 0, [1.0])
    assert add(rollups, [0], 60, [2.0]) == {(0, 0): (1.0, 1.0, 1)}
    assert add(rollups, [0], 61, [4.0]) == {}
    assert told(rollups.everyone()) == {(0, 10): (4.0, 3.0, 2)}


def test_a_flush_empties_only_its_rows() -> None:
    rollups = Rollups(STEP)
    add(rollups, [0, 1], 0, [1.0, 2.0])
    assert told(rollups.flush(np.array([1, 77], np.int32))) == {(1, 0): (2.0, 2.0, 1)}
    assert told(rollups.everyone()) == {(0, 0): (1.0, 1.0, 1)}
    assert told(rollups.flush(np.array([], np.int32))) == {}


def test_a_copy_goes_its_own_way() -> None:
    rollups = Rollups(STEP)
    add(rollups, [0], 0, [1.0])
    other = rollups.copy()
    add(other, [0], 1, [3.0])
    assert told(rollups.everyone()) == {(0, 0): (1.0, 1.0, 1)}
    assert told(other.everyone()) == {(0, 0): (3.0, 2.0, 2)}


def test_hours_before_the_epoch_begin_at_their_start_too() -> None:
    rollups = Rollups(STEP)
    add(rollups, [0], -1, [1.0])
    assert told(rollups.everyone()) == {(0, -1): (1.0, 1.0, 1)}


CELLS = st.lists(
    st.tuples(st.integers(0, 40), st.lists(st.one_of(st.just(NAN), st.floats(0, 4, width=32)), min_size=3, max_size=3)),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(CELLS, st.integers(0, 39))
def test_roll_ups_are_those_of_a_plain_loop(cells: list[tuple[int, list[float]]], restart: int) -> None:
    rollups, given, plain = Rollups(STEP), Hours(), defaultdict(list)
    for number, (slot, scores) in enumerate(sorted(dict(cells).items())):
        if number == restart:
            kept = rollups.state()
            rollups = Rollups(STEP)
            rollups.restore(kept)
        ended = add(rollups, [0, 1, 2], slot, scores)
        assert not ended.keys() & given.keys()
        given |= ended
        for row, score in enumerate(scores):
            if score == score:
                plain[row, slot // 6].append(score)
    given |= told(rollups.everyone())
    assert given.keys() == plain.keys()
    for key, scores in plain.items():
        high, mean, count = given[key]
        assert (high, count) == (max(scores), len(scores))
        assert mean == pytest.approx(sum(scores) / len(scores), rel=1e-5, abs=1e-6)


def test_keys_come_back_from_json_as_numbers() -> None:
    assert meta_rows({"3": "a", "10": "b"}) == {3: "a", 10: "b"}
