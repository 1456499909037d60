"""Whether what happened around an alert explains it away: pure functions of slots, scores and shares.

A context event (a deploy, the start of a batch, a backup) explains an alert that opens soon after it, if a rule of the
configuration says so, or if events of its kind were followed by such alerts before. What it explains is bounded: an
alert that becomes stronger, longer or of other channels than that is a fault inside a deploy.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import sqrt
from typing import Literal

Shares = Mapping[str, float]
"""How much of a score each feature has."""
Reason = Literal["rule", "learnt"]
Growth = Literal["earlier", "stronger", "longer", "other channels"]

ALIKE = 0.7
"""Cosine of shares from which two alerts are of the same channels, and the part of them that known ones must have."""
HIGHER = 1.5
"""How many times the score and the slots of those before an alert may have."""
TWICE = 2
"""Occasions that make a precedent."""
OFTEN = 0.5
"""Part of the time from which what follows events of a kind is no sign: everything does."""
LOOK_BACK = 20
"""How many times `after` that part is taken over at most; at least the fifth of it."""
NOTABLE = 0.1
"""Share from which a channel belongs to an alert."""
A_KIND, KINDS = 200, 64
"""Precedents that are kept of a kind of event (the newest), and kinds."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A context event in slots, from `first` to `last`. `entity`: name or glob pattern, None = every entity.

    `time` is its beginning for people, `line` the log line that told of it, if one did.
    Judgements of the slots below `known` do not know it.
    """

    id: str
    kind: str
    entity: str | None
    first: int
    last: int
    title: str = ""
    time: str = ""
    known: int = 0
    line: str = ""

    def concerns(self, entity: str, opened: int, after: int) -> bool:
        """Whether an alert of `entity` that opened in a slot follows it: within it, or at most `after` slots later."""
        near = self.first <= opened <= self.last + after
        return near and (self.entity is None or fnmatchcase(entity, self.entity))


@dataclass(frozen=True, slots=True)
class Allowance:
    """A rule: events of `kind` explain alerts of entities like `entity`, of features like one of `features` (empty =
    all), of at most this score and so many slots (None = any)."""

    kind: str
    entity: str = "*"
    features: tuple[str, ...] = ()
    max_score: float | None = None
    max_slots: int | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far an explanation goes: score, slots, and features (patterns); None = without a bound."""

    score: float | None
    slots: float | None
    features: tuple[str, ...] | None
    why: Reason


@dataclass(frozen=True, slots=True)
class Precedent:
    """An alert that followed an event of `kind` and is over: what it looked like at its opening, which channels had a
    notable share in it, its peak and its length. `closed` is the slot in which it ended, `began` the event's."""

    kind: str
    entity: str
    identity: int
    began: int
    closed: int
    score: float
    slots: int
    opening: dict[str, float]
    features: tuple[str, ...]


def excess(shares: Shares) -> dict[str, float]:
    """Shares beyond the least one, adding up to 1; as they are where all are equal."""
    least = min(shares.values(), default=0.0) if len(shares) > 1 else 0.0
    above = {name: share - least for name, share in shares.items()}
    total = sum(above.values())
    if total <= 0:
        return dict(shares)
    return {name: share / total for name, share in above.items()}


def cosine(one: Shares, other: Shares) -> float:
    """Of the angle between two attributions, 0 to 1; 0 where one of them is nothing."""
    lengths = sqrt(sum(x * x for x in one.values())) * sqrt(sum(x * x for x in other.values()))
    return sum(share * other.get(name, 0.0) for name, share in one.items()) / lengths if lengths else 0.0


def by_rule(
    happening: Happening, entity: str, shares: Shares, score: float, rules: Iterable[Allowance]
) -> Bounds | None:
    """The bounds of the first rule that lets the event explain such an alert."""
    for rule in rules:
        if rule.kind != happening.kind or not fnmatchcase(entity, rule.entity):
            continue
        bounds = Bounds(rule.max_score, rule.max_slots, rule.features or None, "rule")
        if outgrown(bounds, score, 1, shares) is None:
            return bounds
    return None


def by_precedent(
    happening: Happening, shares: Shares, score: float, precedents: Iterable[Precedent], apart: int
) -> Bounds | None:
    """The bounds of what came after events of this kind before, if that was such an alert on two occasions at least.

    Events not more than `apart` slots from each other are one occasion. Only precedents that were over when the event
    began count. Bounds are what two occasions have in common: one fault does not widen them.
    """
    alike = [
        one
        for one in precedents
        if one.kind == happening.kind
        and one.closed < happening.first
        and score <= HIGHER * one.score
        and cosine(shares, one.opening) >= ALIKE
    ]
    occasions = grouped(alike, apart)
    if len(occasions) < TWICE:
        return None
    named = [{name for one in occasion for name in one.features} for occasion in occasions]
    features = {name for names in named for name in names if sum(name in other for other in named) >= TWICE}
    bounds = Bounds(
        HIGHER * _second([max(one.score for one in occasion) for occasion in occasions]),
        HIGHER * _second([max(one.slots for one in occasion) for occasion in occasions]),
        tuple(sorted(features)),
        "learnt",
    )
    return bounds if outgrown(bounds, score, 1, shares) is None else None


