"""Triage in passes: alerts that have changed since the last one, and all that this changes of incidents.

What is stored after a pass is a function of the alerts seen so far, however they were cut into passes (numbers and what
was merged apart, which say what people have seen). A change makes all placed anew that began behind it, in order, up to
where the alerts that may still be joined are the same as before: what follows would not come out otherwise.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec

from storage.gathered import SILENT
from storage.incidents import IncidentRow, Incidents, Mark, Placed, Triaged
from storage.types import LIVE, Alert
from streaming.settings import SECOND
from tsad.triage.describing import described
from tsad.triage.digests import Digest, Member, incident_of, member_of
from tsad.triage.kinds import Kinds, type_of
from tsad.triage.placing import Placing
from tsad.triage.settings import Bonds
from tsad.triage.standing import Standings

AT_ONCE = 1000
"""Alerts of a pass."""
TYPED = ("first_time", "signature", "title", "state")
"""What an incident's type depends on, and what is said of it."""
Where = tuple[str | None, datetime | None]
"""An incident and when it started."""
NOWHERE: Where = (None, None)


@dataclass(frozen=True, slots=True)
class Passed:
    """What a pass did: alerts that it took up, incidents that it wrote. `contested`: another process was faster, and
    nothing was written."""

    alerts: int = 0
    incidents: int = 0
    contested: bool = False


@dataclass(slots=True)
class Change:
    """An alert as it was (None: not seen before) and as it is; `outside`: it is explained away, and in no incident."""

    before: Placed | None
    now: Member
    outside: bool
    seen_at: datetime
    was: Member | None = None

    @property
    def regroups(self) -> datetime | None:
        """From which first slot on it may change where alerts go; None: nowhere."""
        if self.was is None or self.was.incident is None:
            return None if self.outside else self.now.first
        bonds = (_bonds(self.was.digest), self.was.first) == (_bonds(self.now.digest), self.now.first)
        if self.outside or not bonds:
            return min(self.was.first, self.now.first)
        return None if self.was.end == self.now.end else max(min(self.was.end, self.now.end), self.now.first)

    @property
    def reach(self) -> datetime:
        """The last moment at which it was, or is, there."""
        return self.now.end if self.was is None else max(self.was.end, self.now.end)


def _bonds(digest: Digest) -> tuple[Any, ...]:
    moments = {one.feature: one.onset for one in digest.channels if one.feature in digest.curves}
    return digest.entity, digest.templates, digest.labels, digest.merged_into, digest.curves, moments, digest.step


@dataclass(slots=True)
class Grouped:
    """Alerts that have come to lie elsewhere, or changed: as they are, and where they were, by id."""

    members: dict[str, Member] = field(default_factory=dict)
    before: dict[str, Where] = field(default_factory=dict)

    def note(self, member: Member, before: Where) -> None:
        """One of them."""
        self.members[member.alert_id] = member
        self.before[member.alert_id] = before

    @property
    def touched(self) -> set[str]:
        """Incidents that may have changed."""
        places = [*(where[0] for where in self.before.values()), *(one.incident for one in self.members.values())]
        return {one for one in places if one is not None}


