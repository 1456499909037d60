"""Sorting more rows than memory holds: sorted runs on disk, merged in blocks (Knuth, TAOCP 3, section 5.4)."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BLOCK_ROWS = 8192


def sorted_blocks(
    tables: Iterable[Any], keys: Sequence[str], memory_bytes: int, directory: Path, block_rows: int = BLOCK_ROWS
) -> Iterator[Any]:
    """Arrow tables of one schema, sorted by `keys` (the first one int64; together unique), in blocks of rows.

    What does not fit `memory_bytes` goes to `directory` in sorted runs (Arrow IPC files), which the caller removes.
    """
    held: list[Any] = []
    held_bytes = 0
    runs: list[_Run] = []
    for table in filter(len, tables):
        held.append(table)
        held_bytes += table.nbytes
        if held_bytes > memory_bytes:
            runs.append(_spill(_sorted(held, keys), directory / f"run-{len(runs)}.arrow", keys[0], block_rows))
            held, held_bytes = [], 0
    if not runs:
        yield from _blocks(_sorted(held, keys), block_rows) if held else ()
        return
    if held:
        runs.append(_spill(_sorted(held, keys), directory / f"run-{len(runs)}.arrow", keys[0], block_rows))
    del held
    yield from _merge(runs, keys)


class _Run:
    """A sorted run on disk: the rows at its head that are in memory, and the key up to which they reach."""

    def __init__(self, path: Path, key: str) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
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
    return table.take(pc.sort_indices(table, sort_keys=[(key, "ascending") for key in keys]))


def _blocks(table: Any, rows: int) -> Iterator[Any]:
    for start in range(0, len(table), rows):
        yield table[start : start + rows]


def _spill(table: Any, path: Path, key: str, block_rows: int) -> _Run:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=block_rows)
    return _Run(path, key)
