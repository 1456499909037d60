"""From a fused score to one tail probability: an empirical body, a tail beyond it, and the drift of each entity.

The body comes from the fleet's validation windows. Beyond its last edge u the tail is log-Weibull (de Valk 2016):
P(X > z u | X > u) = exp(-h(z) / scale), h(z) = (z^shape - 1) / shape. Shape 2 is close to normal numbers, 1 is
exponential, 0 a power law: one family for light and heavy tails, without an end. Shape and scale are the most likely
ones of all entities' exceedances, since one entity's few dozen cannot tell them.

What changes on the stream is the level: an entity's numbers are divided by e^drift before they meet the tail. Drift is
held by a rate controller (stochastic approximation, Robbins and Monro 1951): rare windows that come too often raise it,
their absence lowers it. Windows far beyond the threshold teach nothing, so an incident does not become normal until it
has gone on for `accept` windows.
"""

from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.entity_arrays import EntityArrays, Field
from detectors.fusion import Doubles
from streaming.types import Codes, Floats, Ints, State

Mode = Literal["online", "frozen"]

THRESHOLD_QUANTILE = 0.98
"""Where the tail begins."""
_BINS = 32
_FIXED_WINDOWS = 50.0
"""What the fixed exponential is worth beside the fleet's windows."""
_UNSEEN_SCALE, _UNSEEN_SHAPE = 0.3, 1e-6
"""The tail of scores nobody has validated: a power law."""
_SHAPES = np.append(1e-6, np.arange(0.25, 2.1, 0.25))
"""No tail is taken for lighter than that of normal numbers: a calm stretch of validation is no promise."""
_SHAPE, _SHAPE_SPREAD = 1.5, 1.0
"""Normal prior of the shape: between exponential and normal numbers."""
_SCALE_EXCEEDANCES = 10.0
"""The scale's prior, that of normal numbers, is worth so many exceedances."""
_OUTLIER = 20.0
"""Exceedances count as at most 20 medians (logarithms): training data may hold anomalies."""
_BLOCK, _RAREST, _LONGEST_CLUSTER = 500, 0.01, 10.0
"""Clusters are those of the rarest 1% of every 500 windows, so that one strange stretch does not decide."""


def _normal_exceedances(count: int = 200) -> Doubles:
    """Logarithms of the normal numbers' absolute values beyond their 98% quantile, over that quantile."""
    tail = (1 - THRESHOLD_QUANTILE) / 2 * (np.arange(count) + 0.5) / count
    beyond = -np.array([NormalDist().inv_cdf(share) for share in tail])
    logarithms: Doubles = np.log(beyond / -NormalDist().inv_cdf((1 - THRESHOLD_QUANTILE) / 2))
    return logarithms


_NORMAL = _normal_exceedances()


