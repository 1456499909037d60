"""Blocks of closed slots, put together and turned into columns: what a dictionary by entity and slot would hold."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsad.slotblocks import SHARED, TURNED, Block, block_of, joined, table_of

FEATURES = ["y", "x", "ä"]
NAMES = ["b", "a", "ü", ""]
VALUE = st.one_of(st.just(float("nan")), st.integers(-9, 9).map(float))
Cells = dict[tuple[str, int], tuple[float, list[float]]]


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """Some rows of some entities, each with values of its own or one of a few that they share."""
    width = draw(st.integers(0, len(FEATURES)))
    cells = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(-4, 4)), unique=True, max_size=9))
    shared = draw(st.booleans())
    held = draw(st.integers(1, 3)) if shared else len(cells)
    values = np.array(
        draw(st.lists(st.lists(VALUE, min_size=width, max_size=width), min_size=held, max_size=held)), np.float32
    ).reshape(held, width)
    at = draw(st.lists(st.integers(0, held - 1), min_size=len(cells), max_size=len(cells))) if shared else None
    scores = np.array(draw(st.lists(VALUE, min_size=len(cells), max_size=len(cells))), np.float32)
    return Block(
        NAMES, np.array([code for code, _ in cells], np.int32), np.array([slot for _, slot in cells], np.int64),
        scores, values, FEATURES, None if at is None else np.array(at, np.int64),
    )  # fmt: skip


def plain(given_: list[Block]) -> Cells:
    """By entity and slot, the score and a value of each feature; a later one counts."""
    found: Cells = {}
    for block in given_:
        for row, (code, slot) in enumerate(zip(block.codes.tolist(), block.slots.tolist(), strict=True)):
            values = block.values[row if block.at is None else int(block.at[row])].tolist()
            score = float(block.scores[row])
            found[NAMES[code], slot] = (score, values + [float("nan")] * (len(FEATURES) - len(values)))
    return found


def of_block(block: Block) -> Cells:
    names = [block.names[code] for code in block.codes.tolist()]
    rows = zip(block.scores.tolist(), block.values.tolist(), strict=True)
    return dict(zip(zip(names, block.slots.tolist(), strict=True), rows, strict=True))


def same(one: Cells, other: Cells) -> None:
    assert list(one) == list(other)
    for key, (score, values) in one.items():
        np.testing.assert_array_equal([score, *values], [other[key][0], *other[key][1]])


@settings(max_examples=200, deadline=None)
@given(st.lists(blocks(), max_size=4), st.booleans())
def test_joined_blocks_are_a_dictionary_in_order(some: list[Block], by_entity: bool) -> None:
    expected = plain(some)
    keys = sorted(expected, key=lambda key: key if by_entity else key[::-1])
    found = joined(some, FEATURES, by_entity)
    assert found.values.dtype == np.float32
    assert found.at is None
    same(of_block(found), {key: expected[key] for key in keys})
    shuffled = joined(some, ["ä", "nobody's", "y"], by_entity)
    for key, (_, values) in of_block(shuffled).items():
        np.testing.assert_array_equal(values, [expected[key][1][2], np.nan, expected[key][1][0]])


@settings(max_examples=200, deadline=None)
@given(st.lists(blocks(), min_size=1, max_size=4))
def test_a_table_has_the_features_by_name_that_have_a_value(some: list[Block]) -> None:
    expected = plain(some)
    table = table_of(some, "value:")
    wide = np.array([values for _, values in expected.values()], np.float32).reshape(-1, len(FEATURES))
    present = sorted(name for place, name in enumerate(FEATURES) if not np.isnan(wide[:, place]).all())
    assert table.column_names == ["entity", "slot", "score", *(f"value:{name}" for name in present)]
    assert table.schema.types == [pa.string(), pa.int64(), pa.float32(), *[pa.float32()] * len(present)]
    again = block_of(table.set_column(0, "entity", table["entity"].dictionary_encode()), "value:")
    ordered = {key: expected[key] for key in sorted(expected, key=lambda key: key[::-1])}
    same(of_block(joined([again], FEATURES)), ordered)


@settings(max_examples=50, deadline=None)
@given(blocks(), st.lists(st.booleans(), min_size=9, max_size=9))
def test_rows_that_are_taken_keep_their_values(block: Block, flags: list[bool]) -> None:
    kept = flags[: len(block.codes)]
    taken, every = block.take(np.array(kept, np.bool_)), plain([block])
    same(plain([taken]), {key: every[key] for key, here in zip(every, kept, strict=True) if here})
    assert taken.values is block.values


@pytest.mark.parametrize("slots", [1, SHARED - 1, SHARED, TURNED + 3])
def test_columns_are_the_same_from_shared_rows_and_from_rows_of_their_own(slots: int) -> None:
    """Many slots, so that columns are picked in one way and the other, beyond the rows that are turned together."""
    names = ["e10", "e2", "e1"]
    table = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    codes, each = np.tile(np.arange(3), slots), np.repeat(np.arange(slots), 3)
    features = ["b", "a", "d", "c", "e"]
    scores = np.arange(len(codes), dtype=np.float32)
    shared = Block(names, codes, each, scores, table, features, codes)
    own = Block(names, codes, each, scores, table[codes], features)
    found = table_of([shared], "low:")
    assert found.equals(table_of([own], "low:"))
    cut = [shared.take(each % 2 == part) for part in (1, 0)]
    assert found.equals(table_of(cut, "low:"))
    assert found["entity"].to_pylist() == ["e1", "e10", "e2"] * slots
    np.testing.assert_array_equal(found["low:d"].to_numpy(), np.tile(table[[2, 0, 1], 2], slots))


def test_blocks_share_a_list_of_names_or_have_one_each() -> None:
    names = ["z", "a", "z2"]
    rows = [(names, [2], 5), (["a", "z2"], [0, 1], 6), (names, [0, 1], 7), (names[:2], [1], 5)]
    some = [
        Block(named, np.array(at), np.full(len(at), slot), np.zeros(len(at), np.float32), np.zeros((len(at), 0)), [])
        for named, at, slot in rows
    ]
    found = joined(some, [])
    assert found.names == ["a", "z", "z2"]
    assert list(of_block(found)) == [("a", 5), ("z2", 5), ("a", 6), ("z2", 6), ("a", 7), ("z", 7)]


def test_nothing_at_all_is_a_block_without_rows() -> None:
    empty = joined([], ["x", "y"])
    assert (empty.names, len(empty.slots), empty.values.shape, empty.scores.shape) == ([], 0, (0, 2), (0,))
