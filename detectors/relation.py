"""Which named values of log lines go together: users and hosts, components and states.

After APE (Chen et al., IJCAI 2016): each value has a vector, a pair of values the product of theirs times a weight of
the pair of names, and a line the sum over its pairs. It is learnt line by line by telling lines from made-up ones, in
which one value is replaced by another of the same name. What a pair adds says which of them is strange.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from streaming.cells import FRACTION
from streaming.linescores import MinedLines
from streaming.related import ABSENT, Related
from streaming.types import Codes, Ints, State

Nats = NDArray[np.float64]
VALUES = 10_000
"""Values of a name that are known at most: the most frequent."""
_WIDTH, _BATCH, _NOISE, _RATE, _DECAY = 12, 256, 5, 0.1, 0.01
_STEPS, _ROUNDS = (300, 3000), 20
"""Steps of learning: each distinct line comes some 20 times, within these bounds."""


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """The known values of R names: sorted `keys` by name, the first of name r at `first[r]` (R + 1)."""

    keys: Ints
    first: Ints

    @classmethod
    def of(cls, keys: Ints) -> "_Vocabulary":
        """The most frequent values of N lines x R names."""
        kept = []
        for column in keys.T:
            values, counts = np.unique(column[column != ABSENT], return_counts=True)
            kept.append(np.sort(values[np.argsort(-counts, kind="stable")[:VALUES]]))
        return cls(np.concatenate(kept), np.concatenate([[0], np.cumsum([len(values) for values in kept])]))

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


class Relation:
    """Surprise of the values that a line has together, beyond what is usual.

    Of each pair of a line's values counts by how many nats less they go together than the pairs of these names do on
    the whole. A value that was never seen goes with every other as by chance, and is a surprise of its own, as by
    Witten and Bell's discount. The sum above the `quantile` of lines that were held out is the score.
    """

    name: ClassVar[str] = "relation"
    asks: ClassVar[Literal["which", "how", "else"]] = "else"

    def __init__(self, quantile: float = 0.999, least: int = 100, seed: int = 0) -> None:
        if not 0 < quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, got {quantile}")
        self._quantile, self._least, self._seed = quantile, least, seed
        self._names: tuple[str, ...] = ()
        self._known = _Vocabulary(np.zeros(0, np.int64), np.zeros(1, np.int64))
        self._vectors: Nats = np.zeros((1, _WIDTH))
        self._weights: Nats = np.zeros(0)
        self._usual: Nats = np.zeros(0)
        self._unseen: Nats = np.zeros(0)
        self._enough = 0.0

    def fit(self, lines: MinedLines, templates: int, rest: NDArray[np.bool_]) -> Codes | None:
        """Learn; the score of each line, where `rest` holds as judged by the other ones (N, int32).

        None where too few lines say two things, or nothing is said of them that could be related."""
        related = lines.related
        if related is None or len(related.names) < 2 or not templates:
            return None
        keys = related.keys
        telling = (keys != ABSENT).sum(axis=1) >= 2
        if min(np.count_nonzero(telling & rest), np.count_nonzero(telling & ~rest)) < self._least:
            return None
        self._names = related.names
        if not self._learn(keys[telling & ~rest]):
            return None
        away = self._away(keys).sum(axis=1)
        self._enough = float(np.quantile(away[telling & rest], self._quantile, method="higher"))
        held_out = self._above(away)
        if not self._learn(keys[telling]):
            return None
        found: Codes = np.where(rest, held_out, self.score(lines))
        return found

    def score(self, lines: MinedLines) -> Codes:
        """Nats above what is usual of N lines (N, int32, in 1/64); 0 where other values are kept than at the fit."""
        if lines.related is None or lines.related.names != self._names:
            return np.zeros(len(lines), np.int32)
        return self._above(self._away(lines.related.keys).sum(axis=1))

    def reasons(self, lines: MinedLines, places: Ints) -> list[str]:
        """Which two values of each of some lines go together least, or which was never seen."""
        if lines.related is None or lines.related.names != self._names:
            return [""] * len(places)
        related = lines.related.take(places)
        worst = self._away(related.keys).argmax(axis=1).tolist()
        return [self._reason(related, line, number) for line, number in enumerate(worst)]

    def _reason(self, related: Related, line: int, worst: int) -> str:
        if worst >= len(self._usual):
            return f"{_said(related, line, worst - len(self._usual))} was never seen"
        first, second = list(combinations(range(len(self._names)), 2))[worst]
        return f"{_said(related, line, first)} and {_said(related, line, second)} do not go together"

    def state(self) -> State:
        """Values, vectors, weights, and what is usual."""
        arrays = {
            "keys": self._known.keys, "first": self._known.first, "vectors": self._vectors, "weights": self._weights,
            "usual": self._usual, "unseen": self._unseen, "enough": np.array(self._enough),
        }  # fmt: skip
        return State(arrays, {"names": list(self._names)})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._names = tuple(state.meta["names"])
        self._known = _Vocabulary(state.arrays["keys"], state.arrays["first"])
        self._vectors, self._weights, self._usual = (state.arrays[name] for name in ("vectors", "weights", "usual"))
        self._unseen, self._enough = state.arrays["unseen"], float(state.arrays["enough"])

    def _above(self, away: Nats) -> Codes:
        found: Codes = np.rint(np.maximum(away - self._enough, 0) * FRACTION).astype(np.int32)
        return found

    def _away(self, keys: Ints) -> Nats:
        """N x (pairs, names): by how many nats each pair goes together less than usual, and what it is to see a value
        that was never seen; 0 where nothing is."""
        numbers = self._known.numbers(keys)
        terms, there = self._terms(numbers)
        pairs, values = np.where(there, self._usual - terms, 0.0), np.where(numbers == 0, self._unseen, 0.0)
        return np.concatenate([pairs, values], axis=1)

    def _terms(self, numbers: Ints) -> tuple[Nats, NDArray[np.bool_]]:
        """N x pairs: how many nats more than by chance each goes together, and whether it is there."""
        pairs = list(combinations(range(numbers.shape[1]), 2))
        terms, there = np.zeros((len(numbers), len(pairs))), np.zeros((len(numbers), len(pairs)), np.bool_)
        vectors = self._vectors[np.maximum(numbers, 0)]
        for place, (one, other) in enumerate(pairs):
            # a sum over the last axis alone, which is the same however many lines there are
            terms[:, place] = self._weights[place] * (vectors[:, one] * vectors[:, other]).sum(axis=1)
            there[:, place] = (numbers[:, one] != ABSENT) & (numbers[:, other] != ABSENT)
        return terms, there

    def _learn(self, keys: Ints) -> bool:
        """From N lines; whether there is anything to learn."""
        self._known = _Vocabulary.of(keys)
        if np.count_nonzero(np.diff(self._known.first) > 1) < 2:
            return False
        numbers = self._known.numbers(keys)
        lines, times = np.unique(numbers, axis=0, return_counts=True)
        learner = _Learner(lines, times, self._known, np.random.default_rng(self._seed))
        for _ in range(int(np.clip(_ROUNDS * len(lines) // _BATCH, *_STEPS))):
            learner.step()
        self._vectors, self._weights = learner.vectors, learner.weights
        terms, there = self._terms(lines)
        count = (there * times[:, None]).sum(axis=0)
        self._usual = (np.where(there, terms, 0) * times[:, None]).sum(axis=0) / np.maximum(count, 1)
        said, kinds = (keys != ABSENT).sum(axis=0), np.diff(self._known.first)
        self._unseen = np.log((said + kinds) / np.maximum(kinds, 1))
        return True


def _said(related: Related, line: int, place: int) -> str:
    return f'{related.names[place]} "{related.text(line, place)}"'


class _Learner:
    """Learns vectors and weights from U distinct `lines` (U x R numbers of values) that came so many `times`.

    Of each line drawn one value is held against others drawn for its place: how they go with the line's other values
    tells which was there (noise-contrastive estimation). At its best a sum over pairs is the logarithm of how much
    more often a value comes with the others than it comes at all.
    """

    def __init__(self, lines: Ints, times: Ints, known: _Vocabulary, draw: np.random.Generator) -> None:
        self._lines, self._draw = lines, draw
        self._upto = np.cumsum(times) / times.sum()
        names = lines.shape[1]
        self._pairs = np.array(list(combinations(range(names), 2)))
        count = np.bincount(lines[lines > 0], np.repeat(times, names)[(lines > 0).ravel()], len(known.keys) + 1)
        self._values = np.concatenate([[0.0], np.cumsum(count[1:])])
        self._bounds = self._values[known.first]
        self.vectors: Nats = draw.normal(0, 0.3, (len(known.keys) + 1, _WIDTH))
        self.vectors[0] = 0
        self.weights: Nats = np.ones(len(self._pairs))
        self._moved, self._pulled = np.full(self.vectors.shape, 1e-6), np.full(self.weights.shape, 1e-6)

    def step(self) -> None:
        """Learn from some lines."""
        lines = self._lines[np.searchsorted(self._upto, self._draw.random(_BATCH))]
        rows, names = np.arange(_BATCH), lines.shape[1]
        asked = np.argmax(np.where(lines > 0, self._draw.random(lines.shape), -1), axis=1)
        tried = np.concatenate([lines[rows, asked][:, None], self._made_up(asked)], axis=1)
        tried = np.maximum(tried, 0)
        matrix = np.zeros((names, names))
        matrix[tuple(self._pairs.T)] = self.weights
        weights = (matrix + matrix.T)[asked]
        others = self.vectors[np.maximum(lines, 0)]
        context = (weights[:, :, None] * others).sum(axis=1)
        values = self.vectors[tried]
        chance = 1 / (1 + np.exp(np.log(_NOISE) - (values * context[:, None]).sum(axis=2)))
        chance[:, 0] -= 1
        back = (chance[:, :, None] * values).sum(axis=1)
        numbers = np.concatenate([tried.ravel(), np.maximum(lines, 0).ravel()])
        slopes = [chance[:, :, None] * context[:, None], weights[:, :, None] * back[:, None]]
        self._move(numbers, np.concatenate([slope.reshape(-1, _WIDTH) for slope in slopes]))
        pull = np.zeros((names, names))
        np.add.at(pull, asked, (others * back[:, None]).sum(axis=2))
        slope = (pull + pull.T)[tuple(self._pairs.T)]
        self._pulled += slope**2
        self.weights = np.maximum(self.weights - _RATE * slope / np.sqrt(self._pulled), 0)

    def _made_up(self, asked: Ints) -> Ints:
        """Values of the names `asked` (B), drawn as often as they come (B x noise)."""
        low, high = self._bounds[asked][:, None], self._bounds[asked + 1][:, None]
        wanted = low + self._draw.random((len(asked), _NOISE)) * (high - low)
        found: Ints = np.minimum(np.searchsorted(self._values, wanted, side="right"), len(self._values) - 1)
        return found

    def _move(self, numbers: Ints, slopes: Nats) -> None:
        """Against the slope, at Adagrad's pace."""
        those, of = np.unique(numbers, return_inverse=True)
        whole = _DECAY * self.vectors[those]
        np.add.at(whole, of, slopes)
        self._moved[those] += whole**2
        self.vectors[those] -= _RATE * whole / np.sqrt(self._moved[those])
        self.vectors[0] = 0
