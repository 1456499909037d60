"""Which entities a table holds, how many rows of each, and from when to when."""

from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from streaming.columns import Columns, legal_name
from streaming.datafeeds import ParquetPart, Reader, constants_of, open_part
from streaming.decode import MAX_AHEAD
from streaming.rowgroups import one_entity, time_ends
from streaming.selection import NOBODY, Selection
from streaming.settings import SECOND
from streaming.stores import Stored
from streaming.tabledecode import column_of, strings_of, times_of
from streaming.timestamps import OK, EventTimes

_READ_ROWS = 65_536
_FAR = np.iinfo(np.int64).max


class Held(NamedTuple):
    """The rows of an entity, with their first and last event time in ns."""

    entity: str
    rows: int
    first_ns: int
    last_ns: int


def holdings(file: Stored, selection: Selection, columns: Columns | None = None) -> list[Held]:
    """What a file holds in the range of `selection`, by entity; only the columns of entity and time are read.

    A row group of Parquet whose statistics tell all of it is not read at all. Rows without a legal entity are
    `NOBODY`'s; those whose time cannot be read count for their entity. Where nothing else tells of one, its times are
    those of the others. ValueError where the file lacks a column that is read, or has none of the features `columns`.
    """
    keys = replace(selection.format, layout="wide", features=())
    reader = Reader(Selection(keys, None, selection.since_ns, selection.until_ns), Columns(), MAX_AHEAD)
    reader.decoder.begin(file.name, 0)
    totals = _Totals(selection, reader.decoder.default_entity)
    part = open_part(reader, file)
    try:
        if columns is not None:
            names = [*part.names, *constants_of(file, selection.format, part.names)]
            Reader(selection, columns, MAX_AHEAD).features(file, names, list)
        if isinstance(part, ParquetPart):
            part.groups[:] = [number for number in part.groups if not totals.add_group(part, number)]
        while raw := part.read(_READ_ROWS):
            table, intake = part.parse(raw)
            totals.add(table, len(raw) - len(intake.place))
    finally:
        part.close()
    return totals.held()


class _Totals:
    def __init__(self, selection: Selection, default_entity: str) -> None:
        self._selection = selection
        self._format = selection.format
        self._default = default_entity
        self._times = EventTimes(self._format.unit, _FAR)
        self._held: dict[str, Held] = {}
        self._timeless = Counter[str]()
        self._seen = 0

    def add(self, table: Any, refused: int) -> None:
        """Count the rows of a table; `refused` could not be read."""
        names, codes = self._entities(table)
        ns, good = self._read_times(table)
        whose = [name if legal_name(name) else NOBODY for name in names]
        good &= np.array([name != NOBODY for name in whose], dtype=bool)[codes] if len(codes) else good
        for name, count in zip(whose, np.bincount(codes[~good], minlength=len(names)), strict=False):
            self._timeless[name] += int(count)
        self._timeless[NOBODY] += refused
        good &= self._selection.inside(ns)
        rows = pa.table({"code": codes[good], "time": ns[good]}).group_by("code")
        for row in rows.aggregate([("time", "count"), ("time", "min"), ("time", "max")]).to_pylist():
            self._put(names[row["code"]], row["time_count"], row["time_min"], row["time_max"])

    def add_group(self, part: ParquetPart, number: int) -> bool:
        """Count a row group by its statistics alone; False where they don't tell."""
        group, names = part.file.metadata.row_group(number), part.file.schema_arrow.names
        chunks = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
        form = self._format
        if form.time not in names or form.time not in chunks or not self._knows_unit(part):
            return False
        entity = self._default if form.entity is None else part.constants.get(form.entity)
        if form.entity in chunks:
            entity = one_entity(chunks[form.entity])
        least, most = time_ends(chunks[form.time], part.file.schema_arrow.field(form.time).type)
        if entity is None or not legal_name(entity) or least is None:
            return False
        ns, faults = self._times.read_column(pa.concat_arrays([least, most]), np.full(2, _FAR))
        if (faults != OK).any() or not self._selection.inside(ns).all():
            return False
        self._put(entity, group.num_rows, int(ns[0]), int(ns[1]))
        return True

    def held(self) -> list[Held]:
        """By entity, `NOBODY` first."""
        first = min((one.first_ns for one in self._held.values()), default=self._selection.since_ns or 0)
        last = max((one.last_ns for one in self._held.values()), default=first)
        for name, count in (+self._timeless).items():
            whole = self._held.get(name, Held(name, 0, first, last))
            self._put(name, count, whole.first_ns, whole.last_ns)
        return [self._held[name] for name in sorted(self._held)]

    def _knows_unit(self, part: ParquetPart) -> bool:
        """Whether the ends of a range tell how its inside is read: numbers of an unknown unit may be of several."""
        kind = part.file.schema_arrow.field(self._format.time).type
        return self._format.unit != "auto" or not pa.types.is_integer(kind)

    def _put(self, name: str, rows: int, first: int, last: int) -> None:
        old = self._held.get(name)
        if old is not None:
            rows, first, last = rows + old.rows, min(first, old.first_ns), max(last, old.last_ns)
        self._held[name] = Held(name, rows, first, last)

    def _entities(self, table: Any) -> tuple[list[str], Any]:
        if self._format.entity is None:
            return [self._default], np.zeros(len(table), dtype=np.int32)
        strings, _ = strings_of(column_of(table, self._format.entity))
        coded = strings.fill_null(NOBODY).dictionary_encode()
        return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False)

    def _read_times(self, table: Any) -> tuple[Any, Any]:
        if self._format.time is None:
            self._seen += len(table)
            return np.arange(self._seen - len(table), self._seen) * SECOND, np.ones(len(table), dtype=bool)
        ns, faults = self._times.read_column(times_of(table, self._format.time), np.full(len(table), _FAR))
        return ns, faults == OK
