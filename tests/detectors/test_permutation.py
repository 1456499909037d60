from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.permutation import players, shapley
from streaming.types import Windows


def windows(count: int, channels: int, seed: int = 0) -> Windows:
    values = np.random.default_rng(seed).random((count, 4, channels)).astype(np.float32)
    names = [f"c{k}" for k in range(channels)]
    return Windows(np.zeros(count, np.int32), np.arange(count, dtype=np.int64), values, names, ["a"])


def product(found: Windows) -> np.ndarray:
    """Channels that matter together only: what a marginal effect depends on the others' presence for."""
    level = found.values.mean(axis=1).astype(np.float64)
    return np.prod(1 + level, axis=1)


def exact(score, window: Windows, reference: np.ndarray) -> np.ndarray:
    """Shapley's definition: the mean over every order of joining."""
    channels = window.values.shape[2]
    values = np.zeros(channels)
    orders = list(permutations(range(channels)))
    for order in orders:
        seen = reference.copy()
        before = score(Windows(window.entities, window.ends, seen[None], window.features, window.names))[0]
        for channel in order:
            seen[:, channel] = window.values[0, :, channel]
            after = score(Windows(window.entities, window.ends, seen[None], window.features, window.names))[0]
            values[channel] += after - before
            before = after
    return values / len(orders)


def solo(count: int, channels: int) -> np.ndarray:
    return np.tile(np.arange(channels), (count, 1))


def test_two_players_get_their_exact_values_from_one_order_and_its_reverse():
    window, reference = windows(1, 2), np.zeros((1, 4, 2), np.float32)
    values, base = shapley(window, reference, solo(1, 2), product, seeds=[5], pairs=1)
    np.testing.assert_allclose(values[0], exact(product, window, reference[0]), atol=1e-12)
    assert base[0] == 1.0


def test_many_orders_come_close_to_shapleys_definition():
    window, reference = windows(1, 4), np.zeros((1, 4, 4), np.float32)
    values, _ = shapley(window, reference, solo(1, 4), product, seeds=[5], pairs=2000)
    np.testing.assert_allclose(values[0], exact(product, window, reference[0]), rtol=0.02)


@settings(max_examples=25, deadline=None)
@given(count=st.integers(1, 5), channels=st.integers(1, 9), pairs=st.integers(1, 6), seed=st.integers(0, 2**63))
def test_values_add_up_to_the_score_less_the_base(count, channels, pairs, seed):
    found, reference = windows(count, channels), windows(count, channels, 1).values
    values, base = shapley(
        found, reference, solo(count, channels), product, seeds=[seed + k for k in range(count)], pairs=pairs
    )
    np.testing.assert_allclose(base + values.sum(axis=1), product(found), rtol=1e-9)
    same = Windows(found.entities, found.ends, reference, found.features, found.names)
    np.testing.assert_allclose(base, product(same), rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(channels=st.integers(2, 9), seed=st.integers(0, 1000))
def test_an_additive_score_gives_each_channel_exactly_its_own_part(channels, seed):
    weights = np.random.default_rng(seed).standard_normal(channels)

    def additive(found: Windows) -> np.ndarray:
        return found.values.mean(axis=1).astype(np.float64) @ weights

    found, reference = windows(2, channels, seed), windows(2, channels, seed + 1).values
    values, _ = shapley(found, reference, solo(2, channels), additive, seeds=[1, 2], pairs=1)
    np.testing.assert_allclose(values, (found.values - reference).mean(axis=1) * weights, atol=1e-6)


def test_a_channel_that_does_not_matter_gets_nothing():
    def first_only(found: Windows) -> np.ndarray:
        return found.values[:, :, 0].max(axis=1) ** 2

    values, _ = shapley(
        windows(3, 5), np.zeros((3, 4, 5), np.float32), solo(3, 5), first_only, seeds=[1, 2, 3], pairs=2
    )
    assert (values[:, 0] > 0).all()
    np.testing.assert_array_equal(values[:, 1:], 0)


def test_a_window_plays_the_same_game_alone_and_in_a_crowd():
    found, reference = windows(7, 6), windows(7, 6, 1).values
    together, base = shapley(found, reference, solo(7, 6), product, seeds=list(range(7)), pairs=3)
    for k in range(7):
        part = slice(k, k + 1)
        alone = shapley(found.take(part), reference[part], solo(1, 6), product, seeds=[k], pairs=3)
        assert np.array_equal(alone[0], together[part])
        assert np.array_equal(alone[1], base[part])


def test_the_ensemble_sees_each_coalition_once_and_in_one_call():
    calls = []

    def watched(found: Windows) -> np.ndarray:
        calls.append(len(found))
        return product(found)

    shapley(windows(10, 3), np.zeros((10, 4, 3), np.float32), solo(10, 3), watched, seeds=[1] * 10, pairs=20)
    assert calls == [10 * 2**3]


def test_large_batches_are_cut_into_bounded_calls():
    calls = []

    def watched(found: Windows) -> np.ndarray:
        calls.append(len(found))
        return product(found)

    shapley(windows(60, 13), np.zeros((60, 4, 13), np.float32), solo(60, 13), watched, seeds=list(range(60)), pairs=8)
    assert len(calls) > 1
    assert max(calls) <= 4096


def test_where_the_score_has_no_opinion_it_counts_as_nothing():
    def shy(found: Windows) -> np.ndarray:
        level = found.values[:, 0, 0].astype(np.float64)
        return np.where(level == 0, np.nan, level)

    values, base = shapley(windows(1, 2), np.zeros((1, 4, 2), np.float32), solo(1, 2), shy, seeds=[0], pairs=2)
    assert base[0] == 0
    assert values[0, 0] == pytest.approx(float(windows(1, 2).values[0, 0, 0]))


def test_no_windows_no_games():
    values, base = shapley(windows(0, 3), np.zeros((0, 4, 3), np.float32), solo(0, 3), product, seeds=[], pairs=2)
    assert values.shape[0] == base.shape[0] == 0


def test_the_strongest_play_alone_and_the_rest_as_one():
    shares = np.array([[0.1, 0.4, 0.0, 0.3, 0.2], [0.2, 0.2, 0.2, 0.2, 0.2]], np.float32)
    assert players(shares, 2).tolist() == [[2, 0, 2, 1, 2], [0, 1, 2, 2, 2]]


def test_few_channels_all_play_alone():
    shares = np.array([[0.1, 0.6, 0.3]], np.float32)
    assert players(shares, 12).tolist() == [[2, 0, 1]]
    assert players(shares, 3).tolist() == [[2, 0, 1]]
