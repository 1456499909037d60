"""Hour-of-day and hour-of-week structure of each channel of each entity, learnt where training shows it.

A profile holds a channel's usual departure from its level at the centres of the 24 hours of the local day, or of the
168 of the local week, and is interpolated between them. Nothing is learnt unless it pays on days that it was not learnt
from: each whole day of the fitted part is left out in turn, and the days' gains must be clearly above nothing (mean and
t-test, which two days rarely pass, and a random walk does not); the days behind them must gain, too. The week is asked
to improve on the day in the same way. A new entity takes the fleet's profile where most entities agree on one.

A profile must also swing twice as far as the range of what it leaves. Without that condition real series lost (mean
VUS-PR of nine with a day .731 to .678, with the profile `quality`): a season within the range of its noise only blurs
windows, which hold their own level already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from detectors.robust import mean, median
from streaming.types import Codes, Floats, Ints, State

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

HOUR = 3_600_000_000_000
DAY_HOURS, WEEK_HOURS = 24, 168
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_THURSDAY = 72
"""Hours from a Monday to the epoch."""
_QUARTER = HOUR // 4
"""Offsets of time zones change at whole quarters of an hour."""
_LEAST_GAIN = 0.1
"""(before - after) / (before + after) of squared departures, mean over days: 18% of the variance explained."""
_SLACK = 0.1
"""A share of the departures of the plain level."""
_LEAST_AHEAD = 0.05
"""Share of the absolute departures that the profile must take off the rows behind those it was learnt from."""
_WHOLE = 0.8
"""A day counts where it has this share of its slots."""
_LEAST_DAYS, _LEAST_WEEK = 2, 14
_LEVEL_DAYS = 3
"""The level that a day departs from is the median of the days up to three before and after it."""
_SWING, _REST = 2.0, 0.01
"""How many times the range of what it leaves (less 1% of the rows at either end) a profile swings at least."""
_PRIOR_DAYS = 0.5
"""What the mean of all days is worth beside the days of one weekday."""
_SPREADS = 4.0
"""An hour of one day teaches as at most four median departures of that hour over days."""
_AGREE = 0.5
"""An entity agrees with its fleet where the fleet's profile leaves less than half of its own."""


