"""Rows of tables into records: whole columns at a time, no Python per good row."""

import json
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streaming.assembly import Block, place_blocks, reject_infinite
from streaming.casting import is_null_word, numbers, texts
from streaming.columns import MAX_NAME, Columns, legal_name
from streaming.decode import MAX_AHEAD, Decoder
from streaming.intake import Intake
from streaming.settings import SECOND, TelemetryFormat
from streaming.timestamps import EventTimes
from streaming.types import Codes, Ints, Records


class TableDecoder(Decoder):
    """Arrow tables (text columns as binary, as they come from CSV, or typed ones from Parquet) into `Records`.

    In layout "wide" each column of `features` is a feature; in "long" each row is a record with one value. A cell
    that is not a number makes its row a dead letter.
    """

    def __init__(self, format: TelemetryFormat, columns: Columns, *, max_ahead: int = MAX_AHEAD) -> None:
        super().__init__(EventTimes(format.unit if format.time is not None else "s", max_ahead), format.default_entity)
        self.format = format
        self.columns = columns

    def decode(self, table: Any, features: Sequence[str], intake: Intake, positions: Ints, ingested: int) -> Records:
        """The rows of `table` (M), which `intake` has accepted, as a batch; `positions` (N) are of its payloads.

        The whole table shares one ingest timestamp (ns). `next_position` is the one behind the last payload.
        """
        n = len(table)
        names, codes = self._entities(table, intake)
        seen = np.full(n, ingested, dtype=np.int64)
        if self.format.time is None:
            times = (positions[intake.place] - self.row_base) * SECOND
        else:
            times = intake.judge_times(self.times, times_of(table, str(self.format.time)), seen)
        blocks = self._long(table, intake) if self.format.layout == "long" else self._wide(table, features, intake)
        for block in blocks:
            reject_infinite(block, intake)
        matrix, unknown = place_blocks(blocks, intake.good, self.columns, intake.ours)
        intake.bury(self.dead, positions)
        dead, counts = self.dead.take()
        good = intake.good
        used, numbered = np.unique(codes[good], return_inverse=True)
        return Records(
            names=[names[k] for k in used],
            codes=numbered.astype(np.int32),
            times=times[good],
            values=matrix if good.all() else matrix[good],
            positions=positions[intake.place][good],
            ingested=seen[good],
            features=self.columns.names,
            next_position=int(positions[-1]) + 1,
            dead=dead,
            dead_counts=counts,
            unknown=unknown,
        )

    def _entities(self, table: Any, intake: Intake) -> tuple[list[str], Codes]:
        if self.format.entity is None:
            return [self.default_entity], np.zeros(len(table), dtype=np.int32)
        column, bad = strings_of(column_of(table, self.format.entity))
        for row in np.flatnonzero(bad).tolist():
            intake.reject(row, "bad_encoding", f"{self.format.entity}: not UTF-8")
        coded = pc.dictionary_encode(pc.fill_null(column, ""))
        names = coded.dictionary.to_pylist()
        codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        illegal = [k for k, name in enumerate(names) if not legal_name(name)]
        for row in np.flatnonzero(np.isin(codes, illegal)).tolist() if illegal else ():
            name = names[codes[row]]
            said = f"{self.format.entity}: {name!r:.80}; 1 to {MAX_NAME} characters without NUL are allowed"
            intake.reject(row, "bad_entity" if name else "missing_entity", said)
        return names, codes

    def _wide(self, table: Any, features: Sequence[str], intake: Intake) -> list[Block]:
        matrix = np.empty((len(table), len(features)), dtype=np.float32)
        for k, name in enumerate(features):
            matrix[:, k] = self._numbers(table, name, intake)
        return [Block(np.arange(len(table)), list(features), matrix)]

    def _long(self, table: Any, intake: Intake) -> list[Block]:
        values = self._numbers(table, self.format.value, intake)
        column, _ = strings_of(column_of(table, self.format.name))
        coded = pc.dictionary_encode(pc.fill_null(column, ""))
        names = coded.dictionary.to_pylist()
        codes = np.asarray(coded.indices.to_numpy(zero_copy_only=False))
        if "" in names:
            for row in np.flatnonzero(codes == names.index("")).tolist():
                intake.reject(row, "missing_values", f"{self.format.name}: missing; the name of a feature is expected")
        rows = [np.flatnonzero(codes == k) for k in range(len(names))]
        return [Block(at, [name], values[at, None]) for at, name in zip(rows, names, strict=True)]

    def _numbers(self, table: Any, name: str, intake: Intake) -> Any:
        column = column_of(table, name)
        strings, garbled = strings_of(column) if is_text(column.type) else (column, None)
        values, bad = numbers(strings)
        if garbled is not None:
            bad |= garbled
        for row in np.flatnonzero(bad).tolist():
            cell = strings[row] if strings[row].is_valid else column[row]
            said = f"{name}: {str(cell)[:80]!r}; a number, or an empty cell, is allowed"
            intake.reject(row, "wrong_type", said)
        with np.errstate(over="ignore"):
            return values.astype(np.float32)


class RowPayloads(Sequence[bytes]):
    """What is kept of a row of a typed table that is rejected: the row as JSON, made when asked for."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, i: int) -> bytes: ...

    @overload
    def __getitem__(self, i: slice) -> list[bytes]: ...

    def __getitem__(self, i: int | slice) -> bytes | list[bytes]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        return json.dumps({name: str(self._table[name][i]) for name in self._table.column_names}).encode()


def times_of(table: Any, name: str) -> Any:
    """The times of a table as an Arrow array; words for an empty cell are null."""
    column = column_of(table, name)
    if not is_text(column.type):
        return column
    column, _ = strings_of(column)
    return pc.if_else(is_null_word(column), None, column)


def column_of(table: Any, name: str) -> Any:
    """A table's column as one array."""
    return table[name].combine_chunks() if isinstance(table[name], pa.ChunkedArray) else table[name]


def is_text(kind: Any) -> bool:
    """Whether cells of this Arrow type are text, or may be."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_binary(inner))


def has_text(kind: Any) -> bool:
    """Whether cells of this Arrow type can be said as text, as names are."""
    try:
        pa.nulls(0, kind).cast(pa.string())
    except pa.ArrowNotImplementedError:
        return False
    return True


def strings_of(column: Any) -> tuple[Any, Any]:
    """A column as strings, and which of its cells are not UTF-8."""
    if pa.types.is_binary(column.type):
        return texts(column)
    return column.cast(pa.string()), np.zeros(len(column), dtype=bool)
