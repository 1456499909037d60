"""Log lines that say that something was done: a deploy began, a backup was started."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streaming.quotes import Clean
from streaming.types import Ints, Lines

REMEMBERED = 65_536
"""Shapes of lines whose signs are remembered at most; then all are forgotten, and found again."""
SHORT = 512
"""Length of those; the signs of longer ones are sought anew."""
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
    """A line that says so: `entity` is the line's own, `time` (ns) the line's, `text` what is left of it, masked,
    `line` itself ("" where none is quoted), both without secrets."""

    sign: Sign
    entity: str
    slot: int
    time: int
    text: str
    line: str = ""


class Signs:
    """Finds signs in lines. `read` gives the masked text of a line's key: a function, so each is sought in once.

    `clean` takes secrets out of what is told; the line itself is told where that is `quoting`.
    """

    def __init__(
        self, signs: Sequence[Sign], read: Callable[[bytes | str], str], clean: Clean = str, quoting: bool = False
    ) -> None:
        self._signs = [(sign, re.compile(sign.pattern)) for sign in signs]
        self._read, self._clean, self._quoting = read, clean, quoting
        self._memo: dict[bytes | str, tuple[Sign, ...]] = {}

    def of(self, lines: Lines, keys: Sequence[bytes | str], on_time: NDArray[np.bool_], slots: Ints) -> list[Sighting]:
        """The signs in those of N `lines` that are `on_time`, in order; of an (entity, slot, sign) the first line."""
        found: dict[tuple[int, int, Sign], Sighting] = {}
        for place, key in enumerate(keys):
            signs = self._memo.get(key)
            if signs is None:
                signs = self._sought(key)
            for sign in signs if on_time[place] else ():
                code, slot = int(lines.codes[place]), int(slots[place])
                if (code, slot, sign) not in found:
                    text = self._clean(self._read(key))[:LONGEST]
                    line = self._clean(lines.messages[place]) if self._quoting else ""
                    time = int(lines.times[place])
                    found[code, slot, sign] = Sighting(sign, lines.names[code], slot, time, text, line)
        return list(found.values())

    def _sought(self, key: bytes | str) -> tuple[Sign, ...]:
        if len(self._memo) >= REMEMBERED:
            self._memo.clear()
        text = self._read(key)
        signs = tuple(sign for sign, pattern in self._signs if pattern.search(text))
        if len(key) <= SHORT:
            self._memo[key] = signs
        return signs
