"""The lines of a history as their templates follow each other: what line models are fitted on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.linefields import ShapedLines
from streaming.related import Related
from streaming.ring import ALWAYS
from streaming.shapes import Numbers
from streaming.types import Codes, Ints

Texts = Callable[[Iterable[int]], list[str | None]]
"""The current text of each template id; None for one that is not held any more."""
UNKNOWN = b""
"""The shape of a line of which nothing more is known."""
MOST = 4_000_000
"""Lines that are kept at most (some 60 bytes each): the newest."""
SHAPES = 64 << 20
"""Bytes of shapes that are kept at most: nothing is known of what lines of later ones say."""


@dataclass(frozen=True, slots=True)
class TapedLines:
    """N lines in position order: `entities` (N, index the tape's `names`), `slots` (N), template `ids` (N), the ids
    `before` (N x depth), which are `new`, named values (`related`), and what they say: places of their shapes among the
    `shapes`, and numbers."""

    entities: Codes
    slots: Ints
    ids: Codes
    before: Codes
    new: NDArray[np.bool_]
    of_line: Codes
    numbers: Numbers
    related: Related
    shapes: Sequence[bytes] = ()

    @property
    def shaped(self) -> ShapedLines:
        """What they say."""
        return ShapedLines([self.shapes[place] for place in self.of_line.tolist()], self.numbers)

    def take(self, index: Ints) -> "TapedLines":
        """The lines at `index`."""
        return TapedLines(
            self.entities[index], self.slots[index], self.ids[index], self.before[index], self.new[index],
            self.of_line[index], self.numbers.take(index), self.related.take(index), self.shapes,
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: Sequence["TapedLines"], shapes: Sequence[bytes]) -> "TapedLines":
        """`parts` one after another, of the same `shapes`."""
        before = np.concatenate([part.before for part in parts] or [np.empty((0, 2), np.int32)])
        entities, ids, of_line = (
            _concatenated([getattr(part, name) for part in parts], np.int32) for name in ("entities", "ids", "of_line")
        )
        slots, new = (
            _concatenated([getattr(part, name) for part in parts], kind)
            for name, kind in (("slots", np.int64), ("new", np.bool_))
        )
        numbers, related = Numbers.joined([p.numbers for p in parts]), Related.joined([p.related for p in parts])
        return cls(entities, slots, ids, before, new, of_line, numbers, related, shapes)


class JoinedTexts:
    """The templates of several miners under numbers of their own: those that read alike are one."""

    def __init__(self) -> None:
        self._numbers: dict[str | None, int] = {}

    def numbers(self, texts: Texts, ids: Codes) -> Codes:
        """Of ids (any shape) of the miner that knows their `texts`; negative ones stay."""
        held, place = np.unique(ids, return_inverse=True)
        named = zip(held.tolist(), texts(held.tolist()), strict=True)
        numbers = [key if key < 0 else self._numbers.setdefault(text, len(self._numbers)) for key, text in named]
        found: Codes = np.array(numbers, np.int32)[place.reshape(ids.shape)]
        return found

    def __call__(self, ids: Iterable[int]) -> list[str | None]:
        """`Texts`, by these numbers."""
        known = list(self._numbers)
        return [known[key] if 0 <= key < len(known) else None for key in ids]


class LineTape:
    """Keeps lines as line models are fitted on them, the newest; `texts` of their templates.

    `since`: the slot from which on all lines are there.
    """

    def __init__(self, texts: Texts, most: int = MOST) -> None:
        self.texts = texts
        self.names: dict[str, int] = {}
        self.since = ALWAYS
        self._since: dict[str, int] = {}
        self._most = most
        self._held = 0
        self._parts: list[TapedLines] = []
        self._shapes: dict[bytes, int] = {UNKNOWN: 0}
        self._room = SHAPES

    def add(
        self, names: Sequence[str], codes: Codes, slots: Ints, ids: Codes, before: Codes,
        new: NDArray[np.bool_] | None = None, shaped: ShapedLines | None = None, related: Related | None = None,
    ) -> None:  # fmt: skip
        """N lines: `codes` (N) index `names`; `slots` (N), `ids` (N), `before` (N x depth), `new` (N) where any is, and
        `shaped`, where it was looked at what they say, and their named values."""
        number = np.array([self.names.setdefault(name, len(self.names)) for name in names], np.int32)
        new = np.zeros(len(codes), np.bool_) if new is None else new
        shaped = ShapedLines([UNKNOWN] * len(codes), Numbers.none(len(codes))) if shaped is None else shaped
        of_line = np.array([self._number(shape) for shape in shaped.shapes], np.int32)
        related = (Related.none(len(codes)) if related is None else related).without_texts()
        self._parts.append(TapedLines(number[codes], slots, ids, before, new, of_line, shaped.numbers, related))
        self._held += len(codes)
        while self._held - len(self._parts[0].ids) >= self._most:
            gone = self._parts.pop(0)
            self._held -= len(gone.ids)
            self.since = max(self.since, int(gone.slots.max(initial=ALWAYS)) + 1)

    def join(self, other: "LineTape", texts: JoinedTexts) -> None:
        """Add what `other` keeps, of another miner and other entities; `texts` are those of this tape."""
        names = np.array([self.names.setdefault(name, len(self.names)) for name in other.names], np.int32)
        shapes = np.array([self._number(shape) for shape in other._shapes], np.int32)
        for part in other._parts:
            self._parts.append(
                replace(
                    part, entities=names[part.entities], ids=texts.numbers(other.texts, part.ids),
                    before=texts.numbers(other.texts, part.before), of_line=shapes[part.of_line],
                )
            )  # fmt: skip
            self._held += len(part.ids)
        self._since |= dict.fromkeys(other.names, other.since)
        self.since = max(self.since, other.since)

    def whole_from(self, names: Sequence[str]) -> Ints:
        """The slot of each entity from which on all of its lines are there."""
        return np.array([self._since.get(name, self.since) for name in names], np.int64)

    def _number(self, shape: bytes) -> int:
        found = self._shapes.get(shape)
        if found is None:
            self._room -= len(shape)
            if self._room < 0:
                return 0
            found = self._shapes[shape] = len(self._shapes)
        return found

    def read(self) -> TapedLines:
        """All that are kept."""
        return TapedLines.joined(self._parts, list(self._shapes))


def _concatenated(parts: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate([np.empty((0, *parts[0].shape[1:]) if parts else 0, kind), *parts])
