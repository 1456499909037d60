"""The points of a poll of messages, gathered once, joined by arrays into rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from streaming.columns import MAX_NAME, Columns, legal_name
from streaming.deadletters import DeadReason
from streaming.intake import Intake
from streaming.json_records import RecordError
from streaming.mapping import Target
from streaming.timestamps import MISSING, OK, REASON_OF_FAULT, EventTimes
from streaming.types import Codes, Floats, Ints

MAX_ROWS = 20_000
"""Rows (an entity at a time) that one message may have: a matrix of all features is made of them."""
Sample = tuple[int, float]

_POINT = np.dtype([("time", np.int64), ("value", np.float64)])
_LARGEST = np.iinfo(np.int64).max
_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Rows:
    """N rows by (message, time, entity): the message's number in the poll, the time (ns), the entity's code in `names`,
    and their values N x F."""

    messages: Ints
    times: Ints
    codes: Codes
    names: list[str]
    values: Floats
    unknown: dict[str, int]


@dataclass(slots=True)
class Points:
    """Runs of points: each of one message, entity and target. A point is a time (ns, or ms) and a value; NaN is none.

    `labels` are the entities'; `count` is of all points that came, also those that no feature asks for.
    """

    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    count: int = 0
    _samples: list[Sample] = field(default_factory=list)
    _runs: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    _entities: dict[str, int] = field(default_factory=dict)
    _targets: dict[Target, int] = field(default_factory=dict)

    def add(
        self,
        message: int,
        entity: str,
        targets: Sequence[Target],
        samples: Sequence[Sample],
        unit: Literal["ns", "ms"] = "ns",
    ) -> None:
        """The points of one series (or of several that are joined): they count in each of `targets`."""
        self.count += len(samples)
        code = self._entities.setdefault(entity, len(self._entities))
        scale = 1 if unit == "ns" else _MS
        for target in targets:
            number = self._targets.setdefault(target, len(self._targets))
            self._runs.append((message, code, number, scale, len(samples)))
            self._samples += samples

    def rows(self, intake: Intake, times: EventTimes, ingested: Ints, columns: Columns) -> Rows:
        """Everything added, in rows; a point that cannot be used makes its message a dead letter, the others stay.

        `ingested` (ns) is of the payloads. New features are admitted in the order of their first values by row.
        """
        runs = np.array(self._runs, np.int64).reshape(-1, 5)
        message, entity, target, scale = (np.repeat(runs[:, k], runs[:, 4]) for k in range(4))
        raw = _array(self._samples)
        ns, faults = _times(raw["time"], scale, times, ingested[message])
        self._bury(intake, message, entity, faults, raw, times, ingested)
        good = (faults == OK) & ~np.isnan(raw["value"]) & ~self._illegal()[entity] & ~_infinite(raw["value"])
        at = np.flatnonzero(good)
        at, first_of_row = self._ordered(at, message, ns, entity, intake)
        return self._joined(at, first_of_row, (message, ns, entity, target, raw["value"]), columns)

    def _illegal(self) -> Any:
        return np.array([not legal_name(name) for name in self._entities], np.bool_)

    def _bury(
        self, intake: Intake, message: Ints, entity: Ints, faults: Any, raw: Any, times: EventTimes, ingested: Ints
    ) -> None:
        """One dead letter for each message with bad points, for its first one."""
        infinite = _infinite(raw["value"])
        bad = np.flatnonzero((faults != OK) | self._illegal()[entity] | infinite)
        numbers, first, counts = np.unique(message[bad], return_index=True, return_counts=True)
        names, totals = list(self._entities), np.bincount(message, minlength=1)
        for number, place, count in zip(numbers.tolist(), bad[first].tolist(), counts.tolist(), strict=True):
            name, fault = names[entity[place]], int(faults[place])
            reason: DeadReason
            if not legal_name(name):
                reason = "bad_entity" if name else "missing_entity"
                said = f"entity: {name!r:.80}; labels whose values make 1 to {MAX_NAME} characters are expected"
            elif fault != OK:
                reason = REASON_OF_FAULT[fault]
                said = times.explain(fault, int(raw["time"][place]), int(ingested[number]))
            else:
                reason, said = "infinite_value", f"{raw['value'][place]:g}: finite float32 numbers are allowed"
            intake.refuse(number, RecordError(reason, f"{count} of {totals[number]} points, the first: {said}"))

    def _ordered(self, at: Ints, message: Ints, ns: Ints, entity: Ints, intake: Intake) -> tuple[Ints, Any]:
        """The points `at` by (message, time, entity's name), and where a row begins among them.

        By name, so that the order does not depend on the other messages of the poll. A message of too many rows goes.
        """
        rank = np.argsort(np.argsort(np.array(list(self._entities), dtype=object))) if self._entities else entity
        order = at[np.lexsort((rank[entity[at]], ns[at], message[at]))]
        starts = _changes(message[order], ns[order], entity[order])
        rows = np.bincount(message[order][starts], minlength=1)
        for number in np.flatnonzero(rows > MAX_ROWS).tolist():
            said = f"{int(rows[number])} rows (an entity at a time), {MAX_ROWS} are allowed in a message"
            intake.refuse(number, RecordError("too_long", said))
        keep = rows[message[order]] <= MAX_ROWS if len(order) else np.zeros(0, bool)
        return order[keep], starts[keep]

    def _joined(self, at: Ints, starts: Any, parts: tuple[Any, ...], columns: Columns) -> Rows:
        message, ns, entity, target, values = (part[at] for part in parts)
        row = np.cumsum(starts) - 1
        heads = np.flatnonzero(starts)
        numbered: dict[str, int] = {}
        named = np.array([numbered.setdefault(one.name, len(numbered)) for one in self._targets], np.int64)
        feature = named[target] if len(target) else target
        order = np.lexsort((at, feature, row))
        begins = np.flatnonzero(_changes(row[order], feature[order]))
        cells = order[begins]
        joined = _reduced(values[order], begins, target[cells], [one.aggregate for one in self._targets])
        number, unknown = _columns(list(numbered), row[cells], at[cells], feature[cells], columns)
        matrix = np.full((len(heads), len(columns)), np.nan, np.float32)
        known = number >= 0
        matrix[row[cells][known], number[known]] = np.clip(joined[known], -_FLOAT32, _FLOAT32)
        used, codes = np.unique(entity[heads], return_inverse=True)
        everyone = list(self._entities)
        return Rows(message[heads], ns[heads], codes.astype(np.int32), [everyone[k] for k in used], matrix, unknown)


_FLOAT32 = float(np.finfo(np.float32).max)


def _array(samples: list[Sample]) -> Any:
    try:
        return np.array(samples, _POINT)
    except OverflowError:  # OTLP's times are unsigned
        return np.array([(time if 0 <= time <= _LARGEST else -1, value) for time, value in samples], _POINT)


def readable_times(raw: Sequence[int], times: EventTimes, ingested: Ints) -> tuple[Ints, Any]:
    """Times of N lines (ns, 0 = not stated, perhaps beyond int64) and their faults (`timestamps`)."""
    held = _array([(time, 0.0) for time in raw])["time"]
    return _times(held, np.ones(len(held), np.int64), times, ingested)


def _times(raw: Ints, scale: Ints, times: EventTimes, ingested: Ints) -> tuple[Ints, Any]:
    fits = (raw > 0) & (raw <= _LARGEST // scale)
    ns, faults = times.read_column(pa.array(np.where(fits, raw, -1) * np.where(fits, scale, 1)), ingested)
    return ns, np.where(raw == 0, np.int8(MISSING), faults)


def _infinite(values: Any) -> Any:
    return np.abs(values) > _FLOAT32


def _changes(*keys: Any) -> Any:
    """Which of N places, ordered by `keys` (N each), differ from the one before."""
    begins = np.ones(len(keys[0]), np.bool_)
    begins[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return begins


def _reduced(values: Any, begins: Ints, targets: Ints, aggregates: list[str]) -> Any:
    """Each stretch of `values` that begins at `begins` as one number, by its target's aggregate."""
    if not len(begins):
        return np.zeros(0)
    sizes = np.diff(begins, append=len(values))
    sums = np.add.reduceat(values, begins)
    answers = {
        "sum": sums,
        "mean": sums / sizes,
        "max": np.maximum.reduceat(values, begins),
        "last": values[begins + sizes - 1],
    }
    kinds = np.array(aggregates)[targets]
    return np.select([kinds == kind for kind in answers], list(answers.values()))


def _columns(
    names: list[str], rows: Ints, first: Ints, features: Ints, columns: Columns
) -> tuple[Ints, dict[str, int]]:
    """The column of each of N cells (-1: none), and the number of values of each feature that has none."""
    order = np.lexsort((first, rows))
    seen, where, counts = np.unique(features[order], return_index=True, return_counts=True)
    number = np.full(len(names), -1, np.int64)
    unknown: dict[str, int] = {}
    for k in np.argsort(where).tolist():
        feature = int(seen[k])
        number[feature] = columns.index(names[feature])
        if number[feature] < 0:
            label = columns.count_unknown(names[feature], int(counts[k]))
            unknown[label] = unknown.get(label, 0) + int(counts[k])
    return number[features], unknown
