"""From a fused score to one tail probability: an empirical body and a generalised-Pareto tail.

Three levels, each the prior of the next: a fixed exponential, the fleet's validation windows (`Tail`), the entity's own
windows (`Calibrator`). The tail follows Pickands (1975); its shape comes from probability-weighted moments (Hosking and
Wallis 1987) of all entities' excesses, since one entity's few dozen cannot tell a shape; its scale is the entity's own
mean excess. Beyond the largest score ever seen p still falls strictly.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.entity_arrays import EntityArrays, Field
from detectors.fusion import Doubles
from streaming.types import Codes, Floats, Ints, State

Mode = Literal["online", "frozen"]

THRESHOLD_QUANTILE = 0.98
"""Where the tail begins."""
SMALLEST = 1e-300
"""No probability is smaller, so that its logarithm is finite."""
_BINS = 32
_FIXED_WINDOWS, _FIXED_EXCESSES = 50.0, 10.0
"""What the fixed exponential is worth beside the fleet's windows, and beside its excesses."""
_SHAPE, _SHAPE_EXCESSES, _SHAPES = 0.15, 30.0, (0.02, 0.5)
"""Prior shape, how many excesses it is worth, and the legal range: never below .02, since a few validation windows,
and correlated ones, look lighter-tailed than the stream will be."""
_OUTLIER = 20.0
"""Pooled excesses count as at most 20 medians: training data may hold anomalies."""
_LOUDEST = 8.0
"""An entity's excess teaches as at most 8 mean ones, for the same reason."""
_LONGEST_CLUSTER = 10.0


