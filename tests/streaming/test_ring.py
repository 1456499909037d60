"""`SlotRing` and `WindowPlane` against plain dictionaries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from streaming.ring import ALWAYS, SlotRing, WindowPlane
from streaming.types import State

SIZE = 5
CELL = st.tuples(st.integers(0, 40), st.integers(-6, 20))


def cells(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    rows, slots = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(rows, np.int32), np.array(slots, np.int64)


def copied(state: State) -> State:
    return State({key: value.copy() for key, value in state.arrays.items()}, dict(state.meta))


class PlainRing:
    """What a ring holds, cell by cell: a write drops what lay at its place."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], list[float]] = {}
        self.width = 0

    def write(self, pairs: list[tuple[int, int]], values: np.ndarray) -> None:
        for (row, slot), value in zip(pairs, values.tolist(), strict=True):
            for old in [key for key in self.held if key[0] == row and key[1] % SIZE == slot % SIZE]:
                del self.held[old]
            self.held[row, slot] = value + [np.nan] * (self.width - len(value))

    def read(self, pairs: list[tuple[int, int]]) -> np.ndarray:
        missing = [np.nan] * self.width
        held = [(self.held.get(pair, []) + missing)[: self.width] for pair in pairs]
        return np.array(held, np.float32).reshape(len(pairs), self.width)


OPERATION = st.one_of(
    st.tuples(st.just("write"), st.lists(CELL, max_size=6, unique_by=lambda cell: (cell[0], cell[1] % SIZE))),
    st.tuples(st.just("blank"), st.lists(CELL, max_size=3, unique_by=lambda cell: (cell[0], cell[1] % SIZE))),
    st.tuples(st.just("erase"), st.lists(CELL, max_size=2)),
    st.tuples(st.just("widen"), st.just([(0, 0)])),
    st.tuples(st.just("restore"), st.just([(0, 0)])),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(OPERATION, max_size=12), st.lists(CELL, min_size=1, max_size=12), st.integers(0, 1000))
def test_ring_is_a_dictionary_with_places(operations, asked, seed):
    rng = np.random.default_rng(seed)
    ring, plain = SlotRing(SIZE), PlainRing()
    for name, pairs in operations:
        rows, slots = cells(pairs)
        if name == "write":
            values = rng.integers(-9, 9, (len(pairs), plain.width)).astype(np.float32)
            ring.write(rows, slots, values)
            plain.write(pairs, values)
        elif name == "blank":
            ring.blank(rows, slots)
            fresh = [pair for pair in pairs if pair not in plain.held]
            plain.write(fresh, np.full((len(fresh), plain.width), np.nan))
        elif name == "erase":
            ring.erase(rows)
            plain.held = {key: value for key, value in plain.held.items() if key[0] not in rows}
        elif name == "widen":
            plain.width += 2
            ring.widen(plain.width)
        else:
            state = copied(ring.state())
            ring = SlotRing(SIZE)
            ring.restore(state)
    rows, slots = cells(asked)
    assert_array_equal(ring.read(rows, slots), plain.read(asked))
    assert_array_equal(ring.has(rows, slots), [pair in plain.held for pair in asked])
    assert ring.features == plain.width == len(ring.since)
    for column in range(plain.width):
        single = ring.at(rows, slots, np.full(len(rows), column))
        assert_array_equal(single, plain.read(asked)[:, column])


def test_put_changes_only_its_columns():
    ring = SlotRing(3)
    ring.widen(3)
    rows, slots = cells([(0, 7), (2, 7)])
    ring.write(rows, slots, np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    ring.put(rows[:1], slots[:1], np.array([0, 2]), np.array([[9, 8]], np.float32))
    assert_array_equal(ring.read(rows, slots), [[9, 2, 8], [4, 5, 6]])


def test_a_narrow_write_leaves_nothing_of_what_lay_there():
    ring = SlotRing(3)
    ring.widen(3)
    ring.write(*cells([(0, 0)]), np.array([[1, 2, 3]], np.float32))
    ring.write(*cells([(0, 3)]), np.array([[4]], np.float32))
    assert_array_equal(ring.read(*cells([(0, 3), (0, 0)])), [[4, np.nan, np.nan], [np.nan] * 3])


def test_columns_that_grow_one_by_one_keep_the_values():
    ring = SlotRing(2)
    ring.widen(4)
    ring.write(*cells([(0, 0)]), np.array([[1, 2, 3, 4]], np.float32))
    for width in range(5, 12):
        ring.widen(width)
        ring.put(*cells([(0, 0)]), np.array([width - 1]), np.array([[width]], np.float32))
    assert_array_equal(ring.read(*cells([(0, 0)])), [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]])
    assert (ring.since > ALWAYS).all()
    assert ring.bytes_per_row == 2 * (4 * 12 + 8)  # 12: one column to spare


