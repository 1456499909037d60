"""Affiliation F1 (Huet et al., KDD 2022): how near flags lie to events, against flags thrown at random.

Every event owns the rows nearer to it than to another one (its zone). Precision is the mean over flagged time of the
probability that a random place in the zone lies farther from the event; recall the mean over the event's time of the
probability that a random place lies farther from it than the nearest flag. Distances are piecewise linear with kinks at
quarters of a row, so that quarters integrate exactly.
"""

import numpy as np
from numpy.typing import NDArray

from tsad.evaluation.extents import Bools, Doubles, Extents, Ints

PARTS = 4
FAR = 1e18


class Zones:
    """The zones of M events over `rows` rows; times are in rows, a row is [row, row + 1)."""

    def __init__(self, events: Extents) -> None:
        self.events = events
        middles = (events.stops[:-1] + events.starts[1:]) / 2
        self.begins = np.concatenate([[0.0], middles])
        self.ends = np.concatenate([middles, [float(events.rows)]])
        times: Doubles = (np.arange(events.rows * PARTS) + 0.5) / PARTS
        self._zone: Ints = np.searchsorted(middles, times, side="right")
        self._inside = np.repeat(events.labels(), PARTS)
        self._times = times
        begin, end = self.begins[self._zone], self.ends[self._zone]
        start, stop = events.starts[self._zone], events.stops[self._zone]
        away = np.maximum(np.maximum(start - times, times - stop), 0)
        nearer = (stop - start) + np.minimum(away, start - begin) + np.minimum(away, end - stop)
        self._survival = np.where(self._inside, 1.0, 1 - nearer / (end - begin))

    def precision(self, flags: Bools) -> float:
        """Mean over the events whose zone holds a flag; 0 where none does."""
        parts = np.flatnonzero(np.repeat(flags, PARTS))
        zone = self._zone[parts]
        count = np.bincount(zone, minlength=len(self.events))
        total = np.bincount(zone, weights=self._survival[parts], minlength=len(self.events))
        return float((total[count > 0] / count[count > 0]).mean()) if len(parts) else 0.0

    def recall(self, flags: Bools) -> float:
        """Mean over all events."""
        parts = np.repeat(flags, PARTS)
        at = np.flatnonzero(self._inside)
        zone, time = self._zone[at], self._times[at]
        away = np.where(parts[at], 0.0, self._to_nearest(parts, at))
        begin, end = self.begins[zone], self.ends[zone]
        nearer = np.minimum(away, time - begin) + np.minimum(away, end - time)
        total = np.bincount(zone, weights=1 - nearer / (end - begin), minlength=len(self.events))
        found = np.bincount(self._zone[parts], minlength=len(self.events)) > 0
        return float((found * total / (PARTS * self.events.lengths)).mean())

    def _to_nearest(self, parts: Bools, at: Ints) -> Doubles:
        """From the middles of the parts `at` to the nearest flagged time of the same zone."""
        flagged = np.flatnonzero(parts)
        if not len(flagged):
            return np.full(len(at), FAR)
        after = np.searchsorted(flagged, at)
        left, right = flagged[np.maximum(after - 1, 0)], flagged[np.minimum(after, len(flagged) - 1)]
        return np.minimum(
            self._gap(at, left, (after > 0) & (self._zone[left] == self._zone[at])),
            self._gap(at, right, (after < len(flagged)) & (self._zone[right] == self._zone[at])),
        )

    def _gap(self, at: Ints, flagged: Ints, same: NDArray[np.bool_]) -> Doubles:
        # to the edge of the flagged part, not to its middle
        return np.where(same, (np.abs(at - flagged) - 0.5) / PARTS, FAR)

    def f1(self, flags: Bools) -> float:
        """Harmonic mean of both."""
        precision, recall = self.precision(flags), self.recall(flags)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def best_affiliation_f1(labels: Bools, scores: Doubles, thresholds: int = 100) -> float:
    """The highest affiliation F1 over thresholds at ranks in geometric steps, from one row to all."""
    zones = Zones(Extents.of(labels))
    falling = -np.sort(-scores)
    ranks = np.unique(np.geomspace(1, len(scores), thresholds).astype(np.int64)) - 1
    return max(zones.f1(scores >= threshold) for threshold in np.unique(falling[ranks]))
