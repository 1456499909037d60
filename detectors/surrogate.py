"""A second model that explains the first: XGBoost regresses the ensemble's score on window features (Euclid, B2).

SHAP then costs the same whatever the detectors are (arXiv 2411.05596). Fitted on windows with planted anomalies too,
since trees do not extrapolate: fitted on normal ones alone it explained 2% of an 8 sigma score.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.inject import inject, noise
from detectors.robust import mean, median, spread
from detectors.trees import tree_explainer
from streaming.types import Floats, State, Windows

Scoring = Callable[[Windows], NDArray[Any]]
"""The fused score of B windows (B), a pure function: nothing is learnt from the reading. NaN = no opinion."""

MEASURES = ("jump", "reach", "level", "roughness", "spread", "step", "misfit now", "misfit lately", "misfit throughout")
"""What is measured of each channel; `misfit` is the distance from what its peers let expect."""
RECENT, PEERS, CHUNK = 10, 5, 512
_TREES = {"max_depth": 4, "eta": 0.1, "subsample": 0.7, "colsample_bytree": 0.25, "tree_method": "hist"}
_ROUNDS = 200


@dataclass(frozen=True, slots=True)
class Peers:
    """What the other channels let expect of each: the median of what each of its K strongest peers says alone.

    A median, since a regression on all peers would spread one channel's anomaly over all of them. `centre` (F),
    `index` and `slope` F x K.
    """

    centre: Floats
    index: NDArray[np.int64]
    slope: Floats

    @classmethod
    def fit(cls, windows: Windows, count: int = PEERS) -> "Peers":
        """From the newest slots of B windows; a channel's strongest peers are those of largest |correlation|."""
        rows = windows.values[:, -1]
        centre = np.nan_to_num(mean(rows, 0))
        centred = np.nan_to_num(rows - centre).astype(np.float64)
        sd = np.maximum(centred.std(axis=0), 1e-6)
        correlation = (centred / sd).T @ (centred / sd) / max(len(rows), 1)
        np.fill_diagonal(correlation, 0)
        index = np.argsort(-np.abs(correlation), axis=1, kind="stable")[:, : min(count, len(centre) - 1)]
        slope = np.take_along_axis(correlation, index, axis=1) * sd[:, None] / sd[index]
        return cls(centre, index.astype(np.int64), np.where(sd[index] > 1e-6, slope, 0).astype(np.float32))

    def misfit(self, values: Floats) -> Floats:
        """B x T x F: each value less what its peers say at the same slot."""
        away = values - self.centre
        if not self.index.shape[1]:
            return away
        said = [self.slope[:, k] * away[:, :, self.index[:, k]] for k in range(self.index.shape[1])]
        expected: Floats = away - np.nan_to_num(median(np.stack(said), 0))
        return expected