@dataclass(frozen=True, slots=True)
class Tail:
    """Tail probabilities of a fleet. `edges` (K + 1, from just below 0 to the threshold), `survival` (K + 1, strictly
    falling from 1), `scale` and `shape` beyond the threshold, and `cluster`, the mean run of exceedances."""

    edges: Floats
    survival: Doubles
    scale: float
    shape: float
    cluster: float = 1.0
    threshold: float = field(init=False)
    """The last edge."""
    _bins: Doubles = field(init=False, repr=False)
    """4 x K: where each bin starts, its width, its survival there and how much that rises."""

    def __post_init__(self) -> None:
        edges, survival = self.edges.astype(np.float64), self.survival
        bins = np.stack([edges[:-1], np.diff(edges), survival[:-1], np.diff(survival)])
        for name, value in (("threshold", float(edges[-1])), ("_bins", bins)):
            object.__setattr__(self, name, value)

    @classmethod
    def fixed(cls, threshold: float = 1.0) -> "Tail":
        """Knows nothing: exponential with 2% beyond `threshold`, a power law from there on."""
        edges = _edges(threshold * 0.05, threshold)
        rate = -np.log1p(-THRESHOLD_QUANTILE) / threshold
        survival = np.exp(-rate * np.maximum(edges.astype(np.float64), 0))
        return cls(edges, survival, _UNSEEN_SCALE, _UNSEEN_SHAPE)

    @classmethod
    def fit(cls, sample: Floats, threshold: float = 1.0, cluster: float = 1.0) -> "Tail":
        """From validation numbers (n, >= 0, NaN left out; n may be 0); `threshold`: where 2% are expected unseen;
        `cluster`: so many exceedances count as one."""
        prior = cls.fixed(threshold)
        x = np.sort(sample[~np.isnan(sample)]).astype(np.float64)
        n, cluster = len(x), float(np.clip(cluster, 1, _LONGEST_CLUSTER))
        if n == 0:
            return prior
        own = np.quantile(x, THRESHOLD_QUANTILE)
        u = max((n * own + _FIXED_WINDOWS * threshold) / (n + _FIXED_WINDOWS), 1e-6)
        edges = _edges(float(np.clip(np.quantile(x, 0.01), u * 1e-3, u * 0.5)), u)
        beyond = n - np.searchsorted(x, edges, side="right")
        survival = (beyond + _FIXED_WINDOWS * prior.probability(edges)) / (n + _FIXED_WINDOWS)
        survival[0] = 1.0
        scale, shape = _most_likely(np.log(x[x > edges[-1]] / edges[-1]), 1 / cluster)
        return cls(edges, survival, scale, shape, cluster)

    def probability(self, x: NDArray[Any]) -> Doubles:
        """P(X > x) for x of any shape; NaN stays NaN."""
        from detectors.calibrating import probabilities  # compiled, which who judges nothing need not wait for

        each = np.array(x, np.float64, order="C")  # a copy, since a loop wants no read-only array
        p = np.empty_like(each)
        probabilities(each.reshape(-1), *self.parameters, p.reshape(-1))
        return p

    @property
    def parameters(self) -> tuple[Doubles, float, float, float]:
        """As the loops are told it: bins, threshold, scale, shape."""
        return self._bins, self.threshold, self.scale, self.shape

    def state(self) -> State:
        """As plain arrays."""
        meta = {"scale": self.scale, "shape": self.shape, "cluster": self.cluster}
        return State({"edges": self.edges, "survival": self.survival}, meta)

    @classmethod
    def restore(cls, state: State) -> "Tail":
        """The inverse of `state`."""
        return cls(state.arrays["edges"], state.arrays["survival"], **state.meta)


@dataclass(frozen=True, slots=True)
class Learning:
    """How an entity's own windows come in.

    Each rare window moves the drift of a known entity by up to `rate`; flags (p below `alpha`) at most
    `gap` slots apart are one cluster, and one that has lasted for `accept` windows becomes the new normal. `prior`
    windows (times the mean cluster) are what the fleet is worth in `Calibrator.confidence`.
    """

    mode: Mode = "online"
    alpha: float = 1e-4
    rate: float = 1e-3
    gap: int = 10
    accept: int = 3_000
    prior: float = 300.0


@dataclass(slots=True)
class Calibrator:
    """Tail probabilities for each entity. State: 20 bytes an entity (its drift, how many windows it had, for how many
    more slots a flag belongs to the cluster before it, that cluster's windows and their summed logarithms)."""

    tail: Tail
    learning: Learning = field(default_factory=Learning)
    _own: EntityArrays = field(init=False)

    def __post_init__(self) -> None:
        self._own = EntityArrays(
            {
                "drift": Field((), np.float32),
                "windows": Field((), np.float32),
                "cluster": Field((), np.int32),
                "length": Field((), np.int32),
                "level": Field((), np.float32),
            }
        )

    def probability(self, entities: Codes, x: Floats) -> Doubles:
        """P(X > x) for the numbers x (B) of `entities` (B); NaN stays NaN. Changes nothing."""
        return self.judge(entities, x, learn=False)[0]

    def confidence(self, entities: Codes) -> Floats:
        """B numbers from 0 to 1: how much is known of the entity itself."""
        self._own.reach(entities)
        return self._trust(self._own["windows"][entities])

    def judge(self, entities: Codes, x: Floats, learn: bool = True) -> tuple[Doubles, Floats]:
        """P(X > x) and the confidence before it for the numbers x (B) of `entities` (B), ordered by slot: each is
        judged by what those before it taught."""
        from detectors.calibrating import judge  # compiled, which who judges nothing need not wait for

        own, how = self._own, self.learning
        own.reach(entities)
        entities, x = np.array(entities, np.int32), np.array(x, np.float32)  # copies: a loop wants no read-only array
        p, had = np.empty(len(x)), np.empty(len(x), np.float32)
        judge(
            entities, x, learn and how.mode == "online",
            *self.tail.parameters, how.alpha, how.rate, how.gap, how.accept,
            own["drift"], own["windows"], own["cluster"], own["length"], own["level"], p, had,
        )  # fmt: skip
        return p, self._trust(had)

    def _trust(self, windows: Floats) -> Floats:
        return windows / (windows + np.float32(self.learning.prior * self.tail.cluster))

    def rows(self, entities: Codes) -> dict[str, NDArray[Any]]:
        """What was learnt of `entities`."""
        return self._own.rows(entities)

    def put_rows(self, entities: Codes, arrays: dict[str, NDArray[Any]]) -> None:
        """Overwrite it."""
        self._own.put_rows(entities, arrays)

    def forget(self, entities: Codes) -> None:
        """Empty it."""
        self._own.forget(entities)


