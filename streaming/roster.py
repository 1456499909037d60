"""The entities of a partition: which row of the ring is whose, and who was seen when."""

from collections.abc import Sequence
from itertools import repeat

import numpy as np

from streaming.ring import NEVER, Index, enlarged
from streaming.types import Codes, Ints, State

NO_LINE: int = np.iinfo(np.int64).max
"""`Roster.first_line` of an entity that has never had a log line."""


class Roster:
    """Entity name <-> row. Free rows are given lowest first, so that rows follow from the order of changes alone.

    `seen` and `first_line` (slots, one a row): the last closed slot in which the entity was written (`NEVER` = in
    none), and the first in which it had a log line. `labels` are the last ones of an entity.
    """

    def __init__(self) -> None:
        self.names: list[str | None] = []
        self.labels: dict[str, dict[str, str]] = {}
        self.seen: Ints = np.empty(0, np.int64)
        self.first_line: Ints = np.empty(0, np.int64)
        self._rows: dict[str, int] = {}
        self._free: list[int] = []  # falling
        self._filled: list[str] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def filled(self) -> list[str]:
        """`names` with "" for a free row: one list until the roster changes, which its holders may keep."""
        if self._filled is None:
            self._filled = [name or "" for name in self.names]
        return self._filled

    def rows(self, names: Sequence[str]) -> Codes:
        """The row of each name, -1 for an unknown one."""
        return np.fromiter(map(self._rows.get, names, repeat(-1)), np.int32, len(names))

    def admit(self, names: Sequence[str]) -> list[int]:
        """Give a row to each of `names`, all of them unknown."""
        if not names:  # at nearly every slot
            return []
        self._filled = None
        given = [self._free.pop() for _ in range(min(len(self._free), len(names)))]
        given += range(len(self.names), len(self.names) + len(names) - len(given))
        self._grow(max(given, default=-1) + 1)
        for name, row in zip(names, given, strict=True):
            self.names[row] = name
            self._rows[name] = row
        return given

    def mark(self, rows: Index, slots: Ints | int) -> None:
        """Note that `rows` were written in `slots`."""
        np.maximum.at(self.seen, rows, slots)

    def mark_lines(self, rows: Index, slots: Ints) -> None:
        """Note that `rows` had log lines in `slots`."""
        np.minimum.at(self.first_line, rows, slots)

    def active(self, slot: int, silent_slots: int) -> Codes:
        """Rows, rising, that were written in `slot` or at most `silent_slots` before it."""
        return np.flatnonzero(slot - self.seen <= silent_slots).astype(np.int32)

    def living(self, rows: Codes, slots: Ints, closing: range, silent_slots: int) -> tuple[Codes, Ints]:
        """Note that `rows` were written in `slots`, all of `closing`; the cells, by (slot, row), of those who live:
        `mark` and `active` of each slot."""
        seen = np.full((len(closing), len(self.seen)), NEVER, np.int64)
        seen[slots - closing.start, rows] = slots
        np.maximum(seen[0], self.seen, out=seen[0])
        np.maximum.accumulate(seen, axis=0, out=seen)
        self.seen[:] = seen[-1]
        each = np.arange(closing.start, closing.stop)
        at, living = (each[:, None] - seen <= silent_slots).nonzero()
        return living.astype(np.int32), each[at]

    def oldest(self, count: int) -> list[tuple[str, int]]:
        """(name, row) of the `count` least recently seen entities, by (slot, name)."""
        known = np.fromiter(self._rows.values(), np.int64, len(self))
        bound = np.partition(self.seen[known], count - 1)[count - 1]
        candidates = known[self.seen[known] <= bound].tolist()
        named = [(int(self.seen[row]), self.names[row] or "", row) for row in candidates]
        return [(name, row) for _, name, row in sorted(named)[:count]]

    def release(self, names: Sequence[str]) -> None:
        """Forget `names`; their rows may be given again."""
        self._filled = None
        rows = [self._rows.pop(name) for name in names]
        for name, row in zip(names, rows, strict=True):
            self.names[row] = None
            self.labels.pop(name, None)
        self.seen[rows] = NEVER
        self.first_line[rows] = NO_LINE
        self._free = sorted(self._free + rows, reverse=True)

    def label(self, labels: dict[str, dict[str, str]], bound: int) -> None:
        """Take over the newest labels; beyond `bound` entries those of unknown entities go."""
        self.labels |= labels
        if len(self.labels) > bound:
            self.labels = {name: given for name, given in self.labels.items() if name in self._rows}

    def state(self) -> State:
        """Everything."""
        used = len(self.names)
        arrays = {"seen": self.seen[:used], "first_line": self.first_line[:used]}
        return State(arrays, {"names": list(self.names), "labels": dict(self.labels)})

    def restore(self, state: State) -> None:
        """Take over what `state` gave."""
        self._filled = None
        self.names = list(state.meta["names"])
        self.labels = dict(state.meta["labels"])
        self.seen = state.arrays["seen"].copy()
        self.first_line = state.arrays["first_line"].copy()
        self._rows = {name: row for row, name in enumerate(self.names) if name is not None}
        self._free = [row for row in reversed(range(len(self.names))) if self.names[row] is None]

    def _grow(self, rows: int) -> None:
        self.names += [None] * (rows - len(self.names))
        if rows > len(self.seen):
            room = max(rows, 2 * len(self.seen), 16)
            self.seen = enlarged(self.seen, room, NEVER)
            self.first_line = enlarged(self.first_line, room, NO_LINE)
