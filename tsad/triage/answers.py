"""What people say, taken down and acted on at once: marks on alerts, versions of the rules, calendars."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from storage.engine import Database
from storage.gathered import SILENT, Tell
from storage.incidents import IncidentRow, Incidents
from storage.leases import Clock, utc_now
from storage.marks import Answer, Mark, MarkKind
from storage.rulings import CalendarRow, RulebookRow
from storage.types import Alert
from tsad.triage.calendars import Calendar
from tsad.triage.facts import Facts
from tsad.triage.likeness import likeness
from tsad.triage.rules import Rulebook
from tsad.triage.standing import Standings

BACK = timedelta(days=30)
"""A calendar that is put in bears on alerts of so long ago."""


class GoneError(ValueError):
    """Nothing of an incident stands that something could be said of."""

    def __init__(self, incident: IncidentRow, heir: IncidentRow | None = None) -> None:
        went = f": it went into INC-{heir.number}" if heir else ""
        super().__init__(f"no alert of INC-{incident.number} stands any more{went}")


@dataclass(frozen=True, slots=True)
class Answers:
    """Takes down what `by` (a token's name, or the command line's user) says, with a row in the chain of acts."""

    standings: Standings
    incidents: Incidents

    @classmethod
    def of(cls, database: Database, clock: Clock = utc_now, tell: Tell = SILENT) -> "Answers":
        """On an open database."""
        return cls(Standings.of(database, clock, tell), Incidents(database, clock))

    def say(
        self, about: Alert | IncidentRow, kind: MarkKind, by: str, *, answer: Answer | None = None, note: str = "",
        until: datetime | None = None,
    ) -> Mark:  # fmt: skip
        """A mark on an alert, or on an incident: then it bears on each of its alerts that stand. An answer that it is
        none, or expected, also bears on what comes after it and is alike.
        ValueError where parts do not fit, a snooze is over already, or a note says nothing; GoneError where no alert
        of the incident stands."""
        now = self.standings.clock()
        if kind == "note" and not note.strip():
            raise ValueError(f"a note needs words, got note = {note!r}"[:200])
        if until is not None and until <= now:
            raise ValueError(f"a snooze until {until.isoformat()} is over already")
        whole = isinstance(about, IncidentRow)
        alerts = [about] if isinstance(about, Alert) else self._standing(about)
        looks = {alert.id: seen(alert) if kind == "feedback" else {} for alert in alerts}
        mark = Mark(
            kind=kind, about="incident" if whole else "alert", target=about.id, by=by, at=now, answer=answer, note=note,
            until=until, detail={"number": about.number} if isinstance(about, IncidentRow) else looks[about.id],
        )  # fmt: skip
        self.standings.marks.add(mark, looks if whole else None)
        self._act(alerts, mark)
        return mark

    def unsay(self, mark: str, by: str) -> Mark:
        """Take a mark back, and all that it did. NotThereError where none of this id stands."""
        undone = self.standings.marks.undo(mark, by)
        self._act(self.standings.reader.these(self.standings.marks.bearing(undone)), undone)
        return undone

    def rule(
        self, book: Rulebook, by: str, cause: str, since: datetime | None = None, after: int | None = None
    ) -> RulebookRow:
        """Put a version of the rules in force: for alerts that last until `since` or longer, else for all that are not
        over and all that come. StaleError where `after`, the version that it was made of, is not the newest."""
        row = self.standings.rulings.apply(_document(book), by, cause, since, after=after)
        self.standings.again(since=row.since)
        return row

    def take_back(self, version: int, by: str) -> RulebookRow:
        """Take the newest version of the rules back. StoreError where `version` is not that."""
        row = self.standings.rulings.undo(version, by)
        self.standings.again(since=row.since)
        return row

    def put(self, calendar: Calendar, by: str) -> CalendarRow:
        """Put a calendar in force, also for alerts of the last 30 days."""
        document = calendar.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
        row = self.standings.rulings.put_calendar(calendar.name, document, by)
        self.standings.again(since=self.standings.clock() - BACK)
        return row

    def drop(self, calendar: str, by: str) -> None:
        """Take a calendar out. StoreError where there is none."""
        self.standings.rulings.drop_calendar(calendar, by)
        self.standings.again(since=self.standings.clock() - BACK)

    def _standing(self, incident: IncidentRow) -> list[Alert]:
        alerts = self.incidents.alerts(incident.id)
        if not alerts:
            heirs = self.incidents.incidents([incident.merged_into] if incident.merged_into else [])
            raise GoneError(incident, *heirs.values())
        return alerts

    def _act(self, alerts: Sequence[Alert], mark: Mark) -> None:
        if mark.kind != "feedback":
            self.standings.settle(alerts)
            return
        oldest: dict[tuple[str, str], datetime] = {}
        for alert in alerts:
            where = alert.stream, alert.run
            oldest[where] = min(alert.first_time, oldest.get(where, alert.first_time))
        for (stream, run), first in oldest.items():
            self.standings.again(stream, first, run)


def _document(book: Rulebook) -> dict[str, Any]:
    return book.model_dump(mode="json", exclude_defaults=True)


def seen(alert: Alert) -> dict[str, Any]:
    """What an answer is about: the alert as it was then."""
    told = likeness(Facts.of(alert))
    return {
        "likeness": told.model_dump(mode="json"),
        "entity": alert.entity,
        "first_time": alert.first_time.isoformat(),
    }
