"""Closed slots for good, kept as Parquet for `history_days`: what a later fit and a backfill read.

One file for each stretch of slots between two snapshots, or more where they are many rows. A replay may write slots
again that a file holds already, with the same values: a reader takes each (entity, slot) once.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from detectors.types import Rows
from streaming.settings import SECOND
from streaming.types import Codes, Floats, State

DAY = 86_400 * SECOND
BUFFERED = 1 << 24
"""Values in the buffer from which it is written (64 MiB): 10,000 entities of 38 channels reach it in 44 slots."""

NAME = re.compile(r"-?\d+-(-?\d+)\.parquet")
"""First and last slot of a file."""


class History:
    """The final slots of one partition: a buffer, and the files written so far under `folder` (None = keep nothing)."""

    def __init__(self, folder: Path | None, step: int, days: float) -> None:
        self.folder = folder
        self.step = step
        self.days = days
        self._names: list[Sequence[str]] = []
        self._slots: list[int] = []
        self._values: list[Floats] = []
        self._scores: list[Floats] = []
        self._features: Sequence[str] = ()
        self._held = 0

    def add(self, names: Sequence[str], slot: int, values: Floats, scores: Floats, features: Sequence[str]) -> None:
        """Keep B rows of one slot: values B x F of `features` (a list that only grows)."""
        if self.folder is None:
            return
        self._names.append(names)
        self._slots.append(slot)
        self._values.append(values)
        self._scores.append(scores)
        self._features = features
        self._held += values.size
        if self._held >= BUFFERED:
            self.flush()

    def flush(self) -> None:
        """Write the buffer as one file and remove files that are too old."""
        if self.folder is None or not self._slots:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{self._slots[0]:020d}-{self._slots[-1]:020d}.parquet"
        partial = self.folder / f".{name}.partial"
        pq.write_table(self._table(), partial, compression="lz4", use_dictionary=["entity"], write_statistics=False)
        partial.rename(self.folder / name)
        self._remove_before(self._slots[-1] - int(self.days * DAY / self.step))
        self._names, self._slots, self._values, self._scores, self._held = [], [], [], [], 0

    def rows(self, features: Sequence[str], until: int) -> Rows:
        """Everything kept of slots below `until`, ordered by (entity, slot), with the columns `features`."""
        tables = [pq.read_table(path) for path in self._files()] if self.folder else []
        if self._slots:
            tables.append(self._table())
        if not tables:
            return Rows([], np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros((0, len(features)), np.float32), [])
        table = pa.concat_tables(tables, promote_options="default")
        return _rows(table, list(features), until)

    def state(self) -> State:
        """Nothing: a snapshot flushes before it is taken, and a replay fills the buffer again."""
        return State()

    def _table(self) -> pa.Table:
        width = len(self._features)
        values = np.concatenate([_widened(part, width) for part in self._values])
        slots = np.concatenate([np.full(len(n), s, np.int64) for n, s in zip(self._names, self._slots, strict=True)])
        columns = {
            "entity": pa.array([name for names in self._names for name in names]),
            "slot": pa.array(slots),
            "score": pa.array(np.concatenate(self._scores)),
        }
        columns |= {f"value:{name}": pa.array(values[:, place]) for place, name in enumerate(self._features)}
        return pa.table(columns)

    def _files(self) -> list[Path]:
        """The files by name; those of slots before the epoch begin with a minus sign."""
        found = self.folder.glob("*.parquet") if self.folder else ()
        return sorted(path for path in found if NAME.fullmatch(path.name))

    def _remove_before(self, slot: int) -> None:
        for path in self._files():
            named = NAME.fullmatch(path.name)
            if named and int(named[1]) < slot:
                path.unlink(missing_ok=True)


def _widened(values: Floats, width: int) -> Floats:
    if values.shape[1] == width:
        return values
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=np.nan)


def _rows(table: pa.Table, features: list[str], until: int) -> Rows:
    entity, slot = table.column("entity").to_numpy(zero_copy_only=False), table.column("slot").to_numpy()
    names, codes = np.unique(entity.astype(str), return_inverse=True)
    order = np.lexsort((slot, codes))
    order = order[slot[order] < until]
    have = set(table.column_names)
    values = np.full((table.num_rows, len(features)), np.nan, np.float32)
    for place, name in enumerate(features):
        if f"value:{name}" in have:
            values[:, place] = table.column(f"value:{name}").to_numpy(zero_copy_only=False)
    keep = _last_of_each(codes[order], slot[order])
    order = order[keep]
    return Rows([str(name) for name in names], codes[order].astype(np.int32), slot[order], values[order], features)


def _last_of_each(codes: Codes, slots: np.ndarray) -> np.ndarray:
    """Of rows ordered by (entity, slot), the last of each: a file written twice counts once."""
    if not len(codes):
        return np.zeros(0, bool)
    last: np.ndarray = np.r_[(codes[1:] != codes[:-1]) | (slots[1:] != slots[:-1]), True]
    return last