@dataclass(frozen=True, slots=True)
class LocalClock:
    """Local hours in a time zone of the tz database."""

    zone: str

    def hours(self, times: Ints) -> Doubles:
        """Hours on the local clock, from a Monday's midnight on, of event times in ns (any shape): whole days have 24
        of them whatever the zone does, so that twice a year an hour is missing or comes twice."""
        quarters, place = np.unique(times // _QUARTER, return_inverse=True)
        offsets = np.array([_offset(self.zone, quarter) for quarter in quarters.tolist()], np.int64)
        local: Doubles = (times + offsets[place].reshape(np.shape(times))) / HOUR + _THURSDAY
        return np.asarray(local)


@lru_cache(maxsize=1 << 16)
def _offset(zone: str, quarter: int) -> int:
    """ns to add to UTC in the given quarter of an hour since the epoch."""
    offset = (_EPOCH + timedelta(minutes=15 * quarter)).astimezone(ZoneInfo(zone)).utcoffset()
    return 0 if offset is None else round(offset.total_seconds()) * 1_000_000_000


def split(hours: Doubles) -> tuple[Ints, Floats]:
    """The hour whose centre precedes each local time, and the part of the way to the next one's."""
    before = np.floor(hours - 0.5)
    return before.astype(np.int64), (hours - 0.5 - before).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Seasons:
    """Profiles of K entities and, last, of their fleet, in widths of the channel's range (`Ranges`).

    `profiles`: all of them, one after the other, 24 or 168 numbers each. `start` and `length` ((K + 1) x F): where each
    channel's lies; length 0 = none.
    """

    profiles: Floats
    start: NDArray[np.int32]
    length: NDArray[np.int32]

    @classmethod
    def none(cls, entities: int, features: int) -> "Seasons":
        """No structure at all."""
        nothing = np.zeros((entities + 1, features), np.int32)
        return cls(np.zeros(WEEK_HOURS, np.float32), nothing, nothing.copy())

    @property
    def any(self) -> bool:
        """Whether there is a profile."""
        return bool(self.length.any())

    def at(self, places: Ints | Codes, hours: Doubles) -> Floats:
        """Departure from the level (B x F) of the entities at `places` (-1 = the fleet) at local `hours` (B).

        Linear between the centres of hours.
        """
        hour, part = split(hours)
        count = len(self.length)
        # rows of an entity in one hour have their numbers in common
        pairs, which = np.unique(hour * count + places % count, return_inverse=True)
        each = pairs % count
        low, rise = self._around((pairs // count)[:, None], self.start[each], self.length[each])
        season: Floats = rise[which]
        season *= part[:, None]
        season += low[which]
        return season

    def around(self, hour: int) -> tuple[Floats, Floats]:
        """Of everybody ((K + 1) x F): the departure at the centre of an `hour`, and the rise to the centre of the next;
        `at` is the one and a part (see `split`) of the other, bit for bit."""
        return self._around(np.asarray(hour, np.int64), self.start, self.length)

    def _around(self, hour: Ints, start: NDArray[np.int32], length: NDArray[np.int32]) -> tuple[Floats, Floats]:
        cycle = np.maximum(length, 1)
        first = hour % cycle
        low, high = self.profiles[start + first], self.profiles[start + (first + 1) % cycle]
        known, zero = length > 0, np.float32(0)
        return np.where(known, low, zero), np.where(known, high - low, zero)

    def of(self, place: int, feature: int) -> Floats:
        """One profile (24 or 168, or none)."""
        start = self.start[place, feature]
        return self.profiles[start : start + self.length[place, feature]]

    def in_widths(self, width: Floats) -> "Seasons":
        """Profiles in raw units (of K entities) divided by the widths (K x F), and the fleet's, where most agree."""
        entities, features = width.shape
        own = [[self.of(k, f) / width[k, f] for f in range(features)] for k in range(entities)]
        fleet = [_agreed([own[k][f] for k in range(entities)]) for f in range(features)]
        return _packed([*own, fleet])

    def state(self) -> State:
        """As plain arrays."""
        return State({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def restore(cls, state: State) -> "Seasons":
        """The inverse of `state`."""
        return cls(**{name: state.arrays[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class _Days:
    """Hours of whole days of one entity, D x 24 x F, NaN where there is none: `mean` of the rows of an hour without the
    level around that day, `within` their mean square about it. `day` (D): days since a Monday."""

    day: Ints
    mean: Floats
    within: Floats

    @classmethod
    def of(cls, values: Floats, hours: Doubles, step_hours: float) -> "_Days":
        """From rows (N x F) at local hours (N)."""
        cells, place = np.unique(np.floor(hours).astype(np.int64), return_inverse=True)
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.diff(place[order], prepend=-1))
        middle = median(values, 0).astype(np.float64)
        away = values[order] - middle
        present = ~np.isnan(away)
        away = np.where(present, away, 0.0)
        count = np.add.reduceat(present, starts, axis=0, dtype=np.int64)
        average = np.add.reduceat(away, starts, axis=0) / np.maximum(count, 1)
        square = np.add.reduceat(np.square(away), starts, axis=0) / np.maximum(count, 1)
        day, row = np.unique(cells // DAY_HOURS, return_inverse=True)
        shape = (len(day), DAY_HOURS, values.shape[1])
        means, within = np.full(shape, np.nan, np.float32), np.zeros(shape, np.float32)
        counts = np.zeros(shape, np.int64)
        at = (row, cells % DAY_HOURS)
        means[at] = np.where(count > 0, average, np.nan)
        within[at], counts[at] = np.maximum(square - np.square(average), 0), count
        whole = counts.sum(axis=1) >= _WHOLE * DAY_HOURS / step_hours
        means[np.broadcast_to(~whole[:, None], shape)] = np.nan
        return cls(day, means - _levels(day, means)[:, None], within)

    @property
    def whole(self) -> Bools:
        """D x F: which days count."""
        known: Bools = np.any(~np.isnan(self.mean), axis=1)
        return known

    def left(self, profile: Floats | float) -> Doubles:
        """D x F: squared departures from a profile (D x 24 x F), rows of an hour alike."""
        departures: Doubles = np.nansum(self.within + np.square(self.mean - profile), axis=1, dtype=np.float64)
        return departures

    def tamed(self, kind: NDArray[Any]) -> Floats:
        """The hours as they teach: what one day alone did, among those of its kind (D), is cut."""
        usual = np.empty_like(self.mean)
        for one in np.unique(kind):
            usual[kind == one] = median(self.mean[kind == one], 0)
        spread = _SPREADS * median(np.abs(self.mean - usual), 0)
        return np.clip(self.mean, usual - spread, usual + spread)


def learn(codes: Codes, values: Floats, hours: Doubles, fitted: Bools, step_hours: float, entities: int) -> Seasons:
    """Profiles in raw units of entities 0..`entities` - 1 from rows (N x F, an entity's side by side) at local `hours`.

    They are learnt from the rows `fitted` (N), and must hold on the others. No fleet's yet: see `in_widths`.
    """
    features = values.shape[1]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    table: list[list[Floats]] = [[_NOTHING] * features for _ in range(entities)]
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(codes)], strict=True):
        rows = slice(start, stop)
        table[int(codes[start])] = _learn_one(values[rows], hours[rows], fitted[rows], step_hours)
    return _packed([*table, [_NOTHING] * features])


_NOTHING = np.zeros(0, np.float32)


def _learn_one(values: Floats, hours: Doubles, fitted: Bools, step_hours: float) -> list[Floats]:
    """The profile of each channel of one entity."""
    channels = values.shape[1]
    nothing = [_NOTHING] * channels
    if step_hours > DAY_HOURS / 2 or not fitted.any() or np.ptp(hours[fitted]) < _LEAST_DAYS * DAY_HOURS - 1:
        return nothing
    days = _Days.of(values[fitted], hours[fitted], step_hours)
    tamed, by_weekday = days.tamed(np.zeros(len(days.day))), days.tamed(days.day % 7)
    before = days.left(0.0)
    slack = _SLACK * before
    after_day, after_week = days.left(_left_out(tamed)), days.left(_left_out_of_week(by_weekday, days.day))
    enough = days.whole.sum(axis=0)
    by_day = _pays(before, after_day, days.whole, slack) & (enough >= _LEAST_DAYS)
    best = np.where(by_day, after_day, before)
    by_week = _pays(best, after_week, days.whole, slack) & (enough >= _LEAST_WEEK)
    day_profile, week_profile = mean(tamed, 0), _of_week(by_weekday, days.day)
    kinds = ((by_week, week_profile), (by_day, day_profile))
    found = [[_closed(profile[:, f]) for pays, profile in kinds if pays[f]] for f in range(channels)]
    held = ~fitted
    return [
        next((profile for profile in profiles if _holds(profile, values[:, f], hours, held, step_hours)), _NOTHING)
        for f, profiles in enumerate(found)
    ]


def _left_out(tamed: Floats) -> Floats:
    """D x 24 x F: the mean of the other days; 0 where there is none."""
    known = ~np.isnan(tamed)
    others = known.sum(axis=0) - known
    total = np.nansum(tamed, axis=0) - np.nan_to_num(tamed)
    return np.where(others > 0, total / np.maximum(others, 1), 0.0).astype(np.float32)


def _left_out_of_week(tamed: Floats, day: Ints) -> Floats:
    """D x 24 x F: the mean of the same weekday's other days, drawn to that of all other days."""
    daily, known, filled = _left_out(tamed), ~np.isnan(tamed), np.nan_to_num(tamed)
    weekly = daily.copy()
    for weekday in range(7):
        same = day % 7 == weekday
        others = known[same].sum(axis=0) - known[same]
        total = filled[same].sum(axis=0) - filled[same]
        weekly[same] = (total + _PRIOR_DAYS * daily[same]) / (others + _PRIOR_DAYS)
    return weekly


def _of_week(tamed: Floats, day: Ints) -> Floats:
    """168 x F: the mean of each weekday's days, drawn to that of all days."""
    daily, known, filled = np.nan_to_num(mean(tamed, 0)), ~np.isnan(tamed), np.nan_to_num(tamed)
    each = [day % 7 == weekday for weekday in range(7)]
    totals = [(known[same].sum(axis=0), filled[same].sum(axis=0)) for same in each]
    return np.concatenate([(total + _PRIOR_DAYS * daily) / (count + _PRIOR_DAYS) for count, total in totals])


def _pays(before: Doubles, after: Doubles, whole: Bools, slack: Doubles) -> Bools:
    """F: whether the days' gains ((before - after) / (before + after), D x F) are clearly above nothing.

    `slack` (D x F) is added below the line, so that what is next to nothing either way counts as nothing."""
    count = np.maximum(whole.sum(axis=0), 1)
    gain = np.where(whole, (before - after) / np.maximum(before + after + slack, np.finfo(np.float64).tiny), 0.0)
    usual = gain.sum(axis=0) / count
    free = np.maximum(count - 1, 1)
    error = np.sqrt((np.where(whole, np.square(gain - usual), 0.0)).sum(axis=0) / free / count)
    # Student's t at 97.5%, to 10% from one degree of freedom and to 1% from three on
    t = 1.96 + 2.37 / free + 2.82 / free**2
    clear: Bools = (usual >= _LEAST_GAIN) & (usual >= t * error)
    return clear


def _holds(profile: Floats, values: Floats, hours: Doubles, held: Bools, step_hours: float) -> bool:
    """Whether the profile gains on the rows (N) that were held back, too, half a day at least, and swings far beyond
    what it leaves: else a value of noon at midnight stays within that range, and nothing is told by taking it off."""
    present = ~np.isnan(values)
    values, hours, held = values[present], hours[present], held[present]
    if np.count_nonzero(held) * step_hours < DAY_HOURS / 2:
        return False
    left = values - _packed([[profile]]).at(np.zeros(len(hours), np.int64), hours)[:, 0]
    before, after = (np.abs(x - np.median(x)).sum() for x in (values[held], left[held]))
    return bool(
        after <= (1 - _LEAST_AHEAD) * before
        and np.ptp(profile) >= _SWING * np.ptp(np.quantile(left, [_REST, 1 - _REST]))
    )


def _closed(profile: Floats) -> Floats:
    """About its own mean, hours without a value between their neighbours."""
    known = np.flatnonzero(~np.isnan(profile))
    filled = np.interp(np.arange(len(profile)), known, profile[known], period=len(profile))
    about: Floats = (filled - filled.mean()).astype(np.float32)
    return about


def _agreed(own: Sequence[Floats]) -> Floats:
    """The median profile of a fleet, where most of at least two entities agree with it."""
    seasonal = [np.tile(profile, WEEK_HOURS // len(profile)) for profile in own if len(profile)]
    if len(own) < 2 or 2 * len(seasonal) <= len(own):
        return _NOTHING
    by_day = all(len(profile) != WEEK_HOURS for profile in own)
    table = np.stack(seasonal)
    usual: Floats = median(table, 0)
    agree = np.square(table - usual).sum(axis=1) <= _AGREE * np.square(table).sum(axis=1)
    if 2 * int(agree.sum()) <= len(own):
        return _NOTHING
    return usual[:DAY_HOURS] if by_day else usual


def _packed(table: Sequence[Sequence[Floats]]) -> Seasons:
    """Profiles by entity and channel, one after the other."""
    length = np.array([[len(profile) for profile in row] for row in table], np.int32).reshape(len(table), -1)
    start = (np.cumsum(length) - length.ravel()).reshape(length.shape).astype(np.int32)
    # what follows the last one is read, and counts nothing, where a channel has none
    rest = np.zeros(WEEK_HOURS, np.float32)
    return Seasons(np.concatenate([*(profile for row in table for profile in row), rest]), start, length)


def _levels(day: Ints, means: Floats) -> Floats:
    """D x F: the median level of the days around each."""
    own = median(means, 1)
    near = [np.abs(day - one) <= _LEVEL_DAYS for one in day]
    return np.stack([median(own[days], 0) for days in near])
