"""Series fitted on their train parts and streamed through the path of live data: windower, era, scorer, judge.

What a stream gets from its database is passed in here: the model, and the slot from which it judges. The train part's
last rows are in the ring when it begins, as in a stream that fits itself after a while; they are not judged.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.ensemble import Ensemble
from detectors.scorer import SlotTimes
from streaming.types import Floats, Ints, Records, Topic
from streaming.windower import Windower
from tsad.cases import Judged
from tsad.config import StreamConfig
from tsad.detection import ensemble_settings
from tsad.episodes import Rule
from tsad.era import Era, begin_era, first_scorer
from tsad.evaluation.series import Series
from tsad.fitting import collect, worth_fitting
from tsad.history import History
from tsad.judge import Judge
from tsad.partition import Partition
from tsad.readings import Readings, Rollups

TELEMETRY: Topic = "telemetry"


@dataclass(frozen=True, slots=True)
class Scored:
    """What was said of the M test rows of a series; a row that no detector could judge has score 0 and p 1.

    `score` and `settled` are the fused numbers, which say how strange a row is beside training; `p` is the immediate
    tail probability, which is kept current on the stream. `surprise` and `settled_surprise` are what is decided by, the
    tail probabilities' logarithms over that of the threshold: above 1 is a flag. `shares` M x F by `channels` and
    `ratios` M x D by `detectors` (NaN = no opinion). `row` is the index in the test file.
    """

    row: Ints
    score: Floats
    settled: Floats
    p: NDArray[np.float64]
    surprise: Floats
    settled_surprise: Floats
    shares: Floats
    ratios: Floats
    channels: tuple[str, ...]
    detectors: tuple[str, ...]
    fit_seconds: float = 0.0
    stream_seconds: float = 0.0

    @property
    def alert(self) -> NDArray[np.bool_]:
        """Which rows were flagged at the moment they closed."""
        flagged: NDArray[np.bool_] = self.surprise > 1
        return flagged


class SlotSource:
    """Rows of several entities (`parts`: first slot and values N x F by name) as a source, slot by slot."""

    def __init__(self, parts: Mapping[str, tuple[int, Floats]], channels: list[str], step: int) -> None:
        self.topic, self.waiting = TELEMETRY, True
        self.truncated: tuple[int, int] | None = None
        slots = np.concatenate([first + np.arange(len(values)) for first, values in parts.values()])
        lengths = [len(values) for _, values in parts.values()]
        codes = np.repeat(np.arange(len(parts), dtype=np.int32), lengths)
        order = np.lexsort((codes, slots))
        self._names, self._channels = list(parts), channels
        self._codes, self._times = codes[order], slots[order] * step
        self._values = np.concatenate([values for _, values in parts.values()])[order]
        self._next = 0

    def poll(self, max_records: int = 5000) -> Records | None:
        """The next rows, None at the end."""
        part = slice(self._next, self._next + max_records)
        times = self._times[part]
        if not len(times):
            return None
        positions = np.arange(part.start, part.start + len(times))
        self._next += len(times)
        return Records(
            self._names, self._codes[part], times, self._values[part], positions, times, self._channels, self._next
        )

    def position(self, next_position: int) -> dict[str, Any]:
        """The number of the row."""
        return {"row": next_position}

    def seek(self, position: dict[str, Any]) -> None:
        """Go on with that row."""
        self._next = position["row"]

    def close(self) -> None:
        """Nothing is open."""


def run_together(group: Sequence[Series], config: StreamConfig, poll: int = 5000) -> list[Scored]:
    """Fit one model on the train parts of series with the same channels and step, and stream each test part.

    Each series is a partition of its own: what is said of an entity does not depend on others.
    """
    begun = time.perf_counter()
    start = first_slot(group)
    ensemble = fit_together(group, config, start)
    fitted = (time.perf_counter() - begun) / len(group)
    return [replace(Stream(config, ensemble, start, one).run(poll), fit_seconds=fitted) for one in group]


def first_slot(group: Sequence[Series]) -> int:
    """The slot of every first test row: train parts lie before it. What the clock said then is for `Series.times`."""
    return max(len(series.train) for series in group)


def fit_together(group: Sequence[Series], config: StreamConfig, start: int) -> Ensemble:
    """A model of the train parts, which all end right before slot `start`."""
    parts = {one.file.name: (start - len(one.train), one.train) for one in group}
    source = SlotSource(parts, group[0].channels, group[0].step)
    rows = worth_fitting(collect(_windower(config), {TELEMETRY: source}, None).rows, {}, 0)
    settings, clocks = ensemble_settings(config), {one.file.name: one.times for one in group}
    times = np.zeros(len(rows.slots), np.int64)
    for code, name in enumerate(rows.names):
        here, clock = rows.codes == code, clocks[name]
        if clock is None:
            return Ensemble.fit(rows, replace(settings, seasons=False))
        times[here] = clock[rows.slots[here] - parts[name][0]]
    return Ensemble.fit(replace(rows, times=times), settings)


class Stream:
    """A partition that judges the test part of `series` with `ensemble`, from slot `start` on, and what it said.

    It judges (and learns online from) the last `before` rows of the train part, too; nothing is told of them.
    """

    def __init__(self, config: StreamConfig, ensemble: Ensemble, start: int, series: Series, before: int = 0) -> None:
        self._config, self._ensemble, self._start, self._series = config, ensemble, start, series
        self._begins = start - before
        self._said: list[Judged] = []
        self._windower = _windower(config)
        self.partition = Partition(
            self._windower,
            Judge(Rule(config.settle, config.quiet), Readings(config.late_horizon + config.settle, config.max_lead)),
            Rollups(config.step),
            History(None, config.step, 0),
            lambda _, __: {},
            lambda partition, slot: self._begin if slot >= self._begins and not partition.eras else None,
            self._said.append,
        )

    def _begin(self) -> Era:
        timing = self._config.timing()
        scorer = first_scorer(self._ensemble, self._windower, timing, self._times())
        return begin_era("evaluated", self._begins, scorer, self._windower, timing, {})

    def _times(self) -> SlotTimes | None:
        times, first = self._series.times, self._start - len(self._series.train)
        return None if times is None else lambda slots: times[slots - first]

    def run(self, poll: int = 5000) -> Scored:
        """Stream the last train rows and the test rows; what was said of the latter."""
        begun, source = time.perf_counter(), self.source()
        while (batch := source.poll(poll)) is not None:
            self.partition.process(TELEMETRY, batch, 0, 0)
            self.partition.take()
        self.partition.end(TELEMETRY, 0)
        return replace(self._scored(), stream_seconds=time.perf_counter() - begun)

    def source(self) -> SlotSource:
        """The last train rows and the test rows."""
        series = self._series
        before = series.train[-(self._start - self._begins + self._config.window) :]
        parts = {series.file.name: (self._start - len(before), np.concatenate([before, series.test]))}
        return SlotSource(parts, series.channels, series.step)

    def _scored(self) -> Scored:
        count, ensemble = len(self._series.test), self._ensemble
        score, settled, surprise = (np.zeros(count, np.float32) for _ in range(3))
        p, settled_p = np.ones(count), np.ones(count)
        shares = np.zeros((count, len(ensemble.features)), np.float32)
        ratios = np.full((count, len(ensemble.detectors)), np.nan, np.float32)
        for judged in self._said:
            row, verdicts = judged.ends - self._start, judged.verdicts
            _place(score, row, np.nan_to_num(verdicts.fused))
            _place(surprise, row, np.nan_to_num(verdicts.score))
            _place(p, row, np.nan_to_num(verdicts.p, nan=1.0))
            _place(shares, row, verdicts.shares)
            _place(ratios, row, verdicts.ratios.T)
            before = row - ensemble.settings.settle + 1
            _place(settled, before, np.nan_to_num(verdicts.settled))
            _place(settled_p, before, np.nan_to_num(verdicts.settled_p, nan=1.0))
        rows, rest, rest_p = self._rest()
        _place(settled, rows, np.nan_to_num(rest))
        _place(settled_p, rows, np.nan_to_num(rest_p, nan=1.0))
        settled_surprise = (np.log(settled_p) / np.log(ensemble.alpha)).astype(np.float32)
        row = np.arange(self._series.first, self._series.first + count)
        return Scored(
            row, score, settled, p, surprise, settled_surprise, shares, ratios, ensemble.features,
            tuple(ensemble.detectors),
        )  # fmt: skip

    def _rest(self) -> tuple[Ints, Floats, NDArray[np.float64]]:
        """The last rows, their settled numbers and probabilities over what is left of their look-ahead."""
        last, code = self._windower.closed_through, self._windower.roster.names.index(self._series.file.name)
        if last is None or not self.partition.eras:
            return np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0)
        rest, p = self.partition.era.scorer.settle_rest(np.array([code], np.int32), last)
        return last - self._start - np.arange(len(rest))[::-1], rest[:, 0], p[:, 0]


def _place(array: NDArray[Any], rows: Ints, values: NDArray[Any]) -> None:
    """Write `values` at those `rows` that there are."""
    there = (rows >= 0) & (rows < len(array))
    array[rows[there]] = values[there]


def _windower(config: StreamConfig) -> Windower:
    return Windower(config.timing(), config.rules(), _refused)


def _refused(_: Topic, position: int, reason: str, detail: str) -> None:
    raise ValueError(f"row {position} was refused: {reason} {detail}")
