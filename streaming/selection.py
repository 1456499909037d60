"""Which rows of a table are wanted: those of some entities, of some time."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streaming.columns import legal_name
from streaming.settings import TelemetryFormat
from streaming.tabledecode import column_of, strings_of, times_of
from streaming.timestamps import OK, EventTimes

NOBODY = ""
"""Among the entities of a selection: the rows whose entity is missing or has no legal name."""
Span = tuple[int | None, int | None]
"""From the first to before the second, in ns; None: without an end."""
_FAR = np.iinfo(np.int64).max


class Selection:
    """Rows of `entities` (None: all) with an event time (ns) in [since, until), None: without an end.

    A row whose time cannot be read is in every range, for the decoder to reject. What is wrong with a row is told where
    its time lies in [`told_ns`), and where that has no beginning, of rows whose time cannot be read.
    """

    def __init__(
        self,
        format: TelemetryFormat,
        entities: Collection[str] | None = None,
        since_ns: int | None = None,
        until_ns: int | None = None,
        told_ns: Span = (None, None),
    ) -> None:
        self.format = format
        self.entities = None if entities is None else frozenset(entities)
        self.since_ns = since_ns
        self.until_ns = until_ns
        self.told_ns = told_ns
        self._names = None if entities is None else pa.array(sorted(set(entities)), pa.string())
        # nothing is from the future here: that is the decoder's to judge
        self._times = EventTimes(format.unit, _FAR)

    @property
    def ranged(self) -> bool:
        """Whether the time matters."""
        return self.since_ns is not None or self.until_ns is not None

    @property
    def unowned(self) -> bool:
        """Whether what belongs to no row, and so to no entity and no time, is told here."""
        return (self.entities is None or NOBODY in self.entities) and self.told_ns[0] is None

    def has_entity(self, name: str | None) -> bool:
        """Whether rows of an entity may be wanted."""
        return self.entities is None or (name or NOBODY) in self.entities

    def inside(self, times: Any) -> NDArray[np.bool_]:
        """Which of some event times (ns) lie in the range."""
        return _inside(times, (self.since_ns, self.until_ns))

    def told(self, table: Any) -> NDArray[np.bool_] | None:
        """Of which rows (N) of a table faults are told; None: of all."""
        if self.told_ns == (None, None) or self.format.time is None:
            return None
        ns, faults = self._times.read_column(times_of(table, self.format.time), np.full(len(table), _FAR))
        return np.where(faults == OK, _inside(ns, self.told_ns), self.told_ns[0] is None)

    def overlaps(self, least: Any, most: Any) -> bool:
        """Whether times from `least` to `most` (of the column's type; None: not known) may be in the range."""
        if least is None or not self.ranged or self.format.time is None:
            return True
        ends = pa.concat_arrays([least, most])
        ns, faults = EventTimes(self.format.unit, _FAR).read_column(ends, np.full(2, _FAR))
        if (faults != OK).any():
            return True
        return not (
            (self.until_ns is not None and ns[0] >= self.until_ns)
            or (self.since_ns is not None and ns[1] < self.since_ns)
        )

    def mask(self, table: Any) -> NDArray[np.bool_] | None:
        """Which rows (N) of a table are wanted; None: all of them."""
        keep = np.ones(len(table), dtype=bool)
        if self._names is not None and self.format.entity is not None:
            keep &= self._of_entities(column_of(table, self.format.entity))
        if self.ranged and self.format.time is not None:
            column = times_of(table, self.format.time)
            ns, faults = self._times.read_column(column, np.full(len(table), _FAR))
            keep &= self.inside(ns) | (faults != OK)
        return None if keep.all() else keep

    def _of_entities(self, column: Any) -> NDArray[np.bool_]:
        strings, _ = strings_of(column)
        known = np.asarray(pc.is_in(strings, value_set=self._names).to_numpy(zero_copy_only=False), dtype=bool)
        if NOBODY not in (self.entities or ()):
            return known
        coded = pc.dictionary_encode(pc.fill_null(strings, NOBODY))
        illegal = np.array([not legal_name(name) for name in coded.dictionary.to_pylist()], dtype=bool)
        unowned: NDArray[np.bool_] = illegal[coded.indices.to_numpy(zero_copy_only=False)]
        return known | unowned


def _inside(times: Any, span: Span) -> NDArray[np.bool_]:
    keep = np.ones(len(times), dtype=bool)
    if span[0] is not None:
        keep &= times >= span[0]
    if span[1] is not None:
        keep &= times < span[1]
    return keep
