"""Sorting more rows than memory holds: sorted runs on disk, merged in blocks (Knuth, TAOCP 3, section 5.4)."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BLOCK_ROWS = 8192
FAN_IN = 32
"""Runs that are merged at a time, a block of each in memory."""


def sorted_blocks(
    tables: Iterable[Any], keys: Sequence[str], memory_bytes: int, directory: Path, block_rows: int = BLOCK_ROWS
) -> Iterator[Any]:
    """Arrow tables of one schema, sorted by `keys` (the first one int64; together unique), in blocks of rows.

    What does not fit `memory_bytes` goes to `directory` in sorted runs (Arrow IPC files), which the caller removes.
    """
    held: list[Any] = []
    held_bytes = 0
    runs = _Runs(directory, keys, memory_bytes // FAN_IN, block_rows)
    for table in filter(len, tables):
        held.append(table)
        held_bytes += table.nbytes
        if held_bytes > memory_bytes:
            runs.add(_sorted(held, keys))
            held, held_bytes = [], 0
    if not runs.open:
        yield from _blocks(_sorted(held, keys), block_rows) if held else ()
        return
    if held:
        runs.add(_sorted(held, keys))
    del held, table
    yield from _merge(runs.open, keys)


class _Runs:
    """Sorted runs on disk: as soon as there are `FAN_IN`, they become one, so that memory does not grow with them."""

    def __init__(self, directory: Path, keys: Sequence[str], block_bytes: int, block_rows: int) -> None:
        self.open: list[_Run] = []
        self._directory = directory
        self._keys = keys
        self._block_bytes = block_bytes
        self._block_rows = block_rows
        self._made = 0

    def add(self, table: Any) -> None:
        """One more run: a sorted table."""
        rows = self._block_bytes * len(table) // max(table.nbytes, 1)
        rows = max(1, min(self._block_rows, rows))
        self.open.append(self._write([table], rows))
        if len(self.open) == FAN_IN:
            old = [run.path for run in self.open]
            self.open = [self._write(_merge(self.open, self._keys), rows)]
            for path in old:
                path.unlink()

    def _write(self, tables: Iterable[Any], rows: int) -> "_Run":
        path = self._directory / f"run-{self._made}.arrow"
        self._made += 1
        going = iter(tables)
        first = next(going)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, first.schema) as writer:
            for table in chain([first], going):
                writer.write_table(table.combine_chunks(), max_chunksize=rows)
        return _Run(path, self._keys[0])


class _Run:
    """A sorted run on disk: the rows at its head that are in memory, and the key up to which they reach."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        # not mapped: what was read of a mapped file stays in the process's memory
        self._reader = pa.ipc.open_file(pa.OSFile(str(path)))
        self._next = 0
        self._key = key
        self.head: Any = None
        self.load()

    @property
    def ended(self) -> bool:
        return bool(self._next >= self._reader.num_record_batches)

    @property
    def reach(self) -> int:
        return int(self.head[self._key][-1].as_py())

    def load(self) -> None:
        """One more block at the end of the head."""
        block = pa.Table.from_batches([self._reader.get_batch(self._next)])
        self._next += 1
        self.head = block if self.head is None or not len(self.head) else pa.concat_tables([self.head, block])

    def take_below(self, bound: int | None) -> Any:
        """The head's rows with a key below `bound` (None: all of them)."""
        count = len(self.head) if bound is None else int(np.searchsorted(self.head[self._key].to_numpy(), bound))
        taken, self.head = self.head[:count], self.head[count:]
        return taken


def _merge(runs: list[_Run], keys: Sequence[str]) -> Iterator[Any]:
    """Whatever lies below the least reach of the runs that go on is complete: sort it, and hand it on."""
    while runs:
        open_runs = [run for run in runs if not run.ended]
        bound = min((run.reach for run in open_runs), default=None)
        taken = [part for run in runs if len(part := run.take_below(bound))]
        if taken:
            yield _sorted(taken, keys)
        for run in open_runs:
            if not len(run.head) or run.reach == bound:
                run.load()
        runs = [run for run in runs if len(run.head)]


def _sorted(tables: Sequence[Any], keys: Sequence[str]) -> Any:
    table = pa.concat_tables(tables).combine_chunks()
    if _is_sorted(table, keys):
        return table
    # runs of rows in order, as a merge has them, cost this sort next to nothing
    order = np.argsort(table[keys[0]].to_numpy(), kind="stable")
    if not _is_sorted(table.select(keys).take(pa.array(order)), keys):
        return table.take(pc.sort_indices(table, sort_keys=[(key, "ascending") for key in keys]))
    return table.take(pa.array(order))


def _is_sorted(table: Any, keys: Sequence[str]) -> bool:
    """Whether the rows are in order by the first key, and no two share it but by the others (told for numbers only)."""
    undecided: Any = True
    for key in keys:
        if not pa.types.is_integer(table[key].type):
            break
        cells = table[key].to_numpy()
        if (undecided & (cells[1:] < cells[:-1])).any():
            return False
        undecided &= cells[1:] == cells[:-1]
        if not undecided.any():
            return True
    return False


def _blocks(table: Any, rows: int) -> Iterator[Any]:
    for start in range(0, len(table), rows):
        yield table[start : start + rows]
