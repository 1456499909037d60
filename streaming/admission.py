"""Entities on their way in and out: who is new, from which slot on, and who has to go when there are too many."""

from collections.abc import Sequence

import numpy as np

from streaming.inlet import Held
from streaming.ring import SlotRing
from streaming.roster import Roster

Births = dict[int, list[tuple[str, int]]]
"""(name, row) of the entities that begin in a slot."""


class Admission:
    """Gives rows of `roster` and `ring` to entities, at most `most` at a slot's end."""

    def __init__(self, roster: Roster, ring: SlotRing, most: int) -> None:
        self._roster = roster
        self._ring = ring
        self._most = most

    def births(self, parts: Sequence[Held], start: int, end: int) -> tuple[Births, int]:
        """Admit the unknown entities of `parts`, up to the first slot (before `end`) after which one must go."""
        unknown = self.unknown(parts)
        room = self._most - len(self._roster)
        if room < 0:
            end = start + 1
        elif room < len(unknown):
            end = unknown[room][0] + 1
        return self.admit([(slot, name) for slot, name in unknown if slot < end]), end

    def unknown(self, parts: Sequence[Held]) -> list[tuple[int, str]]:
        """(first slot, name) of the unknown entities of `parts`, in that order."""
        first: dict[str, int] = {}
        for held in parts:
            new = np.flatnonzero(self._roster.rows(held.names)[held.codes] < 0)
            codes, at = np.unique(held.codes[new], return_index=True)
            for code, slot in zip(codes.tolist(), held.slots[new[at]].tolist(), strict=True):
                name = held.names[code]
                first[name] = min(slot, first.get(name, slot))
        return sorted((slot, name) for name, slot in first.items())

    def admit(self, unknown: Sequence[tuple[int, str]]) -> Births:
        """Give rows to `unknown`; returns (name, row) by slot."""
        births: Births = {}
        rows = self._roster.admit([name for _, name in unknown])
        for (slot, name), row in zip(unknown, rows, strict=True):
            births.setdefault(slot, []).append((name, row))
        self._ring.ensure(len(self._roster.names))
        return births

    def excess(self) -> Sequence[tuple[str, int]]:
        """(name, row) of those that are too many: the least recently seen."""
        count = len(self._roster) - self._most
        return self._roster.oldest(count) if count > 0 else []
