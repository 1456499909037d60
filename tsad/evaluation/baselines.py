"""Peers for a side-by-side table: each is fitted on the same train part and scores the same rows as tsad.

Missing values are carried forward. A peer brings no threshold of its own, so each gets the one that people set: the
quantile of its scores of the train part that `budget` false alarms a day leave room for.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import product
from typing import Any
from zlib import crc32

import numpy as np

from streaming.settings import SECOND
from streaming.types import Floats
from tsad.evaluation.extents import Doubles
from tsad.evaluation.running import Scored
from tsad.evaluation.series import Series
from tsad.evaluation.subsequences import Reach, Scorer, Subsequences, k_means, principal_axes, residual

Fit = Callable[[Doubles, int], Scorer]
"""Train rows (N x F, no NaN) and a seed -> what scores the train rows and those that follow (higher is stranger)."""
DAY = 86_400 * SECOND
FITTED = 10_000
"""Rows that neighbours are looked for among, evenly spaced."""
CLIP = 4.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """A peer. `ahead`: rows that it looks ahead, None = the whole file; `package`: what it needs that tsad does not."""

    name: str
    summary: str
    fit: Fit
    ahead: int | None = 0
    package: str | None = None

    @property
    def causal(self) -> bool:
        """Whether no score depends on later rows."""
        return self.ahead == 0


def baseline(name: str) -> Baseline:
    """The baseline of that name; ValueError naming those there are, or the package that is missing."""
    if name not in BASELINES:
        raise ValueError(f"there is no baseline {name!r}; there is: {', '.join(BASELINES)}")
    found = BASELINES[name]
    if found.package is not None and find_spec(found.package) is None:
        raise ValueError(f"baseline {name} needs {found.package}, which is not installed: pip install 'tsad[bench]'")
    return found


def run_baseline(found: Baseline, series: Series, budget: float) -> Scored:
    """Fit on the train part and score the test part. Scores are brought to a scale on which those above 1 are flags:
    0 is the median of the train part's, 1 the threshold. `p` is the part of those that reach a score."""
    begun = time.perf_counter()
    rows = _filled(np.concatenate([series.train, series.test]).astype(np.float64), len(series.train))
    scorer = found.fit(rows[: len(series.train)], crc32(series.file.name.encode()))
    fitted = time.perf_counter()
    scores = scorer(rows)
    known, told = np.sort(scores[: len(series.train)]), scores[len(series.train) :]
    spent = time.perf_counter() - fitted
    threshold = np.quantile(known, 1 - min(budget * series.step / DAY, 0.5))
    median = float(np.median(known))
    width = threshold - median if threshold > median else 1.0
    score = ((told - median) / width).astype(np.float32)
    p = (1 + len(known) - np.searchsorted(known, told)) / (1 + len(known))
    count = len(told)
    none: Floats = np.zeros((count, 0), np.float32)
    row = np.arange(series.first, series.first + count)
    return Scored(row, score, score, p, score, score, none, none, (), (), fitted - begun, spent * count / len(rows))


def _filled(rows: Doubles, train: int) -> Doubles:
    """Carried forward; before a channel's first value, and where it has none, its mean in the train part, or 0."""
    known = ~np.isnan(rows)
    at = np.maximum.accumulate(np.where(known, np.arange(len(rows))[:, None], -1), axis=0)
    count = known[:train].sum(axis=0)
    mean = np.where(known, rows, 0)[:train].sum(axis=0) / np.maximum(count, 1)
    return np.where(at >= 0, np.take_along_axis(rows, np.maximum(at, 0), axis=0), mean)


def _standard(train: Doubles) -> Callable[[Doubles], Doubles]:
    """z-scores by the train part; a constant channel keeps its unit."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    return lambda rows: (rows - mean) / deviation


def _ranged(train: Doubles) -> Callable[[Doubles], Doubles]:
    """The train part's range becomes 0 to 1, clipped at -4 and 4."""
    low, width = train.min(axis=0), np.ptp(train, axis=0)
    width = np.where(width > 0, width, 1.0)
    return lambda rows: np.clip((rows - low) / width, -CLIP, CLIP)