def measure(values: Floats, peers: Peers) -> Floats:
    """The features of B windows: B x F x M float32, `MEASURES` in order; NaN where nothing was measured."""
    slots = values.shape[1]
    recent = min(RECENT, max(slots // 2, 1))
    lately, newest = values[:, -recent:], values[:, -1]
    usual = median(values[:, :-recent] if slots > recent else values, 1)
    misfit = peers.misfit(np.concatenate([values[:, :-recent:4], lately], axis=1))
    steps = np.abs(np.diff(values[:, -recent - 1 :], axis=1))
    step = steps[:, -1] if steps.shape[1] else np.zeros_like(newest)
    roughness = mean(steps, 1) if steps.shape[1] else step
    features = (
        newest - usual,
        np.fmax.reduce(np.abs(lately - usual[:, None]), axis=1),
        mean(lately, 1),
        np.log(roughness + np.float32(1e-3)),
        np.log(spread(values[:, -max(slots // 2, 1) :], 1) + np.float32(1e-3)),
        step,
        np.abs(misfit[:, -1]),
        np.sqrt(mean(np.square(misfit[:, -recent:]), 1)),
        np.sqrt(mean(np.square(misfit), 1)),
    )
    return np.stack(features, axis=2).astype(np.float32)


@dataclass(frozen=True)
class Surrogate:
    """`trees` (UBJ) score features; `offset` (F) are the mean SHAP values of the normal windows. `r2` and
    `rank` (correlation of ranks) are measured on `held` windows, later than those fitted on, and planted anew.
    """

    peers: Peers
    trees: bytes
    offset: NDArray[np.float64]
    r2: float
    rank: float
    held: int

    @classmethod
    def fit(cls, windows: Windows, normal: Windows, score: Scoring, seed: int, budget: int = 8_000) -> "Surrogate":
        """From B training windows in any order: a quarter of `budget` as they are, the rest with planted anomalies.

        `normal` are the model version's background windows: an explanation's base is their mean prediction. The last
        fifth in time is held out. ValueError for fewer than 10 windows.
        """
        import xgboost

        if len(windows) < 10:
            raise ValueError(f"a surrogate needs 10 windows, got {len(windows)}")
        windows = windows.take(np.argsort(windows.ends, kind="stable"))
        peers, sigma = Peers.fit(windows), noise(windows)
        cut = len(windows) * 4 // 5
        train, held = (
            _examples(part, peers, sigma, score, seed=seed + k, size=size)
            for k, (part, size) in enumerate(
                ((windows.take(slice(None, cut)), budget), (windows.take(slice(cut, None)), budget // 5))
            )
        )
        booster = xgboost.train(_TREES | {"seed": seed}, xgboost.DMatrix(*train), _ROUNDS)
        predicted = booster.predict(xgboost.DMatrix(held[0])).astype(np.float64)
        trees = bytes(booster.save_raw("ubj"))
        bare = cls(peers, trees, np.zeros(len(sigma)), *_fidelity(predicted, held[1]), len(predicted))
        return replace(bare, offset=bare.explain(normal)[0].mean(axis=0))

    def explain(self, windows: Windows) -> tuple[NDArray[np.float64], float]:
        """SHAP values by channel (B x F, a channel's features added up) and the base: the normal windows' mean.

        Relative to normal windows, not to the training set, whose planted anomalies would be part of the base: both
        shifts cancel, so base + values = prediction still holds.
        """
        shape = (-1, len(self.offset), len(MEASURES))
        parts = [
            self._tree.shap_values(features).reshape(shape).sum(axis=2, dtype=np.float64)
            for features in _features(windows, self.peers)
        ]
        base = float(np.ravel(self._tree.expected_value)[0]) + float(self.offset.sum())
        return np.concatenate(parts) - self.offset, base

    @cached_property
    def booster(self) -> Any:
        """Read at the first use: a worker that explains nothing never imports the library (2 s)."""
        import xgboost

        return xgboost.Booster(model_file=bytearray(self.trees))

    @cached_property
    def _tree(self) -> Any:
        return tree_explainer(self.booster)

    def state(self) -> State:
        """UBJ, arrays and the held-out fidelity."""
        arrays: dict[str, NDArray[Any]] = {
            "centre": self.peers.centre,
            "index": self.peers.index,
            "slope": self.peers.slope,
            "offset": self.offset,
        }
        meta = {"r2": self.r2, "rank": self.rank, "held": self.held}
        return State(arrays, meta, {"booster": self.trees})

    @classmethod
    def restore(cls, state: State) -> "Surrogate":
        """The surrogate that gave `state`."""
        arrays = state.arrays
        peers = Peers(arrays["centre"], arrays["index"], arrays["slope"])
        return cls(peers, state.blobs["booster"], arrays["offset"], **state.meta)


def _features(windows: Windows, peers: Peers) -> Iterator[Floats]:
    """The features of a chunk of windows after the other, B x (F M)."""
    for start in range(0, max(len(windows), 1), CHUNK):
        chunk = windows.values[start : start + CHUNK]
        yield measure(chunk, peers).reshape(len(chunk), -1)


def _examples(
    windows: Windows, peers: Peers, sigma: Floats, score: Scoring, *, seed: int, size: int
) -> tuple[Floats, NDArray[np.float64]]:
    """Features and scores of about `size` windows, a quarter as they are and the rest with planted anomalies."""
    rng = np.random.default_rng(seed)
    rows: list[Floats] = []
    targets: list[NDArray[np.float64]] = []
    for number, start in enumerate(range(0, size, CHUNK)):
        source = windows.take(np.sort(rng.integers(0, len(windows), min(CHUNK, size - start))))
        planted = source if number % 4 == 3 else inject(source, sigma, seed * 1_000_003 + number).windows
        rows.extend(_features(planted, peers))
        targets.append(score(planted).astype(np.float64))
    X, y = np.concatenate(rows), np.concatenate(targets)
    known = np.isfinite(y)
    return X[known], y[known]


def _fidelity(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> tuple[float, float]:
    """R2 and the correlation of ranks; 0 where nothing varies."""
    total = float(np.square(actual - actual.mean()).sum()) if len(actual) else 0.0
    if total == 0:
        return 0.0, 0.0
    ranks = (values.argsort(kind="stable").argsort(kind="stable") for values in (predicted, actual))
    first, second = (rank - rank.mean() for rank in ranks)
    correlation = float((first * second).sum() / np.sqrt(np.square(first).sum() * np.square(second).sum()))
    return 1 - float(np.square(actual - predicted).sum()) / total, correlation
