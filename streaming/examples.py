"""Some log lines of each (entity, slot) as they came, for people to read: strange ones and errors first."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from streaming.cells import COUNTED, SCORES, TEMPLATE, TEXT, Samples, alike, strange
from streaming.types import Codes, Ints, State

QUOTED = 3
"""Lines that are quoted of a feature."""
FIRST_OF_CELL, FIRST_OF_SLOT = 8, 1024
"""Strange lines and errors that are kept of an (entity, slot), and of a slot; a line of each template."""
OF_CELL, OF_SLOT = 24, 512
"""Likewise of other lines: those of the templates with most lines."""


@dataclass(frozen=True, slots=True)
class _Example:
    line: str
    first: bool
    columns: tuple[int, ...]


class Examples:
    """For each (entity by row, slot, template) a line, and the columns of the ring in which it counts.

    Of a template the line of the highest scores is kept, the first of them; what comes late is added to what is there.
    """

    def __init__(self) -> None:
        self._slots: dict[int, dict[int, dict[int, _Example]]] = {}

    def add(self, lines: Samples, grave: Codes) -> None:
        """Choose from the told ones of `lines`, in order of arrival within each slot; lines that count in one of the
        columns `grave` are errors. A slot's lines on time come in one call."""
        which = lines.values[:, TEMPLATE] >= 0
        if not which.any():
            return
        told, sizes = lines.take(which), _sizes(lines)[which]
        values = told.values
        first = strange(values) | np.isin(values[:, COUNTED:], grave).any(axis=1)
        scores = np.where(values[:, SCORES:COUNTED:2] >= 0, values[:, SCORES + 1 : COUNTED : 2], 0).sum(axis=1)
        # strange ones by their scores, then errors, then what there is most of
        order = np.lexsort((-sizes, -scores, ~strange(values), ~first))
        told, first = told.take(order), first[order]
        one, _ = alike(told.rows, told.slots, told.values[:, TEMPLATE])
        told, first = told.take(one), first[one]
        order = np.argsort(told.slots, kind="stable")
        places = zip(told.slots[order].tolist(), order.tolist(), strict=True)
        for slot, chosen in groupby(places, lambda place: place[0]):
            self._keep(slot, told, first, [place for _, place in chosen])

    def _keep(self, slot: int, told: Samples, first: NDArray[np.bool_], chosen: Sequence[int]) -> None:
        cells = self._slots.setdefault(slot, {})
        held = [sum(one.first is kind for cell in cells.values() for one in cell.values()) for kind in (False, True)]
        for place in chosen:
            is_first = bool(first[place])
            if held[is_first] >= (FIRST_OF_SLOT if is_first else OF_SLOT):
                continue
            cell = cells.setdefault(int(told.rows[place]), {})
            template = int(told.values[place, TEMPLATE])
            known = cell.get(template)
            if known is not None and (known.first or not is_first):
                continue
            if sum(one.first is is_first for one in cell.values()) < (FIRST_OF_CELL if is_first else OF_CELL):
                line = told.quotes[int(told.values[place, TEXT])]
                if line:
                    cell[template] = _Example(line, is_first, _columns(told.values[place]))
                    held[is_first] += 1

    def of(self, row: int, first: int, last: int, names: Sequence[str]) -> dict[str, list[str]]:
        """By feature (`names` are the columns') lines of an entity in the slots `first` to `last`, one of a template:
        strange ones and errors before others, and then the newest slot's."""
        cells = (self._slots.get(slot, {}).get(row, {}) for slot in range(last, first - 1, -1))
        found = [item for cell in cells for item in cell.items()]
        chosen: dict[str, dict[int, str]] = {}
        for template, one in sorted(found, key=lambda item: not item[1].first):
            for column in one.columns:
                quoted = chosen.setdefault(names[column], {})
                if len(quoted) < QUOTED:
                    quoted.setdefault(template, one.line)
        return {name: list(quoted.values()) for name, quoted in chosen.items()}

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
        return State(meta={"kept": [[*place, *astuple(one)] for place, one in self._all()]})

    def restore(self, state: State) -> None:
        """Take over what `state` gave."""
        self._slots = {}
        for slot, row, template, line, first, columns in state.meta["kept"]:
            self._slots.setdefault(slot, {}).setdefault(row, {})[template] = _Example(line, first, tuple(columns))

    def _all(self) -> Iterator[tuple[tuple[int, int, int], _Example]]:
        for slot, rows in self._slots.items():
            for row, cell in rows.items():
                for template, one in cell.items():
                    yield (slot, row, template), one


def _columns(values: Codes) -> tuple[int, ...]:
    """The columns that a line (k values) adds to."""
    into = np.concatenate([values[COUNTED:], values[SCORES:COUNTED:2]])
    return tuple(into[into >= 0].tolist())


def _sizes(lines: Samples) -> Ints:
    """With how many of N lines each counts together: those of its row, slot and template, or of all other templates."""
    columns = lines.values[:, COUNTED:]
    last = columns.shape[1] - 1 - (columns[:, ::-1] >= 0).argmax(axis=1)
    into = columns[np.arange(len(lines)), last].astype(np.int64)
    span, width = int(lines.rows.max()) + 1, int(into.max()) + 2
    cells = ((lines.slots - lines.slots.min()) * span + lines.rows) * width + into + 1
    _, place, counts = np.unique(cells, return_inverse=True, return_counts=True)
    return np.asarray(counts[place], np.int64)
