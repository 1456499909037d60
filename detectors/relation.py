"""Which named values of log lines go together: users and hosts, components and states.

After APE (Chen et al., IJCAI 2016): each value has a vector, a pair of values the product of theirs times a weight of
the pair of names, and a line the sum over its pairs. It is learnt line by line by telling lines from made-up ones, in
which one value is replaced by another of the same name. What a pair adds says which of them is strange. A stream goes
on learning from its lines, each partition for itself.
"""

from itertools import combinations
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from detectors.embedding import BATCH, Learner, Learnt, Nats, Vocabulary
from streaming.cells import FRACTION
from streaming.linescores import MinedLines
from streaming.related import ABSENT, Related
from streaming.types import Codes, Ints, State

_STEPS, _ROUNDS = (600, 6000), 40
"""Steps of a fit: each distinct line comes some 40 times, within these bounds."""
_MORE = (4, 8)
"""Steps of learning on: each line comes once or so, within these bounds."""


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
        self._known = Vocabulary(np.zeros(0, np.int64), np.zeros(1, np.int64))
        self._learnt = Learnt.begun(0, 0, np.random.default_rng(seed))
        self._usual: Nats = np.zeros(0)
        self._enough = 0.0
        self._lines = self._said = self._kinds = np.zeros(0, np.int64)
        self._round = 0

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

    def own(self) -> "Relation":
        """A copy, which may learn on."""
        copy = Relation(self._quantile, self._least, self._seed)
        copy.restore(self.state())
        return copy

    def learn(self, related: Related) -> None:
        """Learn on from what N lines say. New values join, with nothing known of them but that they came; what is usual
        follows as their number among all lines says. What is enough to be strange stays."""
        keys = related.keys[(related.keys != ABSENT).sum(axis=1) >= 2]
        if related.names != self._names or not len(keys):
            return
        self._round += 1
        lines, once = self._admitted(keys), np.ones(len(keys), np.int64)
        self._learnt.count(lines, once, self._round)
        draw = np.random.default_rng((self._seed, self._round))
        learner = Learner(lines, once, self._known, self._learnt, draw)
        learner.steps(int(np.clip(len(lines) // BATCH, *_MORE)))
        self._grow_usual(lines, once)

    def _admitted(self, keys: Ints) -> Ints:
        """Numbers of values (N x R): those that are new join, and what is known of names by them."""
        self._said = self._said + (keys != ABSENT).sum(axis=0)
        numbers = self._known.numbers(keys)
        if numbers.all():
            return numbers
        self._learnt.seen[np.maximum(numbers, 0)] = self._round
        self._known, place = self._known.grown(keys, self._learnt.seen)
        self._learnt = self._learnt.taken(place)
        fresh = np.concatenate([[0], np.cumsum(place[1:] == 0)])
        self._kinds = self._kinds + np.diff(fresh[self._known.first])
        return self._known.numbers(keys)

    def _grow_usual(self, distinct: Ints, times: Ints) -> None:
        """By how many nats each pair of names goes together on the mean, of all lines so far."""
        terms, there = self._terms(distinct)
        more = (there * times[:, None]).sum(axis=0)
        lines = self._lines + more
        total = self._usual * self._lines + (np.where(there, terms, 0) * times[:, None]).sum(axis=0)
        self._lines, self._usual = lines, total / np.maximum(lines, 1)

    @property
    def _unseen(self) -> Nats:
        """What it is to see a value of each name that was never seen (Witten and Bell's discount)."""
        return np.log((self._said + self._kinds) / np.maximum(self._kinds, 1))

    def state(self) -> State:
        """Values, what was learnt of them, and what is usual."""
        arrays = {
            "keys": self._known.keys, "first": self._known.first, "usual": self._usual, "lines": self._lines,
            "said": self._said, "kinds": self._kinds, "enough": np.array(self._enough),
        }  # fmt: skip
        return State(arrays | self._learnt.arrays(), {"names": list(self._names), "round": self._round})

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._names, self._round = tuple(state.meta["names"]), state.meta["round"]
        arrays = {name: array.copy() for name, array in state.arrays.items()}
        self._known = Vocabulary(arrays["keys"], arrays["first"])
        self._learnt = Learnt(*(arrays[name] for name in Learnt.__slots__))
        self._usual, self._lines, self._enough = arrays["usual"], arrays["lines"], float(arrays["enough"])
        self._said, self._kinds = arrays["said"], arrays["kinds"]

    def _above(self, away: Nats) -> Codes:
        found: Codes = np.rint(np.maximum(away - self._enough, 0) * FRACTION).astype(np.int32)
        return found

    def _away(self, keys: Ints) -> Nats:
        """N x (pairs, names): by how many nats each pair goes together less than usual, and what it is to see a value
        that was never seen; 0 where nothing is."""
        numbers = self._known.numbers(keys)
        terms, there = self._terms(numbers)
        pairs, values = np.where(there, self._usual - terms, 0.0), np.where(numbers == 0, self._unseen, 0.0)
        # C order: sums along the last axis are the same however many lines there are
        return np.ascontiguousarray(np.concatenate([pairs, values], axis=1))

    def _terms(self, numbers: Ints) -> tuple[Nats, NDArray[np.bool_]]:
        """N x pairs: how many nats more than by chance each goes together, and whether it is there."""
        one, other = np.array(list(combinations(range(numbers.shape[1]), 2))).reshape(-1, 2).T
        there, terms, known = numbers != ABSENT, np.zeros((len(one), len(numbers))), np.maximum(numbers.T, 0)
        for part in self._learnt.vectors.T:  # one after another: the sums are the same however many lines there are
            values = part.take(known)
            terms += values[one] * values[other]
        return terms.T * self._learnt.weights, there[:, one] & there[:, other]

    def _learn(self, keys: Ints) -> bool:
        """From N lines; whether there is anything to learn."""
        self._known = Vocabulary.of(keys)
        if np.count_nonzero(np.diff(self._known.first) > 1) < 2:
            return False
        lines, times = np.unique(self._known.numbers(keys), axis=0, return_counts=True)
        draw, pairs = np.random.default_rng(self._seed), len(self._names) * (len(self._names) - 1) // 2
        self._learnt = Learnt.begun(len(self._known.keys), pairs, draw)
        self._learnt.count(lines, times, 0)
        learner = Learner(lines, times, self._known, self._learnt, draw)
        learner.steps(int(np.clip(_ROUNDS * len(lines) // BATCH, *_STEPS)))
        self._usual, self._lines = np.zeros(pairs), np.zeros(pairs, np.int64)
        self._grow_usual(lines, times)
        self._said, self._kinds = (keys != ABSENT).sum(axis=0), np.diff(self._known.first)
        return True


def _said(related: Related, line: int, place: int) -> str:
    return f'{related.names[place]} "{related.text(line, place)}"'
