"""Series with a day and a week in a time zone's own hours, over months that hold a change of the clock."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

from detectors.types import Rows

HOUR = 3_600_000_000_000
BERLIN = "Europe/Berlin"
OFFICE = np.interp(np.arange(24) + 0.5, [6, 9, 12, 13, 14, 18, 20], [0, 1, 1, 0.8, 1, 1, 0])
"""Usual departure from the night's level by hour of the day."""


def ns(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def local(times, zone=BERLIN):
    """(day of the week, hour with its fraction) by the standard library, one by one."""
    known = ZoneInfo(zone)
    each = [datetime.fromtimestamp(time / 1e9, UTC).astimezone(known) for time in times.tolist()]
    return np.array([one.weekday() for one in each]), np.array([one.hour + one.minute / 60 for one in each])


def course(times, seed=0, noise=0.04, zone=BERLIN):
    """N x 3: office hours every day, office hours on weekdays, and noise alone."""
    weekday, hour = local(times, zone)
    day = np.interp(hour, np.arange(24) + 0.5, OFFICE, period=24)
    week = np.where(weekday < 5, day, 0.1 * day)
    clean = np.stack([10 + 5 * day, 200 - 80 * week, np.zeros(len(times))], axis=1)
    scale = np.array([5, 80, 25.0])
    return (clean + noise * scale * np.random.default_rng(seed).normal(size=clean.shape)).astype(np.float32)


def rows_of(first, values, step, names=("host-000",)):
    """Rows of one entity from event time `first` (ns) on."""
    slots = first // step + np.arange(len(values), dtype=np.int64)
    return Rows(list(names), np.zeros(len(values), np.int32), slots, values, ["day", "week", "noise"])
