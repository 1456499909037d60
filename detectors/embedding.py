"""Vectors of named values, learnt from which values come together in a line: the embedding of APE (see `relation`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.related import ABSENT
from streaming.types import Ints

Nats = NDArray[np.float64]
VALUES = 10_000
"""Values of a name that are known at most: the most frequent at a fit, later those that came last."""
BATCH = 256
"""Lines of a step."""
_WIDTH, _NOISE, _DRAWN, _RATE, _DECAY, _LEAST = 12, 5, 64, 0.1, 0.01, 1e-6
_SMALL = 2**16
_NOW = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The known values of R names: sorted `keys` by name, the first of name r at `first[r]` (R + 1)."""

    keys: Ints
    first: Ints

    @classmethod
    def of(cls, keys: Ints) -> "Vocabulary":
        """The most frequent values of N lines x R names."""
        kept = []
        for column in keys.T:
            values, counts = np.unique(column[column != ABSENT], return_counts=True)
            kept.append(np.sort(values[np.argsort(-counts, kind="stable")[:VALUES]]))
        return cls._by_name(kept)

    @classmethod
    def _by_name(cls, values: Sequence[Ints]) -> "Vocabulary":
        return cls(np.concatenate(values), np.concatenate([[0], np.cumsum([len(one) for one in values])]))

    def grown(self, keys: Ints, seen: Ints) -> tuple["Vocabulary", Ints]:
        """With the values of N lines x R names, and the number that each had until now, 0 = it is new (V + 1, the
        first is that of no value). Where a name has too many, those go that were `seen` (V + 1) longest ago."""
        values, places = list[Ints](), [np.zeros(1, np.int64)]
        for name, column in enumerate(keys.T):
            numbers = np.arange(self.first[name], self.first[name + 1])
            fresh = np.setdiff1d(column[column != ABSENT], self.keys[numbers])
            whole = np.concatenate([self.keys[numbers], fresh])
            place = np.concatenate([numbers + 1, np.zeros(len(fresh), np.int64)])
            age = np.where(place, seen[place], _NOW)
            kept = np.argsort(-age, kind="stable")[:VALUES]
            kept = kept[np.argsort(whole[kept])]
            values.append(whole[kept])
            places.append(place[kept])
        return self._by_name(values), np.concatenate(places)

    def numbers(self, keys: Ints) -> Ints:
        """N x R: numbers of values from 1 on, 0 = not known, -1 = the line says nothing."""
        found = np.where(keys == ABSENT, ABSENT, 0)
        for name in range(keys.shape[1]):
            known = self.keys[self.first[name] : self.first[name + 1]]
            if len(known):
                place = np.minimum(np.searchsorted(known, keys[:, name]), len(known) - 1)
                there = known[place] == keys[:, name]
                found[there, name] = 1 + self.first[name] + place[there]
        return found


