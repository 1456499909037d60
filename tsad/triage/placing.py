"""Which incident an alert belongs to: alerts in the order of (first time, id), each put once, into the oldest incident
that holds one which it meets in time and is related to, or else into one of its own.

Nothing is merged afterwards: two incidents become one only where what has changed since (an explanation, late data)
would have made one at once. So where an alert goes depends on those before it alone, an incident's identity is that of
its first alert for good, and no chain of coincidences joins everything: a relation is needed each time, and an incident
takes nobody that begins more than `span` after its first.

An alert that was taken back keeps its place, since others came by it; it counts for nothing.
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from itertools import chain, product
from math import sqrt

from tsad.triage.digests import Curve, Digest, Member, incident_of
from tsad.triage.settings import Bonds

LAGS = 2
"""Slots by which curves may be shifted."""
OVERLAP = 8
"""Slots that two curves must have in common."""
COMPARED = 100
"""Alerts whose curves are compared with those of a new one, at most."""
Key = tuple[str, ...] | tuple[float, int]


class Placing:
    """Alerts that others may still join, and where each new one goes."""

    def __init__(self, bonds: Bonds) -> None:
        self._bonds = bonds
        self._alive: dict[str, Member] = {}
        self._lasting: dict[Key, dict[str, Member]] = {}
        self._moving: dict[Key, dict[str, list[Member]]] = {}

    def put(self, member: Member) -> None:
        """One whose incident is known."""
        self._alive[member.alert_id] = member
        for key in (key for keys in _bonds_of(member.digest) for key in keys):
            mine = self._lasting.setdefault(key, {})
            before = mine.get(str(member.incident))
            if before is None or before.end < member.end:
                mine[str(member.incident)] = member
        for key in dict.fromkeys(_moments(member.digest, 0)):
            moving = self._moving.setdefault(key, {}).setdefault(str(member.incident), [])
            insort(moving, member, key=lambda one: one.place)

    def place(self, member: Member) -> Member:
        """The same in its incident. Members come in order."""
        home = self._home(member)
        started = member.first if home is None else home.started
        placed = replace(member, incident=incident_of(member.alert_id) if home is None else home.incident)
        placed = replace(placed, started=started)
        self.put(placed)
        return placed

    def alive(self, now: datetime) -> list[Member]:
        """Those that an alert which begins at `now` would meet, in an incident that still takes it; the rest is
        forgotten."""
        self._alive = {name: one for name, one in self._alive.items() if self._open(one, now)}
        self._lasting = {
            key: mine for key, members in self._lasting.items()
            if (mine := {name: one for name, one in members.items() if self._open(one, now)})
        }  # fmt: skip
        for members in self._moving.values():
            for name, some in list(members.items()):
                members[name] = [one for one in some if self._open(one, now)]
                if not members[name]:
                    del members[name]
        self._moving = {key: members for key, members in self._moving.items() if members}
        return list(self._alive.values())

    def _open(self, member: Member, now: datetime) -> bool:
        begun = member.started or member.first
        return member.end + self._bonds.gap >= now and begun + self._bonds.span >= now

    def _home(self, member: Member) -> Member | None:
        """A member of the incident that this one belongs to: by the closest bond, of those the oldest."""
        digest = member.digest
        heir = self._alive.get(digest.merged_into or "")
        if heir is not None and self._open(heir, member.first):
            return heir
        for keys in _bonds_of(digest):
            found = [one for key in keys for one in self._lasting.get(key, {}).values()]
            if met := [one for one in found if self._open(one, member.first)]:
                return min(met, key=_age)
        return self._moved_with(member)

    def _moved_with(self, member: Member) -> Member | None:
        """One whose curves are like this one's, of the oldest incident that has any."""
        there: dict[str, list[list[Member]]] = {}
        for key in dict.fromkeys(_moments(member.digest, LAGS)):
            for name, members in self._moving.get(key, {}).items():
                there.setdefault(name, []).append(members)
        compared = 0
        for name in sorted(there, key=lambda one: _age(there[one][0][0])):
            for other in chain.from_iterable(there[name]):
                if compared == COMPARED:
                    return None
                if self._open(other, member.first):
                    compared += 1
                    if self._correlate(member.digest, other.digest):
                        return other
        return None

    def _correlate(self, one: Digest, other: Digest) -> bool:
        pairs = product(one.curves.values(), other.curves.values())
        return one.step == other.step and any(likeness(a, b) >= self._bonds.correlation for a, b in pairs)


def _age(member: Member) -> tuple[datetime, str, datetime, str]:
    """By which the oldest incident comes first."""
    return member.started or member.first, str(member.incident), *member.place


def _bonds_of(digest: Digest) -> Iterator[list[Key]]:
    """What relates, the closest bond first: the entity, a template, a label."""
    yield [("entity", digest.entity)]
    yield [("template", one) for one in digest.templates]
    yield [("label", one) for one in digest.labels]


def _moments(digest: Digest, lags: int) -> Iterator[Key]:
    """When the channels with curves left their range, by step, and `lags` slots around that."""
    for one in digest.channels:
        if one.feature in digest.curves:
            slot = round(one.onset / digest.step)
            yield from ((digest.step, slot + lag) for lag in range(-lags, lags + 1))


def likeness(one: Curve, other: Curve) -> float:
    """The greatest correlation, of either sign, of two curves shifted by a few slots; 0 where too little meets."""
    (first, mine), (second, theirs) = one, other
    best = 0.0
    for lag in range(-LAGS, LAGS + 1):
        offset = second + lag - first  # the place of theirs[0] in mine
        start, stop = max(offset, 0), min(len(mine), offset + len(theirs))
        if stop - start < OVERLAP:
            continue
        pairs = [
            (a, b) for a, b in zip(mine[start:stop], theirs[start - offset : stop - offset], strict=True)
            if a is not None and b is not None
        ]  # fmt: skip
        best = max(best, abs(_pearson(pairs)))
    return best


def _pearson(pairs: list[tuple[float, float]]) -> float:
    count = len(pairs)
    if count < OVERLAP:
        return 0.0
    left, right = sum(a for a, _ in pairs) / count, sum(b for _, b in pairs) / count
    up = sum((a - left) * (b - right) for a, b in pairs)
    across = sqrt(sum((a - left) ** 2 for a, _ in pairs) * sum((b - right) ** 2 for _, b in pairs))
    return up / across if across > 1e-9 else 0.0
