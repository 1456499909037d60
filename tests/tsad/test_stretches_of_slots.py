"""Slots in a row are decided together as they would be one after the other: readings, episodes, roll-ups, stretches."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.settings import SECOND
from streaming.stretches import ClosedSlot, cells_of
from tsad.cases import stretches_of
from tsad.episodes import Rule
from tsad.judge import Change, Judge
from tsad.readings import HourlyScores, Readings, Rollups

HORIZON, LEAD = 12, 30
NAN = float("nan")
SCORES = st.lists(st.lists(st.sampled_from([0.1, 0.9, 2.0, 3.0, NAN]), min_size=3, max_size=3), max_size=60)


def cells(scores: list[list[float]], first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, slots and scores of a block of slots; a row is not there where its score is 0.9."""
    block = np.array(scores, np.float32).reshape(-1, 3)
    at, rows = np.nonzero(block != np.float32(0.9))
    return rows.astype(np.int32), first + at, block[at, rows]


def said(change: Change) -> tuple[int, int, str]:
    """Without the track, which goes on with the slots behind."""
    return change.row, change.track.identity, change.reason


@settings(max_examples=80, deadline=None)
@given(SCORES, SCORES, st.integers(1, LEAD))
def test_slots_close_together_as_they_close_singly(
    scores: list[list[float]], settled: list[list[float]], poll: int
) -> None:
    together, singly = (Judge(Rule(3, 5), Readings(HORIZON, LEAD)) for _ in range(2))
    for judge in (together, singly):
        judge.readings.grow(3)
    quiet = (settled + [[NAN] * 3] * len(scores))[: len(scores)]
    for first in range(0, len(scores), poll):
        part = scores[first : first + poll]
        rows, slots, score = cells(part, first)
        after = np.array(quiet[first : first + poll], np.float32)[slots - first, rows]
        p, span = 10.0 ** -score.astype(float), range(first, first + len(part))
        found = dict(together.close_all(span, rows, slots, score, p, after))
        for slot in span:
            here = slots == slot
            changes = singly.close(slot, rows[here], score[here], p[here], after[here])
            assert [said(change) for change in found.get(slot, [])] == [said(change) for change in changes]
    assert together.state().meta == singly.state().meta
    for name, array in singly.readings.state().arrays.items():
        np.testing.assert_array_equal(array, together.readings.state().arrays[name])


@settings(max_examples=60, deadline=None)
@given(SCORES, st.integers(1, 20))
def test_roll_ups_of_slots_together_are_those_of_each(scores: list[list[float]], poll: int) -> None:
    def told(ended: HourlyScores) -> set[tuple[float, ...]]:
        parts = (ended.rows, ended.hours, ended.maxima, ended.means, ended.counts)
        return set(zip(*(part.tolist() for part in parts), strict=True))

    together, singly = Rollups(600 * SECOND), Rollups(600 * SECOND)
    given_out: list[set[tuple[float, ...]]] = [set(), set()]
    for first in range(0, len(scores), poll):
        rows, slots, score = cells(scores[first : first + poll], first)
        for ended in together.add_all(rows, slots, score):
            given_out[0] |= told(ended)
        for slot in np.unique(slots).tolist():
            one = singly.add(rows[slots == slot], slot, score[slots == slot])
            given_out[1] |= set() if one is None else told(one)
    assert given_out[0] == given_out[1]
    assert told(together.everyone()) == told(singly.everyone())


def test_readings_of_slots_in_a_row_come_by_slot_and_row() -> None:
    readings = Readings(4, 4)
    rows, slots = np.array([2, 0, 2, 1], np.int32), np.array([3, 4, 4, 6])
    score = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    readings.write(rows, slots, score, 10.0**-score, score)
    rows, slots, score = readings.of(range(3, 7))
    assert (rows.tolist(), slots.tolist()) == ([2, 0, 2, 1], [3, 4, 4, 6])
    assert score.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert readings.of(range(7, 9))[0].tolist() == []


@dataclass
class Ends:
    """What `stretches_of` reads of `Judged`."""

    ends: np.ndarray


def test_stretches_end_where_a_slot_is_missing_or_there_are_too_many() -> None:
    ends = np.array([3, 3, 4, 5, 9, 10, 10, 11, 12])
    found = list(stretches_of(Ends(ends), 3))  # type: ignore[arg-type]
    assert found == [
        (range(3, 6), slice(0, 4)),
        (range(9, 12), slice(4, 8)),
        (range(12, 13), slice(8, 9)),
    ]
    assert list(stretches_of(Ends(ends[:0]), 3)) == []  # type: ignore[arg-type]


def test_cells_of_closed_slots_stand_one_after_the_other() -> None:
    closed = [
        ClosedSlot(7, np.array([0, 2], np.int32), np.array([[1], [2]], np.float32)),
        ClosedSlot(9, np.array([1], np.int32), np.array([[3]], np.float32)),
    ]
    rows, slots, values = cells_of(closed)
    assert (rows.tolist(), slots.tolist(), values.ravel().tolist()) == ([0, 2, 1], [7, 7, 9], [1, 2, 3])
    assert cells_of(closed[:1])[1].tolist() == [7, 7]
