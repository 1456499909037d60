"""What strange log lines said: a few texts for each (entity, slot), for people to read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streaming.cells import COUNTED, FOUNDED, SCORE, SCORES, TEMPLATE, TEXT, Samples, alike, strange
from streaming.logfeatures import NEW, OTHER
from streaming.told import Told
from streaming.types import Ints, State

SHOWN = 3
OF_CELL, OF_SLOT = 8, 4096
"""Texts kept at most: the first to come of an (entity, slot), and of a slot."""


@dataclass(slots=True)
class _Saying:
    lines: int
    founded: bool
    fresh: bool
    text: str
    scores: dict[int, int]
    reasons: dict[int, str]

    def join(self, other: "_Saying") -> None:
        """Count the lines of `other` too; the text stays."""
        self.lines += other.lines
        self.founded |= other.founded
        self.fresh |= other.fresh
        for column, score in other.scores.items():
            self.scores[column] = self.scores.get(column, 0) + score
        self.reasons = other.reasons | self.reasons

    def told(self, column: int) -> str:
        """The text, and why its lines have the score of a column."""
        reason = self.reasons.get(column)
        return f"{self.text} ({reason})" if reason else self.text


class RareLines(Told[_Saying]):
    """Which new templates each entity (by row) wrote of late, and of which ones lines had a score, each by the
    masked text of its first such line, and the first reason for the score.

    The text is the line's own and not the template's: that one changes with every line mined, also with those that
    were read ahead.
    """

    def add(self, lines: Samples) -> None:
        """Keep the ones of `lines` that are told, in order of arrival within each slot."""
        rare = lines.take((lines.values[:, TEMPLATE] >= 0) & strange(lines.values))
        if not len(rare):
            return
        firsts, cells = alike(rare.rows, rare.slots, rare.values[:, TEMPLATE])
        held = self._sizes()
        one = rare.take(firsts)
        places = zip(one.rows.tolist(), one.slots.tolist(), one.values[:, TEMPLATE].tolist(), strict=True)
        for (row, slot, template), saying in zip(places, _sayings(rare, firsts, cells), strict=True):
            cell = self._into(slot, row)
            known = cell.get(template)
            if known is not None:
                known.join(saying)
            elif len(cell) < OF_CELL and held.setdefault(slot, 0) < OF_SLOT:
                cell[template] = saying
                held[slot] += 1

    def of(self, row: int, first: int, last: int, names: Sequence[str]) -> dict[str, list[str]]:
        """What an entity's lines behind log features said in the slots `first` to `last`; the foremost texts.

        Of `log.new` and `log.other` templates first seen there come first, then those of the most lines a slot since
        they came up; of a score's feature (`names` are the columns') those that added most.
        """
        told: dict[int, _Saying] = {}
        since: dict[int, int] = {}
        for slot in range(first, last + 1):
            for template, saying in self._cell(slot, row).items():
                since.setdefault(template, slot)
                told.setdefault(template, _Saying(0, False, False, saying.text, {}, {})).join(saying)
        rate = {template: saying.lines / (last + 1 - since[template]) for template, saying in told.items()}
        order = sorted(told, key=lambda one: (not told[one].founded, -rate[one], told[one].text))
        kinds = {
            NEW: [told[one].text for one in order if told[one].founded],
            OTHER: [told[one].text for one in order if told[one].fresh],
        }
        for column in sorted({column for saying in told.values() for column in saying.scores}):
            added = {one: told[one].scores[column] for one in order if column in told[one].scores}
            most = sorted(added, key=added.__getitem__, reverse=True)
            kinds[names[column]] = [told[one].told(column) for one in most]
        return {name: texts[:SHOWN] for name, texts in kinds.items() if texts}

    def state(self) -> State:
        """Everything, as JSON."""
        kept = [
            [
                *place, saying.lines, saying.founded, saying.fresh, saying.text, list(saying.scores.items()),
                list(saying.reasons.items()),
            ]
            for place, saying in self._all()
        ]  # fmt: skip
        return State(meta={"kept": kept})

    def restore(self, state: State) -> None:
        """Take over what `state` gave."""
        self._slots = {}
        for slot, row, template, lines, founded, fresh, text, scores, *reasons in state.meta["kept"]:
            # snapshots of older versions have no reasons
            saying = _Saying(lines, founded, fresh, text, dict(scores), dict(*reasons))
            self._into(slot, row)[template] = saying


def _sayings(rare: Samples, firsts: Ints, cells: Ints) -> list[_Saying]:
    """What the told lines `rare` said, a saying for each group of `cells` (see `alike`)."""
    values = rare.values
    numbers, came = np.bincount(cells).tolist(), values[:, FOUNDED]
    founded, fresh = (np.bincount(cells, came >= least) > 0 for least in (1, 0))
    texts = [rare.texts[place] for place in values[firsts, TEXT].tolist()]
    sayings = [
        _Saying(lines, new, young, text, {}, {})
        for lines, new, young, text in zip(numbers, founded.tolist(), fresh.tolist(), texts, strict=True)
    ]
    for first in range(SCORES, COUNTED, SCORE):
        for place in np.flatnonzero(values[:, first] >= 0).tolist():
            column, score, *_, reason = values[place, first : first + SCORE].tolist()
            of_cell = sayings[int(cells[place])]
            of_cell.scores[column] = of_cell.scores.get(column, 0) + score
            if reason >= 0:
                of_cell.reasons.setdefault(column, rare.texts[reason])
    return sayings
