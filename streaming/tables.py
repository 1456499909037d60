"""CSV and Parquet files as feeds of records."""

import csv
import gzip
import io
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from streaming.casting import NULL_WORDS, is_null_word, numbers, texts
from streaming.intake import Intake
from streaming.json_records import RecordError
from streaming.linereader import LineReader
from streaming.settings import TelemetryFormat
from streaming.stores import Stored
from streaming.tabledecode import RowPayloads, TableDecoder, has_text
from streaming.types import Batch

File = Path | Stored
HEAD_ROWS = 1000
"""Rows of a CSV file that tell which of its columns hold numbers."""
DELIMITERS = ",;\t|"
_PARQUET_ROWS = 8192
BUFFER_BYTES = 1 << 18
"""Of a column that are read at once: a row group may be larger than memory."""


class Feed(Protocol):
    """One finite input: its raw rows as they come, and how they are decoded."""

    def read(self, max_records: int) -> Any:
        """Up to `max_records` raw rows (something with a length); None or nothing at the end."""

    def decode(self, raw: Any, position: int) -> Batch:
        """What `read` gave, as a batch that begins at `position`."""

    def close(self) -> None:
        """Close the file."""


def open_bytes(path: File) -> IO[bytes]:
    """The file at `path`, decompressed if it ends in .gz."""
    if isinstance(path, Path) and path.suffix != ".gz":
        return path.open("rb")
    packed: Any = path if isinstance(path, Path) else path.stream()
    return cast(IO[bytes], gzip.open(packed, "rb") if path.suffix == ".gz" else packed)


def modified_ns(path: File) -> int:
    """When the file at `path` was written, in ns; now, where its store does not say."""
    return path.stat().st_mtime_ns if isinstance(path, Path) else path.modified or time.time_ns()


class CsvFeed:
    """A CSV file with a header. One line is one row: a value with a line break in it is not supported.

    The delimiter (comma, semicolon, tab or bar) is the header's most frequent one. In layout "wide", without declared
    features, every column is one whose first 1,000 rows hold more numbers than other text.
    """

    def __init__(self, path: File, decoder: TableDecoder, max_record_bytes: int) -> None:
        self._decoder = decoder
        self._limit = max_record_bytes
        self._ingested = modified_ns(path)
        self._form = CsvForm(path)
        self.features = self._find_features(path)
        self._types = self._kinds()
        self._lines = LineReader(open_bytes(path), str(path), max_record_bytes)
        self._lines.read(1)

    def read(self, max_records: int) -> list[bytes]:
        """Up to `max_records` lines."""
        return self._lines.read(max_records)

    def decode(self, raw: list[bytes], position: int) -> Batch:
        """`raw` as a batch that begins at `position`."""
        table, intake = self.parse(raw)
        positions = np.arange(position, position + len(raw), dtype=np.int64)
        return self._decoder.decode(table, self.features, intake, positions, self._ingested)

    def parse(self, raw: list[bytes]) -> tuple[Any, Intake]:
        """`raw` as a table of the rows that are whole; the intake has accepted those and refused the others."""
        intake = Intake(raw, self._limit)
        fits = max(map(len, raw), default=0) <= self._limit
        too_long = [] if fits else [i for i, line in enumerate(raw) if len(line) > self._limit]
        for i in too_long:
            intake.refuse(i, RecordError("too_long", f"longer than {self._limit} bytes, the most that is allowed"))
        skip = set(too_long)
        fitting = [i for i in range(len(raw)) if i not in skip]
        table, parsed = self._form.parse([raw[i] for i in fitting] if skip else raw, self._types)
        place = [fitting[k] for k in parsed]
        for i in set(fitting) - set(place) if len(place) < len(fitting) else ():
            said = f"not a row of {len(self._form.columns)} cells parted by {self._form.delimiter!r}, as the header has"
            intake.refuse(i, RecordError("broken_row", said))
        intake.accept(place)
        return table, intake

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def _kinds(self) -> dict[str, Any]:
        """The columns to read, with the Arrow type of each."""
        form = self._decoder.format
        texts = [form.entity, form.time, *([form.name] if form.layout == "long" else [])]
        values = [form.value] if form.layout == "long" else self.features
        kinds = dict.fromkeys(texts, pa.string()) | dict.fromkeys(values, pa.float64())
        return {name: kind for name, kind in kinds.items() if name in self._form.columns}

    def _find_features(self, path: File) -> list[str]:
        form = self._decoder.format
        apart = {form.entity, form.time, *form.ignore}
        among = {name for name in self._form.columns if name not in apart}
        numeric = self._form.numeric_columns(path, among)
        return wide_features(path, form, self._form.columns, with_known(self._form.columns, numeric, self._decoder))