class Triage:
    """Triage of a run's alerts. `labels` are those that relate entities, `steps` the length of each stream's slots;
    `standings` decide what becomes of each that has changed, and of those whose snooze is over."""

    def __init__(
        self, store: Incidents, bonds: Bonds, steps: Callable[[str], Mapping[str, int]], labels: Sequence[str] = (),
        standings: Standings | None = None,
    ) -> None:  # fmt: skip
        self._store, self._bonds, self._steps, self._labels = store, bonds, steps, tuple(labels)
        self._standings = standings

    def once(self, run: str = LIVE, at_once: int = AT_ONCE) -> Passed:
        """One pass over at most so many alerts, the oldest changes first."""
        mark = self._store.mark(run)
        told = self._store.changed(run, mark.reached, at_once)
        if not told:
            return Passed()
        changes = self._changes(run, told)
        grouped = self._grouped(run, changes)
        self._settle(run, [alert for alert, _ in told], grouped)
        result = self._result(run, mark, told[-1][1], grouped, changes)
        tell = SILENT if self._standings is None else self._standings.tell
        written = self._store.write(run, result, mark, tell.of_incidents)
        return Passed(len(told), len(result.incidents), not written)

    def all(self, run: str = LIVE, at_once: int = AT_ONCE, stopping: Callable[[], bool] = lambda: False) -> Passed:
        """Passes until nothing is new; what all of them did."""
        alerts = incidents = 0
        if self._standings is not None:
            self._standings.due(run)
        while not stopping():
            found = self.once(run, at_once)
            if not found.alerts:
                break
            alerts, incidents = alerts + found.alerts * (not found.contested), incidents + found.incidents
        return Passed(alerts, incidents)

    def _settle(self, run: str, changed: Sequence[Alert], grouped: Grouped) -> None:
        """Decide of alerts that changed, and of those that came to an incident that is snoozed or acknowledged."""
        if self._standings is None:
            return
        moved = {
            name: member.incident
            for name, member in grouped.members.items()
            if member.incident is not None and member.incident != grouped.before[name][0]
        }
        joined = [grouped.members[name] for name in self._standings.marks.join(moved, self._standings.clock())]
        self._standings.settle(changed, [((run, one.digest.stream, one.digest.entity), one.first) for one in joined])

    def _changes(self, run: str, told: Sequence[tuple[Alert, datetime]]) -> list[Change]:
        steps, labels = self._steps(run), self._labelled(run, [alert for alert, _ in told])
        before = self._store.placed(alert.id for alert, _ in told)
        changes = []
        for alert, seen_at in told:
            known = labels.get((alert.stream, alert.entity))
            member = member_of(alert, steps.get(alert.stream, SECOND), known, self._labels)
            was = before.get(alert.id)
            changes.append(
                Change(was, member, bool(alert.explained_by_event), seen_at, None if was is None else member_in(was))
            )
        return changes

    def _labelled(self, run: str, alerts: Sequence[Alert]) -> dict[tuple[str, str], dict[str, str]]:
        names: dict[str, set[str]] = {}
        for alert in alerts if self._labels else ():
            names.setdefault(alert.stream, set()).add(alert.entity)
        return {
            (stream, entity): labels
            for stream, entities in names.items()
            for entity, labels in self._store.labels(run, stream, entities).items()
        }

    def _grouped(self, run: str, changes: Sequence[Change]) -> Grouped:
        """Where every alert is that lies elsewhere now, and every one that has changed."""
        grouped = Grouped()
        news = {change.now.alert_id: change for change in changes}
        for change in changes:
            before = NOWHERE if change.was is None else (change.was.incident, change.was.started)
            grouped.note(change.now if change.outside else replace(change.now, **_where(before)), before)
        starts = [start for change in changes if (start := change.regroups) is not None]
        if starts:
            reach = max(change.reach for change in changes if change.regroups is not None)
            self._regroup(run, min(starts), reach, news, grouped)
        return grouped

    def _regroup(
        self, run: str, start: datetime, reach: datetime, news: Mapping[str, Change], grouped: Grouped
    ) -> None:
        """Place anew all that begins from `start` on, until nothing that may still be joined lies elsewhere."""
        placing, differing = self._standing(run, start, news), dict[str, None]()
        until = reach + self._bonds.gap
        for member, before in self._following(run, start, news):
            if member.first > until:
                alive = {one.alert_id for one in placing.alive(member.first)}
                if alive.isdisjoint(differing):
                    break
            placed = placing.place(member)
            if (placed.incident, placed.started) != before:
                differing[placed.alert_id] = None
            if (placed.incident, placed.started) != before or member.alert_id in news:
                grouped.note(placed, before)

    def _standing(self, run: str, start: datetime, news: Mapping[str, Change]) -> Placing:
        """Alerts from before `start` that others may join."""
        placing, gap, span = Placing(self._bonds), self._bonds.gap, self._bonds.span
        rows = self._store.standing(run, start - span, start, start - gap)
        for row in rows:
            if row.alert_id not in news:
                placing.put(member_in(row))
        for change in news.values():
            was = change.was
            if change.now.first < start and not change.outside and was is not None and was.incident is not None:
                placing.put(replace(change.now, incident=was.incident, started=was.started))
        placing.alive(start)
        return placing

    def _following(self, run: str, start: datetime, news: Mapping[str, Change]) -> Iterator[tuple[Member, Where]]:
        """All alerts of incidents that begin from `start` on, in order, with where they were."""
        stored = ((member_in(row), row) for row in self._store.following(run, start) if row.alert_id not in news)
        old = ((member, (row.incident, row.started)) for member, row in stored)
        fresh = sorted(
            (
                (one.now, NOWHERE if one.was is None else (one.was.incident, one.was.started))
                for one in news.values()
                if one.now.first >= start and not one.outside
            ),
            key=lambda pair: pair[0].place,
        )
        return heapq.merge(old, fresh, key=lambda pair: pair[0].place)

    def _result(self, run: str, mark: Mark, reached: datetime, grouped: Grouped, changes: Sequence[Change]) -> Triaged:
        seen = {change.now.alert_id: change.seen_at for change in changes}
        touched = grouped.touched
        stored = self._store.incidents(touched)
        others = [row for row in self._store.members(touched) if row.alert_id not in grouped.members]
        by_incident: dict[str, list[Member]] = {}
        for member in (*map(member_in, others), *grouped.members.values()):
            if member.incident in touched:
                by_incident.setdefault(str(member.incident), []).append(member)
        result = Triaged(replace(mark, reached=reached))
        kept = self._store.placed(set(grouped.members) - set(seen))
        for name, member in sorted(grouped.members.items()):
            result.placed.append(_row(run, member, seen.get(name) or kept[name].seen_at))
        rows = [described(identity, run, members) for identity, members in by_incident.items()]
        rows = [row for row in rows if row.state != "retracted" or row.id in stored]
        rows.sort(key=lambda row: (row.first_time, row.id))
        result.incidents, result.mark = _numbered(rows, stored, result.mark)
        self._typed(run, result, stored)
        gone = [row for row in stored.values() if row.id not in by_incident and row.merged_into is None]
        result.merged = {row.id: _heir(row.id, grouped) for row in gone if row.alerts or _heir(row.id, grouped)}
        return result

    def _typed(self, run: str, result: Triaged, stored: Mapping[str, IncidentRow]) -> None:
        """Give every incident its type that began with the first one that has changed or later."""
        rows = [_as_stored(row, stored) for row in result.incidents]
        gone = set(stored) - {row.id for row in rows}
        begins = _first_change(rows, [stored[name] for name in gone], stored)
        if begins is None:
            result.incidents = rows
            return
        kinds = Kinds(self._bonds.alike, self._store.types(run, begins))
        known = {row.id: row for row in self._store.types(run) if row.first_time >= begins}
        told = {row.id: row for row in rows}
        later = {row.id: row for row in self._store.signatures(run, begins) if row.id not in gone} | told
        firsts: dict[str, IncidentRow] = {}
        for row in sorted(later.values(), key=lambda one: (one.first_time, one.id)):
            if row.first_time < begins:
                continue
            typed = _of_kind(row, kinds)
            if typed.type == row.id:
                firsts[row.id] = typed
            if row.id in told or typed != row:
                told[row.id] = typed
        result.incidents = sorted(told.values(), key=lambda one: (one.first_time, one.id))
        result.types = [type_of(row) for row in firsts.values() if known.get(row.id) != type_of(row)]
        result.dropped_types = sorted(set(known) - set(firsts))


