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
_WIDTH, _NOISE, _RATE, _DECAY, _LEAST = 12, 5, 0.1, 0.01, 1e-6
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
    """Learns vectors and weights from U distinct `lines` (U x R numbers of values) that came so many `times`.

    Of each line drawn one value is held against others drawn for its place: how they go with the line's other values
    tells which was there (noise-contrastive estimation). At its best a sum over pairs is the logarithm of how much
    more often a value comes with the others than it comes at all.
    """

    def __init__(self, lines: Ints, times: Ints, known: Vocabulary, learnt: Learnt, draw: np.random.Generator) -> None:
        self._lines, self._draw, self._learnt = lines, draw, learnt
        self._upto = np.cumsum(times) / times.sum()
        self._pairs = np.array(list(combinations(range(lines.shape[1]), 2)))
        self._values = np.cumsum(learnt.counts).astype(np.float64)
        self._bounds = self._values[known.first]

    def steps(self, many: int) -> None:
        """Learn from lines that are drawn, so many times."""
        for _ in range(many):
            self._step()

    def _step(self) -> None:
        """Learn from some lines."""
        lines = self._lines[np.searchsorted(self._upto, self._draw.random(BATCH))]
        rows, names = np.arange(BATCH), lines.shape[1]
        asked = np.argmax(np.where(lines > 0, self._draw.random(lines.shape), -1), axis=1)
        tried = np.concatenate([lines[rows, asked][:, None], self._made_up(asked)], axis=1)
        tried = np.maximum(tried, 0)
        matrix = np.zeros((names, names))
        matrix[tuple(self._pairs.T)] = self._learnt.weights
        weights = (matrix + matrix.T)[asked]
        others = self._learnt.vectors[np.maximum(lines, 0)]
        context = (weights[:, :, None] * others).sum(axis=1)
        values = self._learnt.vectors[tried]
        chance = 1 / (1 + np.exp(np.log(_NOISE) - (values * context[:, None]).sum(axis=2)))
        chance[:, 0] -= 1
        back = (chance[:, :, None] * values).sum(axis=1)
        numbers = np.concatenate([tried.ravel(), np.maximum(lines, 0).ravel()])
        slopes = [chance[:, :, None] * context[:, None], weights[:, :, None] * back[:, None]]
        self._move(numbers, np.concatenate([slope.reshape(-1, _WIDTH) for slope in slopes]))
        pull = np.zeros((names, names))
        np.add.at(pull, asked, (others * back[:, None]).sum(axis=2))
        slope = (pull + pull.T)[tuple(self._pairs.T)]
        self._learnt.pulled += slope**2
        self._learnt.weights = np.maximum(self._learnt.weights - _RATE * slope / np.sqrt(self._learnt.pulled), 0)

    def _made_up(self, asked: Ints) -> Ints:
        """Values of the names `asked` (B), drawn as often as they come (B x noise)."""
        low, high = self._bounds[asked][:, None], self._bounds[asked + 1][:, None]
        wanted = low + self._draw.random((len(asked), _NOISE)) * (high - low)
        found: Ints = np.minimum(np.searchsorted(self._values, wanted, side="right"), len(self._values) - 1)
        return found

    def _move(self, numbers: Ints, slopes: Nats) -> None:
        """Against the slope, at Adagrad's pace."""
        those, of = np.unique(numbers, return_inverse=True)
        whole = _DECAY * self._learnt.vectors[those]
        np.add.at(whole, of, slopes)
        self._learnt.moved[those] += whole**2
        self._learnt.vectors[those] -= _RATE * whole / np.sqrt(self._learnt.moved[those])
        self._learnt.vectors[0], self._learnt.moved[0] = 0, _LEAST