@dataclass(frozen=True, slots=True)
class Tail:
    """Tail probabilities of a fleet. `edges` (K + 1, from just below 0 to the threshold), `survival` (K + 1, strictly
    falling from 1), mean `excess` over the threshold, `shape` xi > 0, and `cluster`, the mean run of exceedances."""

    edges: Floats
    survival: Doubles
    excess: float
    shape: float
    cluster: float = 1.0
    exact: Doubles = field(init=False, repr=False)
    """The edges once more, as numbers to calculate with."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "exact", self.edges.astype(np.float64))

    @classmethod
    def fixed(cls, threshold: float = 1.0) -> "Tail":
        """Knows nothing: exponential with 2% beyond `threshold`, heavier beyond (shape .3)."""
        edges = _edges(threshold * 0.05, threshold)
        rate = -np.log1p(-THRESHOLD_QUANTILE) / threshold
        return cls(edges, np.exp(-rate * np.maximum(edges.astype(np.float64), 0)), 1 / rate / (1 - 0.3), 0.3)

    @classmethod
    def fit(cls, sample: Floats, threshold: float = 1.0, cluster: float = 1.0) -> "Tail":
        """From validation numbers (n, >= 0, NaN left out; n may be 0); `threshold`: where 2% are expected unseen."""
        prior = cls.fixed(threshold)
        x = np.sort(sample[~np.isnan(sample)]).astype(np.float64)
        n = len(x)
        if n == 0:
            return prior
        own = np.quantile(x, THRESHOLD_QUANTILE)
        u = max((n * own + _FIXED_WINDOWS * threshold) / (n + _FIXED_WINDOWS), 1e-6)
        edges = _edges(float(np.clip(np.quantile(x, 0.01), u * 1e-3, u * 0.5)), u)
        beyond = n - np.searchsorted(x, edges, side="right")
        survival = (beyond + _FIXED_WINDOWS * prior.probability(edges)) / (n + _FIXED_WINDOWS)
        survival[0] = 1.0
        excesses = x[x > edges[-1]] - edges[-1]
        excesses = np.minimum(excesses, _OUTLIER * np.median(excesses)) if len(excesses) else excesses
        excess = (excesses.sum() + _FIXED_EXCESSES * prior.excess) / (len(excesses) + _FIXED_EXCESSES)
        return cls(edges, survival, float(excess), _shape(excesses), float(np.clip(cluster, 1, _LONGEST_CLUSTER)))

    def probability(self, x: NDArray[Any]) -> Doubles:
        """P(X > x) for x of any shape; NaN stays NaN."""
        return _exceedance(self, x, self.survival.take, self.excess)

    def state(self) -> State:
        """As plain arrays."""
        meta = {"excess": self.excess, "shape": self.shape, "cluster": self.cluster}
        return State({"edges": self.edges, "survival": self.survival}, meta)

    @classmethod
    def restore(cls, state: State) -> "Tail":
        """The inverse of `state`."""
        return cls(state.arrays["edges"], state.arrays["survival"], **state.meta)


@dataclass(frozen=True, slots=True)
class Learning:
    """How an entity's own windows come in.

    `prior` windows (times the mean cluster) and `prior_excesses` are what the fleet is worth; `memory` windows are
    remembered, with exponential forgetting. Windows below `alpha` come in clusters: the first within `gap` slots stands
    for a mean cluster, those behind it teach 1 / `accept` of that each. So the rate of episodes is learnt as it is,
    an incident counts once however long it lasts; one of more than `accept` anomalous windows is the new normal, and
    teaches in full from then on.
    An entity with more than `settled` own windows learns the slower the more it has.
    """

    mode: Mode = "online"
    prior: float = 300.0
    prior_excesses: float = 30.0
    memory: float = 20_000.0
    alpha: float = 1e-4
    gap: int = 10
    accept: float = 1000.0
    settled: float = 500.0


@dataclass(slots=True)
class Calibrator:
    """Tail probabilities for each entity. State: 144 bytes an entity (weighted numbers of windows beyond each edge,
    their summed excess over the threshold, for how many more slots a flag belongs to the cluster before it, and how
    many flags that cluster has)."""

    tail: Tail
    learning: Learning = field(default_factory=Learning)
    _own: EntityArrays = field(init=False)

    def __post_init__(self) -> None:
        shape = self.tail.edges.shape
        self._own = EntityArrays(
            {
                "beyond": Field(shape, np.float32),
                "excess": Field((), np.float32),
                "cluster": Field((), np.int32),
                "length": Field((), np.int32),
            }
        )

    def probability(self, entities: Codes, x: Floats) -> Doubles:
        """P(X > x) for the numbers x (B) of `entities` (B); NaN stays NaN. Changes nothing."""
        self._own.reach(entities)
        beyond, tail = self._own["beyond"], self.tail
        prior = self.learning.prior * tail.cluster
        weight = beyond[entities, 0].astype(np.float64) + prior

        def survival(edge: Ints) -> Doubles:
            p: Doubles = (beyond[entities, edge] + prior * tail.survival[edge]) / weight
            return p

        return _exceedance(tail, x, survival, self._excess(entities))

    def confidence(self, entities: Codes) -> Floats:
        """B numbers from 0 to 1: how much of the body is the entity's own."""
        self._own.reach(entities)
        own: Floats = self._own["beyond"][entities, 0]
        return own / (own + np.float32(self.learning.prior * self.tail.cluster))

    def learn(self, entities: Codes, x: Floats, p: Doubles) -> None:
        """Take in the numbers x (B) of one slot, each entity once, whose probabilities were p (B)."""
        if self.learning.mode == "frozen":
            return
        known = ~np.isnan(x)
        if not known.all():
            entities, x, p = entities[known], x[known], p[known]
        weight = self._weights(entities, p)
        keep = 1 - weight / np.float32(self.learning.memory)
        excess = np.maximum(x - self.tail.edges[-1], 0)
        excess = np.minimum(excess, _LOUDEST * self._excess(entities))
        own = self._own["excess"][entities]
        self._own["excess"][entities] = own * keep + weight * excess
        beyond = self._own["beyond"][entities]
        beyond *= keep[:, None]
        beyond += weight[:, None] * (x[:, None] > self.tail.edges)
        self._own["beyond"][entities] = beyond

    def _weights(self, entities: Codes, p: Doubles) -> Floats:
        left = self._own["cluster"][entities]
        flagged = p < self.learning.alpha
        first = np.float32(self.tail.cluster)
        behind = first / np.float32(self.learning.accept)
        pace = np.minimum(self.learning.settled / np.maximum(self._own["beyond"][entities, 0], 1), 1)
        length = np.where(left > 0, self._own["length"][entities], 0) + flagged
        self._own["length"][entities] = length
        weights: Floats = np.where(flagged, np.where(left > 0, behind, first), np.float32(1)) * pace
        weights = np.where(length > self.learning.accept, np.float32(1), weights)
        self._own["cluster"][entities] = np.where(flagged, self.learning.gap, np.maximum(left - 1, 0))
        return weights

    def rows(self, entities: Codes) -> dict[str, NDArray[Any]]:
        """What was learnt of `entities`."""
        return self._own.rows(entities)

    def put_rows(self, entities: Codes, arrays: dict[str, NDArray[Any]]) -> None:
        """Overwrite it."""
        self._own.put_rows(entities, arrays)

    def forget(self, entities: Codes) -> None:
        """Empty it."""
        self._own.forget(entities)

    def _excess(self, entities: Codes) -> Doubles:
        """Mean excess of each entity (B), the fleet's being worth `prior_excesses`."""
        prior = self.learning.prior_excesses * self.tail.cluster
        own = self._own["excess"][entities]
        mean: Doubles = (own + prior * self.tail.excess) / (self._own["beyond"][entities, -1] + prior)
        return mean