class CsvForm:
    """The header of a CSV file, and how its lines become columns. ValueError when it has none that can be used."""

    def __init__(self, path: File) -> None:
        lines = csv_lines(path, 1)
        header = lines[0].decode("utf-8", "replace") if lines else ""
        self.delimiter = max(DELIMITERS, key=header.count)
        try:
            self.columns = next(csv.reader([header], delimiter=self.delimiter), [])
        except csv.Error as error:
            raise ValueError(f"{path}: its first line is no header of a CSV file: {error}") from None
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise ValueError(f"{path}: the header names {twice} more than once; column names must differ")

    def head(self, path: File, rows: int = HEAD_ROWS) -> Any:
        """The first rows that can be parsed, as a table of binary columns."""
        return self.parse(csv_lines(path, rows + 1)[1:], dict.fromkeys(self.columns, pa.binary()))[0]

    def numeric_columns(self, path: File, among: Collection[str]) -> list[str]:
        """Those of the columns `among` whose first rows hold more numbers than other text."""
        table = self.head(path)
        return [name for name in self.columns if name in among and holds_numbers(table[name].combine_chunks())]

    def parse(self, lines: Sequence[bytes], types: Mapping[str, Any]) -> tuple[Any, list[int]]:
        """The columns `types` as a table, and the numbers of the lines that are its rows; the other lines are broken.

        Columns come in the Arrow types asked for, or, when a cell does not fit, all as binary. Each line fares as it
        would alone: where lines and rows do not match (a quote that was not closed swallows the lines behind it), the
        halves are parsed apart.
        """
        table = self._parse_all(lines, types)
        if table is not None:
            return table, list(range(len(lines)))
        plausible = [i for i, line in enumerate(lines) if self._is_plausible(line)]
        kept = [lines[i] for i in plausible]
        table = self._parse_all(kept, types)
        if table is not None:
            return table, plausible
        table, rows = self._parse_text(kept, dict.fromkeys(types, pa.binary()))
        return table, [plausible[k] for k in rows]

    def _is_plausible(self, line: bytes) -> bool:
        """Whether the line may be a row; without quotes this is certain."""
        return b'"' in line or (b"\r" not in line and line.count(self.delimiter.encode()) == len(self.columns) - 1)

    def _parse_text(self, lines: Sequence[bytes], types: Mapping[str, Any]) -> tuple[Any, list[int]]:
        table = self._parse_all(lines, types)
        if table is not None:
            return table, list(range(len(lines)))
        if len(lines) <= 1:
            return pa.table({name: pa.array([], kind) for name, kind in types.items()}), []
        half = len(lines) // 2
        (first, at), (second, behind) = self._parse_text(lines[:half], types), self._parse_text(lines[half:], types)
        return pa.concat_tables([first, second]), at + [half + i for i in behind]

    def _parse_all(self, lines: Sequence[bytes], types: Mapping[str, Any]) -> Any | None:
        """A table of as many rows as there are lines, or None."""
        text = b"\n".join(lines)
        if not lines or b"\r" in text:  # a line end to the parser, not to us
            return None
        try:
            table = pacsv.read_csv(
                io.BytesIO(text),
                pacsv.ReadOptions(use_threads=False, column_names=self.columns, block_size=len(text) + 2),
                pacsv.ParseOptions(delimiter=self.delimiter, ignore_empty_lines=False),
                pacsv.ConvertOptions(column_types=types, include_columns=list(types), null_values=list(NULL_WORDS)),
            )
        except pa.ArrowInvalid:
            return None
        return table if len(table) == len(lines) else None


