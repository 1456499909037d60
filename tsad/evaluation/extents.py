"""Labelled events as rows: `start` to `stop` (exclusive), and where one row lies among them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Extents:
    """M events in order, without overlap: `starts` (M) and `stops` (M, exclusive) are rows of a series of `rows`."""

    starts: Ints
    stops: Ints
    rows: int

    @classmethod
    def of(cls, labels: Bools) -> "Extents":
        """The runs of true labels."""
        steps = np.diff(np.concatenate([[0], labels.astype(np.int8), [0]]))
        return cls(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), len(labels))

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> Ints:
        """Rows of each event."""
        return self.stops - self.starts

    @property
    def number(self) -> Ints:
        """The event of each labelled row, in order of rows."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def labels(self) -> Bools:
        """Which rows lie in an event."""
        inside = np.zeros(self.rows, np.bool_)
        inside[self.inside()] = True
        return inside

    def inside(self) -> Ints:
        """The rows that lie in an event."""
        before = np.cumsum(self.lengths) - self.lengths
        offsets: Ints = np.arange(int(self.lengths.sum())) - np.repeat(before, self.lengths)
        return offsets + np.repeat(self.starts, self.lengths)

    def maxima(self, scores: Doubles) -> Doubles:
        """The highest score in each event; at least one event."""
        highest: Doubles = np.maximum.reduceat(scores[self.inside()], np.cumsum(self.lengths) - self.lengths)
        return highest

    def widened(self, by: int) -> "Extents":
        """Each event `by` rows longer on both sides; those that then overlap or touch in a row become one."""
        if not len(self):
            return self
        apart = self.stops[:-1] - 1 + by < self.starts[1:] - by
        first, last = np.concatenate([[True], apart]), np.concatenate([apart, [True]])
        starts, stops = self.starts[first] - by, self.stops[last] + by
        return Extents(np.maximum(starts, 0), np.minimum(stops, self.rows), self.rows)
