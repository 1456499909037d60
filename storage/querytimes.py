"""The times of a query's rows, whatever the database keeps them as: conditions on them, and their ns."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
import sqlalchemy as sa

from storage.types import StoreError

Kind = Literal["none", "stamp", "date", "whole", "number", "text"]
_SCALES = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MAGNITUDES = ((10**11, "s"), (10**14, "ms"), (10**17, "us"))
"""Below each a number without a stated unit is in that; beyond, in ns (as the stream reads it)."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400 * 10**9
_DATE_FIRST = "____-__-__%"


class QueryTimes:
    """A column of times of which `sample` is a value (None: it has none).

    `unit`: that of numbers, "auto" by the sample's magnitude. Times without a zone are UTC. StoreError where it holds
    something else.
    """

    def __init__(self, column: Any, sample: Any, unit: str, dialect: str) -> None:
        self.column = column
        self.kind: Kind = _kind(column.name, sample)
        self._exact = isinstance(sample, Decimal)
        self._aware = isinstance(sample, datetime) and sample.tzinfo is not None
        self._scale = _SCALES[_unit_of(sample) if unit == "auto" else unit] if self.kind in ("whole", "number") else 1
        # a locale's order may pass over punctuation
        self._ordered = sa.collate(column, "C") if self.kind == "text" and dialect == "postgresql" else column

    def readable(self) -> Any:
        """The condition that there is a time."""
        return self._ordered.like(_DATE_FIRST) if self.kind == "text" else self.column.is_not(None)

    def between(self, since_ns: int | None, until_ns: int | None) -> list[Any]:
        """Conditions that times in [since, until) meet; of text, those of two days more do."""
        if self.kind == "none":
            return []
        ends = []
        if since_ns is not None:
            ends.append(self._ordered >= self._bound(since_ns, -1))
        if until_ns is not None:
            ends.append(self._ordered < self._bound(until_ns, 1))
        return ends

    def ns(self, value: Any) -> int:
        """A time of the column in ns."""
        if isinstance(value, datetime):
            aware = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
            return (aware - _EPOCH) // timedelta(microseconds=1) * 1000
        if isinstance(value, date):
            return (value - _EPOCH.date()).days * _DAY
        if isinstance(value, str):
            return self._text_ns(value)
        if isinstance(value, float):
            return round(value * (self._scale / 1000)) * 1000  # a float is good to the microsecond
        return int(value * self._scale)

    def _bound(self, ns: int, side: int) -> Any:
        if self.kind == "whole":
            return -(-ns // self._scale)
        if self.kind == "number":
            return Decimal(ns) / self._scale if self._exact else ns / self._scale
        if self.kind == "stamp":
            stamp = _EPOCH + timedelta(microseconds=-(-ns // 1000))
            return stamp if self._aware else stamp.replace(tzinfo=None)
        if self.kind == "date":
            return _EPOCH.date() + timedelta(days=-(-ns // _DAY))
        # whatever the zone of a text, its date is a day off at most
        return (_EPOCH.date() + timedelta(days=ns // _DAY + (-1 if side < 0 else 2))).isoformat()

    def _text_ns(self, text: str) -> int:
        for kind in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):
            try:
                return int(pa.scalar(text).cast(kind).value)
            except pa.ArrowInvalid:
                continue
        raise StoreError(f"column {self.column.name!r}: {text[:80]!r} is not a time; RFC 3339 is expected")


def _kind(name: str, sample: Any) -> Kind:
    if sample is None:
        return "none"
    if isinstance(sample, datetime):
        return "stamp"
    if isinstance(sample, date):
        return "date"
    if isinstance(sample, int) and not isinstance(sample, bool):
        return "whole"
    if isinstance(sample, (float, Decimal)):
        return "number"
    if isinstance(sample, str) and re.match(r"\d{4}-\d\d-\d\d", sample):
        return "text"
    raise StoreError(
        f"column {name!r} holds {sample!r:.80}, which is no time; a timestamp, a date, a number of s, ms, us or ns, or "
        "text as RFC 3339 has it is expected: cast it in the query"
    )


def _unit_of(sample: Any) -> str:
    return next((unit for most, unit in _MAGNITUDES if sample < most), "ns")
