"""Sessions by plain loops over one line after the other: what the table must tell of, whatever the polls were."""

from dataclasses import dataclass, field

from streaming.sessiontable import AMENDED, CLOSED, EVICTED, GROWN, OPEN, SPARE, SessionRules

Line = tuple[str, int, int, int]
"""Key ("" = none), template, time, severity."""
Seen = tuple[str, int, int, int, int, tuple[tuple[int, int, int], ...], int]
"""Key, part, slot of the first line, start, end, lines by time (template, time, severity), told of as."""


@dataclass
class Plain:
    key: str
    number: int
    opened: int
    part: int
    lines: list[tuple[int, int, int]] = field(default_factory=list)
    told: int = 0
    stage: int = OPEN
    dirty: bool = False

    @property
    def start(self) -> int:
        return min(time for _, time, _ in self.lines)

    @property
    def end(self) -> int:
        return max(time for _, time, _ in self.lines)


class PlainSessions:
    def __init__(self, rules: SessionRules, early: bool) -> None:
        self.rules, self.early = rules, early
        self.held: list[Plain] = []
        self.seen: list[Seen] = []
        self.now: int | None = None
        self.newest = -(10**18)
        self.number = 0

    def take(self, line: Line) -> None:
        key, template, time, severity = line
        rules = self.rules
        self.newest = max(self.newest, time)
        mark = (self.newest - rules.lateness) // rules.tick
        if self.now is None or mark > self.now:
            self.now = mark
            self.look(mark * rules.tick)
        oldest = (self.newest - rules.lateness) // rules.step - rules.late_horizon
        if not key or time // rules.step < oldest:
            return
        near = self.near(key, time)
        if sum(len(s.lines) for s in self.held) >= rules.max_held or (
            near is None and len(self.held) >= rules.max_open
        ):
            self.make_room()
            near = self.near(key, time)
        if near is None:
            opened = time // rules.step
            parts = [one.part for one in self.held if (one.key, one.opened) == (key, opened)]
            near = Plain(key, self.number, opened, max(parts, default=-1) + 1)
            self.held.append(near)
        self.number += 1
        near.lines.append((template, time, severity))
        near.dirty = True

    def near(self, key: str, time: int) -> Plain | None:
        rules = self.rules
        for one in reversed(self.held):
            close = one.key == key and one.start - rules.gap <= time <= one.end + rules.gap
            within = max(one.end, time) - min(one.start, time) <= rules.max_length
            if close and within and len(one.lines) < rules.max_lines:
                return one
        return None

    def last(self, one: Plain) -> int:
        return min(one.end + self.rules.gap, one.start + self.rules.max_length)

    def look(self, mark: int) -> None:
        for one in list(self.held):
            if one.stage == OPEN and (self.last(one) < mark or len(one.lines) >= self.rules.max_lines):
                self.tell(one, CLOSED)
            elif one.stage != OPEN and one.dirty:
                self.tell(one, AMENDED)
            elif one.stage == OPEN and self.early and len(one.lines) >= GROWN * one.told:
                self.tell(one, OPEN)
        gone = mark - self.rules.late_horizon * self.rules.step
        self.held = [one for one in self.held if one.stage == OPEN or self.last(one) >= gone]

    def make_room(self) -> None:
        rules = self.rules
        order = sorted(self.held, key=lambda one: (one.stage == OPEN, one.end, one.number))
        count, lines = 0, sum(len(one.lines) for one in self.held)
        if len(order) >= rules.max_open:
            count = len(order) - rules.max_open + max(rules.max_open // SPARE, 1)
        if lines >= rules.max_held:
            left, target = lines, rules.max_held - max(rules.max_held // SPARE, 1)
            for number, one in enumerate(order, 1):
                left -= len(one.lines)
                if left <= target:
                    count = max(count, number)
                    break
        for one in order[:count]:
            if one.stage == OPEN:
                self.tell(one, EVICTED)
            elif one.dirty:
                self.tell(one, AMENDED)
            self.held.remove(one)

    def end(self) -> None:
        for one in self.held:
            if one.stage == OPEN:
                self.tell(one, CLOSED)
            elif one.dirty:
                self.tell(one, AMENDED)

    def tell(self, one: Plain, as_: int) -> None:
        if as_ in (CLOSED, EVICTED):
            one.stage = CLOSED
        one.dirty, one.told = False, len(one.lines)
        lines = tuple(sorted(one.lines, key=lambda line: line[1]))
        self.seen.append((one.key, one.part, one.opened, one.start, one.end, lines, as_))