def test_state_of_the_first_rows():
    ring = SlotRing(2)
    ring.widen(1)
    ring.write(*cells([(0, 0), (1, 0)]), np.array([[1], [2]], np.float32))
    state = copied(ring.state(1))
    assert state.arrays["values"].shape == (1, 2, 1)
    other = SlotRing(2)
    other.restore(state)
    assert_array_equal(other.read(*cells([(0, 0), (1, 0)])), [[1], [np.nan]])


def test_a_ring_of_another_size_is_refused():
    with pytest.raises(ValueError, match="3 slots, the state 2"):
        SlotRing(3).restore(SlotRing(2).state())


@settings(max_examples=120, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(0, 25), st.integers(-3, 20), st.booleans()), max_size=60),
    st.lists(CELL, min_size=1, max_size=8),
)
def test_plane_gathers_what_was_written(window, more, writes, asked):
    size = window + more
    plane = WindowPlane(window, size, 2)
    held: dict[tuple[int, int], float] = {}
    for number, (row, slot, wide) in enumerate(writes):
        pairs = [(row, slot), (row + 1, slot)] if wide else [(row, slot)]
        rows, slots = cells(pairs)
        values = np.arange(2 * len(pairs), dtype=np.float32).reshape(-1, 2) + 100 * number
        plane.write(rows, slot if wide else slots, values)
        for pair, value in zip(pairs, values, strict=True):
            held = {k: v for k, v in held.items() if k[0] != pair[0] or (k[1] - pair[1]) % size}
            held[pair] = value
        if number == 20:
            plane.forget(rows)
            held = {key: value for key, value in held.items() if key not in pairs and key[0] not in rows}
    state = copied(plane.state())
    restored = WindowPlane(window, size, 2)
    restored.restore(state)
    rows, ends = cells(asked)
    nothing = np.full(2, np.nan)
    expected = [[held.get((row, end - window + 1 + t), nothing) for t in range(window)] for row, end in asked]
    assert_array_equal(plane.gather(rows, ends), np.array(expected, np.float32))
    assert_array_equal(restored.gather(rows, ends), np.array(expected, np.float32))
    assert_array_equal(plane.has(rows, ends), [pair in held for pair in asked])


def test_complete_windows_come_out_as_they_went_in():
    window, size, entities = 4, 6, 50
    plane = WindowPlane(window, size, 3)
    rng = np.random.default_rng(1)
    values = rng.normal(size=(20, entities, 3)).astype(np.float32)
    rows = np.arange(entities, dtype=np.int32)
    for slot in range(20):
        plane.write(rows, slot, values[slot])
    for end in (17, 18, 19):  # size - window slots back can still be had
        gathered = plane.gather(rows[::-1], np.full(entities, end))
        assert_array_equal(gathered, values[end - 3 : end + 1].transpose(1, 0, 2)[::-1])
    assert np.isnan(plane.gather(rows, np.full(entities, 16))[:, 0]).all()


def test_a_gathered_window_is_a_copy():
    plane = WindowPlane(2, 2, 1)
    rows = np.array([0], np.int32)
    plane.write(rows, 0, np.ones((1, 1), np.float32))
    plane.gather(rows, np.array([0]))[:] = 7
    assert_array_equal(plane.gather(rows, np.array([0])), [[[np.nan], [1]]])


def test_empty_calls_do_nothing():
    plane, ring = WindowPlane(3, 4, 2), SlotRing(4)
    none, ends = cells([])
    plane.write(none, ends, np.empty((0, 2), np.float32))
    assert plane.gather(none, ends).shape == (0, 3, 2)
    assert ring.read(none, ends).shape == (0, 0)
    assert plane.bytes_per_row == 8 * (4 * 2 + 8)


def test_impossible_planes_are_refused():
    with pytest.raises(ValueError, match="window 5, size 4"):
        WindowPlane(5, 4, 1)
    with pytest.raises(ValueError, match="the plane is 4 x 2"):
        WindowPlane(3, 4, 2).restore(WindowPlane(3, 4, 1).state())