def _spread(rows: Doubles) -> Doubles:
    """At most `FITTED` rows, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, FITTED).astype(np.int64))]


def _random(_: Doubles, seed: int) -> Scorer:
    return lambda rows: np.random.default_rng(seed).random(len(rows))


def _z_score(train: Doubles, _: int) -> Scorer:
    scale = _standard(train)
    return lambda rows: np.abs(scale(rows)).mean(axis=1)


def _last_value(train: Doubles, _: int) -> Scorer:
    def steps(rows: Doubles) -> Doubles:
        return np.diff(rows, axis=0, prepend=rows[:1])

    scale = _standard(steps(train))
    return lambda rows: np.abs(scale(steps(rows))).mean(axis=1)


def _isolation_forest(train: Doubles, seed: int) -> Scorer:
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(random_state=seed).fit(train)
    return lambda rows: -model.score_samples(rows)


def _lof(train: Doubles, _: int) -> Scorer:
    from sklearn.neighbors import LocalOutlierFactor

    scale = _standard(train)
    fitted = _spread(scale(train))
    model = LocalOutlierFactor(min(20, len(fitted) - 1), novelty=True).fit(fitted)
    return lambda rows: -model.score_samples(scale(rows))


def _knn(train: Doubles, _: int) -> Scorer:
    from sklearn.neighbors import NearestNeighbors

    scale = _standard(train)
    fitted = _spread(scale(train))
    model = NearestNeighbors(n_neighbors=min(5, len(fitted))).fit(fitted)
    return lambda rows: model.kneighbors(scale(rows))[0][:, -1]


@contextmanager
def _no_warnings() -> Iterator[None]:
    """A channel that does not vary has no skewness, which is no reason to write to the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def _ecod(train: Doubles, _: int) -> Scorer:
    from pyod.models.ecod import ECOD

    with _no_warnings():
        model = ECOD()
        model.fit(train)

    def score(rows: Doubles) -> Doubles:
        # PyOD ranks what it scores among the train part and itself: the train part is there already
        with _no_warnings():
            told = model.decision_function(rows[len(train) :])
        return np.concatenate([model.decision_scores_, told])

    return score


def _half_space_trees(train: Doubles, seed: int) -> Scorer:
    from river.anomaly import HalfSpaceTrees

    low, width = train.min(axis=0), np.ptp(train, axis=0)
    width = np.where(width > 0, width, 1.0)
    names = list(range(train.shape[1]))

    def score(rows: Doubles) -> Doubles:
        model, told = HalfSpaceTrees(seed=seed), np.zeros(len(rows))
        for place, values in enumerate(((rows - low) / width).tolist()):
            row = dict(zip(names, values, strict=True))
            told[place] = model.score_one(row)
            model.learn_one(row)
        return told

    return score


def _subsequences(
    train: Doubles, seed: int, method: str, width: int, scaling: Callable[[Doubles], Any], reach: Reach
) -> Scorer:
    scale = scaling(train)
    fits = {"k-means": k_means(seed), "sub-pca": principal_axes, "sub-pca-residual": residual}
    score = Subsequences(scale(train), width, reach, fits[method])
    return lambda rows: score(scale(rows))


def _family() -> list[Baseline]:
    """The methods on sub-sequences: wide or not, by z-scores or by range, looking ahead as published or causally."""
    centred: tuple[Reach, Callable[[int], int]] = ("centred", lambda width: (width - 1) // 2)
    covering: tuple[Reach, Callable[[int], int]] = ("covering", lambda width: width - 1)
    told = {
        ("k-means", ""): ("distance to the nearest of 30 centres", covering, _standard),
        ("k-means", "-range"): ("distance to the nearest of 30 centres, range-scaled", covering, _ranged),
        ("sub-pca", ""): ("weighted distances to all principal axes", centred, _standard),
        ("sub-pca-residual", ""): ("what 90% of the variance leaves over", centred, _standard),
        ("sub-pca-residual", "-range"): ("what 90% of the variance leaves over, range-scaled", centred, _ranged),
    }
    found = []
    for (method, scaled), width, causal in product(told, (40, 100), (False, True)):
        what, (published, ahead), scaling = told[method, scaled]
        reach: Reach = "causal" if causal else published
        name = f"{method}{'-100' if width == 100 else ''}{scaled}{'-causal' if causal else ''}"
        fit = partial(_subsequences, method=method, width=width, scaling=scaling, reach=reach)
        found.append(Baseline(name, f"windows of {width}: {what}", fit, 0 if causal else ahead(width)))
    return found


BASELINES = {
    one.name: one
    for one in (
        Baseline("random", "noise: what any figure must be held against", _random),
        Baseline("z-score", "mean |z| of the row's channels", _z_score),
        Baseline("last-value", "mean |z| of the step from the row before", _last_value),
        Baseline("isolation-forest", "scikit-learn, 100 trees, rows (PyOD's IForest)", _isolation_forest),
        Baseline("lof", "scikit-learn, 20 neighbours, rows (PyOD's LOF)", _lof),
        Baseline("knn", "scikit-learn, distance to the 5th neighbour, rows (PyOD's KNN)", _knn),
        Baseline("ecod", "PyOD, rows ranked among all that are scored", _ecod, ahead=None, package="pyod"),
        Baseline("half-space-trees", "River, learns each row after scoring it", _half_space_trees, package="river"),
        *_family(),
    )
}
"""The baselines by name."""
