"""What people say, taken down and acted on at once: marks on alerts, versions of the rules, calendars."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from storage.engine import Database
from storage.leases import Clock, utc_now
from storage.marks import About, Answer, Mark, MarkKind
from storage.rulings import CalendarRow, RulebookRow
from storage.types import Alert
from tsad.triage.calendars import Calendar
from tsad.triage.facts import Facts
from tsad.triage.likeness import likeness
from tsad.triage.rules import Rulebook
from tsad.triage.standing import Standings, Tell, nothing

BACK = timedelta(days=30)
"""A calendar that is put in bears on alerts of so long ago."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Takes down what `by` (a token's name, or the command line's user) says, with a row in the chain of acts."""

    standings: Standings

    @classmethod
    def of(cls, database: Database, clock: Clock = utc_now, tell: Tell = nothing) -> "Answers":
        """On an open database."""
        return cls(Standings.of(database, clock, tell))

    def say(
        self, alert: Alert, kind: MarkKind, by: str, *, answer: Answer | None = None, note: str = "",
        until: datetime | None = None,
    ) -> Mark:  # fmt: skip
        """A mark on an alert. An answer that it is none, or expected, also bears on what comes after it and is alike.
        ValueError where parts do not fit, or a snooze is over already."""
        now = self.standings.clock()
        if until is not None and until <= now:
            raise ValueError(f"a snooze until {until.isoformat()} is over already")
        about: About = "alert"
        mark = Mark(
            kind=kind, about=about, target=alert.id, by=by, at=now, answer=answer, note=note, until=until,
            detail=seen(alert) if kind == "feedback" else {},
        )  # fmt: skip
        self.standings.marks.add(mark)
        self._act(alert, mark)
        return mark

    def unsay(self, mark: str, by: str) -> Mark:
        """Take a mark back, and all that it did. StoreError where none of this id stands."""
        undone = self.standings.marks.undo(mark, by)
        alert, _ = self.standings.reader.alert(undone.target)
        self._act(alert, undone)
        return undone

    def rule(self, book: Rulebook, by: str, cause: str, since: datetime | None = None) -> RulebookRow:
        """Put a version of the rules in force: for alerts that last until `since` or longer, else for all that are not
        over and all that come."""
        row = self.standings.rulings.apply(_document(book), by, cause, since)
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

    def _act(self, alert: Alert, mark: Mark) -> None:
        if mark.kind == "feedback":
            self.standings.again(alert.stream, alert.first_time, alert.run)
        else:
            self.standings.settle([alert])


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
