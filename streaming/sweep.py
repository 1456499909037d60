"""Tables read by stretches of time: what is known to lie before all that is still unread is handed on."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from streaming.checksum import Identity
from streaming.datafeeds import CsvPart, ParquetPart, Reader
from streaming.gathering import in_order, take
from streaming.rowgroups import time_ends
from streaming.stores import Stored
from streaming.timestamps import OK, EventTimes
from streaming.types import Batch, DeadLetter, Records, Topic

_LEAST, _MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
ROW_BYTES = 48
"""Of a record in memory, beside its values."""
UNPACKED = 10
"""How many times as large as a .gz file its rows are taken to be."""


class Piece(NamedTuple):
    """A row group of a Parquet file, or a file of another kind (group -1), and its times as far as they are known."""

    least: int
    file: int
    group: int
    most: int
    bytes: int


def pieces(file: int, part: ParquetPart | CsvPart, stored: Stored, reader: Reader) -> list[Piece]:
    """What file number `file` consists of, by its own description alone."""
    if isinstance(part, CsvPart):
        return [Piece(_LEAST, file, -1, _MOST, stored.size * (UNPACKED if stored.suffix == ".gz" else 1))]
    form, meta, schema = reader.format, part.file.metadata, part.file.schema_arrow
    row_bytes = 4 * len(part.features) + ROW_BYTES
    found = []
    for number in part.groups:
        group = meta.row_group(number)
        chunks = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
        ends = (_LEAST, _MOST)
        if form.time in chunks:
            ends = _ends(*time_ends(chunks[form.time], schema.field(form.time).type), reader)
        found.append(Piece(ends[0], file, number, ends[1], group.num_rows * row_bytes))
    return found


def peak_bytes(found: Sequence[Piece]) -> int:
    """The most that a sweep over the pieces holds at a time."""
    held: list[tuple[int, int]] = []
    now = most = 0
    for piece in sorted(found):
        while held and held[0][0] < piece.least:
            now -= heapq.heappop(held)[1]
        heapq.heappush(held, (piece.most, piece.bytes))
        now += piece.bytes
        most = max(most, now)
    return most


class SweptSource:
    """The records of `found` in the order of event time, then of files and rows.

    Pieces are read in the order of their least times; records that lie before the next one's are sorted and given.
    Positions number all that is given; what was rejected comes before the records of the step in which it was read.
    `open_part` opens a file by its number.
    """

    topic: Topic = "telemetry"

    def __init__(
        self,
        name: str,
        found: Sequence[Piece],
        files: Sequence[Stored],
        open_part: Callable[[int], ParquetPart | CsvPart],
        reader: Reader,
        identity: Identity,
    ) -> None:
        self.waiting = True
        self.truncated: tuple[int, int] | None = None
        self._name = name
        self._pieces = sorted(found)
        self._files = files
        self._open_part = open_part
        self._reader = reader
        self._identity = identity
        self._parts: dict[int, ParquetPart | CsvPart] = {}
        self._read_rows: dict[int, int] = {}
        self._block: Records | None = None
        self._at = 0
        self._blocks: Iterator[Records] = iter(())
        self._start(0)

    def poll(self, max_records: int = 5000) -> Batch | None:
        """Up to `max_records` records; None at the end."""
        while self._block is None:
            block = next(self._blocks, None)
            if block is None:
                return None
            self._block, self._at = _behind(block, self._from), 0
        block, start, stop = self._block, self._at, self._at + max_records
        part = block if len(block.codes) <= max_records else take(block, slice(start, stop))
        if start:
            part = replace(part, dead=(), dead_counts={}, unknown={})
        if stop >= len(block.codes):
            self._block = None
            return part
        self._at = stop
        return replace(part, next_position=int(block.positions[stop]))

    def position(self, next_position: int) -> dict[str, Any]:
        """JSON: path, checksum of the plan, row."""
        return {"path": self._name, "checksum": self._identity.text(), "row": next_position}

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from `position`: read again, and leave out what was given."""
        self._identity.check(position.get("checksum", ""))
        self.close()
        self._start(position.get("row", 0))

    def close(self) -> None:
        """Close the files."""
        for part in self._parts.values():
            part.close()
        self._parts.clear()

    def _start(self, row: int) -> None:
        self._from = row
        self._rows = 0
        self._read_rows = {}
        self._block = None
        self._blocks = self._steps()

    def _steps(self) -> Iterator[Records]:
        """Records in order, with what was rejected on the way; positions rise without a gap."""
        last = {piece.file: place for place, piece in enumerate(self._pieces)}
        floors = [piece.least for piece in self._pieces[1:]]
        held: dict[tuple[int, int, int], Records] = {}
        given = 0
        for place, piece in enumerate(self._pieces):
            read = list(self._decode(piece))
            held |= {(piece.file, piece.group, number): batch for number, batch in enumerate(read)}
            if last[piece.file] == place:
                self._parts.pop(piece.file).close()
            floor = floors[place] if place < len(floors) else None
            ripe = [part for key in sorted(held) if len((part := _split(held, key, floor)).codes)]
            if ripe or any(batch.dead_counts or batch.unknown for batch in read):
                step = _numbered(in_order(ripe, self._reader.columns.names), read, given)
                given = step.next_position
                yield step

    def _decode(self, piece: Piece) -> Iterator[Records]:
        part = self._parts.get(piece.file)
        if part is None:
            part = self._parts[piece.file] = self._open_part(piece.file)
        for raw in part.chunks(piece.group):
            done = self._read_rows.get(piece.file, 0)
            self._reader.decoder.begin(self._files[piece.file].name, self._rows - done)
            batch = part.decode(raw, self._rows)
            self._rows += len(raw)
            self._read_rows[piece.file] = done + len(raw)
            yield batch


def _split(held: dict[tuple[int, int, int], Records], key: tuple[int, int, int], floor: int | None) -> Records:
    """The records of one batch that lie before `floor` (None: all); the others are held on."""
    batch = held.pop(key)
    if floor is None or not len(batch.times) or batch.times.max() < floor:
        return batch
    before = batch.times < floor
    held[key] = take(batch, ~before)
    return take(batch, before)


def _numbered(batch: Records, read: Sequence[Records], position: int) -> Records:
    """The records of a step behind what was rejected in it, at positions from `position` on."""
    dead: list[DeadLetter] = []
    counts: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for part in read:
        dead += part.dead
        for total, more in ((counts, part.dead_counts), (unknown, part.unknown)):
            for key, count in more.items():
                total[key] = total.get(key, 0) + count
    first = position + sum(counts.values())
    following = first + len(batch.codes)
    return replace(
        batch,
        positions=np.arange(first, following, dtype=np.int64),
        next_position=following,
        dead=[replace(letter, position=position + k) for k, letter in enumerate(dead)],
        dead_counts=counts,
        unknown=unknown,
    )


def _behind(block: Records, position: int) -> Records | None:
    """What of a block lies at `position` or behind it."""
    if block.next_position <= position:
        return None
    first = int(np.searchsorted(block.positions, position))
    if first == 0:
        return block
    return replace(take(block, slice(first, None)), dead=(), dead_counts={}, unknown={})


def _ends(least: Any, most: Any, reader: Reader) -> tuple[int, int]:
    if least is None:
        return _LEAST, _MOST
    ns, faults = EventTimes(reader.format.unit, _MOST).read_column(pa.concat_arrays([least, most]), np.full(2, _MOST))
    return (_LEAST, _MOST) if (faults != OK).any() else (int(ns[0]), int(ns[1]))
