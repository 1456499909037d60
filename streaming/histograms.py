"""Quantiles of histograms, and what was added to a cumulative one since its last point."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import inf, ldexp, log2
from typing import Any

from streaming.settings import SECOND

QUANTILES = (0.5, 0.95, 0.99)
MAX_SERIES = 1024
"""Cumulative histograms whose last counts are remembered."""
UNSEEN = 3600 * SECOND
"""A remembered one gives its place to a new one after so long without a point: sooner, a round of more than there are
places would drive each one out before it comes again."""
SCALES = range(-10, 21)
"""Scales that the data model of OTLP allows."""

Shape = tuple[float, ...] | int
"""Of explicit buckets the bounds, of exponential ones the scale."""
Place = int
"""Of an explicit bucket its number. Of an exponential one twice its index + 1 and at least `_HALF` from zero, with its
sign; 0 is the bucket of zero: places rise with the values."""

_HALF = 1 << 40


@dataclass(frozen=True, slots=True)
class Buckets:
    """Counts by place, those of empty buckets left out."""

    shape: Shape
    counts: dict[Place, int]

    def since(self, before: "Buckets") -> "Buckets | None":
        """What was added since `before`; None where that cannot be told: it was reset, or has other buckets."""
        if self.shape != before.shape or any(self.counts.get(k, 0) < n for k, n in before.counts.items()):
            return None
        added = {k: n - before.counts.get(k, 0) for k, n in self.counts.items()}
        return Buckets(self.shape, {k: n for k, n in added.items() if n})

    def quantiles(self) -> list[float]:
        """Values at `QUANTILES`, linear within a bucket (as Prometheus' histogram_quantile); [] without a count."""
        total = sum(self.counts.values())
        if not total:
            return []
        places, found = iter(sorted(self.counts)), []
        place, seen = next(places), 0
        for quantile in QUANTILES:
            rank = quantile * total
            while seen + self.counts[place] < rank and (following := next(places, None)) is not None:
                seen += self.counts[place]
                place = following
            low, high = self._edges(place)
            found.append(low + (high - low) * min((rank - seen) / self.counts[place], 1.0))
        return found

    def _edges(self, place: Place) -> tuple[float, float]:
        """A bucket's lower and upper bound; an open one has its finite bound only."""
        if isinstance(self.shape, int):
            if place == 0:
                return 0.0, 0.0
            index = abs(place) - _HALF
            near, far = _power(index, self.shape), _power(index + 1, self.shape)
            return (near, far) if place > 0 else (-far, -near)
        bounds = self.shape
        if not bounds:
            return 0.0, 0.0
        if place == 0:
            return min(0.0, bounds[0]), bounds[0]
        return bounds[place - 1], bounds[min(place, len(bounds) - 1)]


def explicit(bounds: Iterable[float], counts: Iterable[int]) -> Buckets | None:
    """Explicit buckets; None where they are none: bounds that do not rise, or another number of counts."""
    edges, numbers = tuple(bounds), list(counts)
    rising = all(a < b for a, b in pairwise(edges)) and all(-inf < edge < inf for edge in edges)
    if not rising or len(numbers) != len(edges) + 1 or min(numbers) < 0:
        return None
    return Buckets(edges, {k: n for k, n in enumerate(numbers) if n})


def exponential(point: Any) -> Buckets | None:
    """The buckets of an exponential histogram's point; None where they are none."""
    if point.scale not in SCALES or point.zero_count < 0:
        return None
    counts: dict[Place, int] = {0: point.zero_count} if point.zero_count else {}
    for sign, side in ((1, point.positive), (-1, point.negative)):
        numbers = list(side.bucket_counts)
        if not -(2**31) <= side.offset < 2**31 or (numbers and min(numbers) < 0):
            return None
        counts |= {sign * (_HALF + side.offset + k): n for k, n in enumerate(numbers) if n}
    return Buckets(point.scale, counts)


def _power(index: int, scale: int) -> float:
    """2 ** (index * 2 ** -scale), within the range of float32."""
    exponent = ldexp(index, -scale)
    return float(2.0 ** min(max(exponent, -149.0), log2(3.4e38)))


@dataclass(frozen=True, slots=True)
class _Last:
    """The last point of a series: since when it counts, its time (ns), its counts."""

    start: int
    time: int
    buckets: Buckets


class CumulativeBuckets:
    """The last counts of each cumulative histogram by its series: what was added since the last point.

    What it knows is a function of the points in their order. It can tell what it knew at any position of the last
    poll.
    """

    def __init__(self) -> None:
        self._last: dict[str, _Last] = {}
        self._at_begin: dict[str, _Last] = {}
        self._taken: list[tuple[int, str, _Last]] = []

    def begin(self) -> None:
        """A poll begins."""
        self._at_begin, self._taken = dict(self._last), []

    def added(self, position: int, series: str, start: int, time: int, buckets: Buckets) -> Buckets | None:
        """What came since the last point of `series`; `start` (ns) is when it began to count. None for its first."""
        before, now = self._last.get(series), _Last(start, time, buckets)
        self._taken.append((position, series, now))
        _put(self._last, series, now)
        if before is None:
            return None
        # a series that begins anew has counted all it says since then
        return buckets.since(before.buckets) if before.start == start else buckets

    def state(self, before: int | None = None) -> list[Any]:
        """JSON: what was known before the position `before`."""
        known = self._last
        if before is not None:
            known = dict(self._at_begin)
            for position, series, last in self._taken:
                if position < before:
                    _put(known, series, last)
        return [
            [series, last.start, last.time, last.buckets.shape, [[k, n] for k, n in last.buckets.counts.items()]]
            for series, last in known.items()
        ]

    def restore(self, state: list[Any]) -> None:
        """Go on from `state`."""
        self._last = {
            series: _Last(start, time, Buckets(shape if isinstance(shape, int) else tuple(shape), dict(counts)))
            for series, start, time, shape, counts in state
        }
        self.begin()


def _put(known: dict[str, _Last], series: str, last: _Last) -> None:
    if series not in known and len(known) >= MAX_SERIES:
        oldest = next(iter(known))
        if last.time - known[oldest].time < UNSEEN:
            return
        del known[oldest]
    known.pop(series, None)
    known[series] = last
