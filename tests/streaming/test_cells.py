"""Joining the records of one cell."""

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from streaming.cells import COUNTED, FLOAT32_MAX, Samples, aggregate, alike, collapse, count_lines, narrow

nan = float("nan")
KINDS = np.array(["mean", "sum", "last", "max"])


def samples(*records: tuple[int, int, int, list[float]]) -> Samples:
    """From (row, slot, time, values)."""
    rows, slots, times, values = zip(*records, strict=True)
    return Samples(np.array(rows, np.int32), np.array(slots), np.array(times), np.array(values, np.float32))


def test_single_records_pass_as_they_are():
    given_ = samples((0, 5, 50, [1, nan]), (1, 5, 51, [2, 3]), (0, 6, 60, [4, 5]))
    assert given_.ordered() is given_
    assert collapse(given_) == (given_, 0)
    rows, slots, values = aggregate(given_, KINDS[:2])
    assert values is given_.values
    assert_array_equal(rows, [0, 1, 0])
    assert_array_equal(slots, [5, 5, 6])


def test_order_is_slot_row_time_arrival():
    mixed = samples((1, 6, 60, [1]), (0, 6, 62, [2]), (0, 6, 61, [3]), (0, 6, 62, [4]), (3, 5, 50, [5])).ordered()
    assert mixed.values[:, 0].tolist() == [5, 3, 2, 4, 1]
    assert mixed.times.tolist() == [50, 61, 62, 62, 60]


def test_each_aggregate():
    joined = aggregate(samples((0, 1, 10, [1] * 4), (0, 1, 11, [4] * 4), (0, 1, 12, [2] * 4)), KINDS)
    assert_array_equal(joined[2], [[np.float32(7 / 3), 7, 2, 4]])


def test_absent_values_are_skipped():
    holes = samples((0, 1, 10, [1, nan, 7, nan]), (0, 1, 11, [nan, nan, nan, -2]), (2, 1, 11, [5, 6, 7, 8]))
    _, _, values = aggregate(holes, KINDS)
    assert_array_equal(values, [[1, nan, 7, -2], [5, 6, 7, 8]])


def test_of_duplicates_the_first_counts_and_other_features_merge():
    twice = samples((0, 1, 10, [1, nan, nan]), (0, 1, 10, [9, 2, nan]), (0, 1, 10, [9, 9, nan]), (0, 1, 11, [5, 5, 5]))
    joined, duplicates = collapse(twice)
    assert_array_equal(joined.values, [[1, 2, nan], [5, 5, 5]])
    assert joined.times.tolist() == [10, 11]
    assert duplicates == 3


def test_a_sum_beyond_float32_stays_a_number():
    _, _, values = aggregate(samples((0, 1, 1, [FLOAT32_MAX]), (0, 1, 2, [FLOAT32_MAX])), KINDS[1:2])
    assert values[0, 0] == np.float32(FLOAT32_MAX)
    assert narrow(np.array([-1e300, nan])).tolist()[0] == -np.float32(FLOAT32_MAX)


def test_lines_are_counted_by_cell_and_column():
    lines = Samples(
        np.array([3, 0, 3, 3], np.int32),
        np.array([8, 8, 8, 9]),
        np.array([80, 80, 80, 90]),
        np.concatenate(
            [
                told([[9, 1, 0, 3, 64, -1, -1, -1, -1], [-1] * 9, [2, 0, 1, 3, 3, 1, 0, 160, -1], [-1] * 9])[:, :-1],
                np.array([[1, -1], [1, 2], [1, 2], [-1, -1]], np.int32),
            ],
            axis=1,
        ),
        ["one", "other"],
    )
    rows, slots, counts = count_lines(lines, 4)
    assert rows.tolist() == [0, 3, 3]
    assert slots.tolist() == [8, 8, 9]
    assert_array_equal(counts, [[0, 1, 1, 0], [2.5, 2, 1, 67 / 64], [0, 0, 0, 0]])


def test_joined_parts_are_widened():
    joined = Samples.joined([samples((0, 0, 0, [1])), samples((1, 0, 0, [2, 3]))])
    assert_array_equal(joined.values, [[1, nan], [2, 3]])
    lines = Samples(joined.rows[:1], joined.slots[:1], joined.times[:1], np.array([[4]], np.int32)).widened(3)
    assert lines.values.tolist() == [[4, -1, -1]]


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_against_a_loop(seed, count):
    random = Random(seed)
    records = [
        (
            random.randrange(3),
            random.randrange(2),
            random.randrange(8),
            [random.choice([nan, random.gauss(0, 1)]) for _ in KINDS],
        )
        for _ in range(count)
    ]
    told, duplicates = collapse(samples(*records).ordered())
    rows, slots, values = aggregate(told, KINDS)
    cells: dict = {}
    repeated = 0
    for row, slot, time, given_ in records:
        for column, value in enumerate(np.array(given_, np.float32).tolist()):
            by_time = cells.setdefault((slot, row), [{} for _ in KINDS])[column]
            if value == value:
                repeated += time in by_time
                by_time.setdefault(time, value)
    assert duplicates == repeated
    assert list(zip(slots.tolist(), rows.tolist(), strict=True)) == sorted(cells)
    for place, cell in enumerate(sorted(cells)):
        for column, kind in enumerate(KINDS):
            ordered = [value for _, value in sorted(cells[cell][column].items())]
            if not ordered:
                assert np.isnan(values[place, column])
                continue
            wanted = {
                "mean": sum(ordered) / len(ordered),
                "sum": sum(ordered),
                "last": ordered[-1],
                "max": max(ordered),
            }[str(kind)]
            assert values[place, column] == np.float32(wanted)


def test_joined_lines_keep_their_texts():
    parts = [
        Samples(np.zeros(2, np.int32), np.arange(2), np.arange(2), told(values), texts)
        for values, texts in (
            ([[5, 0, 1, 9, 64, 0], [-1, -1, -1, -1, -1, -1]], ["a", "b"]),
            ([[6, 0, 0, -1, -1, -1], [5, 0, 1, 9, 64, 2]], ["c", "d", "why"]),
            ([[-1] * 6] * 2, []),
        )
    ]
    joined = Samples.joined(parts)
    for column, expected in ((2, ["b", None, "c", "d", None, None]), (5, ["a", None, None, "why", None, None])):
        said = [joined.texts[place] if place >= 0 else None for place in joined.values[:, column].tolist()]
        assert said == expected
    assert joined.values[:, 4].tolist() == [64, -1, -1, 64, -1, -1]


def told(begun: list[list[int]]) -> np.ndarray:
    values = np.full((len(begun), COUNTED + 1), -1, np.int32)
    values[:, : len(begun[0])] = begun
    return values


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 2)), min_size=1, max_size=30))
def test_what_is_alike_is_grouped_in_order_of_appearance(pairs: list[tuple[int, int]]) -> None:
    firsts, groups = alike(*(np.array(part) for part in zip(*pairs, strict=True)))
    distinct = list(dict.fromkeys(pairs))
    assert firsts.tolist() == [pairs.index(pair) for pair in distinct]
    assert groups.tolist() == [distinct.index(pair) for pair in pairs]
