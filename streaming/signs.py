"""Log lines that say that something was done: a deploy began, a backup was started."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streaming.types import Ints, Lines

REMEMBERED = 65_536
"""Shapes of lines whose signs are remembered at most; then all are forgotten, and found again."""
LONGEST = 200
"""Characters of a line that are kept for people."""


@dataclass(frozen=True, slots=True)
class Sign:
    """What a line must say (`pattern` is sought in its masked text) to be an event of `kind`, of the line's own entity
    or of `entity`, a glob pattern."""

    kind: str
    pattern: str
    entity: str | None = None


@dataclass(frozen=True, slots=True)
class Sighting:
    """A line that says so: `entity` is the line's own, `time` (ns) the line's, `text` what is left of it, masked."""

    sign: Sign
    entity: str
    slot: int
    time: int
    text: str


class Signs:
    """Finds signs in lines. `keys` gives what of each message counts, `read` the masked text of such a key: a function,
    so that each is sought in once."""

    def __init__(
        self,
        signs: Sequence[Sign],
        keys: Callable[[Sequence[str]], Sequence[bytes | str]],
        read: Callable[[bytes | str], str],
    ) -> None:
        self._signs = [(sign, re.compile(sign.pattern)) for sign in signs]
        self._keys = keys
        self._read = read
        self._memo: dict[bytes | str, tuple[Sign, ...]] = {}

    def of(self, lines: Lines, part: slice, on_time: NDArray[np.bool_], slots: Ints) -> list[Sighting]:
        """The signs in the lines of `part` that are `on_time`, in order; of an (entity, slot, sign) the first line."""
        found: dict[tuple[int, int, Sign], Sighting] = {}
        for place, key in enumerate(self._keys(lines.messages[part])):
            signs = self._memo.get(key)
            if signs is None:
                signs = self._sought(key)
            for sign in signs if on_time[place] else ():
                code, slot = int(lines.codes[part][place]), int(slots[place])
                time, text = int(lines.times[part][place]), self._read(key)[:LONGEST]
                found.setdefault((code, slot, sign), Sighting(sign, lines.names[code], slot, time, text))
        return list(found.values())

    def _sought(self, key: bytes | str) -> tuple[Sign, ...]:
        if len(self._memo) >= REMEMBERED:
            self._memo.clear()
        text = self._read(key)
        signs = tuple(sign for sign, pattern in self._signs if pattern.search(text))
        self._memo[key] = signs
        return signs
