"""A finite source in the order of event time."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from streaming.columns import Columns
from streaming.external_sort import sorted_blocks
from streaming.rowtables import empty_batch, joined, ranked, to_lines, to_records, to_table
from streaming.types import Batch, DeadLetter, Records, Source

MEMORY_BYTES = 256 << 20
"""Bytes of rows that are sorted in memory; more is spilled to disk."""
_READ_ROWS = 16_384


class SortedSource:
    """What `source` gives, in the order of event time and then of rows; with `long` by (time, entity) and joined.

    All of it is read, decoded and sorted at the first poll; what `memory_bytes` cannot hold lies on disk until
    `close`. Positions: with n raw rows, dead letters have the numbers of their rows, 0 to n - 1, and all come with the
    first poll, which has no record; the sorted records are n, n + 1 and so on. A source that has changed since a
    position was made is refused.
    """

    def __init__(self, source: Source, columns: Columns, long: bool, memory_bytes: int = MEMORY_BYTES) -> None:
        self.topic = source.topic
        self.waiting = True
        self.truncated: tuple[int, int] | None = None
        self._source = source
        self._columns = columns
        self._long = long
        self._memory_bytes = memory_bytes
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._held: Any = None
        self._start(0)

    def poll(self, max_records: int = 5000) -> Batch | None:
        """Up to `max_records` records; None at the end."""
        table = self._next_rows(max_records)
        if not self._told:
            return self._rejects()
        if table is None:
            return None
        part, self._held = table[:max_records], table[max_records:]
        positions = part["rank"].to_numpy() + self._rows
        following = int(positions[-1]) + 1
        if self.topic == "logs":
            return to_lines(part, positions, following)
        return to_records(part, positions, following, self._columns.names)

    def position(self, next_position: int) -> dict[str, Any]:
        """JSON: path, checksum of all bytes, row."""
        position = self._source.position(next_position)
        return {key: position[key] for key in ("path", "checksum", "row")}

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from `position`: sort again, and leave out what was read. SourceChanged if a byte has changed."""
        self._source.seek({**position, "row": 0})
        self._close_runs()
        self._start(position.get("row", 0))

    def close(self) -> None:
        """Close the files and remove what was spilled."""
        self._source.close()
        self._close_runs()

    def _start(self, row: int) -> None:
        self._from = row
        self._rows = 0
        self._told = row > 0
        self._dead: list[DeadLetter] = []
        self._counts: dict[str, int] = {}
        self._unknown: dict[str, int] = {}
        self._tables: Iterator[Any] | None = None
        self._held = None

    def _next_rows(self, count: int) -> Any:
        """`count` rows or more in one table, fewer before the end; None there."""
        if self._tables is None:
            self._tables = self._sorted()
        parts = [self._held] if self._held is not None and len(self._held) else []
        while sum(map(len, parts)) < count and (table := next(self._tables, None)) is not None:
            first = self._from - self._rows
            parts.append(table if table["rank"][0].as_py() >= first else table.filter(pc.field("rank") >= first))
        self._held = pa.concat_tables(parts) if any(map(len, parts)) else None
        return self._held

    def _sorted(self) -> Iterator[Any]:
        self._directory = tempfile.TemporaryDirectory(prefix="tsad-sort-")
        keys = ["time", "entity", "position"] if self._long else ["time", "position"]
        blocks = sorted_blocks(self._decoded(), keys, self._memory_bytes, Path(self._directory.name))
        return ranked(joined(blocks, lambda: len(self._columns)) if self._long else blocks)

    def _decoded(self) -> Iterator[Any]:
        while (batch := self._source.poll(_READ_ROWS)) is not None:
            self._rows = batch.next_position
            self._dead += batch.dead
            _add(self._counts, batch.dead_counts)
            if isinstance(batch, Records):
                _add(self._unknown, batch.unknown)
            if len(batch.codes):
                yield to_table(batch, self._long)

    def _rejects(self) -> Batch:
        """All that was rejected while sorting, without a record: a replay that reads up to a position reads no more."""
        self._told = True
        batch = empty_batch(self.topic, self._rows)
        if isinstance(batch, Records):
            return replace(batch, dead=self._dead, dead_counts=self._counts, unknown=self._unknown)
        return replace(batch, dead=self._dead, dead_counts=self._counts)

    def _close_runs(self) -> None:
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None


def _add(totals: dict[str, int], counts: dict[str, int]) -> None:
    for key, count in counts.items():
        totals[key] = totals.get(key, 0) + count
