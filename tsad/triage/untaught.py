"""What models must not learn: incidents, and maintenance. What people said of alerts decides which those are.

An alert that was called none, or expected, is learnt. So are those of its entity that are alike once enough answers say
so: what is called normal once may be a slip, what is called so again and again is the new normal.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.engine import Database
from storage.marks import Mark, Marks
from storage.read import Reader, Stretch
from storage.rulings import Rulings
from storage.types import NotThereError
from tsad.rows import utc
from tsad.triage.facts import Facts
from tsad.triage.likeness import Likeness, alike, likeness
from tsad.triage.standing import calendar_of


@dataclass(frozen=True, slots=True)
class Untaught:
    """On a database."""

    reader: Reader
    marks: Marks
    rulings: Rulings
    learn_after: int

    @classmethod
    def of(cls, database: Database, learn_after: int = 3) -> "Untaught":
        """On an open database; so many answers make a new normal."""
        return cls(Reader(database), Marks(database), Rulings(database), learn_after)

    def stretches(self, stream: str, step: int, first: int, last: int) -> Sequence[Stretch]:
        """Of the slots `first` to `last` (of `step` ns): alerts that were not retracted, but for those that somebody
        called none, or expected, and those that are a new normal; retracted ones that somebody took for true; and
        maintenance."""
        said = {mark.target: mark for mark in self.marks.answers()}
        there = self.reader.stretches(stream, first, last)
        found = [one for one in there if one.id not in said or said[one.id].answer == "true"]
        normal = self._normal(stream, [one for one in found if one.id not in said], said.values())
        known = {one.id for one in found}
        true = [identity for identity, mark in said.items() if mark.answer == "true" and identity not in known]
        strange = [one for one in found if one.id not in normal]
        return [*strange, *self._retracted(stream, true, first, last), *self._closed(stream, step, first, last)]

    def _normal(self, stream: str, unanswered: Iterable[Stretch], said: Iterable[Mark]) -> set[str]:
        """Those (ids) of the alerts which answers on alike ones of their entity call normal, and none calls true."""
        spoken: dict[str, list[tuple[bool, Likeness]]] = {}
        for mark in said:
            if mark.detail.get("likeness", {}).get("stream") == stream:
                known = Likeness.model_validate(mark.detail["likeness"])
                spoken.setdefault(mark.detail["entity"], []).append((mark.answer == "true", known))
        enough = {name for name, told in spoken.items() if sum(not true for true, _ in told) >= self.learn_after}
        found = set()
        for alert in self.reader.these(one.id for one in unanswered if one.entity in enough):
            mine = likeness(Facts.of(alert))
            told = [true for true, known in spoken[alert.entity] if alike(known, mine)]
            if len(told) >= self.learn_after and not any(told):
                found.add(alert.id)
        return found

    def _retracted(self, stream: str, alerts: Sequence[str], first: int, last: int) -> list[Stretch]:
        found = []
        for identity in alerts:
            try:
                one, _ = self.reader.alert(identity)
            except NotThereError:  # kept no longer
                continue
            if one.stream == stream and one.first_slot <= last and one.last_slot >= first:
                slots = one.opened_slot, one.first_slot, one.last_slot
                found.append(Stretch(one.entity, *slots, "resolved", id=one.id))
        return found

    def _closed(self, stream: str, step: int, first: int, last: int) -> list[Stretch]:
        """What lies in calendars, whole slots."""
        calendars = [calendar_of(row.calendar, row.name) for row in self.rulings.calendars()]
        found = []
        for one in calendars:
            for begin, end in one.stretches(utc(first * step), utc((last + 1) * step)) if one.names(stream) else ():
                slots = _slot(begin.timestamp(), step), _slot(end.timestamp() - 1e-3, step)
                found.append(Stretch(one.entity, slots[0], *slots, "resolved"))
        return found


def _slot(seconds: float, step: int) -> int:
    return int(seconds * 1e9) // step