@dataclass(slots=True)
class Learnt:
    """Of V values: `vectors` (V + 1 x width, the first is that of no value), how far they have `moved` (squared), the
    `counts` (V + 1) of lines that they came in, and when each was `seen` last; of P pairs of names: `weights`, and how
    far they were `pulled`."""

    vectors: Nats
    moved: Nats
    counts: Ints
    seen: Ints
    weights: Nats
    pulled: Nats

    @classmethod
    def begun(cls, values: int, pairs: int, draw: np.random.Generator) -> "Learnt":
        """Nothing but chance."""
        vectors = draw.normal(0, 0.3, (values + 1, _WIDTH))
        vectors[0] = 0
        none = np.zeros(values + 1, np.int64)
        return cls(vectors, np.full(vectors.shape, _LEAST), none, none.copy(), np.ones(pairs), np.full(pairs, _LEAST))

    def taken(self, place: Ints) -> "Learnt":
        """Of the values at `place`; 0 is one of which nothing is known."""
        of_values = (self.vectors[place], self.moved[place], self.counts[place], self.seen[place])
        return Learnt(*of_values, self.weights, self.pulled)

    def count(self, lines: Ints, times: Ints, now: int) -> None:
        """U distinct lines (U x R numbers of values) came so many times."""
        there = lines > 0
        came = np.repeat(times, lines.shape[1])[there.ravel()]
        self.counts += np.bincount(lines[there], came, len(self.counts)).astype(np.int64)
        self.seen[lines[there]] = now

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By name."""
        return {name: getattr(self, name) for name in self.__slots__}


class Learner:
    """Learns vectors and weights from U `lines` (U x R numbers of values) that came so many `times`.

    A step asks for one name: the value that a drawn line has there is held against others that are drawn for its place,
    the same ones for all lines of the step. How they go with the line's other values tells which was there
    (noise-contrastive estimation). At its best a sum over pairs is the logarithm of how much more often a value comes
    with the others than it comes at all.
    """

    def __init__(self, lines: Ints, times: Ints, known: Vocabulary, learnt: Learnt, draw: np.random.Generator) -> None:
        there = (lines > 0).T
        self._lines, self._draw, self._learnt = np.maximum(lines.T, 0), draw, learnt
        self._upto = np.cumsum(there * times, axis=1)
        self._share = np.cumsum(there / np.maximum(there.sum(axis=0), 1) @ times)
        pairs = list(combinations(range(len(there)), 2))
        self._pairs = [[place for place, pair in enumerate(pairs) if name in pair] for name in range(len(there))]
        self._others = [[other for other in range(len(there)) if other != name] for name in range(len(there))]
        self._values = np.cumsum(learnt.counts)
        self._bounds = self._values[known.first]

    def steps(self, many: int) -> None:
        """Learn from lines that are drawn, so many times: of each name as often as it is one of a line's."""
        places = (np.arange(many) + self._draw.random()) * (self._share[-1] / many)
        for asked in self._draw.permutation(np.searchsorted(self._share[:-1], places, side="right")).tolist():
            self._step(asked)

    def _step(self, asked: int) -> None:
        """Learn which values of a name go with what some lines say."""
        learnt, pairs, others = self._learnt, self._pairs[asked], self._others[asked]
        lines = self._lines.take(self._drawn(self._upto[asked], 0, self._upto[asked, -1], BATCH), axis=1)
        made_up = self._drawn(self._values, self._bounds[asked], self._bounds[asked + 1], _DRAWN)
        weights, said = learnt.weights[pairs], learnt.vectors.take(lines[others], axis=0).reshape(len(others), -1)
        context = (weights @ said).reshape(BATCH, _WIDTH)
        true, wrong = learnt.vectors.take(lines[asked], axis=0), learnt.vectors.take(made_up, axis=0)
        near = _chance(np.einsum("bw,bw->b", context, true))[:, None] - 1
        far = _chance(context @ wrong.T) * (_NOISE / _DRAWN)
        back = near * true + far @ wrong
        slopes = [(weights[:, None, None] * back).reshape(-1, _WIDTH), near * context, far.T @ context]
        self._move(np.concatenate([lines[others].ravel(), lines[asked], made_up]), np.concatenate(slopes))
        slope = said @ back.ravel()
        learnt.pulled[pairs] += slope**2
        learnt.weights[pairs] = np.maximum(weights - _RATE * slope / np.sqrt(learnt.pulled[pairs]), 0)

    def _drawn(self, upto: Ints, low: int, high: int, many: int) -> Ints:
        """Places in `upto` (rising), one in each of so many equal parts of what it adds up between two values."""
        wanted = ((np.arange(many) + self._draw.random(many)) * ((high - low) / many)).astype(np.int64)
        found: Ints = np.searchsorted(upto, low + np.minimum(wanted, high - low - 1), side="right")
        return found

    def _move(self, numbers: Ints, slopes: Nats) -> None:
        """Against the slope, at Adagrad's pace."""
        learnt = self._learnt
        # numbers of 16 bits are sorted by their digits, which is several times as fast
        order = np.argsort(numbers.astype(np.uint16) if len(learnt.vectors) <= _SMALL else numbers, kind="stable")
        numbers = numbers.take(order)
        first = np.flatnonzero(np.concatenate([[True], numbers[1:] != numbers[:-1]]))
        those = numbers.take(first)
        vectors = learnt.vectors.take(those, axis=0)
        whole = np.add.reduceat(slopes.take(order, axis=0), first, axis=0) + _DECAY * vectors
        moved = learnt.moved.take(those, axis=0) + whole**2
        learnt.moved[those], learnt.vectors[those] = moved, vectors - _RATE * whole / np.sqrt(moved)
        learnt.vectors[0], learnt.moved[0] = 0, _LEAST


def _chance(nats: Nats) -> Nats:
    """That a value was there, and not one that was drawn."""
    chance: Nats = 1 / (1 + _NOISE * np.exp(-nats))
    return chance
