"""Fusion: monotone, deaf to who has no opinion, and without neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detectors import registry
from detectors.ensemble import newest_only
from detectors.fusion import KNEE, blend_shares, decided, grouped_quantile, majority, power_mean, ratios, settled_mean

OPINION = st.floats(0, 1e4, width=32)
MATRIX = st.integers(1, 12).flatmap(
    lambda d: st.integers(1, 20).flatmap(
        lambda b: arrays(np.float32, (d, b), elements=OPINION | st.just(float("nan")), fill=st.nothing())
    )
)
REDUCERS = pytest.mark.parametrize("reducer", [power_mean, majority])


def table(*rows):
    return np.array(rows, np.float32)


def test_ratios_are_scores_over_quantiles():
    assert ratios(table([1, 4]), table([2, 2])).tolist() == [[0.5, 2.0]]


def test_ratios_beyond_the_knee_keep_their_order_and_shrink():
    scores = np.geomspace(1, 1e20, 200, dtype=np.float32)[None]
    out = ratios(scores, np.ones_like(scores))[0]
    assert (np.diff(out) > 0).all()
    np.testing.assert_array_equal(out[scores[0] <= KNEE], scores[0][scores[0] <= KNEE])
    assert out[-1] < 500


def test_ratios_of_infinite_negative_and_missing_scores():
    out = ratios(table([np.inf, -3, np.nan]), np.ones((1, 3), np.float32))[0]
    assert np.isfinite(out[0])
    assert out[1] == 0
    assert np.isnan(out[2])


def test_power_mean_is_of_the_third_power():
    assert power_mean(table([1], [2], [3]))[0] == pytest.approx(12 ** (1 / 3), rel=1e-6)


@pytest.mark.parametrize(
    ("column", "expected"), [([5], 5), ([1, 5], 1), ([1, 5, 3], 3), ([4, 1, 2, 3], 2), ([np.nan, 1, 2, 9], 2)]
)
def test_majority_is_what_more_than_half_reach(column, expected):
    assert majority(np.array(column, np.float32)[:, None])[0] == expected


@settings(max_examples=50, deadline=None)
@given(MATRIX, st.floats(0, 1e4, width=32))
def test_majority_says_what_counting_says(values, threshold):
    k = (~np.isnan(values)).sum(axis=0)
    beyond = (values > threshold).sum(axis=0)
    np.testing.assert_array_equal(majority(values) > threshold, (beyond > k / 2) & (k > 0))


@REDUCERS
def test_nobody_has_an_opinion(reducer):
    assert np.isnan(reducer(table([np.nan, 1], [np.nan, 2]))).tolist() == [True, False]


@REDUCERS
@settings(max_examples=50, deadline=None)
@given(MATRIX)
def test_a_silent_detector_is_not_there(reducer, values):
    silent = np.vstack([values, np.full((1, values.shape[1]), np.nan, np.float32)])
    assert reducer(silent).tobytes() == reducer(values).tobytes()


@REDUCERS
@settings(max_examples=50, deadline=None)
@given(MATRIX, st.randoms(use_true_random=False))
def test_windows_have_no_neighbours(reducer, values, random):
    order = np.array(random.sample(range(values.shape[1]), values.shape[1]))
    whole = reducer(values)
    assert reducer(np.ascontiguousarray(values[:, order])).tobytes() == whole[order].tobytes()
    for place in range(values.shape[1]):
        assert reducer(values[:, place : place + 1]).tobytes() == whole[place : place + 1].tobytes()


@REDUCERS
@settings(max_examples=50, deadline=None)
@given(MATRIX, st.integers(0, 11), st.floats(0, 100, width=32))
def test_a_stranger_score_never_lowers_the_fused_one(reducer, values, which, more):
    raised = values.copy()
    raised[which % len(values)] += np.float32(more)
    before, after = reducer(values), reducer(raised)
    assert (after >= before)[~np.isnan(before)].all()


@settings(max_examples=50, deadline=None)
@given(MATRIX)
def test_power_mean_lies_between_mean_and_maximum(values):
    fused = power_mean(values).astype(np.float64)
    for column, number in zip(values.T.astype(np.float64), fused, strict=True):
        heard = column[~np.isnan(column)]
        if len(heard):
            assert heard.mean() * (1 - 1e-5) - 1e-6 <= number <= heard.max() * (1 + 1e-5) + 1e-6


def test_shares_follow_the_louder_detector():
    quiet, loud = table([1, 0, 0]), table([0, 0.25, 0.75])
    out = blend_shares(table([1], [2]), [quiet, loud])
    np.testing.assert_allclose(out, [[1 / 9, 2 / 9, 6 / 9]], rtol=1e-4)


def test_shares_without_an_opinion():
    given_shares = [table([0, 0], [0.5, 0.5]), None, table([0, 0], [1, 0])]
    out = blend_shares(table([np.nan, 1], [np.nan, np.nan], [np.nan, np.nan]), given_shares)
    np.testing.assert_allclose(out, [[0, 0], [0.5, 0.5]], atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 200), st.integers(0, 1000))
def test_shares_add_up_and_have_no_neighbours(detectors, windows, features, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.dirichlet(np.ones(features), windows).astype(np.float32) for _ in range(detectors)]
    loud = rng.uniform(0, 20, (detectors, windows)).astype(np.float32)
    out = blend_shares(loud, parts)
    np.testing.assert_allclose(out.sum(axis=1), 1, rtol=1e-4)
    alone = blend_shares(np.ascontiguousarray(loud[:, -1:]), [part[-1:].copy() for part in parts])
    assert alone[0].tobytes() == out[-1].tobytes()


def test_grouped_quantile_is_numpys():
    rng = np.random.default_rng(0)
    values = rng.normal(size=500).astype(np.float32)
    values[rng.random(500) < 0.2] = np.nan
    groups = rng.integers(0, 7, 500).astype(np.int32)
    groups[groups == 3] = 4
    known, quantiles, counts = grouped_quantile(values, groups, 0.98)
    assert known.tolist() == [0, 1, 2, 4, 5, 6]
    for group, quantile, count in zip(known, quantiles, counts, strict=True):
        own = values[groups == group]
        assert count == (~np.isnan(own)).sum()
        assert quantile == pytest.approx(np.nanquantile(own.astype(np.float64), 0.98))


def test_grouped_quantile_of_nothing():
    known, quantiles, counts = grouped_quantile(np.full(3, np.nan, np.float32), np.zeros(3, np.int32), 0.5)
    assert (len(known), len(quantiles), len(counts)) == (0, 0, 0)


def test_settled_mean_skips_the_silent_and_needs_its_own_slot():
    nan = np.nan
    stretch = np.array([[[1, nan], [nan, nan]], [[3, 5], [7, 5]], [[nan, 5], [9, 5]]], np.float32)
    out = settled_mean(stretch, np.array([3, 3]))
    np.testing.assert_array_equal(out, table([2, nan], [8, nan]))


def test_settled_mean_looks_as_far_ahead_as_each_detector_asks():
    stretch = np.array([[[1], [1]], [[3], [3]], [[8], [8]]], np.float32)
    np.testing.assert_array_equal(settled_mean(stretch, np.array([1, 3])), table([1], [4]))
    np.testing.assert_array_equal(settled_mean(stretch, np.array([2, 1])), table([2], [1]))


def test_settled_mean_adds_up_as_a_loop_does():
    stretch = np.random.default_rng(2).uniform(0, 3, (40, 1, 1)).astype(np.float32)
    total = 0.0
    for number in stretch.ravel().tolist():
        total += number
    assert settled_mean(stretch, np.array([40]))[0, 0] == np.float32(total / 40)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(1, 4), st.integers(1, 20), st.integers(0, 1000))
def test_settled_mean_has_no_neighbours(slots, detectors, windows, seed):
    rng = np.random.default_rng(seed)
    stretch = rng.uniform(0, 3, (slots, detectors, windows)).astype(np.float32)
    stretch[rng.random(stretch.shape) < 0.2] = np.nan
    look_ahead = rng.integers(1, slots + 1, detectors)
    whole = settled_mean(stretch, look_ahead)
    for place in range(windows):
        alone = settled_mean(np.ascontiguousarray(stretch[:, :, place : place + 1]), look_ahead)
        assert alone[:, 0].tobytes() == whole[:, place].copy().tobytes()


def test_what_is_decided_by_is_no_more_than_the_newest_slots_say() -> None:
    """A long window (second row) holds an event for as long as it is long; the short one (first row) is over it."""
    ratios = np.array([[0.2, 3.0, 0.3, np.nan], [0.2, 3.0, 3.0, 3.0]], np.float32)
    whole = power_mean(ratios)
    lesser = decided(whole, ratios, np.array([True, False]))
    assert lesser.tolist() == [whole[0], whole[1], np.float32(0.3), whole[3]]


@pytest.mark.parametrize("newest", [[True, True], [False, False]])
def test_where_all_or_none_are_short_the_fused_number_decides(newest: list[bool]) -> None:
    ratios = np.array([[0.2, 3.0], [2.0, 0.1]], np.float32)
    whole = power_mean(ratios)
    assert decided(whole, ratios, np.array(newest)).tolist() == whole.tolist()


def test_the_short_ones_of_each_profile_are_known() -> None:
    for name, short in (
        ("default", {"linear", "neighbours", "reconstruction", "subspace"}), ("few", {"discord-10"}),
    ):  # fmt: skip
        detectors = {one: registry.load(one)(**options) for one, options in registry.profile(name).items()}
        assert {one for one, yes in zip(detectors, newest_only(detectors, "power"), strict=True) if yes} == short
        assert not newest_only(detectors, "majority").any()


def test_ratios_that_may_not_be_written_settle_as_others_do() -> None:
    """Those that views of stored scores give."""
    own = np.random.default_rng(1).random((3, 40)).astype(np.float32)
    stretch = np.lib.stride_tricks.sliding_window_view(own, 5, axis=1).transpose(2, 0, 1)[::-1]
    assert not stretch.flags.writeable
    look_ahead = np.array([1, 3, 5])
    assert np.array_equal(settled_mean(stretch, look_ahead), settled_mean(stretch.copy(), look_ahead))
