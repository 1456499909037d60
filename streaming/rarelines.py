"""What log lines of new templates said: a few texts for each (entity, slot), for people to read."""

from dataclasses import dataclass

import numpy as np

from streaming.cells import FOUNDED, TEMPLATE, TEXT, Samples, alike
from streaming.logfeatures import NEW, OTHER
from streaming.types import Codes, State

SHOWN = 3
OF_CELL, OF_SLOT = 8, 4096
"""Texts kept at most: the first to come of an (entity, slot), and of a slot."""


@dataclass(slots=True)
class _Saying:
    lines: int
    founded: bool
    text: str


class RareLines:
    """Which new templates each entity (by row) wrote in the last slots, each by the masked text of its first line.

    The text is the line's own and not the template's: that one changes with every line mined, also with those that
    were read ahead.
    """

    def __init__(self) -> None:
        self._slots: dict[int, dict[int, dict[int, _Saying]]] = {}

    def add(self, lines: Samples) -> None:
        """Keep the ones of `lines` that are told, in order of arrival within each slot."""
        rare = lines.take(lines.values[:, TEMPLATE] >= 0)
        if not len(rare):
            return
        firsts, cells = alike(rare.rows, rare.slots, rare.values[:, TEMPLATE])
        numbers = np.bincount(cells).tolist()
        founded = (np.bincount(cells, rare.values[:, FOUNDED]) > 0).tolist()
        held = {slot: sum(map(len, rows.values())) for slot, rows in self._slots.items()}
        one = rare.take(firsts)
        for row, slot, values, number, new in zip(
            one.rows.tolist(), one.slots.tolist(), one.values.tolist(), numbers, founded, strict=True
        ):
            cell = self._slots.setdefault(slot, {}).setdefault(row, {})
            known = cell.get(values[TEMPLATE])
            if known is not None:
                known.lines += number
                known.founded |= new
            elif len(cell) < OF_CELL and held.setdefault(slot, 0) < OF_SLOT:
                cell[values[TEMPLATE]] = _Saying(number, new, rare.texts[values[TEXT]])
                held[slot] += 1

    def of(self, row: int, first: int, last: int) -> dict[str, list[str]]:
        """What `log.new` and `log.other` of an entity stand for in the slots `first` to `last`; the foremost texts.

        Templates first seen there come first, then those of the most lines a slot since they came up.
        """
        told: dict[int, _Saying] = {}
        since: dict[int, int] = {}
        for slot in range(first, last + 1):
            for template, saying in self._slots.get(slot, {}).get(row, {}).items():
                before = told.get(template, _Saying(0, False, saying.text))
                since.setdefault(template, slot)
                told[template] = _Saying(before.lines + saying.lines, before.founded or saying.founded, before.text)
        rate = {template: saying.lines / (last + 1 - since[template]) for template, saying in told.items()}
        order = sorted(told, key=lambda one: (not told[one].founded, -rate[one], told[one].text))
        kinds = {NEW: [one for one in order if told[one].founded], OTHER: order}
        return {name: [told[one].text for one in chosen[:SHOWN]] for name, chosen in kinds.items() if chosen}

    def forget(self, before: int) -> None:
        """Drop the slots below `before`."""
        self._slots = {slot: rows for slot, rows in self._slots.items() if slot >= before}

    def erase(self, rows: Codes) -> None:
        """Forget everything of `rows`."""
        for row in rows.tolist():
            for cells in self._slots.values():
                cells.pop(row, None)

    def state(self) -> State:
        """Everything, as JSON."""
        kept = [
            [slot, row, template, saying.lines, saying.founded, saying.text]
            for slot, rows in self._slots.items()
            for row, cell in rows.items()
            for template, saying in cell.items()
        ]
        return State(meta={"kept": kept})

    def restore(self, state: State) -> None:
        """Take over what `state` gave."""
        self._slots = {}
        for slot, row, template, lines, founded, text in state.meta["kept"]:
            self._slots.setdefault(slot, {}).setdefault(row, {})[template] = _Saying(lines, founded, text)
