"""Who is given a row, from which slot on, and who has to go."""

import numpy as np

from streaming.admission import Admission
from streaming.inlet import Held
from streaming.ring import SlotRing
from streaming.roster import Roster


def held(*cells: tuple[str, int]) -> Held:
    """Records of (name, slot), by slot as an inlet gives them."""
    names = sorted({name for name, _ in cells})
    codes = np.array([names.index(name) for name, _ in cells], np.int32)
    slots = np.array([slot for _, slot in cells], np.int64)
    return Held(names, codes, slots, slots * 60, np.ones((len(cells), 1), np.float32), ())


def admission(most: int) -> tuple[Admission, Roster]:
    roster = Roster()
    return Admission(roster, SlotRing(16), most), roster


def test_the_unknown_come_by_first_slot_and_then_by_name() -> None:
    entrance, _ = admission(10)
    parts = [held(("b", 5), ("b", 7), ("a", 9)), held(("c", 5), ("a", 6))]
    assert entrance.unknown(parts) == [(5, "b"), (5, "c"), (6, "a")]


def test_who_was_admitted_is_known() -> None:
    entrance, roster = admission(10)
    births = entrance.admit(entrance.unknown([held(("b", 5), ("a", 6))]))
    assert births == {5: [("b", 0)], 6: [("a", 1)]}
    assert entrance.unknown([held(("b", 7), ("a", 7))]) == []
    assert len(roster) == 2


def test_a_run_of_slots_is_cut_behind_the_one_that_brings_too_many() -> None:
    entrance, roster = admission(2)
    births, end = entrance.births([held(("a", 1), ("b", 2), ("c", 4), ("d", 6))], 0, 9)
    assert end == 5
    assert births == {1: [("a", 0)], 2: [("b", 1)], 4: [("c", 2)]}
    assert len(roster) == 3


def test_with_too_many_already_a_run_is_one_slot() -> None:
    entrance, _ = admission(1)
    entrance.admit([(0, "a"), (0, "b")])
    assert entrance.births([held(("c", 3), ("d", 8))], 3, 9) == ({3: [("c", 2)]}, 4)


def test_those_who_go_are_as_many_as_are_too_many() -> None:
    entrance, roster = admission(2)
    entrance.admit([(0, "a"), (0, "b")])
    assert list(entrance.excess()) == []
    entrance.admit([(1, "c")])
    roster.mark(np.array([0, 2], np.int32), np.array([5, 6], np.int64))
    assert list(entrance.excess()) == [("b", 1)]