def own_windows(codes: Codes, x: Floats, entities: int) -> dict[str, NDArray[Any]]:
    """Rows for `Calibrator.put_rows` of entities 0..`entities` - 1 from their validation numbers x (N, codes N)."""
    counts = np.bincount(codes[~np.isnan(x)], minlength=entities).astype(np.float32)
    whole, real = np.zeros(entities, np.int32), np.zeros(entities, np.float32)
    return {"drift": real, "windows": counts, "cluster": whole, "length": whole, "level": real}


def mean_cluster(x: Floats, codes: Codes, slots: Ints, quiet: int) -> float:
    """Mean number of exceedances in a cluster: those of one entity not more than `quiet` slots apart (at most 50; runs
    estimator, Smith and Weissman 1994), less those that lie so close by chance.

    x, codes and slots (N) are ordered by (entity, slot).
    """
    gap = min(quiet, int(0.5 / _RAREST))
    known = np.flatnonzero(~np.isnan(x))
    blocks = np.array_split(known, max(1, len(known) // _BLOCK))
    beyond = np.concatenate([_rarest(x, block) for block in blocks])
    if not len(beyond):
        return 1.0
    starts = (np.diff(codes[beyond], prepend=-1) != 0) | (np.diff(slots[beyond], prepend=0) > gap)
    starts[0] = True
    runs = cluster = len(beyond) / int(starts.sum())
    for _ in range(20):  # independent clusters come with rate _RAREST / cluster; those within `gap` look like one
        cluster = max(runs * np.exp(-gap * _RAREST / cluster), 1.0)
    return float(cluster)


def alpha_for(budget: float, step_ns: int, entities: int, cluster: float) -> float:
    """The tail probability below which a window is anomalous: false episodes a day = `budget`.

    A day has entities x (86,400 s / step) windows; alpha of them exceed, in clusters of `cluster` windows, each of
    which makes one episode: budget = alpha x windows / cluster. At most 1%.
    """
    windows = max(entities, 1) * 86_400e9 / step_ns
    return float(np.clip(budget * cluster / windows, 1e-15, 0.01))


def _rarest(x: Floats, block: Ints) -> Ints:
    """The places (of `block`) of its rarest numbers, none where it is short."""
    top = int(_RAREST * len(block))
    if not top:
        return block[:0]
    rarest: Ints = block[x[block] > np.partition(x[block], -top - 1)[-top - 1]]
    return rarest


def _excess(logarithms: Doubles, shape: float) -> Doubles:
    """h(z) = (z^shape - 1) / shape for log z >= 0; finite, whatever z."""
    excess: Doubles = np.expm1(np.minimum(logarithms * shape, 700.0)) / shape
    return excess


def _edges(low: float, high: float) -> Floats:
    return np.concatenate([[-1e-6], np.geomspace(low, high, _BINS)]).astype(np.float32)


def _most_likely(exceedances: Doubles, weight: float) -> tuple[float, float]:
    """Scale and shape of exceedances (logarithms of x / u, each counting for `weight`), with their priors."""
    z = np.minimum(exceedances, _OUTLIER * np.median(exceedances)) if len(exceedances) else exceedances
    count = weight * len(z)
    found = []
    for shape in _SHAPES.tolist():
        excess = weight * float(_excess(z, shape).sum())
        scale = (excess + _SCALE_EXCEEDANCES * float(_excess(_NORMAL, shape).mean())) / (count + _SCALE_EXCEEDANCES)
        density = weight * shape * float(z.sum()) - excess / scale - count * np.log(scale)
        found.append((density - (shape - _SHAPE) ** 2 / (2 * _SHAPE_SPREAD**2), scale, shape))
    return max(found)[1:]
