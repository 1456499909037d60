"""Peers for log data sets: fitted on the same sessions of the same cut, over the same templates.

A peer brings no threshold of its own, so each gets the one that people set: the quantile of its scores of what it was
fitted on that the budget of false alerts leaves room for.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from detectors.sessioncounts import template_counts
from streaming.sessions import Sessions
from tsad.evaluation.extents import Doubles
from tsad.evaluation.logruns import Cut, Judge, Judged

Scored = tuple[Doubles, Doubles]
"""Scores of the sessions fitted on, and of those to judge; higher is stranger."""
Fit = Callable[[Sessions, Sessions, int], Scored]
"""Sessions to fit on, sessions to judge, and how many templates there are."""


VARIANCE = 0.95


def judge_by(fit: Fit, cut: Cut, budget: float) -> Judged:
    """The scores of a peer; `p` is the share of the fit's scores that reach one, and 1 on the scale of `surprise` is
    the threshold, 0 the median."""
    begun = time.perf_counter()
    known, found = fit(cut.train, cut.test, len(cut.texts))
    spent = time.perf_counter() - begun
    score, known = cut.worst(found), np.sort(known)
    median, threshold = np.quantile(known, [0.5, 1 - cut.alpha(budget)])
    width = threshold - median if threshold > median else 1.0
    p = (1 + len(known) - np.searchsorted(known, score)) / (1 + len(known))
    return Judged(score, (score - median) / width, p, spent)


def _counts(train: Sessions, test: Sessions, templates: int) -> tuple[Doubles, Doubles]:
    return tuple(template_counts(one, templates).astype(np.float64) for one in (train, test))  # type: ignore[return-value]


def _principal_components(train: Sessions, test: Sessions, templates: int) -> Scored:
    """PCA on tf-idf (Xu et al., SOSP 2009): the squared distance from the components that hold 95% of the variance."""
    known, new = _counts(train, test, templates)
    weights = np.log(len(known) / np.maximum((known > 0).sum(axis=0), 1))
    centre = (known * weights).mean(axis=0)
    _, sizes, axes = np.linalg.svd(known * weights - centre, full_matrices=False)
    held = np.cumsum(sizes**2) / max(float((sizes**2).sum()), 1e-12)
    axes = axes[: int(np.searchsorted(held, VARIANCE)) + 1][sizes[: int(np.searchsorted(held, VARIANCE)) + 1] > 1e-9]

    def residual(counts: Doubles) -> Doubles:
        centred = counts * weights - centre
        found: Doubles = np.square(centred - centred @ axes.T @ axes).sum(axis=1)
        return found

    return residual(known), residual(new)


def _neighbours(count: int, train: Sessions, test: Sessions, templates: int) -> Scored:
    """Distance to the nearest `count`th of the sessions fitted on; of those themselves, to another one."""
    known, new = _counts(train, test, templates)
    count = min(count, len(known) - 1)
    model = NearestNeighbors(n_neighbors=count).fit(known)
    return model.kneighbors()[0][:, -1], model.kneighbors(new)[0][:, -1]


def _isolation_forest(train: Sessions, test: Sessions, templates: int) -> Scored:
    known, new = _counts(train, test, templates)
    model = IsolationForest(random_state=7).fit(known)
    return -model.score_samples(known), -model.score_samples(new)


PEERS: dict[str, Fit] = {
    "pca": _principal_components,
    "knn": partial(_neighbours, 20),
    "1-nn": partial(_neighbours, 1),
    "isolation-forest": _isolation_forest,
}
"""Peers by name."""


def log_peer(name: str) -> Judge:
    """The peer of that name; ValueError naming those there are."""
    if name not in PEERS:
        raise ValueError(f"there is no baseline {name!r} for logs; there is: {', '.join(PEERS)}")
    return partial(judge_by, PEERS[name])


def log_peers(names: Sequence[str]) -> dict[str, Judge]:
    """Peers by name, each once, in order."""
    return {name: log_peer(name) for name in names}
