"""Calendars: one-off and recurring, through changes of the clock."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tsad.triage.calendars import Calendar, covering


def calendar(**parts: Any) -> Calendar:
    return Calendar.model_validate({"name": "night", "start": "2026-03-01T02:00:00", **parts})


def weekly(**parts: Any) -> Calendar:
    """Sundays at 02:30 in Berlin, where the clock goes on at 02:00 on March 29th and back at 03:00 on October 25th."""
    said = {"rrule": "FREQ=WEEKLY;BYDAY=SU", "duration": "1h", "timezone": "Europe/Berlin"}
    return calendar(**{"start": "2026-03-15T02:30:00", **said, **parts})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_recurring_stretch_goes_by_the_clock_through_daylight_saving() -> None:
    spring = [begin for begin, _ in weekly().stretches(utc("2026-03-15"), utc("2026-04-06"))]
    # on the 29th there is no 02:30: it is 03:30 then, summer time
    assert spring == [
        utc("2026-03-15T01:30"),
        utc("2026-03-22T01:30"),
        utc("2026-03-29T01:30"),
        utc("2026-04-05T00:30"),
    ]
    autumn = list(weekly().stretches(utc("2026-10-18"), utc("2026-11-02")))
    # on the 25th there are two of them: the first; an hour is what a stopwatch says
    assert [begin for begin, _ in autumn] == [
        utc("2026-10-18T00:30"),
        utc("2026-10-25T00:30"),
        utc("2026-11-01T01:30"),
    ]
    assert {end - begin for begin, end in autumn} == {timedelta(hours=1)}


@pytest.mark.parametrize(
    ("first", "last", "covered"),
    [
        ("2026-03-22T01:30", "2026-03-22T01:30", True),
        ("2026-03-22T01:30", "2026-03-22T02:29", True),
        ("2026-03-22T01:29", "2026-03-22T01:40", False),
        ("2026-03-22T02:29", "2026-03-22T02:30", False),  # what goes on behind it is told of
        ("2026-03-23T01:40", "2026-03-23T01:40", False),
        ("2026-03-08T01:40", "2026-03-08T01:40", False),  # before the first
    ],
)
def test_what_lies_in_a_stretch(first: str, last: str, covered: bool) -> None:
    assert weekly().covers(utc(first), utc(last)) == covered


def test_a_recurrence_ends_when_it_expires() -> None:
    ending = weekly(expires="2026-03-29T00:00:00")
    assert len(list(ending.stretches(utc("2026-01-01"), utc("2027-01-01")))) == 2
    assert len(list(weekly(rrule="FREQ=WEEKLY;COUNT=3").stretches(utc("2026-01-01"), utc("2027-01-01")))) == 3


def test_a_beginning_with_a_zone_is_read_as_it_says() -> None:
    once = calendar(start="2026-03-01T02:00:00+02:00", end="2026-03-01T05:00:00", timezone="America/New_York")
    assert list(once.stretches(utc("2026-03-01"), utc("2026-03-02"))) == [
        (utc("2026-03-01T00:00"), utc("2026-03-01T10:00"))
    ]
    moved = weekly(start="2026-03-15T01:30:00+00:00")
    assert next(moved.stretches(utc("2026-03-15"), utc("2026-03-16")))[0] == utc("2026-03-15T01:30")


@given(st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31)), st.integers(1, 72))
def test_a_one_off_covers_what_lies_in_it_and_no_more(start: datetime, hours: int) -> None:
    end = start + timedelta(hours=hours)
    once, inside = calendar(start=start, end=end), (start + timedelta(minutes=1)).replace(tzinfo=UTC)
    assert once.covers(inside, inside)
    assert once.covers(start.replace(tzinfo=UTC), inside)
    assert not once.covers(inside, end.replace(tzinfo=UTC))
    assert not once.covers((start - timedelta(seconds=1)).replace(tzinfo=UTC), inside)


@given(st.datetimes(datetime(2026, 4, 1), datetime(2029, 12, 31)), st.sampled_from(["DAILY", "WEEKLY", "MONTHLY"]))
def test_a_recurrence_begins_at_the_same_hour_of_the_clock(moment: datetime, often: str) -> None:
    found = weekly(rrule=f"FREQ={often}", start="2026-03-15T04:30:00")
    moment = moment.replace(tzinfo=UTC)
    for begin, end in found.stretches(moment, moment + timedelta(days=40)):
        local = begin.astimezone(ZoneInfo(found.timezone))
        assert (local.hour, local.minute) == (4, 30)
        assert end > moment


def test_the_first_that_concerns_an_entity_is_named() -> None:
    once = {"start": "2026-03-01T00:00:00", "end": "2026-03-02T00:00:00"}
    several = [
        calendar(name="db", entity="db-*", **once),
        calendar(name="other", stream="other", **once),
        calendar(name="all", kind="holiday", **once),
    ]
    noon = utc("2026-03-01T12:00")
    names = [
        found.name if (found := covering(several, "fleet", entity, moment, moment)) else None
        for entity, moment in (("db-1", noon), ("web", noon), ("web", noon + timedelta(days=1)))
    ]
    assert names == ["db", "all", None]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "a stretch needs start and end"),
        ({"end": "2026-03-01T01:00:00"}, "must come after start"),
        ({"end": "2026-03-02T01:00:00", "duration": "1h"}, "a stretch needs start and end"),
        ({"rrule": "FREQ=DAILY"}, "needs a duration"),
        ({"rrule": "FREQ=DAILY", "duration": "1h", "end": "2026-03-02T01:00:00"}, "needs a duration"),
        ({"rrule": "FREQ=DAILY", "duration": "400d"}, "at most 366 days"),
        ({"rrule": "FREQ=SECONDLY", "duration": "1h"}, "YEARLY, MONTHLY, WEEKLY or DAILY"),
        ({"rrule": "every day", "duration": "1h"}, "is no recurrence rule"),
        ({"rrule": "FREQ=DAILY\nRDATE:20260301", "duration": "1h"}, "is no recurrence rule|one rule is needed"),
        ({"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30", "duration": "1h"}, "does not take place"),
        ({"rrule": "FREQ=DAILY;INTERVAL=0", "duration": "1h"}, "one rule is needed"),
        ({"rrule": "FREQ=DAILY;INTERVAL=-1", "duration": "1h"}, "one rule is needed"),
        ({"timezone": "Berlin", "end": "2026-03-02T01:00:00"}, "a time zone of the tz database"),
        ({"kind": "party", "end": "2026-03-02T01:00:00"}, "'maintenance' or 'holiday'"),
        ({"start": "soon"}, "valid datetime"),
    ],
)
def test_what_is_no_calendar_is_refused(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        calendar(**parts)


def test_a_leap_day_takes_place() -> None:
    leap = calendar(start="2026-03-01T00:00:00", rrule="FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", duration="24h")
    assert leap.covers(utc("2028-02-29T12:00"), utc("2028-02-29T12:00"))


def test_the_next_stretches_are_told_on_the_clock_of_the_zone() -> None:
    """The one that is on comes first; summer time is theirs."""
    told = [(str(begin), str(end)) for begin, end in weekly().coming(utc("2026-03-22T01:45"), 2)]
    assert told == [
        ("2026-03-22 02:30:00+01:00", "2026-03-22 03:30:00+01:00"),
        ("2026-03-29 03:30:00+02:00", "2026-03-29 04:30:00+02:00"),
    ]
    over = calendar(end="2026-03-01T03:00:00")
    assert over.coming(utc("2026-03-01T03:00"), 3) == []
    assert len(over.coming(utc("2026-02-01"), 3)) == 1
    assert len(weekly(rrule="FREQ=WEEKLY;COUNT=3").coming(utc("2026-03-23"), 3)) == 1


def test_one_that_began_long_ago_goes_by_the_clock_of_today() -> None:
    """The early ones are only counted; every second Sunday since 1970 stays every second one."""
    old = weekly(start="1970-01-04T02:30:00", rrule="FREQ=WEEKLY;INTERVAL=2")
    found = [begin for begin, _ in old.stretches(utc("2026-03-01"), utc("2026-04-13"))]
    assert found == [utc(f"2026-{at}") for at in ("03-01T01:30", "03-15T01:30", "03-29T01:30", "04-12T00:30")]
    long = weekly(rrule="FREQ=WEEKLY", duration="300d")
    assert len(list(long.stretches(utc("2026-05-01"), utc("2026-05-01")))) == 7, "those that began before go on"


@pytest.mark.parametrize(
    "parts",
    [
        {"start": "0001-01-01T00:00", "end": "0001-01-02T00:00", "timezone": "Europe/Berlin"},
        {"start": "9999-12-30T00:00", "rrule": "FREQ=DAILY", "duration": "5d"},
        {"end": "2201-01-01T00:00"},
        {"rrule": "FREQ=DAILY", "duration": "5d", "expires": "9999-12-31T23:59:00-12:00"},
    ],
)
def test_a_moment_that_no_clock_can_place_is_refused(parts: dict[str, Any]) -> None:
    """Each alert would have met an OverflowError."""
    with pytest.raises(ValidationError, match="must lie in the years 1970 to 2200"):
        calendar(**parts)
