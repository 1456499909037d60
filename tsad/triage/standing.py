"""Keeps what was decided of alerts true: looks again at those that changed, and at those that a new word is about."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from storage import rulings as stored
from storage.deliveries import Telling
from storage.engine import Database
from storage.gathered import SILENT, Tell
from storage.leases import Clock, utc_now
from storage.marks import Mark, Marks
from storage.read import AlertFilter, Reader
from storage.rulings import DecisionRow
from storage.types import LIVE, Alert
from tsad.triage.calendars import Calendar
from tsad.triage.decisions import Answered, Rulings, Version, decide
from tsad.triage.likeness import Likeness
from tsad.triage.rules import Rule, Rulebook

PAGE = 100
"""Entities whose alerts are held at a time."""
ALWAYS = datetime.min.replace(tzinfo=UTC)
"""Before every alert."""
Whose = tuple[str, str, str]
"""Run, stream and entity."""


@dataclass(frozen=True, slots=True)
class Standings:
    """The decisions of a database. `clock` is the wall's; `tell`: what decisions make to be told."""

    reader: Reader
    marks: Marks
    rulings: stored.Rulings
    clock: Clock
    tell: Tell

    @classmethod
    def of(cls, database: Database, clock: Clock = utc_now, tell: Tell = SILENT) -> "Standings":
        """On an open database."""
        return cls(Reader(database), Marks(database, clock), stored.Rulings(database, clock), clock, tell)

    def settle(self, changed: Iterable[Alert], joined: Iterable[tuple[Whose, datetime]] = ()) -> list[DecisionRow]:
        """Decide of alerts that changed, of others (whose, and when each began), and of those of their entities that
        came later; what is news."""
        oldest: dict[Whose, datetime] = {}
        places = (((alert.run, alert.stream, alert.entity), alert.first_time) for alert in changed)
        for whose, first in (*places, *joined):
            oldest[whose] = min(first, oldest.get(whose, first))
        return self._settle(oldest)

    def again(self, stream: str | None = None, since: datetime | None = None, run: str = LIVE) -> list[DecisionRow]:
        """Decide again of a stream's alerts (None: of all) that lasted until `since` or longer; what is news."""
        return self._settle(self.reader.whose(AlertFilter(run=run, stream=stream, since=since, limit=None)))

    def due(self, run: str = LIVE) -> list[DecisionRow]:
        """Decide of alerts whose snooze is over; what is news."""
        return self._settle(self.rulings.over(self.clock(), run))

    def decided(self, book: Rulebook | None, which: AlertFilter) -> dict[str, DecisionRow]:
        """What the rules decide of the alerts that `which` lets through, by id, without keeping it: those in force, or
        `book` in place of all versions."""
        wanted = {alert.id for alert in self.reader.alerts(which)}
        rows = [row for _, page in self._pages(self.reader.whose(which), book) for row in page]
        return {row.alert_id: row for row in rows if row.alert_id in wanted}

    def book(self) -> Rulebook:
        """The newest version of the rules."""
        rows = self.rulings.rulebooks()
        return version_of(rows[-1]).book if rows else Rulebook()

    def with_rule(self, rule: Rule) -> Rulebook:
        """The newest version, and one rule more, which replaces one of its name."""
        book = self.book()
        return book.model_copy(update={"rules": (*(one for one in book.rules if one.name != rule.name), rule)})

    def _settle(self, whose: Mapping[Whose, datetime]) -> list[DecisionRow]:
        news: list[DecisionRow] = []
        for alerts, rows in self._pages(whose, None):
            told = partial(self._told, alerts)
            news += self.rulings.decide(rows, told, self.tell.of_alerts)
        return news

    def _told(self, alerts: Mapping[str, Alert], row: DecisionRow) -> Iterable[Telling]:
        return self.tell.alert(alerts[row.alert_id], row)

    def _pages(
        self, whose: Mapping[Whose, datetime], book: Rulebook | None
    ) -> Iterator[tuple[dict[str, Alert], list[DecisionRow]]]:
        """Entities' alerts by id, from a first slot of each on, and decisions on them, some entities at a time."""
        rulings, ordered = self._rulings(book), sorted(whose)
        runs = {run for run, _, _ in ordered}
        steps = {(run, row.stream): row.step_ns for run in runs for row in self.reader.streams(run)}
        reopen = timedelta(seconds=max((one.book.reopen or 0 for one in rulings.versions), default=0) / 1e9)
        for start in range(0, len(ordered), PAGE):
            held = {one: self._alerts(one, whose[one] - reopen) for one in ordered[start : start + PAGE]}
            ids = [alert.id for alerts in held.values() for alert in alerts]
            mine = Rulings(rulings.versions, rulings.calendars, rulings.answered, self._marks(ids))
            # what came before, and others may go on, stays as it was decided
            before = {alert.id for one, alerts in held.items() for alert in alerts if alert.first_time < whose[one]}
            known = self.rulings.decisions(before) if book is None else {}
            rows = [
                row for one, alerts in held.items() for row in self._decide(alerts, mine, steps.get(one[:2], 1), known)
            ]
            yield {alert.id: alert for alerts in held.values() for alert in alerts}, rows

    def _alerts(self, whose: Whose, since: datetime) -> list[Alert]:
        run, stream, entity = whose
        return self.reader.alerts(AlertFilter(run=run, stream=stream, entity=entity, since=since, limit=None))

    def _marks(self, alerts: Sequence[str]) -> dict[str, list[Mark]]:
        found: dict[str, list[Mark]] = {}
        for mark in self.marks.on(alerts):
            found.setdefault(mark.target, []).append(mark)
        return found

    def _decide(
        self, alerts: Sequence[Alert], rulings: Rulings, step: int, known: Mapping[str, DecisionRow]
    ) -> list[DecisionRow]:
        counted = any(rule.k is not None for version in rulings.versions for rule in version.book.rules)
        flagged = self.reader.flagged(alerts) if counted else {}
        return decide(alerts, rulings, step, self.clock(), flagged, known)

    def _rulings(self, book: Rulebook | None) -> Rulings:
        """All but what people said of each alert."""
        versions = [version_of(row) for row in self.rulings.rulebooks()]
        if book is not None:
            versions = [Version(versions[-1].number + 1 if versions else 1, ALWAYS, book)]
        calendars = [calendar_of(row.calendar, row.name) for row in self.rulings.calendars()]
        return Rulings(versions, calendars, answered(self.marks.answers()))


def version_of(row: stored.RulebookRow) -> Version:
    """A stored version of the rules."""
    return Version(row.version, row.since, Rulebook.model_validate(row.rules))


def calendar_of(document: dict[str, Any], name: str) -> Calendar:
    """A stored calendar."""
    return Calendar.model_validate(document | {"name": name})


def answered(marks: Iterable[Mark]) -> list[Answered]:
    """Of the last answers on each alert those that say it is none, or expected."""
    last = {mark.target: mark for mark in marks}
    return [
        Answered(
            mark.id, mark.target, Likeness.model_validate(mark.detail["likeness"]),
            datetime.fromisoformat(mark.detail["first_time"]),
        )
        for mark in last.values()
        if mark.answer in ("false", "expected") and "likeness" in mark.detail
    ]  # fmt: skip
