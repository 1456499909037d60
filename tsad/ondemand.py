"""A series judged on demand, without a stream: the detectors of the profile `fast`, fitted on the series itself.

Of a whole series each half is judged by a model of the other, so that no point is judged by what has seen it. It is
read forwards and backwards, and both have to agree: detectors that look at the last ten slots go on for as long after
a spike, in either direction, and only the spike itself is strange in both. The last point is judged by a model of all
before it. What judges is the path of live data (`evaluation.running`), a function of the request alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detectors.background import Background
from streaming.settings import SECOND
from streaming.types import Floats, Ints, Windows
from tsad.config import StreamConfig
from tsad.episodes import severity
from tsad.evaluation.running import Stream, fit_together
from tsad.evaluation.series import Series, SeriesFile

Doubles = NDArray[np.float64]
Severity = Literal["info", "warning", "critical"]
DAY = 86_400 * SECOND
MOST_SLOTS = 20_000
"""Of a series, those that are missing too."""
WINDOW, SETTLE = 16, 8
FILE = SeriesFile("request", "series", Path(), None)


@dataclass(frozen=True, slots=True)
class Asked:
    """A series to be judged: `values` N x F (NaN = missing) of `channels`, in slots of `step` ns.

    `times` (N, ns, rising) where they are known: by them a day or a week is looked for, in the time zone.
    `false_alarms` are acceptable in a series of this length.
    """

    channels: Sequence[str]
    values: Doubles
    step: int
    times: Ints | None = None
    false_alarms: float = 1.0
    timezone: str = "UTC"

    def config(self, slots: int) -> StreamConfig:
        """As a stream would have it, of a series of so many slots."""
        told = {
            "step": self.step / SECOND, "profile": "fast", "window": WINDOW, "settle": SETTLE, "quiet": SETTLE,
            "late_horizon": 0, "alert_budget": self.false_alarms * DAY / (slots * self.step),
            "timezone": self.timezone, "max_windows": MOST_SLOTS,
        }  # fmt: skip
        return StreamConfig.model_validate(told)

    def part(self, start: int, stop: int) -> "Asked":
        """Some of its slots."""
        times = None if self.times is None else self.times[start:stop]
        return replace(self, values=self.values[start:stop], times=times)

    def backwards(self) -> "Asked":
        """In the other order."""
        return replace(self, values=self.values[::-1], times=None if self.times is None else self.times[::-1])


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of M points: `score` (above 1 is anomalous) and `p`, NaN where no detector could judge; `shares` of
    the channels (M x F); the usual range of each (M x F, NaN = not known)."""

    score: Doubles
    p: Doubles
    shares: Doubles
    lower: Doubles
    upper: Doubles

    @property
    def anomalous(self) -> NDArray[np.bool_]:
        """Which points are anomalies (M)."""
        return np.nan_to_num(self.score) > 1

    def severities(self) -> list[Severity | None]:
        """How bad each is, by the run of anomalies that it belongs to; None of what is usual."""
        flagged = self.anomalous
        found: list[Severity | None] = [None] * len(flagged)
        edges = [0, *(np.flatnonzero(np.diff(flagged)) + 1).tolist(), len(flagged)]
        for start, stop in pairwise(edges):
            if start < stop and flagged[start]:
                shares, length = self.shares[start:stop].max(axis=0), stop - start
                many = int((shares >= shares.max() / 2).sum())
                found[start:stop] = [severity(float(self.score[start:stop].max()), many, len(shares), length)] * length
        return found

    def backwards(self) -> "Said":
        """In the other order."""
        return Said(*(getattr(self, name)[::-1] for name in self.__slots__))

    def agreed(self, other: "Said") -> "Said":
        """What both say: of each point the lesser score."""
        p, score = np.fmax(self.p, other.p), np.fmin(self.score, other.score)
        shares = (self.shares + other.shares) / 2
        return Said(score, p, shares, np.fmin(self.lower, other.lower), np.fmax(self.upper, other.upper))

    def then(self, other: "Said") -> "Said":
        """These points, and those behind them."""
        both = [(getattr(self, name), getattr(other, name)) for name in self.__slots__]
        return Said(*(np.concatenate(pair) for pair in both))

    def at(self, points: Ints) -> "Said":
        """Some of the points."""
        return Said(*(getattr(self, name)[points] for name in self.__slots__))


