"""Runs a windower over records cut into polls, and brings what comes out into the oracle's form."""

import json
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
from windower_oracle import Line, Record, Telemetry

from streaming.cells import COUNTED
from streaming.settings import FeatureRules, Timing
from streaming.stretches import Closed, LogCounts, Stretch
from streaming.types import Records, State
from streaming.windower import Windower

FEATURES = ("mean", "sum", "last", "max", "count", "carried", "log.lines", "log.error")


def position(number: int) -> int:
    """Positions have holes, like Kafka's offsets."""
    return 3 * number + 5


def batch(records: Sequence[Record], first: int, features: Sequence[str], topic: str) -> Records | LogCounts:
    names = sorted({record.name for record in records}, reverse=True)
    codes = np.array([names.index(record.name) for record in records], np.int32)
    times = np.array([record.time for record in records], np.int64)
    positions = np.array([position(first + i) for i in range(len(records))], np.int64)
    after = position(first + len(records) - 1) + 1
    if topic == "logs":
        columns = np.full((len(records), 2), -1, np.int32)
        for i, line in enumerate(records):
            columns[i, : len(line.counted)] = [features.index(name) for name in line.counted]
        said = np.full((len(records), COUNTED), -1, np.int32)
        return LogCounts(names, codes, times, columns, positions, features, after, said, ())
    values = np.full((len(records), len(features)), np.nan, np.float32)
    for i, record in enumerate(records):
        for name, value in record.values.items():
            values[i, features.index(name)] = value
    return Records(names, codes, times, values, positions, times, features, after)


class Drive:
    """Feeds `streams` (by topic) in polls of random sizes, the topics in a random order, perhaps with restarts.

    `events`, `rejected` and `features` are what came out; one windower follows another after each restart, from a
    snapshot that went through JSON.
    """

    def __init__(
        self,
        timing: Timing,
        rules: FeatureRules,
        streams: dict[str, list[Record]],
        *,
        coverage: str = "stream",
        declared: Sequence[str] = (),
        features: Sequence[str] = FEATURES,
    ) -> None:
        self.streams = streams
        self.features = [*declared, *(name for name in features if name not in declared)]
        self.events: list = []
        self.rejected: set = set()
        self._new: Callable[[], Windower] = lambda: Windower(
            timing,
            rules,
            lambda topic, at, reason, detail: self.rejected.add((topic, at, reason)),
            topics=tuple(streams),
            features=declared,
            log_coverage=coverage,
        )
        self.windower = self._new()

    def run(self, random: Random, largest: int, restart: float = 0.0) -> "Drive":
        done = dict.fromkeys(self.streams, 0)
        ended: set[str] = set()
        while len(ended) < len(self.streams):
            if random.random() < restart:
                self.restart()
            ready = [topic for topic in self.streams if topic not in ended and not self.windower.paused(topic)]
            topic = random.choice(ready)
            records = self.streams[topic][done[topic] :][: random.randint(1, largest)]
            if records:
                self.take(self.windower.process(topic, batch(records, done[topic], self.features, topic)))
                done[topic] += len(records)
            else:
                self.take(self.windower.end(topic))
                ended.add(topic)
        return self

    def restart(self) -> None:
        state = self.windower.state()
        arrays = {key: value.copy() for key, value in state.arrays.items()}
        meta = json.loads(json.dumps(state.meta, allow_nan=False))
        self.windower = self._new()
        self.windower.restore(State(arrays, meta))

    def take(self, stretches: Sequence[Stretch]) -> None:
        for stretch in stretches:
            names = self.windower.roster.names
            if isinstance(stretch, Closed):
                for closed in stretch.slots:
                    assert (np.diff(closed.rows) > 0).all()
                    cells = {(names[row], closed.slot): row_values for row, row_values in self._rows(closed)}
                    self.events.append(("closed", closed.slot, cells, list(closed.born), list(closed.evicted)))
            else:
                cells = {
                    (names[row], int(slot)): values
                    for (row, values), slot in zip(self._rows(stretch), stretch.slots, strict=True)
                }
                self.events.append(("amended", stretch.after, cells, list(stretch.born), []))

    def _rows(self, part: object) -> list[tuple[int, dict[str, float]]]:
        features = self.windower.features
        return [
            (int(row), {features[i]: float(values[i]) for i in np.flatnonzero(~np.isnan(values))})
            for row, values in zip(part.rows, part.values, strict=True)
        ]


def merged(events: list) -> list:
    """Without empty cells' differences: closed slots and amendments in order, as they are compared."""
    return [(kind, slot, dict(sorted(cells.items())), born, gone) for kind, slot, cells, born, gone in events]


def telemetry(name: str, time: int, **values: float) -> Telemetry:
    return Telemetry(name, time, values)


def line(name: str, time: int, *counted: str) -> Line:
    return Line(name, time, counted or ("log.lines",))
