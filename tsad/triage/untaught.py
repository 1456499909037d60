"""What models must not learn: incidents, and maintenance. What people said of alerts decides which those are."""

from collections.abc import Sequence
from dataclasses import dataclass

from storage.engine import Database
from storage.marks import Answer, Marks
from storage.read import Reader, Stretch
from storage.rulings import Rulings
from storage.types import NotThereError
from tsad.rows import utc
from tsad.triage.standing import calendar_of


@dataclass(frozen=True, slots=True)
class Untaught:
    """On a database."""

    reader: Reader
    marks: Marks
    rulings: Rulings

    @classmethod
    def of(cls, database: Database) -> "Untaught":
        """On an open database."""
        return cls(Reader(database), Marks(database), Rulings(database))

    def stretches(self, stream: str, step: int, first: int, last: int) -> Sequence[Stretch]:
        """Of the slots `first` to `last` (of `step` ns): alerts that were not retracted, but for those that somebody
        called none, or expected; retracted ones that somebody took for true; and maintenance."""
        said: dict[str, Answer] = {mark.target: mark.answer for mark in self.marks.answers() if mark.answer}
        found = [one for one in self.reader.stretches(stream, first, last) if said.get(one.id) in (None, "true")]
        known = {one.id for one in found}
        true = [identity for identity, answer in said.items() if answer == "true" and identity not in known]
        return [*found, *self._retracted(stream, true, first, last), *self._closed(stream, step, first, last)]

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
