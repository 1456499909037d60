"""Windows on sub-sequences: which rows a window tells of, and the scores against their definitions."""

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_series import waves

from tsad.evaluation.subsequences import Subsequences, by_row, k_means, principal_axes, residual

REACHES = ("covering", "centred", "causal")


def windows_of(rows, width):
    """Each window as one flat row, channel by channel, by a plain loop."""
    return np.array([rows[start : start + width].T.ravel() for start in range(len(rows) - width + 1)])


def told_by_loops(scores, width, reach):
    """The score of each row, from the windows that say something of it."""
    rows, found = len(scores) + width - 1, []
    for row in range(rows):
        starts = [start for start in range(len(scores)) if start <= row < start + width]
        if reach == "covering":
            found.append(sum(scores[start] for start in starts) / len(starts))
        else:
            ahead = 0 if reach == "causal" else (width - 1) // 2
            start = min(max(row + ahead - width + 1, 0), len(scores) - 1)
            found.append(scores[start])
    return found


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=30), st.integers(1, 12), st.sampled_from(REACHES))
def test_windows_tell_of_rows_as_plain_loops_do(scores, width, reach):
    found = by_row(np.array(scores, float), width, reach)
    assert found.tolist() == pytest.approx(told_by_loops(scores, width, reach), abs=1e-9)


@pytest.mark.parametrize(("reach", "ahead"), [("covering", 39), ("centred", 19), ("causal", 0)])
@pytest.mark.parametrize("fit", [k_means(3), principal_axes, residual], ids=["k-means", "axes", "residual"])
def test_a_row_hears_of_so_many_later_rows_and_no_more(fit, reach, ahead):
    rows = waves(400, 2).astype(float)
    score = Subsequences(rows[:250], 40, reach, fit)
    before, changed = score(rows), rows.copy()
    changed[300] += 5
    after = score(changed)
    moved = np.flatnonzero(~np.isclose(before, after, rtol=1e-7, atol=1e-9))
    assert moved[0] == 300 - ahead
    assert moved[-1] == 300 + 39 - (19 if reach == "centred" else 0)


def test_a_window_longer_than_the_train_part_is_cut_to_it():
    rows = waves(60, 3).astype(float)
    score = Subsequences(rows[:10], 100, "causal", residual)
    assert score(rows).shape == (60,)
    assert score(rows)[:10].max() == pytest.approx(0, abs=1e-6)


def test_blocks_change_nothing():
    rows = waves(5000, 4).astype(float)
    score = Subsequences(rows[:1000], 10, "causal", k_means(1))
    whole = score(rows)
    assert whole[-100:].tolist() == pytest.approx(score(rows[-109:])[-100:].tolist(), abs=1e-6)


def test_many_windows_are_fitted_on_evenly_spaced():
    seen = []

    def fit(windows):
        seen.append(windows)
        return lambda block: block[:, 0]

    rows = np.arange(25_000.0)[:, None]
    Subsequences(rows, 5, "causal", fit)
    (windows,) = seen
    assert windows.shape == (10_000, 5)
    assert (windows[0, 0], windows[-1, -1]) == (0.0, 24_999.0)
    assert set(np.diff(windows[:, 0])) <= {2.0, 3.0}
    assert (np.diff(windows, axis=1) == 1).all()


def test_k_means_is_the_distance_to_the_nearest_of_its_centres():
    rows = np.concatenate([np.zeros((50, 2)), np.full((50, 2), 10.0)])
    windows = windows_of(rows, 1)
    score = k_means(0)(windows)
    assert score(windows).max() == pytest.approx(0, abs=1e-6)
    assert score(np.array([[3.0, 4.0], [10.0, 12.0]])).tolist() == pytest.approx([5.0, 2.0])


def test_k_means_takes_no_more_centres_than_there_are_windows():
    windows = windows_of(waves(12, 1).astype(float), 5)
    assert k_means(0)(windows)(windows).max() == pytest.approx(0, abs=1e-6)


def axes_by_definition(windows, block):
    """Shyu et al. as PyOD has it: distances to the axes over their part of the variance, on standardised columns."""
    mean, deviation = windows.mean(axis=0), windows.std(axis=0)
    values, vectors = np.linalg.eigh(np.cov(((windows - mean) / deviation).T))
    # an axis may point either way: scikit-learn lets its largest part be positive
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))])
    found = []
    for row in (block - mean) / deviation:
        distances = [np.linalg.norm(row - axis) for axis in vectors.T]
        found.append(sum(d / (v / values.sum()) for d, v in zip(distances, values, strict=True)))
    return np.array(found)


def test_principal_axes_are_those_of_the_definition():
    rng = np.random.default_rng(5)
    windows = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6))
    block = 3 * rng.normal(size=(40, 6))
    assert principal_axes(windows)(block) == pytest.approx(axes_by_definition(windows, block), rel=1e-6)


def test_principal_axes_are_those_of_pyod_where_it_is_installed():
    if find_spec("pyod") is None:
        return
    from pyod.models.pca import PCA

    rng = np.random.default_rng(6)
    windows = rng.normal(size=(400, 8)) @ rng.normal(size=(8, 8))
    block = 2 * rng.normal(size=(50, 8))
    wanted = PCA(svd_solver="covariance_eigh").fit(windows).decision_function(block)
    assert principal_axes(windows)(block) == pytest.approx(wanted, rel=1e-6)


def test_constant_columns_count_for_nothing():
    rng = np.random.default_rng(7)
    windows = rng.normal(size=(200, 4))
    wider = np.column_stack([windows, np.full(200, 3.0)])
    moved = np.column_stack([windows[:5], np.full(5, 99.0)])
    assert principal_axes(wider)(moved).tolist() == pytest.approx(principal_axes(windows)(windows[:5]).tolist())
    assert principal_axes(np.ones((20, 3)))(moved[:, :3]).tolist() == [0.0] * 5


def test_the_residual_is_what_a_reconstruction_leaves():
    rng = np.random.default_rng(8)
    # two wide directions hold more than 90% of the variance, the rest is noise
    mixing = np.diag([10.0, 8.0, 0.5, 0.4, 0.3]) @ np.linalg.qr(rng.normal(size=(5, 5)))[0]
    windows, block = rng.normal(size=(500, 5)) @ mixing, rng.normal(size=(30, 5))
    centred = windows - windows.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    apart = block - windows.mean(axis=0)
    wanted = ((apart - apart @ axes.T @ axes) ** 2).sum(axis=1)
    assert residual(windows)(block) == pytest.approx(wanted, rel=1e-6)


def test_the_residual_of_windows_that_do_not_vary_is_the_distance_to_them():
    score = residual(np.full((10, 3), 2.0))
    assert score(np.array([[2.0, 2.0, 2.0], [2.0, 5.0, 6.0]])).tolist() == pytest.approx([0.0, 25.0])
    alone = residual(np.full((1, 2), 1.0))
    assert alone(np.array([[1.0, 3.0]])).tolist() == pytest.approx([4.0])
