"""Which template comes after which: an n-gram model of order 3 with back-off, in sorted tables."""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from streaming.cells import FRACTION
from streaming.linescores import MinedLines
from streaming.types import Codes, Ints, State

Nats = NDArray[np.float64]
LARGEST = 1 << 18
"""Sequences of three (and of two) that are kept at most: the most frequent."""


@dataclass(frozen=True, slots=True)
class _Order:
    """Sequences of one length: sorted `keys` and the `surprise` of their last template; sorted `contexts` (a sequence
    without its last template) and what it costs to see another one behind them, `beyond`. All in nats."""

    keys: Ints
    surprise: Nats
    contexts: Ints
    beyond: Nats

    @classmethod
    def of(cls, keys: Ints, shorter: Nats, width: int) -> "_Order":
        """From a key for each sequence that came, and the `shorter` one's surprise for each (both N).

        Witten and Bell's discount: a context that N templates followed, T of them distinct, has seen N of N + T.
        """
        distinct, first, counts = np.unique(keys, return_index=True, return_counts=True)
        if len(distinct) > LARGEST:
            kept = np.sort(np.argsort(-counts, kind="stable")[:LARGEST])
            distinct, first, counts = distinct[kept], first[kept], counts[kept]
        contexts, of_key = np.unique(distinct // width, return_inverse=True)
        came, kinds = np.bincount(of_key, counts), np.bincount(of_key)
        share = (counts + kinds[of_key] * np.exp(-shorter[first])) / (came + kinds)[of_key]
        return cls(distinct, -np.log(share), contexts, np.log((came + kinds) / np.maximum(kinds, 1)))

    def read(self, keys: Ints, width: int) -> tuple[Nats, NDArray[np.bool_]]:
        """Of N sequences: the surprise where they are known, else what the context adds to the shorter one's; and
        which are known."""
        surprise, known = _found(self.keys, self.surprise, keys)
        missed = np.flatnonzero(~known)
        surprise[missed] = _found(self.contexts, self.beyond, keys[missed] // width)[0]
        return surprise, known


def _found(keys: Ints, values: Nats, wanted: Ints) -> tuple[Nats, NDArray[np.bool_]]:
    """The values of N `wanted` ones among sorted `keys` (0 where there is none), and which are there."""
    if not len(keys):
        return np.zeros(len(wanted)), np.zeros(len(wanted), np.bool_)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    known = keys[place] == wanted
    return np.where(known, values[place], 0.0), known


class Sequence:
    """Surprise of a line's template after the two before it of the same entity, beyond what is usual.

    The score is the surprise in nats (the negative logarithm of the template's probability) above the `quantile` of
    lines that the model did not know, 0 for a line before which nothing is known. All entities share the model.
    """

    name: ClassVar[str] = "sequence"
    asks: ClassVar[Literal["which", "how", "else"]] = "how"

    def __init__(self, quantile: float = 0.999, least: int = 100) -> None:
        if not 0 < quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, got {quantile}")
        self._quantile, self._least = quantile, least
        self._usual = np.inf
        self._width = 1
        self._single: Nats = np.zeros(1)
        self._pairs = self._triples = _Order(*(np.zeros(0, np.int64), np.zeros(0)) * 2)

    def fit(self, lines: MinedLines, templates: int, rest: NDArray[np.bool_]) -> Codes | None:
        """Learn; the score of each line, where `rest` holds as judged by the other ones (N, int32).

        None with fewer than `least` lines on either side: no quantile would mean anything.
        """
        followed = lines.before[:, 0] >= 0
        if min(np.count_nonzero(followed & rest), np.count_nonzero(followed & ~rest)) < self._least:
            return None
        self._learn(lines, templates, ~rest)
        surprise = self.surprise(lines)
        self._usual = float(np.quantile(surprise[followed & rest], self._quantile, method="higher"))
        held_out = self.score(lines)
        self._learn(lines, templates, np.ones(len(lines), np.bool_))
        found: Codes = np.where(rest, held_out, self.score(lines))
        return found

    def _learn(self, lines: MinedLines, templates: int, known: NDArray[np.bool_]) -> None:
        self._width = width = templates + 1
        codes, before = lines.codes[known], lines.before[known, :2].astype(np.int64)
        counts = np.bincount(codes, minlength=width)
        kinds = int(np.count_nonzero(counts))
        self._single = -np.log((counts + kinds / width) / np.maximum(len(codes) + kinds, 1))
        two, three = before[:, 0] >= 0, (before >= 0).all(axis=1)
        pairs = before[:, 0] * width + codes
        self._pairs = _Order.of(pairs[two], self._single[codes[two]], width)
        shorter = self._of_pairs(codes[three], pairs[three])
        self._triples = _Order.of(before[three, 1] * width**2 + pairs[three], shorter, width)

    def surprise(self, lines: MinedLines) -> Nats:
        """Nats of each of N lines, 0 where no line before is known."""
        found, before = np.zeros(len(lines)), lines.before[:, :2].astype(np.int64)
        pairs = before[:, 0] * self._width + lines.codes
        three = (before >= 0).all(axis=1)
        two = (before[:, 0] >= 0) & ~three
        found[two] = self._of_pairs(lines.codes[two], pairs[two])
        codes, pairs = lines.codes[three], pairs[three]
        longest, known = self._triples.read(before[three, 1] * self._width**2 + pairs, self._width)
        missed = np.flatnonzero(~known)
        longest[missed] += self._of_pairs(codes[missed], pairs[missed])
        found[three] = longest
        return found

    def _of_pairs(self, codes: Codes, pairs: Ints) -> Nats:
        surprise, known = self._pairs.read(pairs, self._width)
        return np.where(known, surprise, surprise + self._single[codes])

    def score(self, lines: MinedLines) -> Codes:
        """Nats above what is usual of N lines (N, int32, in 1/64)."""
        beyond = np.maximum(self.surprise(lines) - self._usual, 0)
        found: Codes = np.rint(beyond * FRACTION).astype(np.int32)
        return found

    def state(self) -> State:
        """Tables and what is usual."""
        arrays = {"usual": np.array(self._usual), "single": self._single}
        for name, order in (("pairs", self._pairs), ("triples", self._triples)):
            arrays |= {f"{name}/{field.name}": getattr(order, field.name) for field in fields(order)}
        return State(arrays)

    def restore(self, state: State) -> None:
        """What `state` gave."""
        self._usual, self._single = float(state.arrays["usual"]), state.arrays["single"]
        self._width = len(self._single)
        orders = [
            _Order(**{field.name: state.arrays[f"{name}/{field.name}"] for field in fields(_Order)})
            for name in ("pairs", "triples")
        ]
        self._pairs, self._triples = orders
