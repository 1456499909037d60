"""The sessions of a partition that may still change: which line joins which, and when one is told of.

Everything follows from the lines in their order: a line joins the newest session of its key that it is near enough to,
whatever the polls were, and sessions are looked at when the topic's watermark comes to the next tick.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streaming.sessionlines import KeptLines
from streaming.sessions import Sessions
from streaming.types import Codes, Ints, State

NEVER = np.iinfo(np.int64).min // 2
OPEN, CLOSED, AMENDED, EVICTED = range(4)
"""What a session is told of as: it grew, it closed, it changed after that, it had to go before it closed."""
TICKS = 32
"""Looks at a session in the time of its gap, where a slot is not longer than that."""
SPARE = 16
"""The part of the places (and of the lines) that is freed where one more is needed."""
GROWN = 1.5
"""An open session is told of again when it has so many times the lines that it was last told of with."""


@dataclass(frozen=True, slots=True)
class SessionRules:
    """`step` and `gap` in ns, `late_horizon` in slots, `lateness` in ns. A session has at most `max_lines` lines within
    `max_length` ns; at most `max_open` sessions of `max_held` lines together are kept."""

    step: int
    lateness: int
    late_horizon: int
    gap: int
    max_lines: int = 1000
    max_length: int = 1 << 60
    max_open: int = 100_000
    max_held: int = 4_000_000

    @property
    def tick(self) -> int:
        """Nanoseconds from one look at the open sessions to the next: whole slots."""
        return self.step * max(self.gap // TICKS // self.step, 1)


@dataclass(frozen=True, slots=True)
class Told:
    """S `sessions` as they stand, by `numbers` (S, which no other session has), each `as_` (S) OPEN, CLOSED, AMENDED or
    EVICTED; `opened` (S) are the slots of their first lines, and `parts` (S) count the sessions of that key and slot
    before. `gone`: the numbers of those that can change no more. `at`: the line of the poll before which it is told."""

    sessions: Sessions
    numbers: Ints
    as_: NDArray[np.int8]
    opened: Ints
    parts: Codes
    gone: Ints
    at: int = 0


NONE: Ints = np.empty(0, np.int64)
COLUMNS = {
    "number": np.int64, "start": np.int64, "end": np.int64, "opened": np.int64, "lines": np.int64, "told": np.int64,
    "part": np.int32, "stage": np.int8, "dirty": np.bool_, "used": np.bool_,
}  # fmt: skip


class SessionTable:
    """Sessions by row. A row is free again when its session can no longer change.

    `early`: whether open sessions are told of too.
    """

    def __init__(self, rules: SessionRules) -> None:
        self.rules = rules
        self.early = False
        self.counts = {"sessions": 0, "sessions evicted": 0}
        self._rows: dict[str, list[int]] = {}
        self._names: list[str] = []
        self._free: list[int] = []
        self._at: dict[str, NDArray[Any]] = {name: np.zeros(0, kind) for name, kind in COLUMNS.items()}
        self._kept = KeptLines()
        self._taken = 0
        self._now = NEVER
        self._place = 0

    def __len__(self) -> int:
        return len(self._names) - len(self._free)

    def take(
        self, names: Sequence[str], codes: Codes, templates: Codes, times: Ints, severities: NDArray[Any], now: Ints
    ) -> list[Told]:
        """N lines: `codes` (N) index their keys `names` (-1 = the line is of no session), `now` (N, rising) is the
        topic's newest event time as each came. What is told of on the way, in order."""
        rules, found = self.rules, list[Told]()
        marks = (now - rules.lateness) // rules.tick
        oldest = (now - rules.lateness) // rules.step - rules.late_horizon
        mine = (codes >= 0) & (times // rules.step >= oldest)
        edges = (np.flatnonzero(marks[1:] > marks[:-1]) + 1).tolist()
        for start, stop in pairwise([0, *edges, len(codes)] if len(codes) else [0]):
            if marks[start] > self._now:
                self._now, self._place = int(marks[start]), start
                found += self._look(self._now * rules.tick)
            part = np.flatnonzero(mine[start:stop]) + start
            found += self._join(names, codes[part], templates[part], times[part], severities[part], part)
        return found

    def end(self) -> list[Told]:
        """The topic has ended: every open session closes. One that goes on after that is told of as amended."""
        at, self._place = self._at, 0
        return self._tell(np.flatnonzero(at["used"] & ((at["stage"] == OPEN) | at["dirty"])), CLOSED)

    def _look(self, mark: int) -> list[Told]:
        """The watermark is `mark` (ns): close what no line on time can join, let go what no late one can."""
        at, rules = self._at, self.rules
        last = np.minimum(at["end"] + rules.gap, at["start"] + rules.max_length)
        open_ = at["used"] & (at["stage"] == OPEN)
        over = open_ & ((last < mark) | (at["lines"] >= rules.max_lines))
        due = over | (at["dirty"] & ~open_)
        if self.early:
            due |= open_ & (at["lines"] >= GROWN * at["told"])
        found = self._tell(np.flatnonzero(due), CLOSED, over)
        gone = at["used"] & (at["stage"] != OPEN) & (last < mark - rules.late_horizon * rules.step)
        return found + self._drop(np.flatnonzero(gone))

    def _tell(self, rows: Ints, closed: int, over: NDArray[np.bool_] | None = None) -> list[Told]:
        """Tell of `rows` as they stand; those at `over` (all, by default) close now, as `closed`."""
        if not len(rows):
            return []
        at = self._at
        rows = rows[np.argsort(at["number"][rows])]
        was_open = at["stage"][rows] == OPEN
        closing = was_open if over is None else was_open & over[rows]
        at["stage"][rows[closing]] = CLOSED
        self.counts["sessions"] += int(closing.sum())
        at["dirty"][rows] = False
        at["told"][rows] = at["lines"][rows]
        as_ = np.where(closing, closed, np.where(was_open, OPEN, AMENDED)).astype(np.int8)
        bounds, templates, times, severities = self._kept.of(rows, len(self._names))
        names = [self._names[row] for row in rows.tolist()]
        sessions = Sessions(names, at["start"][rows], at["end"][rows], bounds, templates, times, severities)
        return [Told(sessions, at["number"][rows], as_, at["opened"][rows], at["part"][rows], NONE, self._place)]

    def _drop(self, rows: Ints) -> list[Told]:
        """`rows` can no longer change: their places are free."""
        if not len(rows):
            return []
        numbers = np.sort(self._at["number"][rows])
        self._kept.drop(rows, len(self._names))
        for row in rows.tolist():
            mine = self._rows[self._names[row]]
            mine.remove(row)
            if not mine:
                del self._rows[self._names[row]]
        self._free += rows[np.argsort(-self._at["number"][rows])].tolist()
        self._at["used"][rows] = self._at["dirty"][rows] = False
        return [Told(Sessions.none(), NONE, NONE.astype(np.int8), NONE, NONE.astype(np.int32), numbers, self._place)]

    def _make_room(self) -> list[Told]:
        """Let the least recent go, closed ones first: what was open is told of as evicted."""
        at, rules = self._at, self.rules
        used = np.flatnonzero(at["used"])
        order = used[np.lexsort((at["number"][used], at["end"][used], at["stage"][used] == OPEN))]
        count = 0
        if len(used) >= rules.max_open:
            count = len(used) - rules.max_open + max(rules.max_open // SPARE, 1)
        if len(self._kept) >= rules.max_held:
            beyond = len(self._kept) - rules.max_held + max(rules.max_held // SPARE, 1)
            count = max(count, int(np.searchsorted(np.cumsum(at["lines"][order]), beyond)) + 1)
        rows = order[:count]
        was_open = at["stage"][rows] == OPEN
        self.counts["sessions evicted"] += int(was_open.sum())
        return self._tell(rows[was_open | at["dirty"][rows]], EVICTED) + self._drop(rows)

    def _join(
        self, names: Sequence[str], codes: Codes, templates: Codes, times: Ints, severities: NDArray[Any], places: Ints
    ) -> list[Told]:
        """Put the poll's lines at `places` into sessions; no tick lies between them. Where there may be no room for all
        it is one half after the other, down to the line that is one too many."""
        if not len(codes):
            return []
        order = np.argsort(codes, kind="stable")
        firsts = np.flatnonzero(np.r_[True, np.diff(codes[order]) > 0])
        plain, current = self._plain(names, codes[order], times[order], firsts)
        fresh = int(np.count_nonzero(plain & (current < 0)))
        odd = int(np.diff(np.r_[firsts, len(codes)])[~plain].sum())
        room = len(self) + fresh + odd <= self.rules.max_open and len(self._kept) + len(codes) <= self.rules.max_held
        found: list[Told] = []
        if not room and len(codes) > 1:
            half = len(codes) // 2
            for part in (slice(0, half), slice(half, None)):
                found += self._join(names, codes[part], templates[part], times[part], severities[part], places[part])
            return found
        if not room and self._too_many(names[codes[0]], int(times[0])):
            self._place = int(places[0])
            found = self._make_room()
            plain, current = self._plain(names, codes, times, firsts)
        owners = np.empty(len(codes), np.int32)
        owners[order] = self._owners(names, codes[order], times[order], order, firsts, plain, current)
        self._kept.add(owners, templates, times, severities)
        self._taken += len(codes)
        return found

    def _too_many(self, name: str, time: int) -> bool:
        """Whether a line has no place as things are."""
        full = len(self._kept) >= self.rules.max_held
        return full or (self._near(name, time) < 0 and len(self) >= self.rules.max_open)

    def _plain(self, names: Sequence[str], codes: Codes, times: Ints, firsts: Ints) -> tuple[NDArray[np.bool_], Ints]:
        """Of each key (whose lines begin at `firsts`): whether all its lines plainly join one session, and the row of
        the newest one that it has (-1 = it has none)."""
        rules, at = self.rules, self._at
        last = [self._rows.get(names[code], (-1,))[-1] for code in codes[firsts].tolist()]
        current = np.array(last, np.int64)
        has = np.flatnonzero(current >= 0)
        rows, first = current[has], times[firsts]
        lines = np.diff(np.r_[firsts, len(codes)])
        low, high = np.minimum.reduceat(times, firsts), np.maximum.reduceat(times, firsts)
        plain = np.ones(len(firsts), np.bool_)
        far = np.flatnonzero(np.abs(np.diff(times)) > rules.gap) + 1
        plain[np.searchsorted(firsts, far[~np.isin(far, firsts)], side="right") - 1] = False
        plain[has] &= (first[has] >= at["start"][rows] - rules.gap) & (first[has] <= at["end"][rows] + rules.gap)
        low[has], high[has] = np.minimum(low[has], at["start"][rows]), np.maximum(high[has], at["end"][rows])
        lines[has] += at["lines"][rows]
        plain &= (high - low <= rules.max_length) & (lines <= rules.max_lines)
        return plain, current

    def _owners(
        self, names: Sequence[str], codes: Codes, times: Ints, order: Ints, firsts: Ints, plain: NDArray[np.bool_],
        current: Ints,
    ) -> Codes:  # fmt: skip
        """The row of each of N lines, by key; `order` (N) says how they came."""
        for place in np.flatnonzero(plain & (current < 0)).tolist():
            first = int(firsts[place])
            current[place] = self._open(names[codes[first]], int(times[first]), self._taken + int(order[first]))
        lengths = np.diff(np.r_[firsts, len(codes)])
        owners: Codes = np.repeat(current, lengths).astype(np.int32)
        at, rows = self._at, current[plain]
        at["start"][rows] = np.minimum(at["start"][rows], np.minimum.reduceat(times, firsts)[plain])
        at["end"][rows] = np.maximum(at["end"][rows], np.maximum.reduceat(times, firsts)[plain])
        at["lines"][rows] += lengths[plain]
        at["dirty"][rows] = True
        for place in np.flatnonzero(np.repeat(~plain, lengths)).tolist():
            owners[place] = self._one(names[codes[place]], int(times[place]), self._taken + int(order[place]))
        return owners

    def _one(self, name: str, time: int, number: int) -> int:
        """The row of a line that may begin another session of its key."""
        row = self._near(name, time)
        if row < 0:
            row = self._open(name, time, number)
        at = self._at
        at["start"][row], at["end"][row] = min(at["start"][row], time), max(at["end"][row], time)
        at["lines"][row] += 1
        at["dirty"][row] = True
        return row

    def _near(self, name: str, time: int) -> int:
        """The newest session of the key that a line at `time` joins; -1 = none."""
        at, rules = self._at, self.rules
        for row in reversed(self._rows.get(name, ())):
            start, end = int(at["start"][row]), int(at["end"][row])
            near = start - rules.gap <= time <= end + rules.gap and at["lines"][row] < rules.max_lines
            if near and max(end, time) - min(start, time) <= rules.max_length:
                return row
        return -1

    def _open(self, name: str, time: int, number: int) -> int:
        row = self._free.pop() if self._free else len(self._names)
        if row == len(self._names):
            self._names.append(name)
            self._grow(row)
        at, opened = self._at, time // self.rules.step
        mine = self._rows.setdefault(name, [])
        before = [int(at["part"][old]) for old in mine if at["opened"][old] == opened]
        values = (number, time, time, opened, 0, 0, max(before, default=-1) + 1, OPEN, False, True)
        for column, value in zip(at.values(), values, strict=True):
            column[row] = value
        self._names[row] = name
        mine.append(row)
        return row

    def _grow(self, row: int) -> None:
        if row >= len(self._at["number"]):
            more = max(16, row)
            self._at = {name: np.concatenate([held, np.zeros(more, held.dtype)]) for name, held in self._at.items()}

    def state(self) -> State:
        """Everything, the same however the rows lie."""
        used = np.flatnonzero(self._at["used"])
        rows = used[np.argsort(self._at["number"][used])]
        state = State({name: held[rows] for name, held in self._at.items() if name != "used"})
        state.meta = {"names": [self._names[row] for row in rows.tolist()], "counts": self.counts}
        state.meta |= {"taken": self._taken, "now": self._now}
        place = np.zeros(len(self._names) + 1, np.int32)
        place[rows] = np.arange(len(rows))
        state.put("lines", self._kept.state(place))
        return state

    def restore(self, state: State) -> None:
        """Take over what `state` gave."""
        held, meta = state.arrays, state.meta
        self._names, self._free, self._rows = list(meta["names"]), [], {}
        self._at = {name: held[name].copy() for name in COLUMNS if name != "used"}
        self._at["used"] = np.ones(len(self._names), np.bool_)
        for row, name in enumerate(self._names):
            self._rows.setdefault(name, []).append(row)
        self.counts, self._taken, self._now = dict(meta["counts"]), meta["taken"], meta["now"]
        self._kept.restore(state.part("lines"))