def own_windows(tail: Tail, codes: Codes, x: Floats, entities: int) -> dict[str, NDArray[Any]]:
    """Rows for `Calibrator.put_rows` of entities 0..`entities` - 1 from their validation numbers x (N, codes N)."""
    known = ~np.isnan(x)
    codes, x = codes[known], x[known]
    counts = np.zeros((entities, len(tail.edges)))
    np.add.at(counts, (codes, np.searchsorted(tail.edges, x) - 1), 1)
    beyond = counts[:, ::-1].cumsum(axis=1)[:, ::-1]
    excess = np.minimum(np.maximum(x - tail.edges[-1], 0), _LOUDEST * tail.excess)
    summed = np.bincount(codes, weights=excess, minlength=entities)
    none = np.zeros(entities, np.int32)
    return {"beyond": beyond.astype(np.float32), "excess": summed.astype(np.float32), "cluster": none, "length": none}


def mean_cluster(x: Floats, codes: Codes, slots: Ints, quiet: int, rarest: int = 30) -> float:
    """Mean number of exceedances in a cluster: those of one entity not more than `quiet` slots apart (runs estimator,
    Smith and Weissman 1994), above the 99.8% quantile of x, or above a lower one that leaves `rarest` exceedances.

    x, codes and slots (N) are ordered by (entity, slot).
    """
    known = np.flatnonzero(~np.isnan(x))
    if len(known) <= 2:
        return 1.0
    top = min(max(rarest, int(0.002 * len(known))), len(known) // 2)
    beyond = known[x[known] > np.partition(x[known], -top - 1)[-top - 1]]
    if not len(beyond):
        return 1.0
    starts = (np.diff(codes[beyond], prepend=-1) != 0) | (np.diff(slots[beyond], prepend=0) > quiet)
    return len(beyond) / max(int(starts.sum()), 1)


def alpha_for(budget: float, step_ns: int, entities: int, cluster: float) -> float:
    """The tail probability below which a window is anomalous: false episodes a day = `budget`.

    A day has entities x (86,400 s / step) windows; alpha of them exceed, in clusters of `cluster` windows, each of
    which makes one episode: budget = alpha x windows / cluster. At most 1%.
    """
    windows = max(entities, 1) * 86_400e9 / step_ns
    return float(np.clip(budget * cluster / windows, 1e-15, 0.01))


def _exceedance(tail: Tail, x: NDArray[Any], survival: Any, excess: float | Doubles) -> Doubles:
    """Body times tail. `survival` answers P(X > edge) for edge numbers shaped as x; `excess` is the mean excess."""
    edges, last = tail.exact, len(tail.exact) - 1
    x = np.ascontiguousarray(x, dtype=np.float64)
    above = edges.searchsorted(x, side="right")
    np.minimum(above, last, out=above)
    np.maximum(above, 1, out=above)
    below = above - 1
    start = edges[below]
    part = np.minimum((x - start) / (edges[above] - start), 1.0)
    high, low = survival(above), survival(below)
    beyond = np.maximum(x - edges[last], 0.0)
    beyond *= tail.shape / (1 - tail.shape) / excess
    p: Doubles = np.log1p(beyond)
    p *= -1 / tail.shape
    np.exp(p, out=p)
    p *= low + (high - low) * part
    np.maximum(p, SMALLEST, out=p)
    return p


def _edges(low: float, high: float) -> Floats:
    return np.concatenate([[-1e-6], np.geomspace(low, high, _BINS)]).astype(np.float32)


def _shape(excesses: Doubles) -> float:
    """xi by probability-weighted moments, drawn to a prior and kept in a legal range. `excesses` ascend."""
    n = len(excesses)
    if n < 2 or excesses[-1] <= 0:
        return _SHAPE
    a0 = excesses.mean()
    a1 = (excesses * (n - 1 - np.arange(n))).sum() / (n * (n - 1))
    # Equal excesses leave no room: 2 a1 = a0 is the lightest tail there is.
    estimate = 2 - a0 / max(a0 - 2 * a1, 1e-12)
    drawn = (n * max(estimate, -1.0) + _SHAPE_EXCESSES * _SHAPE) / (n + _SHAPE_EXCESSES)
    return float(np.clip(drawn, *_SHAPES))
