"""Some log lines of each (entity, slot) as they came, for people to read: strange ones and errors first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from streaming.cells import COUNTED, SCORE, SCORES, TEMPLATE, TEXT, Samples, alike, strange
from streaming.quotes import Quote, Quotes
from streaming.redaction import SHOWN
from streaming.told import Told
from streaming.types import Codes, Ints, State

QUOTED = 3
"""Lines that are quoted of a feature."""
FIRST_OF_CELL, FIRST_OF_SLOT = 8, 1024
"""Strange lines and errors that are kept of an (entity, slot), and of a slot; a line of each template."""
OF_CELL, OF_SLOT = 24, 512
"""Likewise of other lines: those of the templates with most lines."""


@dataclass(frozen=True, slots=True)
class _Example:
    quote: Quote
    first: bool
    columns: tuple[int, ...]


class Examples(Told[_Example]):
    """For each (entity by row, slot, template) a line, and the columns of the ring in which it counts.

    Of a template the line of the highest scores is kept, the first of them; what comes late is added to what is there.
    """

    def add(self, lines: Samples, grave: Codes) -> None:
        """Choose from the told ones of `lines`, in order of arrival within each slot; lines that count in one of the
        columns `grave` are errors. A slot's lines on time come in one call."""
        which = lines.values[:, TEMPLATE] >= 0
        if not which.any():
            return
        told, sizes = lines.take(which), _sizes(lines)[which]
        values = told.values
        first = strange(values) | np.isin(values[:, COUNTED:], grave).any(axis=1)
        scores = np.where(values[:, SCORES:COUNTED:SCORE] >= 0, values[:, SCORES + 1 : COUNTED : SCORE], 0).sum(axis=1)
        # strange ones by their scores, then errors, then what there is most of
        order = np.lexsort((-sizes, -scores, ~strange(values), ~first))
        told, first = told.take(order), first[order]
        one, _ = alike(told.rows, told.slots, told.values[:, TEMPLATE])
        told, first = told.take(one), first[one]
        order = np.argsort(told.slots, kind="stable")
        told, first = told.take(order), first[order]
        into = np.concatenate([told.values[:, COUNTED:], told.values[:, SCORES:COUNTED:SCORE]], axis=1)
        parts = (told.rows, told.values[:, TEMPLATE], told.values[:, TEXT], first, into)
        offered = zip(*(part.tolist() for part in parts), strict=True)
        for slot, ones in groupby(zip(told.slots.tolist(), offered, strict=True), lambda pair: pair[0]):
            self._keep(slot, (one for _, one in ones), told.quotes)

    def _keep(self, slot: int, offered: Iterable[tuple[int, int, int, bool, list[int]]], quotes: Quotes) -> None:
        """Keep of the lines of a slot, foremost first, what there is room for."""
        whole = [one.first for cell in self._slots.get(slot, {}).values() for one in cell.values()]
        held = [len(whole) - sum(whole), sum(whole)]
        for row, template, text, first, into in offered:
            if held[first] >= (FIRST_OF_SLOT if first else OF_SLOT):
                continue
            cell = self._into(slot, row)
            known = cell.get(template)
            if known is not None and (known.first or not first):
                continue
            most = FIRST_OF_CELL if first else OF_CELL
            if len(cell) >= most and sum(one.first is first for one in cell.values()) >= most:
                continue
            quote = quotes[text]
            if len(quote.line) > SHOWN:
                quote.read()  # as much as is kept of it
            if quote.line:
                cell[template] = _Example(quote, first, tuple(column for column in into if column >= 0))
                held[first] += 1

    def of(self, row: int, first: int, last: int, names: Sequence[str]) -> dict[str, list[str]]:
        """By feature (`names` are the columns') lines of an entity in the slots `first` to `last`, one of a template:
        strange ones and errors before others, and then the newest slot's."""
        cells = (self._cell(slot, row) for slot in range(last, first - 1, -1))
        found = [item for cell in cells for item in cell.items()]
        chosen: dict[str, dict[int, str]] = {}
        for template, one in sorted(found, key=lambda item: not item[1].first):
            for column in one.columns:
                quoted = chosen.setdefault(names[column], {})
                if len(quoted) < QUOTED:
                    quoted.setdefault(template, one.quote.read())
        return {name: list(quoted.values()) for name, quoted in chosen.items()}

    def state(self) -> State:
        """Everything, as JSON."""
        kept = [[*place, one.quote.read(), one.first, list(one.columns)] for place, one in self._all()]
        return State(meta={"kept": kept})

    def restore(self, state: State) -> None:
        """Take over what `state` gave."""
        self._slots = {}
        for slot, row, template, line, first, columns in state.meta["kept"]:
            self._into(slot, row)[template] = _Example(Quote(line), first, tuple(columns))


def _sizes(lines: Samples) -> Ints:
    """With how many of N lines each counts together: those of its row, slot and template, or of all other templates."""
    columns = lines.values[:, COUNTED:]
    last = columns.shape[1] - 1 - (columns[:, ::-1] >= 0).argmax(axis=1)
    into = columns[np.arange(len(lines)), last].astype(np.int64)
    span, width = int(lines.rows.max()) + 1, int(into.max()) + 2
    cells = ((lines.slots - lines.slots.min()) * span + lines.rows) * width + into + 1
    _, place, counts = np.unique(cells, return_inverse=True, return_counts=True)
    return np.asarray(counts[place], np.int64)
