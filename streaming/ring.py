"""Closed slots in preallocated arrays: `SlotRing` holds raw rows, `WindowPlane` gives windows in one gather."""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from streaming.types import Floats, Ints, State

NEVER = -(2**62)
"""A slot before all slots; far enough from the ends of int64 that differences of slots do not overflow."""
ALWAYS = NEVER + 1
"""Where a column counts from the beginning (`SlotRing.since`)."""
EVERY = range(ALWAYS, -NEVER)
"""All slots."""

Index = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


def enlarged(old: NDArray[Any], rows: int, fill: float) -> NDArray[Any]:
    """`old` with `rows` first-axis entries, the new ones holding `fill`."""
    new = np.empty((rows, *old.shape[1:]), old.dtype)
    new[: len(old)] = old
    new[len(old) :] = fill
    return new


class SlotRing:
    """E entities x `size` slots x F features, float32, NaN = missing. A slot's place is `slot % size`.

    `written[entity, place]` says which slot lies there. Rows (entities) are made by writing to them, columns by
    `widen`; both only grow. `since` (F, int64) is the slot from which a column counts: `NEVER` + 1 from the beginning,
    the maximum of int64 before its first value.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.since: Ints = np.empty(0, np.int64)
        self._values: Floats = np.empty((0, size, 0), np.float32)  # the last columns may be spare
        self._written: Ints = np.empty((0, size), np.int64)

    @property
    def features(self) -> int:
        """F."""
        return len(self.since)

    @property
    def bytes_per_row(self) -> int:
        """Bytes that one entity holds."""
        return self.size * (4 * int(self._values.shape[2]) + 8)

    def widen(self, features: int) -> None:
        """Append columns, missing everywhere so far, up to F = `features`."""
        more = features - self.features
        if more <= 0:
            return
        self.since = np.concatenate([self.since, np.full(more, np.iinfo(np.int64).max)])
        room = self._values.shape[2]
        if features > room:
            # columns come one by one while a stream is new: a quarter to spare saves most copies
            spare = max(features, room + room // 4) - room if len(self._values) else features - room
            gap = np.full((*self._values.shape[:2], spare), np.nan, np.float32)
            self._values = np.concatenate([self._values, gap], axis=2)

    def ensure(self, rows: int) -> None:
        """Make room for `rows` entities (at least doubling)."""
        if rows > len(self._values):
            rows = max(rows, 2 * len(self._values), 16)
            self._values = enlarged(self._values, rows, np.nan)
            self._written = enlarged(self._written, rows, NEVER)

    def write(self, rows: Index, slots: Ints, values: Floats) -> None:
        """Set B cells, each (row, slot) once, to `values` B x G; columns beyond G are missing."""
        if not len(rows):
            return
        places, flat = self._cells(rows, slots), self._flat()
        if values.shape[1] == self.features:
            flat[places] = values
        else:
            flat[places, : values.shape[1]] = values
            flat[places, values.shape[1] :] = np.nan
        self._written.reshape(-1)[places] = slots

    def blank(self, rows: Index, slots: Ints) -> None:
        """Make those of B cells that are not there yet, all missing."""
        fresh = ~self.has(rows, slots)
        self.write(rows[fresh], slots[fresh], np.full((int(fresh.sum()), self.features), np.nan, np.float32))

    def put(self, rows: Index, slots: Ints, columns: Index, values: Floats) -> None:
        """Set `columns` (C) of B cells that are there to `values` B x C."""
        cells = self._cells(rows, slots)
        self._flat()[cells[:, None], columns] = values

    def has(self, rows: Index, slots: Ints) -> Mask:
        """Which of B cells are there."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        there: Mask = self._written.reshape(-1)[self._cells(rows, slots)] == slots
        return there

    def read(self, rows: Index, slots: Ints) -> Floats:
        """B x F: the cells' values, a copy; NaN where a cell is not there."""
        there = self.has(rows, slots)
        values = self._flat()[self._cells(rows, slots)]
        if not there.all():
            values[~there] = np.nan
        return values

    def at(self, rows: Index, slots: Ints, columns: Index) -> Floats:
        """N single values, one for each (row, slot, column); NaN where the cell is not there."""
        there = self.has(rows, slots)
        values = self._flat()[self._cells(rows, slots), columns]
        values[~there] = np.nan
        return values

    def erase(self, rows: Index) -> None:
        """Forget everything of `rows`."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        self._written[rows] = NEVER

    def state(self, rows: int | None = None) -> State:
        """The first `rows` rows (None = all): views that the next change alters, so store them before it."""
        arrays: dict[str, NDArray[Any]]
        arrays = {
            "values": self._values[:rows, :, : self.features],
            "written": self._written[:rows],
            "since": self.since,
        }
        return State(arrays, {"size": self.size})

    def restore(self, state: State) -> None:
        """Take over what `state` gave; ValueError when it was a ring of another size."""
        if state.meta["size"] != self.size:
            raise ValueError(f"the ring has {self.size} slots, the state {state.meta['size']}")
        self._values = state.arrays["values"].copy(order="C")
        self._written = state.arrays["written"].copy()
        self.since = state.arrays["since"].copy()

    def _flat(self) -> Floats:
        """The cells, E·size x F: a view."""
        entities, _, room = self._values.shape
        return self._values.reshape(entities * self.size, room)[:, : self.features]

    def _cells(self, rows: Index, slots: Ints) -> Ints:
        self.ensure(int(rows.max(initial=-1)) + 1)
        cells: Ints = rows.astype(np.int64) * self.size + slots % self.size
        return cells


class WindowPlane:
    """Model inputs E x 2·`size` x F, float32: each row lies twice (p and p + size), so every window is contiguous.

    `window` (T) <= `size`, both in slots: windows that end up to `size - window` slots before an entity's newest slot
    can still be read. Rows (entities) are made by writing to them.
    """

    def __init__(self, window: int, size: int, features: int) -> None:
        if not 0 < window <= size:
            raise ValueError(f"the plane needs 0 < window <= size, got window {window}, size {size}")
        self.window, self.size, self.features = window, size, features
        self._values: Floats = np.empty((0, 2 * size, features), np.float32)
        self._written: Ints = np.empty((0, 2 * size), np.int64)

    @property
    def bytes_per_row(self) -> int:
        """Bytes that one entity holds."""
        return 2 * self.size * (4 * self.features + 8)

    def ensure(self, rows: int) -> None:
        """Make room for `rows` entities (at least doubling)."""
        if rows > len(self._values):
            rows = max(rows, 2 * len(self._values), 16)
            self._values = enlarged(self._values, rows, np.nan)
            self._written = enlarged(self._written, rows, NEVER)

    def write(self, rows: Index, slots: Ints | int, values: Floats) -> None:
        """Set B cells, each (row, slot) once, to `values` B x F; `slots` may be one for all."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        first = rows.astype(np.int64) * (2 * self.size) + np.asarray(slots, np.int64) % self.size
        for cells in (first, first + self.size):
            self._values.reshape(2 * self.size * len(self._values), self.features)[cells] = values
            self._written.reshape(-1)[cells] = slots

    def has(self, rows: Index, slots: Ints) -> Mask:
        """Which of B cells are there."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        there: Mask = self._written[rows, slots % self.size] == slots
        return there

    def gather(self, rows: Index, ends: Ints, span: int | None = None) -> Floats:
        """B x T x F: the windows of `rows` that end at slots `ends` (B); slots that are not there are NaN.

        With `span` only that many of the newest slots (B x span x F).

        Ask for at most a few thousand: beyond 32 MiB the allocator maps fresh pages, which costs more than the copy.
        """
        self.ensure(int(rows.max(initial=-1)) + 1)
        span = span or self.window
        begins = ends - (span - 1)
        starts = rows.astype(np.int64) * (2 * self.size) + begins % self.size
        values: Floats = _stretches(self._values.reshape(-1), span * self.features, self.features)[starts]
        values = values.reshape(len(rows), span, self.features)
        found = _stretches(self._written.reshape(-1), span, 1)[starts]
        missing = found != begins[:, None] + np.arange(span)
        if missing.any():
            values[missing] = np.nan
        return values

    def forget(self, rows: Index) -> None:
        """Forget everything of `rows`."""
        self.ensure(int(rows.max(initial=-1)) + 1)
        self._written[rows] = NEVER

    def state(self, rows: int | None = None) -> State:
        """The first `rows` rows (None = all), each cell once: views that the next change alters."""
        half: dict[str, NDArray[Any]]
        half = {"values": self._values[:rows, : self.size], "written": self._written[:rows, : self.size]}
        return State(half, {"window": self.window, "size": self.size})

    def restore(self, state: State) -> None:
        """Take over what `state` gave; ValueError when it was a plane of another shape."""
        values, written = state.arrays["values"], state.arrays["written"]
        if values.shape[1:] != (self.size, self.features):
            raise ValueError(f"the plane is {self.size} x {self.features}, the state {values.shape[1:]}")
        self._values = np.concatenate([values, values], axis=1)
        self._written = np.concatenate([written, written], axis=1)


def _stretches(flat: NDArray[Any], length: int, step: int) -> NDArray[Any]:
    """A view of every contiguous stretch of `length` elements that starts at a multiple of `step`."""
    count = (len(flat) - length) // step + 1 if len(flat) >= length else 0
    return as_strided(flat, (count, length), (flat.itemsize * step, flat.itemsize), writeable=False)
