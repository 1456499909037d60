"""The files of a data set as feeds: of each the wanted rows and columns, and the columns that its folders name."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from streaming.columns import Columns
from streaming.decode import MAX_RECORD_BYTES
from streaming.files import kind_of
from streaming.gathering import take
from streaming.intake import Intake
from streaming.rowgroups import batches, row_groups
from streaming.selection import Selection
from streaming.settings import TelemetryFormat
from streaming.stores import Stored
from streaming.tabledecode import RowPayloads, TableDecoder
from streaming.tables import CsvFeed, RowReader, check_names, modified_ns, numeric_fields, open_parquet, wide_features
from streaming.types import Records

_LINES = 8192
Constants = dict[str, str | None]


class Reader:
    """How the tables of a data set are decoded: the wanted rows of each, as records of `columns`."""

    def __init__(self, selection: Selection, columns: Columns, max_ahead: int) -> None:
        self.selection = selection
        self.format = selection.format
        self.columns = columns
        self.decoder = TableDecoder(self.format, columns, max_ahead=max_ahead)

    def features(self, table: Any, names: Sequence[str], numeric: Callable[[], list[str]]) -> list[str]:
        """The features to read of a table with these columns ([] in layout "long"): where `columns` are closed, those,
        whatever they hold, so that what is no number is told.

        `numeric` tells which columns hold numbers. ValueError names a column that is not there.
        """
        asks = self.format.layout == "wide" and self.format.features is None
        found = wide_features(table, self.format, names, numeric() if asks and self.columns.open else names)
        if self.columns.open or self.format.layout == "long":
            return found
        known = [name for name in found if self.columns.find(name) >= 0]
        if not known:
            raise ValueError(
                f"{table}: has none of the features {self.columns.names[:50]}; its columns are {found[:50]}"
            )
        return known

    def may_be_feature(self, name: str) -> bool:
        """Whether a column of a wide table may be one that is read."""
        form = self.format
        return name not in {form.entity, form.time, *form.ignore} and (
            self.columns.open or self.columns.find(name) >= 0
        )

    def wanted(self, features: Sequence[str]) -> list[str]:
        """The columns to read."""
        form = self.format
        values = [form.name, form.value] if form.layout == "long" else features
        return [name for name in (form.entity, form.time, *values) if name is not None]

    def decode(
        self, table: Any, features: Sequence[str], intake: Intake, position: int, ingested: int, name: str
    ) -> Records:
        """The wanted rows of a table, whose payloads begin at `position`; dead letters name the table."""
        keep = self.selection.mask(table)
        if keep is not None:
            table = table.filter(pa.array(keep))
        intake.keep(np.ones(len(intake.place), bool) if keep is None else keep, self.selection.unowned)
        told = self.selection.told(table)
        if told is not None:
            intake.hush(~told)
        positions = np.arange(position, position + len(intake.payloads), dtype=np.int64)
        batch = self.decoder.decode(table, features, intake, positions, ingested)
        if self.format.time is None and self.selection.ranged:
            batch = take(batch, self.selection.inside(batch.times))
        dead = [replace(letter, detail=f"{name}: {letter.detail}") for letter in batch.dead]
        return replace(batch, dead=dead) if dead else batch


class BatchFeed:
    """Arrow batches of one schema. `constants`: columns that have one value in all rows."""

    def __init__(
        self,
        reader: Reader,
        name: str,
        features: Sequence[str],
        given: Iterator[Any],
        ingested: int,
        constants: Constants,
    ) -> None:
        self._reader = reader
        self._name = name
        self.features = features
        self._rows = RowReader(given)
        self._ingested = ingested
        self.constants = constants

    def read(self, max_records: int) -> Any:
        """Up to `max_records` rows as a table, None at the end."""
        return self._rows.read(max_records)

    def decode(self, raw: Any, position: int) -> Records:
        """The wanted rows of `raw` as a batch that begins at `position`."""
        table, intake = self.parse(raw)
        return self._reader.decode(table, self.features, intake, position, self._ingested, self._name)

    def parse(self, raw: Any) -> tuple[Any, Intake]:
        """`raw` with the constants; the intake has accepted all of it."""
        table = with_constants(raw, self.constants)
        intake = Intake(RowPayloads(table))
        intake.accept(range(len(table)))
        return table, intake

    def close(self) -> None:
        """Nothing is open here."""


class ParquetPart(BatchFeed):
    """A Parquet file: of the row groups that may hold wanted rows (`groups`), the columns that are wanted."""

    def __init__(self, reader: Reader, file: Stored) -> None:
        self.file = open_parquet(file)
        schema = self.file.schema_arrow
        twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if twice:
            raise ValueError(f"{file}: has several columns {twice[:50]}; column names must differ")
        check_names(file, schema, reader.format)
        constants = constants_of(file, reader.format, schema.names)
        self.names = [*schema.names, *constants]
        features = reader.features(file, self.names, lambda: numeric_fields(schema))
        columns = [name for name in reader.wanted(features) if name in schema.names]
        self.groups = row_groups(self.file, reader.selection)
        self._columns = columns
        self._name = str(file)
        super().__init__(reader, self._name, features, self._batches(self.groups), modified_ns(file), constants)

    def chunks(self, group: int) -> Iterator[Any]:
        """The raw rows of one row group, a table at a time."""
        return (pa.Table.from_batches([batch]) for batch in self._batches([group]) if len(batch))

    def _batches(self, groups: Sequence[int]) -> Iterator[Any]:
        return batches(self.file, groups, self._columns, self._name)

    def close(self) -> None:
        """Close the file."""
        self.file.close(force=True)


class CsvPart(CsvFeed):
    """A CSV file, plain or .gz."""

    def __init__(self, reader: Reader, file: Stored) -> None:
        self._reader = reader
        self._name = str(file)
        self.constants: Constants = {}
        self.names: list[str] = []
        super().__init__(file, reader.decoder, MAX_RECORD_BYTES)

    def chunks(self, _group: int) -> Iterator[list[bytes]]:
        """All lines, some at a time."""
        while lines := self.read(_LINES):
            yield lines

    def decode(self, raw: list[bytes], position: int) -> Records:
        """The wanted rows of `raw` as a batch that begins at `position`."""
        table, intake = self.parse(raw)
        return self._reader.decode(table, self.features, intake, position, self._ingested, self._name)

    def parse(self, raw: list[bytes]) -> tuple[Any, Intake]:
        """`raw` as a table of the rows that are whole, with the constants."""
        table, intake = super().parse(raw)
        return with_constants(table, self.constants), intake

    def _find_features(self, path: Any) -> list[str]:
        self.constants = constants_of(path, self._reader.format, self._form.columns)
        self.names = [*self._form.columns, *self.constants]
        among = {name for name in self._form.columns if self._reader.may_be_feature(name)}
        return self._reader.features(path, self.names, lambda: self._form.numeric_columns(path, among))

    def _kinds(self) -> dict[str, Any]:
        form = self._reader.format
        values = {form.value} if form.layout == "long" else set(self.features)
        wanted = [name for name in self._reader.wanted(self.features) if name in self._form.columns]
        return {name: pa.float64() if name in values else pa.string() for name in wanted}


def open_part(reader: Reader, file: Stored) -> ParquetPart | CsvPart:
    """The feed of a file, by its suffix. ValueError, naming it, where it cannot be read."""
    return ParquetPart(reader, file) if kind_of(file) == "parquet" else CsvPart(reader, file)


def constants_of(file: Stored, form: TelemetryFormat, names: Sequence[str]) -> Constants:
    """The columns that a format names, the file has not, and its folders have."""
    values = [form.name, form.value] if form.layout == "long" else form.features or ()
    asked = {form.entity, form.time, *values} - set(names)
    return {name: value for name, value in file.partitions().items() if name in asked}


def with_constants(table: Any, constants: Constants) -> Any:
    """The table with a column for each constant."""
    for name, value in constants.items():
        table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(table)))
    return table
