"""Calendars through changes of the clock all over the world, with UTC instants that were worked out by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsad.triage.calendars import Calendar, covering


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def recurring(zone: str, start: str, rrule: str, duration: str = "1h", **more: Any) -> Calendar:
    said = {"name": "n", "timezone": zone, "start": start, "rrule": rrule, "duration": duration}
    return Calendar.model_validate(said | more)


def begun(calendar: Calendar, first: str, last: str) -> list[str]:
    """Beginnings from the one to the other, in UTC."""
    found = [begin for begin, _ in calendar.stretches(utc(first), utc(last))]
    return [begin.strftime("%m-%d %H:%M") for begin in found if begin >= utc(first)]


@pytest.mark.parametrize(
    ("zone", "wall", "first", "found"),
    [
        # on at 02:00 (01:00 UTC) on March 29th: 02:30 is not there, and takes place at 03:30 (+2)
        ("Europe/Berlin", "02:30", "2026-03-28", ["03-28 01:30", "03-29 01:30", "03-30 00:30"]),
        # back at 03:00 (01:00 UTC) on October 25th: 02:30 is there twice; the first (+2)
        ("Europe/Berlin", "02:30", "2026-10-24", ["10-24 00:30", "10-25 00:30", "10-26 01:30"]),
        ("Europe/Berlin", "12:00", "2026-03-28", ["03-28 11:00", "03-29 10:00", "03-30 10:00"]),
        # on at 02:00 (07:00 UTC) on March 8th; -5 before and -4 behind
        ("America/New_York", "02:30", "2026-03-07", ["03-07 07:30", "03-08 07:30", "03-09 06:30"]),
        # back at 02:00 (06:00 UTC) on November 1st
        ("America/New_York", "01:30", "2026-10-31", ["10-31 05:30", "11-01 05:30", "11-02 06:30"]),
        # half an hour, back at 02:00 (15:00 UTC of the day before) on April 5th: +11 before, +10:30 behind
        ("Australia/Lord_Howe", "04:00", "2026-04-03", ["04-03 17:00", "04-04 17:30", "04-05 17:30"]),
        # 01:45 is there twice on April 5th: the first, +11
        ("Australia/Lord_Howe", "01:45", "2026-04-03", ["04-03 14:45", "04-04 14:45", "04-05 15:15"]),
        # on at 02:00 on October 4th, to 02:30: 02:15 takes place at 02:45 (+11)
        ("Australia/Lord_Howe", "02:15", "2026-10-02", ["10-02 15:45", "10-03 15:45", "10-04 15:15"]),
        # the other half of the world: back on April 5th at 03:00 (16:00 UTC of the 4th), +11 to +10
        ("Australia/Sydney", "04:00", "2026-04-03", ["04-03 17:00", "04-04 18:00", "04-05 18:00"]),
        ("Australia/Sydney", "02:30", "2026-10-02", ["10-02 16:30", "10-03 16:30", "10-04 15:30"]),
        # never a change
        ("Asia/Kolkata", "02:30", "2026-03-28", ["03-28 21:00", "03-29 21:00", "03-30 21:00"]),
        ("UTC", "02:30", "2026-03-28", ["03-28 02:30", "03-29 02:30", "03-30 02:30"]),
        ("Asia/Kathmandu", "00:00", "2026-03-27", ["03-27 18:15", "03-28 18:15", "03-29 18:15"]),
        # on at midnight: that of March 8th is not there, and takes place at 01:00 (-4)
        ("America/Havana", "00:00", "2026-03-07", ["03-07 05:00", "03-08 05:00", "03-09 04:00"]),
    ],
)
def test_every_day_at_the_same_time_of_the_clock(zone: str, wall: str, first: str, found: list[str]) -> None:
    daily = recurring(zone, f"2026-01-01T{wall}:00", "FREQ=DAILY")
    end = (utc(first) + timedelta(days=3, minutes=-1)).isoformat()[:16]
    assert begun(daily, first, end) == found


@pytest.mark.parametrize(
    ("rrule", "start", "found"),
    [
        ("FREQ=MONTHLY", "2026-01-31T10:00:00", ["01-31", "03-31", "05-31", "07-31", "08-31", "10-31", "12-31"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-1;COUNT=4", "2026-01-01T10:00:00", ["01-31", "02-28", "03-31", "04-30"]),
        ("FREQ=MONTHLY;BYDAY=2TU;COUNT=3", "2026-01-01T10:00:00", ["01-13", "02-10", "03-10"]),
        ("FREQ=MONTHLY;BYDAY=-1FR;COUNT=3", "2026-01-01T10:00:00", ["01-30", "02-27", "03-27"]),
        ("FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=25", "2020-12-25T10:00:00", ["12-25"]),
        ("FREQ=YEARLY", "2024-02-29T10:00:00", []),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;UNTIL=20260215T000000", "2026-01-05T10:00:00", ["01-05", "01-19", "02-02"]),
        ("FREQ=WEEKLY;BYDAY=SA,SU;COUNT=4", "2026-01-01T10:00:00", ["01-03", "01-04", "01-10", "01-11"]),
        ("FREQ=DAILY;UNTIL=20260103T100000", "2026-01-01T10:00:00", ["01-01", "01-02", "01-03"]),
        ("FREQ=DAILY;UNTIL=20260103T095959", "2026-01-01T10:00:00", ["01-01", "01-02"]),
        ("FREQ=DAILY;COUNT=2;INTERVAL=100", "2026-01-01T10:00:00", ["01-01", "04-11"]),
        ("FREQ=YEARLY;BYWEEKNO=1;BYDAY=MO", "2025-01-01T10:00:00", []),
    ],
)
def test_which_days_of_2026_a_rule_names(rrule: str, start: str, found: list[str]) -> None:
    calendar = recurring("UTC", start, rrule)
    assert [day for day, _ in (one.split() for one in begun(calendar, "2026-01-01", "2026-12-31T23:59"))] == found


@pytest.mark.parametrize(
    ("expires", "last"),
    [
        ("2026-01-03T10:00:00", "01-02 15:00"),  # read on the clock of New York, 15:00 UTC: that one is not there
        ("2026-01-03T10:00:01", "01-03 15:00"),
        ("2026-01-03T10:00:00Z", "01-02 15:00"),
        ("2026-01-03T15:00:01+00:00", "01-03 15:00"),
    ],
)
def test_a_recurrence_expires_on_its_own_clock(expires: str, last: str) -> None:
    calendar = recurring("America/New_York", "2026-01-01T10:00:00", "FREQ=DAILY", expires=expires)
    assert begun(calendar, "2026-01-01", "2026-12-31")[-1] == last


@pytest.mark.parametrize(
    ("duration", "moment", "inside"),
    [
        # from 22:00 on the 28th (21:00 UTC): eight hours of a stopwatch end at 07:00 of the clock, 05:00 UTC
        ("8h", "2026-03-29T04:59:59", True),
        ("8h", "2026-03-29T05:00:00", False),
        # and in autumn at 05:00 of the clock
        ("8h", "2026-10-25T03:59:59", True),
        ("8h", "2026-10-25T04:00:00", False),
        ("24h", "2026-03-29T20:59:59", True),
        ("25h", "2026-03-29T20:30:00", True),
    ],
)
def test_a_night_lasts_as_long_as_a_stopwatch_says(duration: str, moment: str, inside: bool) -> None:
    night = recurring("Europe/Berlin", "2026-01-03T22:00:00", "FREQ=WEEKLY;BYDAY=SA", duration)
    assert night.covers(utc(moment), utc(moment)) is inside


def test_stretches_that_overlap_are_each_of_their_own() -> None:
    """An alert that goes on from the one into the next lies within neither, as long as neither holds all of it."""
    daily = recurring("UTC", "2026-01-01T00:00:00", "FREQ=DAILY", "36h")
    assert daily.covers(utc("2026-01-02T11:00"), utc("2026-01-02T13:00"))
    assert daily.covers(utc("2026-01-02T01:00"), utc("2026-01-03T11:59"))
    assert not daily.covers(utc("2026-01-01T23:00"), utc("2026-01-03T00:00"))
    assert len(list(daily.stretches(utc("2026-01-05T06:00"), utc("2026-01-05T06:00")))) == 2


@pytest.mark.parametrize(
    ("pattern", "stream", "entity", "concerned"),
    [
        ({}, "fleet", "web-1", True),
        ({"entity": "web-*"}, "fleet", "web-1", True),
        ({"entity": "web-?"}, "fleet", "web-10", False),
        ({"entity": "[!w]*"}, "fleet", "web-1", False),
        ({"entity": "WEB-1"}, "fleet", "web-1", False),
        ({"entity": ""}, "fleet", "web-1", False),
        ({"stream": "fl*", "entity": "*1"}, "fleet", "web-1", True),
        ({"stream": "fl"}, "fleet", "web-1", False),
    ],
)
def test_whom_a_calendar_concerns(pattern: dict[str, str], stream: str, entity: str, concerned: bool) -> None:
    once = {"name": "n", "start": "2026-01-01T00:00:00", "end": "2026-01-02T00:00:00"}
    calendar = Calendar.model_validate(once | pattern)
    moment = utc("2026-01-01T12:00")
    assert calendar.concerns(stream, entity) is concerned
    assert (covering([calendar], stream, entity, moment, moment) is calendar) is concerned


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC", "Africa/Casablanca"]
RULES = ["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,TH", "FREQ=MONTHLY;BYDAY=1SU", "FREQ=DAILY;INTERVAL=3"]


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(ZONES), st.sampled_from(RULES), st.integers(0, 1439), st.integers(1, 2000),
    st.integers(0, 300 * 24), st.integers(0, 60 * 24),
)  # fmt: skip
def test_what_is_covered_is_what_a_look_at_every_stretch_finds(
    zone: str, rrule: str, minute: int, minutes: int, hour: int, span: int
) -> None:
    """`stretches` of a part is the part of the stretches of all, and `covers` asks whether one of them holds it all."""
    start = datetime(2026, 1, 1) + timedelta(minutes=minute)
    calendar = recurring(zone, start.isoformat(), rrule, f"{minutes}m")
    first = utc("2026-01-02") + timedelta(hours=hour)
    last = first + timedelta(minutes=span)
    every = list(calendar.stretches(utc("2025-12-30"), utc("2027-01-15")))
    assert every == sorted(every)
    assert {end - begin for begin, end in every} == {timedelta(minutes=minutes)}
    meeting = [(begin, end) for begin, end in every if begin <= last and end > first]
    assert list(calendar.stretches(first, last)) == meeting
    assert calendar.covers(first, last) == any(begin <= first and last < end for begin, end in every)
    # what is kept of it in the database is the same calendar
    again = Calendar.model_validate(calendar.model_dump(mode="json", exclude_defaults=True))
    assert list(again.stretches(first, last)) == meeting
