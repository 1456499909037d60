"""Blocks around a mean, and what is left of them: as numpy says, whatever lies beside a window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.centring import centred_blocks, missing_of, rest

SLOTS, CHANNELS, BLOCK = 4, 3, 8


def windows(count: int, seed: int = 0, gaps: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, SLOTS + 2, CHANNELS)).astype(np.float32)
    values[rng.random(values.shape) < gaps] = np.nan
    return values


MEAN = np.arange(SLOTS * CHANNELS, dtype=np.float32).reshape(SLOTS, CHANNELS)


@settings(deadline=None)
@given(st.integers(0, 30), st.floats(0, 0.3))
def test_a_block_holds_the_newest_slots_around_the_mean(count: int, gaps: float) -> None:
    values, seen = windows(count, count, gaps), []

    def look(flat: np.ndarray, squares: np.ndarray) -> np.ndarray:
        assert flat.shape == (BLOCK, SLOTS * CHANNELS)
        np.testing.assert_allclose(squares, np.square(flat).sum(axis=1), rtol=1e-5)
        seen.append(flat.copy())
        flat[:] = np.nan  # it is ours
        return squares[:, None]

    answers = centred_blocks(look, values, MEAN, BLOCK)
    assert answers.shape == (count, 1)
    flat = np.concatenate(seen)
    np.testing.assert_array_equal(flat[:count], (values[:, -SLOTS:] - MEAN).reshape(count, MEAN.size))
    assert not flat[count:].any()


@pytest.mark.parametrize("turn", ["read-only", "doubles", "strided"])
def test_windows_may_lie_as_they_like(turn: str) -> None:
    values = windows(5)
    given_ = {"read-only": values.copy(), "doubles": values.astype(np.float64), "strided": values.repeat(2, axis=2)}[
        turn
    ]
    if turn == "strided":
        given_ = given_[:, :, ::2]
    given_.flags.writeable = turn != "read-only"
    answers = centred_blocks(lambda flat, _: flat.copy(), given_, MEAN, BLOCK)
    np.testing.assert_array_equal(answers, (values[:, -SLOTS:] - MEAN).reshape(5, -1))


def test_gaps_are_told_by_the_squares() -> None:
    whole = np.ones((2, 3), np.float32)
    assert missing_of(whole, np.vecdot(whole, whole)) is None
    whole[1, 2] = np.nan
    missing = missing_of(whole, np.vecdot(whole, whole))
    assert missing is not None
    assert np.argwhere(missing).tolist() == [[1, 2]]


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(1, SLOTS), st.floats(0, 0.9))
def test_the_rest_is_a_root_mean_square_over_what_is_there(seed: int, slots: int, gaps: float) -> None:
    flat = windows(BLOCK, seed, gaps)[:, -SLOTS:].reshape(BLOCK, -1).copy()
    inside = np.random.default_rng(seed).normal(size=(BLOCK, slots * CHANNELS)).astype(np.float32)
    seen = np.array([True, False, True])
    away = (flat[:, -slots * CHANNELS :] - inside).reshape(BLOCK, slots, CHANNELS)
    there = (~np.isnan(away)).sum(axis=1)
    expected = np.sqrt(np.nansum(np.square(away), axis=1) / np.where(there > 0, there, np.nan))
    expected[:, 1] = np.nan
    missing = np.isnan(flat) if np.isnan(flat).any() else None
    flat = np.nan_to_num(flat, nan=9)  # whatever was filled in
    np.testing.assert_allclose(rest(flat, inside.copy(), seen, missing), expected, rtol=1e-5)
    one = rest(flat[3:4].copy(), inside[3:4].copy(), seen, None if missing is None else missing[3:4])
    np.testing.assert_array_equal(one[0], rest(flat, inside.copy(), seen, missing)[3])
