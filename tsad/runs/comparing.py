"""Two runs over the same input: which alerts appear, vanish or change.

Alerts of an entity that meet in time are the same thing, however many each run made of it. What appears, vanishes or
changes is counted by such cases.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import heappush, heapreplace
from itertools import count
from typing import Any, Literal

from storage.engine import Database
from storage.runalerts import RunAlert, RunAlerts
from storage.runs import Runs
from storage.types import Severity

Kind = Literal["appears", "vanishes", "changed", "same"]
Aspect = Literal["severity", "score", "channel", "number"]
KINDS: tuple[Kind, ...] = ("appears", "vanishes", "changed", "same")
ASPECTS: tuple[Aspect, ...] = ("severity", "score", "channel", "number")
LEVELS: tuple[Severity, ...] = ("info", "warning", "critical")
SCORE_CHANGE = 0.1
"""Scores that differ by no more than this part of the greater one are the same."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one run says of a case: how many alerts, the greatest severity; id, score and leading channel of the
    strongest."""

    alerts: int
    severity: Severity
    id: str
    score: float
    channel: str

    @classmethod
    def of(cls, alert: RunAlert) -> "Side":
        """One alert."""
        return cls(1, alert.severity, alert.id, alert.score, alert.channel)

    def __add__(self, other: "Side") -> "Side":
        """Both together."""
        strongest = max(self, other, key=lambda side: side.score)
        worst = max(self.severity, other.severity, key=LEVELS.index)
        return Side(self.alerts + other.alerts, worst, strongest.id, strongest.score, strongest.channel)


@dataclass(frozen=True, slots=True)
class Case:
    """Alerts of an entity that meet in time, from `first` to `last`: what `before` says and what `after` does; None
    where a run has none."""

    stream: str
    entity: str
    first: datetime
    last: datetime
    before: Side | None
    after: Side | None

    @property
    def changes(self) -> tuple[Aspect, ...]:
        """What both say differently."""
        if self.before is None or self.after is None:
            return ()
        one, other = self.before, self.after
        differ = {
            "severity": one.severity != other.severity,
            "score": abs(one.score - other.score) > SCORE_CHANGE * max(abs(one.score), abs(other.score)),
            "channel": one.channel != other.channel,
            "number": one.alerts != other.alerts,
        }
        return tuple(name for name in ASPECTS if differ[name])

    @property
    def kind(self) -> Kind:
        """What becomes of it."""
        if self.before is None:
            return "appears"
        if self.after is None:
            return "vanishes"
        return "changed" if self.changes else "same"

    @property
    def score(self) -> float:
        """The greatest."""
        return max(side.score for side in (self.before, self.after) if side is not None)

    @property
    def severity(self) -> Severity:
        """The greatest."""
        return max((side.severity for side in (self.before, self.after) if side is not None), key=LEVELS.index)


@dataclass(slots=True)
class Comparison:
    """How the run `after` differs from the run `before`: cases by kind, and by (kind, severity); what changed in how
    many; alerts of either; and the `keep` strongest cases that differ, of each kind."""

    before: str
    after: str
    keep: int = 50
    kinds: Counter[Kind] = field(default_factory=Counter)
    severities: Counter[tuple[Kind, Severity]] = field(default_factory=Counter)
    aspects: Counter[Aspect] = field(default_factory=Counter)
    alerts: list[int] = field(default_factory=lambda: [0, 0])
    _heaps: dict[Kind, list[tuple[float, int, Case]]] = field(default_factory=dict)
    _serial: Iterator[int] = field(default_factory=count)

    def take(self, cases: Iterable[Case]) -> "Comparison":
        """Count `cases` in."""
        for case in cases:
            kind = case.kind
            self.kinds[kind] += 1
            self.severities[kind, case.severity] += 1
            self.aspects.update(case.changes)
            for place, side in enumerate((case.before, case.after)):
                self.alerts[place] += 0 if side is None else side.alerts
            if kind != "same":
                self._note(kind, case)
        return self

    def strongest(self, kind: Kind) -> list[Case]:
        """Of those of a kind, the strongest first."""
        return [case for _, _, case in sorted(self._heaps.get(kind, []), key=lambda entry: (-entry[0], -entry[1]))]

    def _note(self, kind: Kind, case: Case) -> None:
        heap = self._heaps.setdefault(kind, [])
        entry = (case.score, -next(self._serial), case)  # of equal ones the first stay
        if len(heap) < self.keep:
            heappush(heap, entry)
        elif heap and entry[0] > heap[0][0]:
            heapreplace(heap, entry)

    def figures(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "before": {"run": self.before, "alerts": self.alerts[0]},
            "after": {"run": self.after, "alerts": self.alerts[1]},
            "counts": {kind: self.kinds[kind] for kind in KINDS},
            "severities": {kind: {level: self.severities[kind, level] for level in LEVELS[::-1]} for kind in KINDS},
            "changes": {aspect: self.aspects[aspect] for aspect in ASPECTS},
            "cases": [told(case) for kind in KINDS[:3] for case in self.strongest(kind)],
        }


def told(case: Case) -> dict[str, Any]:
    """A case as a plain row."""
    return {
        "kind": case.kind, "stream": case.stream, "entity": case.entity, "first_time": case.first,
        "last_time": case.last, "changes": list(case.changes),
        "before": None if case.before is None else _plain(case.before),
        "after": None if case.after is None else _plain(case.after),
    }  # fmt: skip


def _plain(side: Side) -> dict[str, Any]:
    return {name: getattr(side, name) for name in Side.__slots__}


def cases_of(alerts: Iterable[RunAlert], runs: Sequence[str], stream: str) -> Iterator[Case]:
    """The cases of two `runs`, whose `alerts` come together by entity, by when they began. No more is held of a case
    than what it says, however many alerts it has."""
    held: Case | None = None
    for alert in alerts:
        sides = [Side.of(alert) if alert.run == run else None for run in runs]
        case = Case(stream, alert.entity, alert.first_time, alert.last_time, *sides)
        if held is not None and held.entity == case.entity and case.first <= held.last:
            held = _joined(held, case)
            continue
        if held is not None:
            yield held
        held = case
    if held is not None:
        yield held


def _joined(one: Case, other: Case) -> Case:
    before, after = _sum(one.before, other.before), _sum(one.after, other.after)
    return Case(one.stream, one.entity, one.first, max(one.last, other.last), before, after)


def _sum(one: Side | None, other: Side | None) -> Side | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other


def compare(database: Database, before: str, after: str, keep: int = 50) -> Comparison:
    """How the run `after` differs from `before`. NotThereError where there is no such run; ValueError for one and the
    same."""
    if before == after:
        raise ValueError(f"a run is not compared with itself: {before!r}")
    runs, reader = Runs(database), RunAlerts(database)
    streams = sorted({stream for run in (before, after) for stream in runs.streams(runs.known(run))})
    found = Comparison(before, after, keep)
    for stream in streams:
        found.take(cases_of(reader.side_by_side(before, after, stream), (before, after), stream))
    return found
