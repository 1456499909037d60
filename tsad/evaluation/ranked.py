"""Metrics of a ranking: over all thresholds, exactly, from one sort. Ties are crossed together."""

from functools import cached_property

import numpy as np

from tsad.evaluation.extents import Bools, Doubles, Extents, Ints


class Ranked:
    """Rows by falling score. Labels hold at least one event and one normal row, scores no NaN.

    A threshold is the score of one row: rows that reach it are flagged.
    """

    def __init__(self, labels: Bools, scores: Doubles) -> None:
        self.events = Extents.of(labels)
        self._scores = scores
        self._order = np.argsort(-scores, kind="stable")
        falling = scores[self._order]
        self._cuts = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
        self._flagged = self._cuts + 1.0
        self._true = labels[self._order].cumsum()[self._cuts].astype(np.float64)
        self._total = float(labels.sum())
        self.thresholds = falling[self._cuts]

    @cached_property
    def average_precision(self) -> float:
        """Precision, weighted by the recall that each threshold adds."""
        gained = np.diff(self._true, prepend=0.0) / self._total
        return float(np.dot(gained, self._true / self._flagged))

    @cached_property
    def roc_auc(self) -> float:
        """The probability that an anomalous row ranks before a normal one; ties count half."""
        false = np.concatenate([[0.0], self._flagged - self._true])
        true = np.concatenate([[0.0], self._true])
        area = np.dot(np.diff(false), (true[1:] + true[:-1]) / 2)
        return float(area / (self._total * (len(self._scores) - self._total)))

    @cached_property
    def best_f1(self) -> float:
        """The highest F1 of rows."""
        return float((2 * self._true / (self._flagged + self._total)).max())

    @property
    def best_event_f1(self) -> float:
        """The highest F1 of event recall and row precision (Garg et al., 2021)."""
        return float(self._event_f1.max())

    @property
    def event_threshold(self) -> float:
        """The threshold where `best_event_f1` is reached."""
        return float(self.thresholds[self._event_f1.argmax()])

    @cached_property
    def _event_f1(self) -> Doubles:
        maxima = np.sort(self.events.maxima(self._scores))
        found = (len(maxima) - np.searchsorted(maxima, self.thresholds)) / len(maxima)
        precision = self._true / self._flagged
        return np.divide(2 * precision * found, precision + found, out=np.zeros_like(found), where=found > 0)

    def pa_k_area(self, steps: int = 100) -> float:
        """Area under PA%K (Kim et al., AAAI 2022): the best F1 where an event counts whole once more than K% of its
        rows are flagged, for K from 0 to 100. Low K flatters any score; the area does not, and is never F1 itself."""
        rank = np.empty(len(self._order), np.int64)
        rank[self._order] = np.arange(len(self._order))
        at, number, lengths = rank[self.events.inside()], self.events.number, self.events.lengths
        by_rank = np.lexsort((at, number))
        at, number = at[by_rank], number[by_rank]
        place = np.arange(len(at)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        best = [self._best_adjusted(at, lengths[number], place, k / steps) for k in range(steps + 1)]
        return float(np.trapezoid(best, dx=1 / steps))

    def _best_adjusted(self, at: Ints, length: Ints, place: Ints, share: float) -> float:
        """Labelled rows at ranks `at`, of events of `length` rows, the `place`-th of its event by rank."""
        crossing = np.floor(share * length + 1e-9).astype(np.int64)
        gained = np.where(place < crossing, 1, np.where(place == crossing, length - crossing, 0))
        jumps = np.zeros(len(self._order))
        jumps[at] = gained
        true = jumps.cumsum()[self._cuts]
        false = self._flagged - self._true
        return float((2 * true / (true + false + self._total)).max())
