"""The principal space: what it holds, how large it may be, and what it makes of gaps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.space import Space


def planar(windows, seed=0, noise=0.0):
    """Windows of 4 slots x 3 channels that lie in a plane of two directions around a mean."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(np.random.default_rng(9).normal(size=(12, 2)))[0]
    flat = rng.normal(size=(windows, 2)) @ (directions * [3, 2]).T + np.arange(12) / 10
    return (flat + rng.normal(0, noise, flat.shape)).reshape(windows, 4, 3).astype(np.float32)


def test_windows_of_a_plane_are_their_own_projection():
    space = Space.fit(planar(400), variance=0.999, rank=10)
    assert space.basis.shape == (12, 2)
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(2), atol=1e-5)
    flat, missing = space.centred(planar(50, seed=1))
    assert missing is None
    np.testing.assert_allclose(space.projected(flat), flat, atol=1e-4)


@pytest.mark.parametrize(("windows", "rank", "kept"), [(400, 1, 1), (400, 10, 2), (9, 10, 1), (4, 10, 0)])
def test_its_size_is_bounded_by_rank_and_by_how_many_windows_there_are(windows, rank, kept):
    assert Space.fit(planar(windows), variance=0.999, rank=rank).basis.shape[1] == kept


def test_what_stands_still_has_no_direction():
    space = Space.fit(np.full((300, 4, 3), 0.7, np.float32), variance=0.9, rank=10)
    assert space.basis.shape == (12, 0)
    flat, _ = space.centred(np.full((1, 4, 3), 0.9, np.float32))
    assert not space.projected(flat).any()
    np.testing.assert_allclose(flat, 0.2, atol=1e-6)


def test_the_mean_is_that_of_the_values_that_are_there():
    windows = planar(300, noise=0.1)
    windows[::3, :, 1] = np.nan
    np.testing.assert_allclose(Space.fit(windows, 0.9, 5).mean, np.nanmean(windows, axis=0), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(gap=st.integers(0, 11), seed=st.integers(0, 99))
def test_a_gap_is_filled_towards_what_the_rest_says(gap, seed):
    space, whole = Space.fit(planar(400), variance=0.999, rank=2), planar(1, seed=seed)
    truth, _ = space.centred(whole.copy())
    holed = whole.copy()
    holed.reshape(1, -1)[0, gap] = np.nan
    filled, missing = space.centred(holed)
    assert missing is not None
    assert np.flatnonzero(missing).tolist() == [gap]
    assert abs(filled[0, gap] - truth[0, gap]) <= abs(truth[0, gap]) + 1e-5  # never worse than the mean


def test_its_state_is_itself():
    space = Space.fit(planar(100), variance=0.9, rank=5)
    again = Space.restore(space.state())
    assert (again.mean.tobytes(), again.basis.tobytes()) == (space.mean.tobytes(), space.basis.tobytes())
    assert (space.slots, Space.none().slots) == (4, 0)


def test_a_space_among_some_windows_is_that_of_them_alone() -> None:
    windows, some = planar(300), np.arange(0, 300, 3)
    among, alone = Space.fit(windows, 0.9, 5, some), Space.fit(windows[some], 0.9, 5)
    np.testing.assert_array_equal(among.basis, alone.basis)
    np.testing.assert_array_equal(among.mean, alone.mean)