class RowReader:
    """Arrow batches, read in as many rows as are asked for; fewer where the next ones have other types."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._batches = batches
        self._next: Any = None
        self._held: list[Any] = []

    def read(self, max_records: int) -> Any:
        """Up to `max_records` rows as a table, None at the end."""
        while sum(map(len, self._held)) < max_records and (batch := self._take()) is not None:
            if self._held and batch.schema != self._held[0].schema:
                self._next = batch
                break
            self._held += [batch] if len(batch) else []
        if not self._held:
            return None
        table = pa.Table.from_batches(self._held)
        rest = table[max_records:]
        self._held = rest.to_batches() if len(rest) else []
        return table[:max_records]

    def _take(self) -> Any:
        batch, self._next = self._next, None
        return next(self._batches, None) if batch is None else batch


class ParquetFeed:
    """A Parquet file. In layout "wide", without declared features, every numeric column is one, and every column that a
    model has."""

    def __init__(self, path: Path, decoder: TableDecoder) -> None:
        self._decoder = decoder
        self._ingested = modified_ns(path)
        self._file = open_parquet(path)
        schema = self._file.schema_arrow
        check_names(path, schema, decoder.format)
        numeric = with_known(schema.names, numeric_fields(schema), decoder)
        self._features = wide_features(path, decoder.format, schema.names, numeric)
        form = decoder.format
        named = [form.entity, form.time, *((form.name, form.value) if form.layout == "long" else self._features)]
        columns = [name for name in schema.names if name in named]
        self._rows = RowReader(self._file.iter_batches(_PARQUET_ROWS, columns=columns))

    def read(self, max_records: int) -> Any:
        """Up to `max_records` rows as a table, None at the end."""
        return self._rows.read(max_records)

    def decode(self, raw: Any, position: int) -> Batch:
        """`raw` as a batch that begins at `position`."""
        intake = Intake(RowPayloads(raw))
        intake.accept(range(len(raw)))
        positions = np.arange(position, position + len(raw), dtype=np.int64)
        return self._decoder.decode(raw, self._features, intake, positions, self._ingested)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def csv_lines(path: File, count: int) -> list[bytes]:
    """The first `count` lines of a file."""
    reader = LineReader(open_bytes(path), str(path))
    try:
        return reader.read(count)
    finally:
        reader.close()


def open_parquet(path: File) -> Any:
    """The Parquet file at `path`; ValueError if it is none."""
    try:
        if isinstance(path, Path):
            return pq.ParquetFile(path, buffer_size=BUFFER_BYTES)
        # the pages of a remote row group are fetched in few, large reads
        return pq.ParquetFile(path.open(), buffer_size=BUFFER_BYTES, pre_buffer=path.remote)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: cannot be read as Parquet: {error}") from error


def wide_features(path: File, form: TelemetryFormat, columns: Sequence[str], numeric: Sequence[str]) -> list[str]:
    """The feature columns of a table ([] in layout "long"); ValueError where a named column is not there."""
    if form.layout == "json":
        raise ValueError(f"{path}: a table needs layout 'wide' or 'long', not 'json'")
    long = form.layout == "long"
    wanted = [form.entity, form.time, *((form.name, form.value) if long else form.features or ())]
    lacking = [name for name in wanted if name is not None and name not in columns]
    if lacking:
        raise ValueError(f"{path}: has no column {lacking}; its columns are {list(columns)[:50]}")
    if long:
        return []
    if form.features is not None:
        return list(form.features)
    apart = {form.entity, form.time, *form.ignore}
    features = [name for name in numeric if name not in apart]
    if not features:
        raise ValueError(f"{path}: no column of numbers is left as a feature; its columns are {list(columns)[:50]}")
    return features


def check_names(path: File, schema: Any, form: TelemetryFormat) -> None:
    """ValueError where a column of names (entities; in layout "long" features too) holds what has no text."""
    for name in (form.entity, form.name if form.layout == "long" else None):
        for field in [schema.field(place) for place in schema.get_all_field_indices(name)] if name is not None else ():
            if not has_text(field.type):
                raise ValueError(f"{path}: column {name!r} holds {field.type}; text or numbers are allowed for a name")


def with_known(names: Sequence[str], numeric: Sequence[str], decoder: TableDecoder) -> list[str]:
    """The columns `numeric` of `names`, and those that the model has: what is no number in them is to be told."""
    columns = decoder.columns
    return [name for name in names if name in numeric or (not columns.open and columns.find(name) >= 0)]


def holds_numbers(cells: Any) -> bool:
    """Whether a binary column holds more numbers than other text; an empty one might."""
    strings, _ = texts(cells)
    _, bad = numbers(strings)
    empty = int(np.count_nonzero(is_null_word(strings).to_numpy(zero_copy_only=False)))
    return 2 * int(bad.sum()) <= len(cells) - empty


def numeric_fields(schema: Any) -> list[str]:
    """The columns of an Arrow schema that hold numbers."""
    return [field.name for field in schema if _is_numeric(field.type)]


def _is_numeric(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
