"""The loops of calibration in machine code: windows one after the other, each judged by what those before it taught.

`detectors.calibration` says what they do and why, and asks for them when something is judged. A tail comes as `bins`
(4 x K: where each starts, its width, its survival there and how much that rises), `threshold`, `scale` and `shape`.
"""

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import compiled
from streaming.types import Codes, Floats

Doubles = NDArray[np.float64]

SMALLEST = 1e-300
"""No probability is smaller, so that its logarithm is finite."""
FAR = 340.0
"""Tails so far out are bent (to twice that in the limit), so that p falls and is a number for ever."""
COMMON, SLACK = 0.005, 2.0
"""Drift looks at windows as rare as twice alpha, at least at these, and lets twice as many pass as there should be."""
DEAF = 1.25
"""Windows teach drift less from score 1 on and nothing from this score on: they are anomalies, not drift."""
FEWEST_LOGARITHM = 1e-6
"""Of less, in thresholds, the logarithm is not taken."""
LOWEST_DRIFT = -0.7
"""An entity that falls silent is judged by half its level at least."""


@compiled("f8(f8, f8[:, ::1], f8, f8, f8)")
def probability(x: float, bins: Doubles, threshold: float, scale: float, shape: float) -> float:
    """P(X > x); NaN stays NaN."""
    if np.isnan(x):
        return float(np.nan)
    low, high = 0, bins.shape[1]
    while high - low > 1:  # x lies in one of the bins low..high - 1
        middle = (low + high) // 2
        if bins[0, middle] <= x:
            low = middle
        else:
            high = middle
    p = bins[2, low] + bins[3, low] * min((x - bins[0, low]) / bins[1, low], 1.0)
    if x > threshold:
        rare = np.expm1(min(np.log(x / threshold) * shape, 700.0)) / shape / scale
        p *= np.exp(-(2 * FAR - FAR * FAR / rare if rare > FAR else rare))
    return float(max(p, SMALLEST))


@compiled("void(f8[::1], f8[:, ::1], f8, f8, f8, f8[::1])")
def probabilities(x: Doubles, bins: Doubles, threshold: float, scale: float, shape: float, p: Doubles) -> None:
    """Each of x (B), into p (B)."""
    for place in range(len(x)):
        p[place] = probability(x[place], bins, threshold, scale, shape)


@compiled("f8(f8, f8, f8, f8)")
def step(drift: float, p: float, alpha: float, rate: float) -> float:
    """What a window adds to drift: up where windows of its kind are rarer than `common`, else down.

    The rate settles at `common`, or at twice that where the level has risen: between the two nothing moves.
    """
    common = max(2 * alpha, COMMON)
    wanted = SLACK * common if drift >= 0 else common
    if p >= common:
        return -rate * wanted
    score = np.log(p) / np.log(alpha)
    return float(rate * ((1 - wanted) * min(max((DEAF - score) / (DEAF - 1), 0.0), 1.0)))


@compiled("f8(i8, f8, b1, i8, i8, i4[::1], i4[::1], f4[::1])")
def cluster(
    entity: int, over: float, flagged: bool, gap: int, accept: int, left: Codes, length: Codes, level: Floats
) -> float:
    """Go on with an entity's cluster of flags, whose window lies `over` the threshold (a logarithm).

    The mean of its logarithms where it is now accepted as normal, else NaN.
    """
    goes_on = left[entity] > 0
    left[entity] = gap if flagged else max(left[entity] - 1, 0)
    if left[entity] == 0:
        length[entity], level[entity] = 0, 0
        over = 0.0
    else:
        length[entity] = length[entity] + 1 if goes_on else 1
        over += level[entity] if goes_on else 0.0
        level[entity] = over
    if length[entity] < accept:
        return float(np.nan)
    many = max(length[entity], 1)
    left[entity], length[entity], level[entity] = 0, 0, 0
    return float(over / many)


@compiled(
    "void(i4[::1], f4[::1], b1, f8[:, ::1], f8, f8, f8, f8, f8, i8, i8,"
    " f4[::1], f4[::1], i4[::1], i4[::1], f4[::1], f8[::1], f4[::1])"
)
def judge(
    entities: Codes,
    x: Floats,
    learn: bool,
    bins: Doubles,
    threshold: float,
    scale: float,
    shape: float,
    alpha: float,
    rate: float,
    gap: int,
    accept: int,
    drift: Floats,
    windows: Floats,
    left: Codes,
    length: Codes,
    level: Floats,
    p: Doubles,
    had: Floats,
) -> None:
    """P(X > x) of windows x (B) of `entities` (B) into p (B), and how many windows each had before into `had` (B).

    With `learn`, each changes its entity's row of `drift`, `windows`, `left`, `length`, `level`; NaN teaches nothing.
    """
    for place in range(len(x)):
        entity = entities[place]
        had[place] = windows[entity]
        own = np.exp(-np.float64(drift[entity])) * x[place]
        p[place] = probability(own, bins, threshold, scale, shape)
        if not learn or np.isnan(x[place]):
            continue
        moved, flagged = step(drift[entity], p[place], alpha, rate), p[place] < alpha
        if flagged or left[entity] > 0:
            over = np.log(max(own / threshold, FEWEST_LOGARITHM))
            mean = cluster(entity, over, flagged, gap, accept, left, length, level)
            if not np.isnan(mean):
                moved = max(mean, 0.0)
        drift[entity] = max(drift[entity] + moved, LOWEST_DRIFT)
        windows[entity] += np.float32(1)
