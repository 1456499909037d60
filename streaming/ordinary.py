"""Which lines may be quoted though nothing is strange about them: a burst of errors is made of ordinary ones."""

import numpy as np
from numpy.typing import NDArray

from streaming.cells import alike
from streaming.types import Codes, Ints, Lines, State

MOST = 8192
"""Lines of a slot, at most."""


class Ordinary:
    """Of each (slot, entity, template) the first line, as long as the slot has room; the same in whatever polls."""

    def __init__(self) -> None:
        self._told: dict[int, set[tuple[str, int]]] = {}

    def chosen(self, lines: Lines, ids: Codes, slots: Ints, which: NDArray[np.bool_]) -> list[int]:
        """Places of the first ones among the lines `which` (N, on time), by their template ids and slots (N)."""
        full = [slot for slot in np.unique(slots[which]).tolist() if len(self._told.setdefault(slot, set())) >= MOST]
        places = np.flatnonzero(which & ~np.isin(slots, full))
        if not len(places):
            return []
        firsts, _ = alike(lines.codes[places], slots[places], ids[places])
        places = places[firsts]
        chosen: list[int] = []
        for slot in np.unique(slots[places]).tolist():
            told, mine = self._told[slot], places[slots[places] == slot]
            ones = zip(map(lines.names.__getitem__, lines.codes[mine].tolist()), ids[mine].tolist(), strict=True)
            fresh = [(one, place) for one, place in zip(ones, mine.tolist(), strict=True) if one not in told]
            del fresh[MOST - len(told) :]
            told.update(one for one, _ in fresh)
            chosen += [place for _, place in fresh]
        return chosen

    def forget(self, before: int) -> None:
        """Of the slots below `before` no more lines come."""
        self._told = {slot: told for slot, told in self._told.items() if slot >= before}

    def state(self) -> State:
        """Everything, as JSON."""
        return State(meta={"told": [[slot, sorted(told)] for slot, told in self._told.items()]})

    def restore(self, state: State) -> None:
        """Take over what `state` gave."""
        self._told = {slot: {(name, template) for name, template in told} for slot, told in state.meta["told"]}