def _as_stored(row: IncidentRow, stored: Mapping[str, IncidentRow]) -> IncidentRow:
    """With the type that it had."""
    before = stored.get(row.id)
    return row if before is None else replace(row, type=before.type, likeness=before.likeness)


def _first_change(
    rows: Sequence[IncidentRow], gone: Sequence[IncidentRow], stored: Mapping[str, IncidentRow]
) -> datetime | None:
    """When the first incident began that is not what it was to types; None: all are."""
    begun = [row.first_time for row in gone if row.type is not None]
    for row in rows:
        before = stored.get(row.id)
        if before is None or any(getattr(row, name) != getattr(before, name) for name in TYPED):
            begun += [row.first_time] if before is None else [row.first_time, before.first_time]
    return min(begun, default=None)


def _of_kind(row: IncidentRow, kinds: Kinds) -> IncidentRow:
    """With its type; one without a signature has none."""
    if not row.signature or row.state == "retracted":
        return replace(row, type=None, likeness=None)
    found = kinds.of(row.signature)
    if found is None:
        kinds.add(row.id, row.signature)
        found = row.id, 1.0
    return replace(row, type=found[0], likeness=found[1])


def _numbered(
    rows: Sequence[IncidentRow], stored: Mapping[str, IncidentRow], mark: Mark
) -> tuple[list[IncidentRow], Mark]:
    """With the number that each has, or the next one."""
    number, found = mark.number, []
    for row in rows:
        if row.id not in stored:
            number += 1
        found.append(replace(row, number=stored[row.id].number if row.id in stored else number))
    return found, replace(mark, number=number)


def _heir(identity: str, grouped: Grouped) -> str | None:
    """Where the alerts of an incident went that has none any more: its first one, or else the first that has gone
    anywhere."""
    left = sorted(
        (member for name, member in grouped.members.items() if grouped.before[name][0] == identity and member.incident),
        key=lambda one: (incident_of(one.alert_id) != identity, one.place),
    )
    return left[0].incident if left else None


def _where(where: Where) -> dict[str, Any]:
    return {"incident": where[0], "started": where[1]}


def member_in(row: Placed) -> Member:
    """An alert as it was placed."""
    digest = msgspec.convert(row.digest, Digest)
    return Member(row.alert_id, row.first_time, row.end_time, digest, row.incident, row.started)


def _row(run: str, member: Member, seen_at: datetime) -> Placed:
    digest = msgspec.to_builtins(member.digest)
    return Placed(
        member.alert_id, run, member.incident, member.started, member.first, member.end, digest, seen_at
    )  # fmt: skip
