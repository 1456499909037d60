"""K-means and PCA on sub-sequences: what leads the TSB-AD boards among plain methods, as published and causally.

Windows of `width` rows x F channels are flattened, stride 1. As published, a row's score looks ahead: the mean of all
windows that cover the row (k-means), or the window centred on it (PCA). Causally it is that of the window that ends
with the row. Rows before the first whole window have its score.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from tsad.evaluation.extents import Doubles

Scorer = Callable[[Doubles], Doubles]
Reach = Literal["covering", "centred", "causal"]
FITTED, BLOCK = 10_000, 2048
"""Windows to fit on, evenly spaced, and windows flattened at a time."""
CLUSTERS = 30
KEPT_VARIANCE = 0.9
LEAST_VARIANCE = 1e-10
"""Part of the variance below which a component is rounding: its weight in the published sum would be infinite."""


class Subsequences:
    """`fit` on windows (n x width F), `score` windows, and give each row its score."""

    def __init__(self, train: Doubles, width: int, reach: Reach, fit: Callable[[Doubles], Scorer]) -> None:
        self._width, self._reach = min(width, len(train)), reach
        windows = _sliding(train, self._width)
        places = np.unique(np.linspace(0, len(windows) - 1, FITTED).astype(np.int64))
        self._score = fit(_flat(windows[places]))

    def __call__(self, rows: Doubles) -> Doubles:
        """Scores of N >= width rows."""
        scores = np.concatenate([self._score(block) for block in self._blocks(rows)])
        return by_row(scores, self._width, self._reach)

    def _blocks(self, rows: Doubles) -> Iterator[Doubles]:
        windows = _sliding(rows, self._width)
        return (_flat(windows[start : start + BLOCK]) for start in range(0, len(windows), BLOCK))


def by_row(scores: Doubles, width: int, reach: Reach) -> Doubles:
    """Scores of the N - width + 1 windows as scores of the N rows."""
    if reach == "covering":
        rows, total = np.arange(len(scores) + width - 1), np.concatenate([[0.0], np.cumsum(scores)])
        first, stop = np.maximum(rows - width + 1, 0), np.minimum(rows + 1, len(scores))
        means: Doubles = (total[stop] - total[first]) / (stop - first)
        return means
    ahead = 0 if reach == "causal" else (width - 1) // 2
    return np.pad(scores, (width - 1 - ahead, ahead), mode="edge")


def k_means(seed: int) -> Callable[[Doubles], Scorer]:
    """Distance to the nearest of 30 centres (KMeansAD of TSB-AD with its tuned number of clusters)."""

    def fit(windows: Doubles) -> Scorer:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different windows than centres
            model = KMeans(min(CLUSTERS, len(windows)), random_state=seed, n_init=1).fit(windows)
        return lambda block: model.transform(block).min(axis=1)

    return fit


def principal_axes(windows: Doubles) -> Scorer:
    """Sum of the distances to all axes, each divided by its part of the variance (Shyu et al., 2003, as PyOD and
    TSB-AD compute it: columns standardised, constant ones left out)."""
    mean, deviation = windows.mean(axis=0), windows.std(axis=0)
    columns = deviation > 0
    if not columns.any():
        return lambda block: np.zeros(len(block))
    mean, deviation = mean[columns], deviation[columns]
    model = _decomposed((windows[:, columns] - mean) / deviation)
    kept = model.explained_variance_ratio_ > LEAST_VARIANCE
    axes, weights = model.components_[kept], 1 / model.explained_variance_ratio_[kept]

    def score(block: Doubles) -> Doubles:
        standard = (block[:, columns] - mean) / deviation
        squares = (standard**2).sum(axis=1, keepdims=True) + 1 - 2 * standard @ axes.T
        total: Doubles = np.sqrt(np.maximum(squares, 0)) @ weights
        return total

    return score


def residual(windows: Doubles) -> Scorer:
    """Squared distance to the axes that hold 90% of the variance: what a reconstruction leaves over."""
    model = _decomposed(windows)
    held = np.cumsum(model.explained_variance_ratio_)
    count = int(np.searchsorted(held, KEPT_VARIANCE)) + 1 if held[-1] > 0 else 0
    axes, mean = model.components_[:count], model.mean_

    def score(block: Doubles) -> Doubles:
        centred = block - mean
        left: Doubles = (centred**2).sum(axis=1) - ((centred @ axes.T) ** 2).sum(axis=1)
        return np.maximum(left, 0)

    return score


def _decomposed(windows: Doubles) -> Any:
    from sklearn.decomposition import PCA

    if len(windows) == 1:
        windows = np.repeat(windows, 2, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # windows that do not vary have no parts of a variance
        model = PCA(svd_solver="covariance_eigh").fit(windows)
    model.explained_variance_ratio_ = np.nan_to_num(model.explained_variance_ratio_)
    return model


def _sliding(rows: Doubles, width: int) -> Any:
    return np.lib.stride_tricks.sliding_window_view(rows, width, axis=0)


def _flat(windows: Any) -> Doubles:
    flat: Doubles = windows.reshape(len(windows), -1)
    return flat
