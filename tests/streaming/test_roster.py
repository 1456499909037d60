"""Entities and their rows."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from streaming.ring import NEVER
from streaming.roster import NO_LINE, Roster
from streaming.types import State


def restored(roster: Roster) -> Roster:
    state = roster.state()
    again = Roster()
    again.restore(State({k: v.copy() for k, v in state.arrays.items()}, json.loads(json.dumps(state.meta))))
    return again


def test_rows_are_given_lowest_first_and_again():
    roster = Roster()
    assert roster.admit(["a", "b", "c", "d"]) == [0, 1, 2, 3]
    roster.release(["c", "a"])
    assert roster.names == [None, "b", None, "d"]
    assert_array_equal(roster.rows(["d", "a", "b"]), [3, -1, 1])
    assert roster.admit(["e", "f", "g"]) == [0, 2, 4]
    assert len(roster) == 5


def test_the_filled_names_are_one_list_until_somebody_comes_or_goes():
    roster = Roster()
    roster.admit(["a", "b"])
    first = roster.filled
    assert roster.admit([]) == []
    assert roster.filled is first
    roster.release(["a"])
    assert (first, roster.filled) == (["a", "b"], ["", "b"])
    roster.admit(["c"])
    assert roster.filled == ["c", "b"]


def test_a_released_row_remembers_nothing():
    roster = Roster()
    roster.admit(["a"])
    roster.mark(np.array([0]), 7)
    roster.mark_lines(np.array([0]), np.array([5]))
    roster.label({"a": {"team": "x"}}, 10)
    roster.release(["a"])
    assert roster.seen[0] == NEVER
    assert roster.first_line[0] == NO_LINE
    assert roster.labels == {}
    assert len(roster.active(7, 100)) == 0


def test_active_are_the_seen_and_the_silent_for_a_while():
    roster = Roster()
    roster.admit(["a", "b", "c"])
    roster.mark(np.array([0, 1]), 10)
    roster.mark(np.array([1]), np.array([12]))
    assert_array_equal(roster.active(12, 0), [1])
    assert_array_equal(roster.active(12, 2), [0, 1])
    assert_array_equal(roster.active(13, 2), [1])
    assert roster.active(13, 2).dtype == np.int32


def test_marks_only_move_their_way():
    roster = Roster()
    roster.admit(["a"])
    for slot in (5, 9, 7):
        roster.mark(np.array([0, 0]), np.array([slot, slot - 1]))
        roster.mark_lines(np.array([0]), np.array([slot]))
    assert (roster.seen[0], roster.first_line[0]) == (9, 5)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5)), min_size=1), st.data())
def test_the_oldest_by_slot_then_name(marks, data):
    roster = Roster()
    seen: dict[str, int] = {}
    for name, slot in marks:
        if name not in seen:
            roster.admit([name])
        seen[name] = max(slot, seen.get(name, slot))
        roster.mark(roster.rows([name]), slot)
    count = data.draw(st.integers(1, len(seen)))
    wanted = sorted(seen, key=lambda name: (seen[name], name))[:count]
    assert roster.oldest(count) == [(name, int(roster.rows([name])[0])) for name in wanted]
    assert restored(roster).oldest(count) == roster.oldest(count)


def test_the_last_labels_count_and_are_bounded():
    roster = Roster()
    roster.admit(["a", "b"])
    roster.label({"a": {"team": "x"}, "b": {"team": "y"}, "stranger": {"team": "z"}}, 3)
    roster.label({"a": {"team": "w"}}, 3)
    assert roster.labels == {"a": {"team": "w"}, "b": {"team": "y"}, "stranger": {"team": "z"}}
    roster.label({"another": {}}, 3)
    assert roster.labels == {"a": {"team": "w"}, "b": {"team": "y"}}


def test_a_restored_roster_goes_on_alike():
    roster = Roster()
    roster.admit([f"host-{i}" for i in range(20)])
    roster.mark(np.arange(20), np.arange(20))
    roster.release(["host-3", "host-11"])
    again = restored(roster)
    for part in (roster, again):
        assert part.admit(["x", "y", "z"]) == [3, 11, 20]
        part.mark(np.array([20]), 4)
    assert again.names == roster.names
    assert_array_equal(again.active(21, 5), roster.active(21, 5))
    assert again.oldest(21) == roster.oldest(21)


@pytest.mark.parametrize("silent", [0, 2, 100])
@pytest.mark.parametrize("closing", [range(3, 4), range(3, 20)])
def test_who_lives_in_several_slots_is_who_lives_in_each(closing: range, silent: int) -> None:
    together, singly = Roster(), Roster()
    rng = np.random.default_rng(len(closing) + silent)
    written = np.argwhere(rng.random((len(closing), 5)) < 0.3)
    rows, slots = written[:, 1].astype(np.int32), closing.start + written[:, 0]
    for roster in (together, singly):
        roster.admit(list("abcde"))
        roster.mark(np.array([0, 4]), np.array([1, 2]))
    lived = []
    for slot in closing:
        singly.mark(rows[slots == slot], slot)
        lived += [(slot, row) for row in singly.active(slot, silent).tolist()]
    found = together.living(rows, slots, closing, silent)
    assert list(zip(found[1].tolist(), found[0].tolist(), strict=True)) == lived
    np.testing.assert_array_equal(together.seen, singly.seen)
