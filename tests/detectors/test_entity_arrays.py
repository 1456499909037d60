"""`EntityArrays`: rows by entity, whether they follow one another or not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.entity_arrays import EntityArrays, Field, stretch

SHAPES = {"one": Field((), np.int32, 7), "many": Field((2, 3), np.float32, np.nan)}
some = st.lists(st.integers(0, 12), max_size=8, unique=True)


def codes(entities: list[int]) -> np.ndarray:
    return np.array(entities, np.int32)


@given(st.lists(st.integers(0, 9), max_size=6))
def test_rows_that_follow_one_another_are_a_slice_of_them(entities: list[int]) -> None:
    at = stretch(codes(entities))
    everything = np.arange(20)
    assert everything[at].tolist() == entities
    follows = bool(entities) and entities == list(range(entities[0], entities[0] + len(entities)))
    assert isinstance(at, slice) == follows


@given(st.lists(st.tuples(some, st.integers(0, 99)), max_size=6), some)
def test_what_was_put_comes_back_whatever_the_order(puts: list[tuple[list[int], int]], asked: list[int]) -> None:
    arrays, expected = EntityArrays(dict(SHAPES)), dict[int, int]()
    for entities, value in puts:
        many = np.full((len(entities), 2, 3), value, np.float32)
        arrays.put_rows(codes(entities), {"one": np.full(len(entities), value), "many": many})
        expected |= dict.fromkeys(entities, value)
    found = arrays.rows(codes(asked))
    assert found["one"].tolist() == [expected.get(entity, 7) for entity in asked]
    for row, entity in zip(found["many"], asked, strict=True):
        assert (row == expected[entity]).all() if entity in expected else np.isnan(row).all()


@pytest.mark.parametrize("entities", [[3, 4, 5], [5, 3, 4]])
def test_rows_are_copies(entities: list[int]) -> None:
    arrays = EntityArrays(dict(SHAPES))
    arrays.rows(codes(entities))["one"][:] = 1
    assert arrays["one"][3:6].tolist() == [7, 7, 7]
    arrays.put_rows(codes(entities), {"one": np.arange(3), "many": np.zeros((3, 2, 3))})
    assert arrays.rows(codes(entities))["one"].tolist() == [0, 1, 2]
    arrays.forget(codes(entities[:1]))
    assert arrays.rows(codes(entities))["one"].tolist() == [7, 1, 2]
