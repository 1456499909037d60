"""The last two lines of each entity: as a plain loop would keep them, in any cut of the polls, and never too many."""

import json
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.lastlines import LastLines
from streaming.types import State

Line = tuple[str, int, int]
"""Entity, template, and how many slots later than the line before."""


def take(last: LastLines, lines: Sequence[Line], now: Sequence[int]) -> list[list[int]]:
    names = [*sorted({name for name, *_ in lines}, reverse=True), "of a late line"]
    codes = np.array([names.index(name) for name, *_ in lines], np.int32)
    ids = np.array([template for _, template, _ in lines], np.int32)
    found: list[list[int]] = last.take(names, codes, ids, np.array(now, np.int64)).tolist()
    return found


def slots(lines: Sequence[Line]) -> list[int]:
    return np.cumsum([later for *_, later in lines], dtype=np.int64).tolist()


def by_a_loop(lines: Sequence[Line], most: int, depth: int) -> list[list[int]]:
    """The same by dictionaries."""
    held: dict[str, list[int]] = {}
    seen: dict[str, int] = {}
    found, current = [], -1
    for (name, template, _), now in zip(lines, slots(lines), strict=True):
        if now > current:
            current = now
            for gone in sorted(held, key=lambda one: (seen[one], one))[: max(len(held) - most, 0)]:
                del held[gone]
        before = held.get(name, [-1] * depth)
        found.append(before)
        held[name], seen[name] = [template, *before[:-1]], now
    return found


LINES = st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(1, 9), st.integers(0, 2)), max_size=40)


@settings(max_examples=200, deadline=None)
@given(
    lines=LINES, most=st.integers(1, 8), cuts=st.sets(st.integers(0, 40)), revive=st.booleans(), depth=st.integers(2, 4)
)
def test_it_is_a_loop_over_the_lines_in_any_cut_and_after_a_restart(
    lines: list[Line], most: int, cuts: set[int], revive: bool, depth: int
) -> None:
    last, found, now = LastLines(most, depth), list[list[int]](), slots(lines)
    for start, stop in pairwise(sorted({0, len(lines), *(cut for cut in cuts if cut < len(lines))})):
        found += take(last, lines[start:stop], now[start:stop])
        if revive:
            state, last = last.state(), LastLines(most, depth)
            last.restore(State(state.arrays, json.loads(json.dumps(state.meta))))
    assert found == by_a_loop(lines, most, depth)


def test_who_was_seen_least_recently_goes_when_a_slot_begins() -> None:
    last = LastLines(2)
    take(last, [("b", 1, 0), ("a", 2, 0), ("c", 3, 0)], [0, 0, 0])
    assert len(last) == 3
    assert take(last, [("a", 9, 1), ("b", 9, 0), ("c", 9, 0)], [1, 1, 1]) == [[-1, -1], [1, -1], [3, -1]]


def test_entities_by_the_thousand_are_bounded() -> None:
    last = LastLines(100)
    for slot in range(50):
        take(last, [(f"host-{slot}-{number}", 1, 0) for number in range(100)], [slot] * 100)
    assert len(last) <= 200
    assert len(last.state().arrays["last"]) <= 200


def test_what_was_remembered_to_another_depth_is_gone_on_with() -> None:
    three = LastLines(9, 3)
    take(three, [("a", 1, 0), ("a", 2, 0), ("a", 3, 0)], [0, 0, 0])
    for depth, expected in ((2, [3, 2]), (4, [3, 2, 1, -1])):
        other = LastLines(9, depth)
        other.restore(three.state())
        assert take(other, [("a", 4, 0)], [0]) == [expected]
