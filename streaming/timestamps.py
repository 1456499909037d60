"""Event times: RFC 3339, epoch numbers in four units, columns of tables, and a log's own format, into int64 ns UTC."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streaming.casting import cast_or_none, cast_or_split
from streaming.deadletters import DeadReason
from streaming.settings import SECOND, TimeUnit
from streaming.types import Ints

UNITS: tuple[TimeUnit, ...] = ("s", "ms", "us", "ns")
SCALES = np.array([SECOND, 1_000_000, 1_000, 1], dtype=np.int64)
"""Nanoseconds in each of `UNITS`."""
MAGNITUDES = np.array([10**11, 10**14, 10**17], dtype=np.int64)
"""Below the first a number without a stated unit is in s (until the year 5138), then ms, us, and ns beyond the last."""

OK, BAD, MIXED, FUTURE, MISSING = 0, 1, 2, 3, 4
REASON_OF_FAULT: dict[int, DeadReason] = {
    BAD: "bad_time",
    MIXED: "mixed_time_unit",
    FUTURE: "future",
    MISSING: "missing_time",
}

_ABSOLUTE, _NUMBER = 0, 5
_TEXT_TARGETS = (pa.timestamp("ns", "UTC"), pa.timestamp("ns"), pa.int64(), pa.float64())
_MAX = np.iinfo(np.int64).max


@dataclass(slots=True)
class _Parsed:
    """N times in parts: `kind` (N) is _ABSOLUTE (`whole` is ns), _NUMBER (`whole` + `fraction` units) or a fault."""

    kind: NDArray[np.int8]
    whole: Ints
    fraction: NDArray[np.float64]

    @classmethod
    def empty(cls, n: int) -> "_Parsed":
        return cls(np.full(n, BAD, np.int8), np.zeros(n, np.int64), np.zeros(n))

    def put_ints(self, at: Any, values: Ints, kind: int) -> None:
        legal = values >= 0 if kind == _NUMBER else np.ones(len(values), bool)
        self.whole[at] = values
        self.kind[at] = np.where(legal, kind, BAD)

    def put_floats(self, at: Any, values: NDArray[np.float64]) -> None:
        legal = (values >= 0) & (values < 2.0**63)
        floor = np.floor(np.where(legal, values, 0.0))
        self.whole[at] = floor.astype(np.int64)
        self.fraction[at] = np.where(legal, values, 0.0) - floor
        self.kind[at] = np.where(legal, _NUMBER, BAD)


class EventTimes:
    """Reads a topic's event times; remembers the unit of its numbers.

    With `unit = "auto"` the first number that is not from the future fixes the topic's unit by its magnitude; a
    number of another magnitude is then `MIXED`. A time more than `max_ahead` ns beyond the record's own ingest
    timestamp is `FUTURE`. A negative number, and what does not fit int64 ns (years 1677 to 2262), is `BAD`. Times
    without a zone are UTC. A float is good to the microsecond.
    """

    def __init__(self, unit: TimeUnit = "auto", max_ahead: int = 3600 * SECOND, time_format: str | None = None) -> None:
        self._stated = unit
        self._unit: int | None = None if unit == "auto" else UNITS.index(unit)
        self._max_ahead = max_ahead
        self._format = time_format

    @property
    def unit(self) -> TimeUnit:
        """The unit of the topic's numbers; "auto" while none has been seen."""
        return "auto" if self._unit is None else UNITS[self._unit]

    def state(self) -> str:
        """The unit, for `restore`."""
        return self.unit

    def restore(self, state: str) -> None:
        """Go on with the unit found before."""
        if self._stated == "auto":
            self._unit = None if state == "auto" else UNITS.index(state)

    def read(self, raw: Sequence[str | int | float], ingested: Ints) -> tuple[Ints, NDArray[np.int8]]:
        """Times in ns (N) and faults (N: OK, BAD, MIXED or FUTURE) of decoded JSON values or strings."""
        kinds = set(map(type, raw))
        parsed = _Parsed.empty(len(raw))
        for kind in kinds:
            every = len(kinds) == 1
            at = np.arange(len(raw)) if every else np.flatnonzero([type(value) is kind for value in raw])
            part = list(raw) if every else [raw[i] for i in at.tolist()]
            if kind is int:
                self._read_ints(parsed, at, part)
            elif kind is float:
                parsed.put_floats(at, np.array(part, dtype=np.float64))
            elif kind is str and self._format is not None:
                self._read_formatted(parsed, at, part, ingested[at])
            elif kind is str:
                _read_texts(parsed, at, pa.array(part, pa.string()))
        return self._finish(parsed, ingested)

    def read_column(self, column: Any, ingested: Ints) -> tuple[Ints, NDArray[np.int8]]:
        """The same of an Arrow array: timestamps, dates, integers, floats or strings; null is `MISSING`."""
        parsed = _Parsed.empty(len(column))
        null = np.asarray(pc.is_null(column).to_numpy(zero_copy_only=False), dtype=bool)
        kind = column.type
        everything = np.arange(len(column))
        if pa.types.is_string(kind):
            _read_texts(parsed, everything, pc.fill_null(column, "?"))
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            target = pa.timestamp("ns", kind.tz) if pa.types.is_timestamp(kind) else pa.timestamp("ns")
            _read_pieces(parsed, everything, cast_or_split(column, [target]))
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            targets = [pa.float64()] if not pa.types.is_integer(kind) else [pa.int64(), pa.float64()]
            _read_pieces(parsed, everything, cast_or_split(column, targets, accept=_exact))
        parsed.kind[null] = MISSING
        return self._finish(parsed, ingested)

    def explain(self, fault: int, value: object, ingested: int) -> str:
        """One line for a dead letter: what the time was and what is allowed."""
        # beyond 4,300 digits Python refuses to print an integer
        said = "an endless integer" if isinstance(value, int) and value.bit_length() > 256 else repr(value)[:80]
        if fault == MIXED:
            return f"time: {said} is not in {self.unit}, the unit of this stream's first number; state it as unit"
        if fault == FUTURE:
            seen = np.datetime64(ingested, "ns")
            return f"time: {said} is more than {self._max_ahead / SECOND:g} s beyond its ingest timestamp {seen}Z"
        if fault == MISSING:
            return "time: missing; RFC 3339 or an epoch number in s, ms, us or ns is expected"
        form = self._format or "RFC 3339 or an epoch number >= 0 in s, ms, us or ns"
        return f"time: {said} is not a time; {form} between the years 1677 and 2262 is allowed"

    def _read_ints(self, parsed: _Parsed, at: Ints, part: list[Any]) -> None:
        try:
            parsed.put_ints(at, np.array(part, dtype=np.int64), _NUMBER)
        except OverflowError:
            fitting = [value if 0 <= value <= _MAX else -1 for value in part]
            parsed.put_ints(at, np.array(fitting, dtype=np.int64), _NUMBER)

    def _read_formatted(self, parsed: _Parsed, at: Ints, part: list[Any], ingested: Ints) -> None:
        """strptime, the one parser that knows every log's format; equal strings of a poll are parsed once."""
        cache: dict[tuple[str, int], int | None] = {}
        for i, text, seen in zip(at.tolist(), part, ingested.tolist(), strict=True):
            key = (text, seen)
            if key not in cache:
                cache[key] = self._strptime(text, seen)
            ns = cache[key]
            if ns is not None:
                parsed.whole[i], parsed.kind[i] = ns, _ABSOLUTE

    def _strptime(self, text: str, ingested: int) -> int | None:
        form = str(self._format)
        yearless = not any(directive in form for directive in ("%Y", "%y", "%c", "%x", "%G"))
        try:
            # without a year, 29 February would be refused: give one, the year of ingestion or the one before it
            if not yearless:
                return _epoch_ns(datetime.strptime(text, form))
            year = datetime.fromtimestamp(ingested // SECOND, UTC).year
            ns = _epoch_ns(datetime.strptime(f"{year} {text}", f"%Y {form}"))
            if ns is not None and ns > ingested + self._max_ahead:
                return _epoch_ns(datetime.strptime(f"{year - 1} {text}", f"%Y {form}"))
            return ns
        except (ValueError, OverflowError):
            return None

    def _finish(self, parsed: _Parsed, ingested: Ints) -> tuple[Ints, NDArray[np.int8]]:
        """Numbers to ns, then the verdicts; fixes the unit if it is still open."""
        number = parsed.kind == _NUMBER
        own = np.searchsorted(MAGNITUDES, parsed.whole, side="right")
        unit = own if self._stated == "auto" else np.full(len(own), self._unit)
        scale = np.where(number, SCALES[unit], 1)
        fits = parsed.whole <= _MAX // scale - 1
        # beyond its 15 digits a float would only feign precision: whole microseconds
        grain = np.where(scale >= 1000, 1000, 1)
        part = np.rint(parsed.fraction * (scale / grain)).astype(np.int64) * grain
        times = np.where(fits, parsed.whole, 0) * scale + np.where(number, part, 0)
        faults = np.where(number | (parsed.kind == _ABSOLUTE), OK, parsed.kind).astype(np.int8)
        faults[number & ~fits] = BAD
        ahead = (times > ingested) & (times - np.minimum(ingested, times) > self._max_ahead)
        if self._stated == "auto":
            since = self._fix_unit(own, number & (faults == OK) & ~ahead)
            mixed = number & (faults == OK) & (own != self._unit)
            faults[since:][mixed[since:]] = MIXED
        faults[(faults == OK) & ahead] = FUTURE
        return np.where(faults == OK, times, 0), faults

    def _fix_unit(self, own: NDArray[Any], usable: NDArray[np.bool_]) -> int:
        """The place from which the unit is fixed."""
        if self._unit is not None:
            return 0
        if not usable.any():
            return len(own)
        first = int(np.argmax(usable))
        self._unit = int(own[first])
        return first


def _epoch_ns(moment: datetime) -> int | None:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    delta = aware - datetime(1970, 1, 1, tzinfo=UTC)
    ns = (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds * 1_000
    return ns if abs(ns) <= _MAX else None


def _repair(text: str) -> str:
    """Lower-case letters, blanks, a decimal comma and more than nine decimals: RFC 3339 and loggers have them."""
    return re.sub(r"(:\d\d[.]\d{9})\d+", r"\1", text.strip().upper().replace(",", "."))


def _exact(cast: Any) -> bool:
    """Whether integers among these floats are what they would be as integers."""
    return not pa.types.is_floating(cast.type) or not pc.any(pc.greater_equal(cast, 2.0**53)).as_py()


def _read_texts(parsed: _Parsed, at: Ints, strings: Any) -> None:
    for target in _TEXT_TARGETS:
        cast = cast_or_none(strings, target)
        if cast is not None and _exact(cast):
            _read_pieces(parsed, at, [(0, len(strings), cast)])
            return
    repaired = pa.array([_repair(text) for text in strings.to_pylist()], pa.string())
    _read_pieces(parsed, at, cast_or_split(repaired, _TEXT_TARGETS, accept=_exact))


def _read_pieces(parsed: _Parsed, at: Ints, pieces: Any) -> None:
    for start, stop, piece in pieces:
        where = at[start:stop]
        if piece is None:
            continue
        if pa.types.is_floating(piece.type):
            parsed.put_floats(where, pc.fill_null(piece, -1.0).to_numpy(zero_copy_only=False))
        else:
            kind = _ABSOLUTE if pa.types.is_timestamp(piece.type) else _NUMBER
            ints = pc.fill_null(piece.cast(pa.int64()), -1)
            parsed.put_ints(where, ints.to_numpy(zero_copy_only=False), kind)
