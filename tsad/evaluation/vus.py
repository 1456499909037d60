"""Volume under the surface (Paparrizos et al., VLDB 2022), as the TSB-AD package computes it, without its loops.

For each buffer from 0 to `buffer` rows, labels fade out around each event by sqrt(1 - distance / buffer) up to half
the buffer, and curves over 250 thresholds (rows of equally spaced rank) are integrated; the mean over buffers is the
volume.
A row within reach of two events counts whole: its two parts add up to more than 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsad.evaluation.extents import Bools, Doubles, Extents, Ints

THRESHOLDS = 250


@dataclass(frozen=True, slots=True)
class Volume:
    """VUS-PR and VUS-ROC."""

    pr: float
    roc: float


@dataclass(frozen=True, slots=True)
class _Fringe:
    """Rows near events, not in them: by how many rows from the nearest one and the next, and their threshold bins."""

    near: Ints
    next: Ints
    bins: Ints


def volume(labels: Bools, scores: Doubles, buffer: int) -> Volume:
    """Both volumes; labels must hold at least one event and one normal row, scores no NaN."""
    events = Extents.of(labels)
    rows, points = len(labels), np.linspace(0, len(labels) - 1, THRESHOLDS).astype(np.int64)
    thresholds = -np.sort(-scores)[points]
    flagged = np.searchsorted(np.sort(scores), thresholds, side="left")
    flagged = (rows - flagged).astype(np.float64)
    inside = _cumulated(_bins(scores[labels], thresholds), np.ones(int(labels.sum())))
    fringe = _fringe(events, scores, thresholds, buffer // 2)
    existence = [_existence(events.widened(reach), scores, thresholds) for reach in range(buffer // 2 + 1)]
    total = float(labels.sum())
    pr, roc = np.empty(buffer + 1), np.empty(buffer + 1)
    for width in range(buffer + 1):
        faded = _cumulated(fringe.bins, _weights(fringe, width))
        true = inside + faded
        expected = total + faded / 2
        recall = np.minimum(true / expected, 1) * existence[width // 2]
        false_rate = (flagged - true) / (rows - expected)
        pr[width] = _precision_area(recall, true / flagged)
        roc[width] = _area(recall, false_rate)
    return Volume(float(pr.mean()), float(roc.mean()))


def _bins(scores: Doubles, thresholds: Doubles) -> Ints:
    """The first of the falling thresholds that each score reaches."""
    return np.searchsorted(-thresholds, -scores, side="left")


def _cumulated(bins: Ints, weights: Doubles) -> Doubles:
    """Weight that reaches each threshold."""
    total: Doubles = np.bincount(bins, weights=weights, minlength=THRESHOLDS + 1)[:THRESHOLDS].cumsum()
    return total


def _fringe(events: Extents, scores: Doubles, thresholds: Doubles, reach: int) -> _Fringe:
    around = events.widened(reach).labels()
    around[events.inside()] = False
    at = np.flatnonzero(around)
    before = np.searchsorted(events.starts, at)
    far = np.int64(2 * events.rows + 2 * reach)  # beyond the longest reach
    lasts = np.concatenate([[-far, -far], events.stops - 1])
    starts = np.concatenate([events.starts, [far, far]])
    distances: NDArray[np.int64] = np.stack(
        [at - lasts[before + 1], at - lasts[before], starts[before] - at, starts[before + 1] - at]
    )
    distances.sort(axis=0)
    return _Fringe(distances[0], distances[1], _bins(scores[at], thresholds))


def _weights(fringe: _Fringe, width: int) -> Doubles:
    reach = width // 2
    single = np.sqrt(np.maximum(1 - fringe.near / max(width, 1), 0))
    whole = np.where(fringe.next <= reach, 1.0, single)
    return np.where(fringe.near <= reach, whole, 0.0)


def _existence(events: Extents, scores: Doubles, thresholds: Doubles) -> Doubles:
    """Share of the events in which some score reaches each threshold."""
    return _cumulated(_bins(events.maxima(scores), thresholds), np.full(len(events), 1 / len(events)))


def _precision_area(recall: Doubles, precision: Doubles) -> float:
    return float(np.dot(np.diff(recall, prepend=0.0), precision))


def _area(recall: Doubles, false_rate: Doubles) -> float:
    x = np.concatenate([[0.0], false_rate, [1.0]])
    y = np.concatenate([[0.0], recall, [1.0]])
    return float(np.dot(np.diff(x), (y[1:] + y[:-1]) / 2))