def coverage(happenings: Iterable[Happening], slot: int, after: int) -> float:
    """The part of the slots up to `slot` in which an alert would follow one of these events, 0 to 1."""
    longest = LOOK_BACK * (after + 1)
    spans = sorted((one.first, min(one.last + after, slot) + 1) for one in happenings if one.first <= slot)
    spans = [(max(first, slot - longest + 1), stop) for first, stop in spans if stop > slot - longest + 1]
    if not spans:
        return 0.0
    reached, total = spans[0][0], 0
    for first, stop in spans:
        total += max(stop - max(first, reached), 0)
        reached = max(reached, stop)
    return total / max(slot + 1 - spans[0][0], longest // 5)


def grouped(precedents: Iterable[Precedent], apart: int) -> list[list[Precedent]]:
    """By occasion, in order: events that began at most `apart` slots after the one before are one."""
    occasions: list[list[Precedent]] = []
    for one in sorted(precedents, key=lambda one: (one.began, one.entity, one.identity)):
        if occasions and one.began - occasions[-1][-1].began <= apart:
            occasions[-1].append(one)
        else:
            occasions.append([one])
    return occasions


def outgrown(bounds: Bounds, score: float, slots: int, shares: Shares | None) -> Growth | None:
    """What of an alert is beyond `bounds`, if anything: its score so far, its slots so far, or the channels of its
    newest slot (`shares`; None where there are none)."""
    if bounds.score is not None and score > bounds.score:
        return "stronger"
    if bounds.slots is not None and slots > bounds.slots:
        return "longer"
    if shares is None or bounds.features is None:
        return None
    known = covered(shares, bounds.features, exact=bounds.why == "learnt")
    return None if known >= ALIKE else "other channels"


def covered(shares: Shares, features: Sequence[str], exact: bool = False) -> float:
    """The part of `shares` that features like these have, 0 to 1. Names that were learnt are `exact`, no patterns."""
    is_one: Callable[[str], bool] = (
        set(features).__contains__ if exact else lambda name: any(fnmatchcase(name, each) for each in features)
    )
    total = sum(shares.values())
    return sum(share for name, share in shares.items() if is_one(name)) / total if total > 0 else 1.0


def _second(values: Iterable[float]) -> float:
    """The second largest."""
    return sorted(values, reverse=True)[1]


class Precedents:
    """The alerts that followed events and are over, by (entity, identity, kind); bounded."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, str], Precedent] = {}

    def all(self) -> list[Precedent]:
        """Every one that is kept."""
        return list(self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, one: Precedent) -> None:
        """Keep a precedent, in place of what the same alert was before."""
        self._kept[one.entity, one.identity, one.kind] = one
        mine = [other for other in self._kept.values() if other.kind == one.kind]
        if len(mine) > A_KIND:
            self._drop(min(mine, key=_age))
        kinds = {other.kind for other in self._kept.values()}
        if len(kinds) > KINDS:
            newest = {kind: max(_age(other) for other in self._kept.values() if other.kind == kind) for kind in kinds}
            oldest = min(kinds, key=lambda kind: newest[kind])
            for other in [other for other in self._kept.values() if other.kind == oldest]:
                self._drop(other)

    def remove(self, entity: str, identity: int) -> None:
        """The alert goes on, or was none."""
        for key in [key for key in self._kept if key[:2] == (entity, identity)]:
            del self._kept[key]

    def _drop(self, one: Precedent) -> None:
        del self._kept[one.entity, one.identity, one.kind]


def _age(one: Precedent) -> tuple[int, str, int, str]:
    return one.closed, one.entity, one.identity, one.kind


def told(event: Mapping[str, str]) -> str:
    """What an explanation says to people: "deploy of shop 1.4 at 2026-01-05 10:00 UTC explains it (learnt)"."""
    title = f" {event['title']!r}" if event["title"] else ""
    return f"{event['kind']}{title} at {event['time']} explains it ({event['why']})"


def sentence_of(sentence: str, event: Mapping[str, str]) -> str:
    """The sentence of an alert, and behind it the event that explains it away, if any."""
    return " ".join(filter(None, (sentence, f"{_capital(told(event))}." if event else "")))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