def slots_of(times: Sequence[int], step: int | None) -> tuple[Ints, int]:
    """The slot of each of rising `times` (ns), and the step (ns), which is the usual distance unless it is told.
    ValueError where two points lie in one slot, or slots are too many."""
    each = np.array(times, np.int64)
    apart = np.diff(each)
    if (apart <= 0).any():
        raise ValueError("timestamps must rise")
    usual = int(np.median(apart)) if step is None else step
    slots = (each - each[0] + usual // 2) // usual
    if (np.diff(slots) == 0).any():
        raise ValueError(f"two points lie within one step of {usual / SECOND:g} s")
    if slots[-1] >= MOST_SLOTS:
        raise ValueError(f"they span {slots[-1] + 1} steps of {usual / SECOND:g} s, {MOST_SLOTS} are allowed")
    return slots, usual


def judge_all(asked: Asked) -> Said:
    """Every point. ValueError where a half has no value."""
    half = len(asked.values) // 2
    early, late = asked.part(0, half), asked.part(half, len(asked.values))
    forward = _judged(late, early, asked).then(_judged(early, late, asked))
    early, late = early.backwards(), late.backwards()
    backward = _judged(early, late, asked).then(_judged(late, early, asked))
    return forward.agreed(backward.backwards())


def judge_last(asked: Asked) -> Said:
    """The last point. ValueError where there is no value before it."""
    last = len(asked.values) - 1
    return _judged(asked.part(0, last), asked.part(last, last + 1), asked)


def _judged(before: Asked, judged: Asked, whole: Asked) -> Said:
    """The points `judged`, by a model of those `before`."""
    # float32 holds small movements beside a high level only without that
    level = np.array([_median(column) for column in whole.values.T])
    train, test = ((part.values - level).astype(np.float32) for part in (before, judged))
    channels, config, fitted = list(whole.channels), whole.config(len(whole.values)), len(train)
    times = None if before.times is None or judged.times is None else np.concatenate([before.times, judged.times])
    series = Series(FILE, channels, train, test, fitted, None, [], config.step, times)
    stream = Stream(config, fit_together([series], config, fitted), fitted, series)
    scored = stream.run()
    silent: NDArray[np.bool_] = np.asarray(np.isnan(scored.ratios).all(axis=1))
    place = [channels.index(name) for name in scored.channels]
    shares, lower, upper = (np.full((len(silent), len(channels)), np.nan) for _ in range(3))
    shares[:, place] = scored.shares
    lower[:, place], upper[:, place] = _band(stream, fitted, len(silent))
    return Said(
        np.where(silent, np.nan, scored.surprise.astype(np.float64)), np.where(silent, np.nan, scored.p),
        np.nan_to_num(shares), lower + level, upper + level,
    )  # fmt: skip


def _band(stream: Stream, first: int, count: int) -> tuple[Floats, Floats]:
    """The usual range (count x F) in the slots from `first` on: of a season's hour, where there is one."""
    era = stream.partition.era
    ensemble, row = era.ensemble, np.zeros(1, np.int32)
    nothing = np.zeros((1, 1, len(ensemble.features)), np.float32)
    known = Windows(row, np.zeros(1, np.int64), nothing, ensemble.features, [FILE.name])
    low, high = Background(ensemble.background).bands(known)
    slots = range(first, first + count) if ensemble.seasons.any else [first]
    ranges = [era.scorer.ranges(row, slot) for slot in slots]
    origin, width = (np.concatenate([pair[place] for pair in ranges]) for place in (0, 1))
    shape = (count, len(ensemble.features))
    return np.broadcast_to(origin + width * low, shape), np.broadcast_to(origin + width * high, shape)


def _median(column: Doubles) -> float:
    there: Doubles = column[~np.isnan(column)]
    return float(np.median(there)) if there.size else 0.0
