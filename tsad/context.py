"""Whether what happened around an alert explains it away: pure functions of slots, scores and channels.

A context event (a deploy, the start of a batch, a backup) explains an alert that opens soon after it, if a rule of the
configuration says so, or if events of its kind were followed by such alerts before. What it explains is bounded: an
alert that becomes stronger, longer or of other channels than those, or that comes with errors, is a fault inside a
deploy.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Shares = Mapping[str, float]
"""How much of a score each feature has."""
Reason = Literal["rule", "learnt"]
Growth = Literal["earlier", "later", "stronger", "longer", "other channels", "errors"]

ALIKE = 0.7
"""The part of an alert's shares that the channels which a rule names must have."""
HIGHER = 1.5
"""How many times the score and the peaks of one before an alert may have, and how many times as far behind the event it
may open and end."""
ROOM, SLACK = 0.5, 3
"""Beyond that: how far outside its range a channel may go, in widths, and how many slots later it may open and end."""
TWICE, RULE = 2, 0.5
"""Occasions that make a precedent, and which part of all that must be: faults inside deploys are the exception."""
OFTEN = 0.5
"""Part of the time from which what follows events of a kind is no sign: everything does."""
LOOK_BACK = 20
"""How many times `after` that part is taken over at most; at least the fifth of it."""
A_KIND, KINDS = 200, 64
"""Precedents that are kept of a kind of event (the newest), and kinds."""


@dataclass(frozen=True, slots=True)
class Happening:
    """A context event in slots, from `first` to `last`. `entity`: name or glob pattern, None = every entity.

    `time` is its beginning for people, `line` the log line that told of it, if one did. Judgements of the slots below
    `known` do not know it. `template`: that of the log line that it is the onset of, `at` its time (ns); -1 where it is
    none.
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
    template: int = -1
    at: int = 0

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
class Size:
    """How far an alert has gone: its highest score, slots from its first flag to its last, slots from the event to its
    opening, `peaks` (`Signature`), and whether there were more warnings and errors than usual."""

    score: float
    slots: int
    delay: int
    peaks: Mapping[str, float]
    errors: bool = False


@dataclass(frozen=True, slots=True)
class Precedent:
    """An alert that followed an event of `kind` and is over: how far it went. `closed` is the slot in which it ended,
    `began` the event's."""

    kind: str
    entity: str
    identity: int
    began: int
    closed: int
    score: float
    slots: int
    delay: int
    peaks: dict[str, float]
    errors: bool = False


def excess(shares: Shares) -> dict[str, float]:
    """Shares beyond the least one, adding up to 1; as they are where all are equal."""
    least = min(shares.values(), default=0.0) if len(shares) > 1 else 0.0
    above = {name: share - least for name, share in shares.items()}
    total = sum(above.values())
    if total <= 0:
        return dict(shares)
    return {name: share / total for name, share in above.items()}


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


def beyond(size: Size, one: Precedent) -> Growth | None:
    """In what an alert goes beyond one that was before, if in anything."""
    if size.errors and not one.errors:
        return "errors"
    for name, peak in size.peaks.items():
        known = one.peaks.get(name, 0.0)
        if peak > HIGHER * known + ROOM:
            return "stronger" if known else "other channels"
    if size.score > HIGHER * one.score:
        return "stronger"
    ended = one.delay + one.slots  # what opens while the one before went on, and ends with it, is a part of such a one
    if size.delay > max(HIGHER * one.delay + SLACK, ended):
        return "later"
    return "longer" if size.delay + size.slots > HIGHER * ended + SLACK else None


def unprecedented(
    happening: Happening, size: Size, precedents: Iterable[Precedent], apart: int
) -> Growth | Literal["nothing"] | None:
    """None where alerts that went as far as this one in everything came after events of this kind on two occasions at
    least, and on half of those on which any did; else in what it goes beyond the last one, or "nothing" where there
    were not two.

    Events not more than `apart` slots from each other are one occasion. Only precedents that were over when the event
    began count. They must each go as far: one fault that was longer and another of other channels allow nothing.
    """
    before = [one for one in precedents if one.kind == happening.kind and one.closed < happening.first]
    occasions = len(grouped(before, apart))
    if occasions < TWICE:
        return "nothing"
    growths = {(one.entity, one.identity): beyond(size, one) for one in before}
    as_far = [one for one in before if growths[one.entity, one.identity] is None]
    if len(grouped(as_far, apart)) >= max(TWICE, RULE * occasions):
        return None
    newest = sorted((one for one in before if one not in as_far), key=_age)[-1]
    return growths[newest.entity, newest.identity]


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
    return None if covered(shares, bounds.features) >= ALIKE else "other channels"


def covered(shares: Shares, features: Sequence[str]) -> float:
    """The part of `shares` that features like these have, 0 to 1."""
    total = sum(shares.values())
    known = sum(share for name, share in shares.items() if any(fnmatchcase(name, each) for each in features))
    return known / total if total > 0 else 1.0


class Precedents:
    """The alerts that followed events and are over, by kind and (entity, identity): the newest `a_kind` of each of the
    `kinds` kinds that had one last."""

    def __init__(self, a_kind: int = A_KIND, kinds: int = KINDS) -> None:
        self._a_kind, self._kinds = a_kind, kinds
        self._kept: dict[str, dict[tuple[str, int], Precedent]] = {}

    def all(self) -> list[Precedent]:
        """Every one that is kept."""
        return [one for mine in self._kept.values() for one in mine.values()]

    def of(self, kind: str) -> list[Precedent]:
        """Those of a kind."""
        return list(self._kept.get(kind, {}).values())

    def __len__(self) -> int:
        return len(self.all())

    def put(self, one: Precedent) -> None:
        """Keep a precedent, in place of what the same alert was before."""
        mine = self._kept.setdefault(one.kind, {})
        mine[one.entity, one.identity] = one
        if len(mine) > self._a_kind:
            oldest = min(mine.values(), key=_age)
            del mine[oldest.entity, oldest.identity]
        if len(self._kept) > self._kinds:
            newest = {kind: max(map(_age, mine.values())) for kind, mine in self._kept.items()}
            del self._kept[min(newest, key=lambda kind: newest[kind])]

    def remove(self, entity: str, identity: int) -> None:
        """The alert goes on, or was none."""
        for kind in list(self._kept):
            self._kept[kind].pop((entity, identity), None)
            if not self._kept[kind]:
                del self._kept[kind]


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
