"""What each entity wrote last: the templates of its last lines, in position order."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from streaming.types import Codes, Ints, State

UNKNOWN = -1
"""A template that is not known: of a line before the first one."""
_SMALL = 1 << 16


class LastLines:
    """Template ids of the last `depth` lines of at most `most` entities.

    When a slot begins and there are more, those seen least recently (by slot, then name) are forgotten: so who is known
    follows from the lines alone, not from how they came in polls.
    """

    def __init__(self, most: int, depth: int = 2) -> None:
        self._most = most
        self.depth = depth
        self._rows: dict[str, int] = {}
        self._free: list[int] = []
        self._last: Codes = np.empty((0, depth), np.int32)
        self._seen: Ints = np.empty(0, np.int64)
        self._now = np.iinfo(np.int64).min // 2

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, names: Sequence[str], codes: Codes, ids: Codes, now: Ints) -> Codes:
        """The lines before each of N lines of its entity (N x `depth`, the nearest first; -1 = none is known).

        `codes` (N) index `names`, `ids` (N) are template ids, `now` (N, rising) the topic's slots as the lines came.
        """
        if not len(codes):
            return np.empty((0, self.depth), np.int32)
        if len(self._rows) + len(names) <= self._most:
            self._now = int(now[-1])
            return self._follow(names, codes, ids, now)
        before = np.empty((len(codes), self.depth), np.int32)
        edges = np.flatnonzero(np.diff(now)) + 1
        for start, stop in pairwise([0, *edges.tolist(), len(codes)]):
            if now[start] > self._now:
                self._now = int(now[start])
                self._forget()
            part = slice(start, stop)
            before[part] = self._follow(names, codes[part], ids[part], now[part])
        return before

    def _follow(self, names: Sequence[str], codes: Codes, ids: Codes, now: Ints) -> Codes:
        rows = self._rows_of(names, codes)
        # numbers of 16 bits are sorted by their digits, which is several times as fast
        order = np.argsort(rows.astype(np.uint16) if len(self._last) <= _SMALL else rows, kind="stable")
        rows, sorted_ids = rows[order], ids[order]
        first = np.concatenate([[True], rows[1:] != rows[:-1]])
        last = np.concatenate([first[1:], [True]])
        begun = self._last[rows[first]]
        before, nearer, whose = np.empty((len(rows), self.depth), np.int32), sorted_ids, rows[last]
        for place in range(self.depth):
            self._last[whose, place] = nearer[last]
            farther = np.empty_like(nearer)
            farther[1:] = nearer[:-1]
            farther[first] = begun[:, place]
            before[order, place] = nearer = farther
        self._seen[rows[last]] = now[order[last]]
        return before

    def _rows_of(self, names: Sequence[str], codes: Codes) -> Codes:
        row_of = np.zeros(len(names), np.int32)
        for code in np.flatnonzero(np.bincount(codes, minlength=len(names))).tolist():
            row = self._rows.get(names[code])
            row_of[code] = self._admit(names[code]) if row is None else row
        found: Codes = row_of[codes]
        return found

    def _admit(self, name: str) -> int:
        row = self._free.pop() if self._free else len(self._rows)
        if row >= len(self._last):
            more = max(16, len(self._last))
            self._last = np.concatenate([self._last, np.full((more, self.depth), UNKNOWN, np.int32)])
            self._seen = np.concatenate([self._seen, np.zeros(more, np.int64)])
        self._last[row] = UNKNOWN
        self._rows[name] = row
        return row

    def _forget(self) -> None:
        """Let the least recently seen go where there are too many."""
        excess = len(self._rows) - self._most
        if excess > 0:
            by_age = sorted(self._rows, key=lambda name: (self._seen[self._rows[name]], name))
            self._free += [self._rows.pop(name) for name in by_age[:excess]]

    def state(self) -> State:
        """Entities and their lines, the same however the rows lie."""
        names = sorted(self._rows)
        rows = np.array([self._rows[name] for name in names], np.int64)
        return State({"last": self._last[rows], "seen": self._seen[rows]}, {"names": names, "now": int(self._now)})

    def restore(self, state: State) -> None:
        """Go on from what `state` gave."""
        self._rows = {name: row for row, name in enumerate(state.meta["names"])}
        self._free, self._now = [], state.meta["now"]
        self._last, self._seen = _widened(state.arrays["last"], self.depth), state.arrays["seen"].copy()


def _widened(last: Codes, depth: int) -> Codes:
    """What was remembered to another depth: a version that looks farther back knows no more yet."""
    found = np.full((len(last), depth), UNKNOWN, np.int32)
    known = min(depth, last.shape[1])
    found[:, :known] = last[:, :known]
    return found
