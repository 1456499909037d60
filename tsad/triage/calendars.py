"""Maintenance windows and holidays: stretches in which nobody is told, and of which nothing is learnt.

One-off (`start` to `end`) or recurring (`rrule`, RFC 5545, for `duration`). Recurrence goes by the clock of `timezone`:
"at 02:00 on Sundays" stays that across daylight saving. A beginning that the clock leaps over takes place when it has
leapt (RFC 5545, 3.3.5), one that the clock shows twice the first time; a duration is what a stopwatch says.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Literal
from zoneinfo import ZoneInfo

from dateutil import rrule as recurrence
from dateutil.tz import resolve_imaginary
from pydantic import Field, model_validator

from streaming.settings import SECOND
from tsad.section import MaybeDuration, Section, Zone

SOON = timedelta(days=8 * 366)
"""Within so long a recurrence must take place: February 29th does."""
LONGEST = 366 * 86_400 * SECOND
YEARS = range(1970, 2201)
"""Of which a calendar may speak: far from the ends of what a datetime holds, and few enough to count through."""
ZONES = timedelta(days=2)
"""More than the clocks of any two zones lie apart."""


class Calendar(Section):
    """When, and for which streams and entities (globs). `start` is the first beginning, read on the clock of `timezone`
    where it has no zone of its own; `expires` ends a recurrence."""

    name: str = Field(min_length=1, max_length=200)
    kind: Literal["maintenance", "holiday"] = "maintenance"
    stream: str = "*"
    entity: str = "*"
    timezone: Zone = "UTC"
    start: datetime
    end: datetime | None = None
    rrule: str | None = Field(default=None, max_length=500)
    duration: MaybeDuration = None
    expires: datetime | None = None
    note: str = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _whole(self) -> "Calendar":
        for name in ("start", "end", "expires"):
            moment = getattr(self, name)
            if moment is not None and moment.year not in YEARS:
                raise ValueError(f"{name} ({moment}) must lie in the years {YEARS[0]} to {YEARS[-1]}")
        if self.rrule is None and (self.end is None or self.duration is not None):
            raise ValueError("a stretch needs start and end; a recurring one rrule and duration")
        if self.rrule is None and self.end is not None and self._at(self.end) <= self._at(self.start):
            raise ValueError(f"end ({self.end}) must come after start ({self.start})")
        if self.rrule is not None:
            if self.end is not None or not self.duration:
                raise ValueError("a recurring stretch needs a duration, and expires in place of end")
            if self.duration > LONGEST:
                raise ValueError("a recurring stretch lasts at most 366 days")
            self._known_rule()
        return self

    def _known_rule(self) -> None:
        try:
            rule = self._rule()
            found = next(iter(rule.replace(count=None, until=self._wall() + SOON)), None)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"rrule = {self.rrule!r} is no recurrence rule (RFC 5545): {error}") from None
        if found is None:
            raise ValueError(f"rrule = {self.rrule!r} does not take place within eight years of start")

    def _rule(self) -> Any:
        """By the clock of the zone. ValueError where it is none, or of hours and less: those are many, and no days."""
        found = recurrence.rrulestr(self.rrule or "", dtstart=self._wall())
        parts = vars(found)  # it tells of them nowhere else
        if not isinstance(found, recurrence.rrule) or parts["_freq"] > recurrence.DAILY or parts["_interval"] < 1:
            raise ValueError("one rule is needed, YEARLY, MONTHLY, WEEKLY or DAILY; expires ends it")
        return found

    def _wall(self) -> datetime:
        """The first beginning on the clock of the zone."""
        zone = ZoneInfo(self.timezone)
        return self.start if self.start.tzinfo is None else self.start.astimezone(zone).replace(tzinfo=None)

    def concerns(self, stream: str, entity: str) -> bool:
        """Whether it is for an entity."""
        return self.names(stream) and fnmatchcase(entity, self.entity)

    def names(self, stream: str) -> bool:
        """Whether it is for a stream."""
        return fnmatchcase(stream, self.stream)

    def covers(self, first: datetime, last: datetime) -> bool:
        """Whether all from the one to the other (UTC, both included) lies within one of its stretches."""
        return any(begin <= first and last < end for begin, end in self.stretches(first, last))

    def stretches(self, first: datetime, last: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Its stretches (UTC, the end not included) that meet the time from `first` to `last`."""
        if self.rrule is None and self.end is not None:
            spans: Iterable[tuple[datetime, datetime]] = [(self._at(self.start), self._at(self.end))]
        else:
            length = timedelta(seconds=(self.duration or 0) / SECOND)
            spans = ((begin, begin + length) for begin in self._beginnings(first - length))
        for begin, end in spans:
            if begin > last:
                return
            if end > first:
                yield begin, end

    def coming(self, now: datetime, count: int) -> list[tuple[datetime, datetime]]:
        """Its next stretches on the clock of its zone, that of `now` (UTC) among them."""
        zone = ZoneInfo(self.timezone)
        found = islice(self.stretches(now, now + SOON), count)
        return [(begin.astimezone(zone), end.astimezone(zone)) for begin, end in found]

    def _beginnings(self, after: datetime) -> Iterator[datetime]:
        """Of a recurrence, in UTC, in order; some that lie before `after` are left out."""
        expires = None if self.expires is None else self._at(self.expires)
        early = after.replace(tzinfo=None) - ZONES  # to place each on the clock takes longer than to count it
        for wall in self._rule():
            if wall < early:
                continue
            begin = self._at(wall)
            if expires is not None and begin >= expires:
                return
            yield begin

    def _at(self, moment: datetime) -> datetime:
        """In UTC; a moment without a zone is read on the clock of `timezone`."""
        if moment.tzinfo is None:
            moment = resolve_imaginary(moment.replace(tzinfo=ZoneInfo(self.timezone)))
        return moment.astimezone(UTC)


def covering(
    calendars: Iterable[Calendar], stream: str, entity: str, first: datetime, last: datetime
) -> Calendar | None:
    """The first calendar that covers an entity from the one moment to the other, if one does."""
    return next((one for one in calendars if one.concerns(stream, entity) and one.covers(first, last)), None)
