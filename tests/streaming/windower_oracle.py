"""The windower's rules once more, as slow loops over dictionaries, without polls, arrays or rings."""

import math
from dataclasses import dataclass, field

import numpy as np

from streaming.settings import FeatureRules, Timing

MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Telemetry:
    name: str
    time: int
    values: dict[str, float]


@dataclass(frozen=True)
class Line:
    name: str
    time: int
    counted: tuple[str, ...]


Record = Telemetry | Line


def is_log(name: str) -> bool:
    return name.startswith("log.")


@dataclass
class Oracle:
    """`events` is what must come out: ("closed" | "amended", slot, {(name, slot): values}, born, evicted)."""

    timing: Timing
    rules: FeatureRules
    coverage: str = "stream"
    declared: tuple[str, ...] = ()
    events: list = field(default_factory=list)
    rejected: list = field(default_factory=list)
    duplicates: int = 0

    def __post_init__(self) -> None:
        self.raw: dict[tuple[str, int], list[Telemetry]] = {}
        self.counts: dict[tuple[str, int], dict[str, int]] = {}
        self.filled: dict[tuple[str, int], dict[str, float]] = {}
        self.judged: set[tuple[str, int]] = set()
        self.seen: dict[str, int] = {}
        self.first_line: dict[str, int] = {}
        self.rows: dict[str, int] = {}
        self.covered: set[int] = set()
        self.since: dict[str, float] = dict.fromkeys(self.declared, -math.inf)

    def run(self, *streams: list[Record]) -> "Oracle":
        on_time: dict[int, list[Record]] = {}
        late: dict[int, list[Record]] = {}
        marks, lasts = [], []
        for stream in streams:
            newest = None
            for number, record in enumerate(stream):
                newest = record.time if newest is None else max(newest, record.time)
                mark, slot = (newest - self.timing.lateness) // self.timing.step, record.time // self.timing.step
                if number == 0:
                    marks.append(mark)
                if slot >= mark:
                    on_time.setdefault(slot, []).append(record)
                elif slot >= mark - self.timing.late_horizon:
                    late.setdefault(mark, []).append(record)
                else:
                    self.rejected.append((type(record).__name__, number))
            if newest is not None:
                lasts.append(newest // self.timing.step)
        if not marks:
            return self
        for slot in range(min(marks), max(lasts) + 1):
            self.amend(slot, late.get(slot, []))
            self.close(slot, on_time.get(slot, []))
        return self

    def close(self, slot: int, records: list[Record]) -> None:
        born = self.admit(records)
        for record in records:
            self.take(record)
            if isinstance(record, Line):
                self.covered.add(slot)
            self.seen[record.name] = slot
        alive = [name for name in self.seen if slot - self.seen[name] <= self.silence]
        for name in alive:
            self.fill(name, slot)
            self.judged.add((name, slot))
        cells = {(name, slot): self.derived(name, slot) for name in alive}
        if not cells:
            return
        gone = sorted(self.seen, key=lambda name: (self.seen[name], name))
        gone = gone[: max(len(gone) - self.timing.max_entities, 0)]
        self.events.append(("closed", slot, cells, born, [(name, self.rows[name]) for name in gone]))
        for name in gone:
            for kept in (self.raw, self.counts, self.filled):
                for key in [key for key in kept if key[0] == name]:
                    del kept[key]
            self.judged = {key for key in self.judged if key[0] != name}
            del self.seen[name], self.rows[name]
            self.first_line.pop(name, None)

    def amend(self, slot: int, records: list[Record]) -> None:
        if not records:
            return
        born = self.admit(records)
        names = {record.name for record in records}
        cells = [(name, at) for name in names for at in range(slot - self.timing.late_horizon, slot)]
        before = {cell: self.derived(*cell) for cell in cells if cell in self.judged}
        for record in records:
            at = record.time // self.timing.step
            self.take(record)
            self.seen[record.name] = max(self.seen.get(record.name, at), at)
            for alive in range(at, min(at + self.silence, slot - 1) + 1):
                self.judged.add((record.name, alive))
        for cell in cells:
            if cell in self.judged:
                self.fill(*cell)
        after = {cell: self.derived(*cell) for cell in cells if cell in self.judged}
        changed = {cell: values for cell, values in after.items() if cell not in before or before[cell] != values}
        if changed:
            self.events.append(("amended", slot - 1, changed, born, []))

    @property
    def silence(self) -> int:
        return self.timing.forget_after if self.timing.on_silence == "alert" else 0

    def admit(self, records: list[Record]) -> list[tuple[str, int]]:
        firsts: dict[str, int] = {}
        for record in records:
            if record.name not in self.rows:
                at = record.time // self.timing.step
                firsts[record.name] = min(firsts.get(record.name, at), at)
        born = []
        for name in sorted(firsts, key=lambda name: (firsts[name], name)):
            free = next(row for row in range(len(self.rows) + 1) if row not in self.rows.values())
            self.rows[name] = free
            born.append((name, free))
        return born

    def take(self, record: Record) -> None:
        slot = record.time // self.timing.step
        key = (record.name, slot)
        if isinstance(record, Line):
            counts = self.counts.setdefault(key, {})
            for name in record.counted:
                counts[name] = counts.get(name, 0) + 1
            self.first_line[record.name] = min(self.first_line.get(record.name, slot), slot)
            names = record.counted
        else:
            held = self.raw.setdefault(key, [])
            fresh = {
                name: value
                for name, value in record.values.items()
                if not any(old.time == record.time and name in old.values for old in held)
            }
            self.duplicates += len(record.values) - len(fresh)
            held.append(Telemetry(record.name, record.time, fresh))
            names = tuple(fresh)
        for name in names:
            self.since[name] = min(self.since.get(name, math.inf), slot)

    def fill(self, name: str, slot: int) -> None:
        held = self.filled.setdefault((name, slot), {})
        held |= self.counts.get((name, slot), {})
        own = (name, slot) in self.counts
        covered = {
            "stream": slot in self.covered,
            "entity": False,
            "always": bool(self.covered) and slot >= min(self.covered),
        }[self.coverage]
        if (own or covered) and self.first_line.get(name, math.inf) <= slot:
            for feature, since in self.since.items():
                if is_log(feature) and since <= slot:
                    held.setdefault(feature, 0.0)

    def joined(self, name: str, slot: int, feature: str) -> float | None:
        given = sorted(
            (record.time, record.values[feature])
            for record in self.raw.get((name, slot), [])
            if feature in record.values
        )
        if not given:
            return None
        values = [value for _, value in given]
        kind = self.rules.of(feature).aggregate
        total = {"mean": sum(values) / len(values), "sum": sum(values), "max": max(values), "last": values[-1]}[kind]
        return float(np.float32(min(max(total, -MAX), MAX)))

    def last_before(self, name: str, slot: int, feature: str, reach: int) -> tuple[float, int] | None:
        for at in range(slot - 1, slot - reach - 1, -1):
            value = self.joined(name, at, feature)
            if value is not None:
                return value, at
        return None

    def telemetry(self, name: str, slot: int, feature: str) -> float | None:
        rule = self.rules.of(feature)
        value, at = self.joined(name, slot, feature), slot
        carry = rule.carry if rule.missing == "carry" else 0
        if value is None and carry:
            value, at = self.last_before(name, slot, feature, carry) or (None, slot)
        if rule.counter and value is not None:
            before = self.last_before(name, at, feature, self.timing.window - carry)
            if before is None:
                value = None
            else:
                rise = value - before[0] if value >= before[0] else value
                value = float(np.float32(rise / ((at - before[1]) * self.timing.step / 1e9)))
        if value is None and rule.missing == "zero" and self.since.get(feature, math.inf) <= slot:
            value = 0.0
        return value

    def derived(self, name: str, slot: int) -> dict[str, float]:
        values = dict(self.filled.get((name, slot), {}))
        for feature in self.since:
            if not is_log(feature):
                value = self.telemetry(name, slot, feature)
                if value is not None:
                    values[feature] = value
        return values
