"""Data sets: many tables (Parquet, CSV) in a folder or an object store, read for some entities and a range of time."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from streaming.checksum import Identity
from streaming.columns import Columns
from streaming.datafeeds import BatchFeed, CsvPart, ParquetPart, Reader, open_part
from streaming.decode import MAX_AHEAD
from streaming.files import KIND_OF_SUFFIX, ArrivalSource, kind_of
from streaming.holdings import Held, holdings
from streaming.rowgroups import said
from streaming.rowtables import empty_batch
from streaming.selection import Selection, Span
from streaming.settings import TelemetryFormat
from streaming.sorted_source import SortedSource
from streaming.stores import Store, Stored
from streaming.sweep import Piece, SweptSource, peak_bytes, pieces
from streaming.tables import Feed, numeric_fields
from streaming.types import Batch, Source, SourceChanged

MEMORY_BYTES = 32 << 20
"""Bytes of rows that are sorted in memory; more is spilled to disk."""
TABLES = [suffix for suffix, kind in KIND_OF_SUFFIX.items() if kind != "lines"]


class DataFile(NamedTuple):
    """A file of a data set as it was listed; `stamp` is its modification time in ns."""

    path: str
    size: int
    stamp: str


def list_files(url: str, format: TelemetryFormat) -> list[DataFile]:
    """The tables at `url`, by path: a file, a folder with all below it, or a pattern (`*`, `**`, `?`, `[ab]`).

    A path of this machine, s3://, gs://, az:// or another scheme that fsspec knows. ValueError where there is none.
    """
    files = [file for file in Store(url).listing() if _is_table(file)]
    if not files:
        raise ValueError(f"{url}: holds no table; files with {', '.join(TABLES)} (.gz behind) can be read")
    found = [DataFile(file.path, file.size, str(file.modified)) for file in files]
    _check_times(url, found, format)
    return found


def held(
    url: str,
    file: DataFile,
    format: TelemetryFormat,
    since_ns: int | None = None,
    until_ns: int | None = None,
    columns: Columns | None = None,
) -> list[Held]:
    """What a file holds of each entity in [since, until), by name; only entities and times are read.

    Rows without an entity, or whose time cannot be read, are counted under the entity `NOBODY` (""), with the file's
    first and last time. ValueError, naming the file, says why it cannot be read, or that it has none of the features
    `columns` (closed).
    """
    form = table_format(format)
    try:
        with _named(file.path):
            return holdings(_open(Store(url), file), Selection(form, None, since_ns, until_ns), columns)
    except SourceChanged as error:
        raise ValueError(str(error)) from error


def open_dataset(
    url: str,
    files: Sequence[DataFile],
    format: TelemetryFormat,
    columns: Columns,
    entities: Sequence[str] | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
    *,
    told_ns: Span = (None, None),
    max_ahead: int = MAX_AHEAD,
    memory_bytes: int = MEMORY_BYTES,
) -> Source:
    """The rows of `entities` (None: all) in [since, until) of some files of the data set at `url`, in event-time order.

    Positions number the rows read; dead letters name their files. Where `columns` are closed, only those features are
    read. SourceChanged, from here and from polls, where a file is not what was listed; ValueError where it is damaged.
    `told_ns`: of which times dead letters are wanted.
    """
    if not files:
        raise ValueError(f"{url}: no file of the data set was named")
    form = table_format(format)
    _check_times(url, files, form)
    store = Store(url)
    reader = Reader(Selection(form, entities, since_ns, until_ns, told_ns), columns, max_ahead)

    paths = [Stored(store.files, file.path, file.size, int(file.stamp)) for file in files]
    plan = _Plan(url, files, reader.selection)

    def open_file(number: int) -> ParquetPart | CsvPart:
        with _named(paths[number].path):
            return open_part(reader, _open(store, files[number]))

    if form.layout != "long":
        found = _pieces(paths, reader, open_file)
        if peak_bytes(found) <= memory_bytes:
            return SweptSource(url, found, paths, open_file, reader, plan)

    def open_feed(file: Stored) -> Feed:
        if not _may_hold(file, reader):
            return BatchFeed(reader, file.path, [], iter(()), 0, {})
        return open_file(paths.index(file))

    source = _Parts(url, paths, reader, open_feed, plan)
    return SortedSource(source, columns, form.layout == "long", memory_bytes)


def open_batches(
    name: str,
    batches: Callable[[], Iterator[Any]],
    format: TelemetryFormat,
    columns: Columns,
    entities: Sequence[str] | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
    *,
    told_ns: Span = (None, None),
    ingested_ns: int,
    max_ahead: int = MAX_AHEAD,
    memory_bytes: int = MEMORY_BYTES,
) -> Source:
    """The same of Arrow batches with the same columns, which `batches` gives from the start each time it is called.

    `ingested_ns`: the ingest timestamp of all rows; `told_ns` as there. ValueError when the batches lack a column that
    the format names.
    """
    form = table_format(format)
    reader = Reader(Selection(form, entities, since_ns, until_ns, told_ns), columns, max_ahead)

    def open_feed(whole: Stored) -> Feed:
        given = batches()
        first = next(given, None) if _may_hold(whole, reader) else None
        if first is None:
            return BatchFeed(reader, name, [], iter(()), ingested_ns, {})
        # a column's type is only that of the rows so far
        features = reader.features(name, first.schema.names, lambda: numeric_fields(first.schema))
        wanted = reader.wanted(features)
        rows = (batch.select(wanted) for batch in _chain(first, given))
        return BatchFeed(reader, name, features, rows, ingested_ns, {})

    source = _Parts(name, [Stored(None, name, 0, 0)], reader, open_feed, _Plan(name, [], reader.selection))
    return SortedSource(source, columns, form.layout == "long", memory_bytes)


def wanted_columns(name: str, names: Sequence[str], format: TelemetryFormat, columns: Columns) -> list[str]:
    """Which of a table's columns `names` to ask for, so that `open_batches` finds what it needs.

    All where `columns` are open. ValueError where one is not there.
    """
    reader = Reader(Selection(table_format(format)), columns, MAX_AHEAD)
    features = reader.features(name, names, lambda: list(names))
    return list(names) if columns.open else reader.wanted(features)


def table_format(format: TelemetryFormat) -> TelemetryFormat:
    """The format of tables: those of a stream of JSON are wide, with the columns `entity` and `time`."""
    return replace(format, layout="wide") if format.layout == "json" else format


def _may_hold(file: Stored, reader: Reader) -> bool:
    """Whether the entity of a file whose rows name none is wanted."""
    if reader.format.entity is not None:
        return True
    reader.decoder.begin(file.name, 0)
    return reader.selection.has_entity(reader.decoder.default_entity)


def _pieces(paths: Sequence[Stored], reader: Reader, open_file: Callable[[int], ParquetPart | CsvPart]) -> list[Piece]:
    """What the files consist of; each is opened for a moment."""
    found = []
    for number, file in enumerate(paths):
        if _may_hold(file, reader):
            part = open_file(number)
            found += pieces(number, part, file, reader)
            part.close()
    return found


class _Parts(ArrivalSource):
    """The files one after another. That none of their rows is wanted is nothing bad."""

    def __init__(
        self, name: str, paths: Sequence[Any], reader: Reader, open_feed: Callable[[Any], Feed], plan: Identity
    ) -> None:
        super().__init__(name, "telemetry", paths, reader.decoder, open_feed, plan)

    def _empty(self) -> Batch:
        return empty_batch(self.topic, 0)


class _Plan:
    """The files as they were listed, and what is wanted of them."""

    def __init__(self, name: str, files: Sequence[DataFile], selection: Selection) -> None:
        names = None if selection.entities is None else sorted(selection.entities)
        said = json.dumps([name, list(files), names, selection.since_ns, selection.until_ns])
        self._name = name
        self._text = hashlib.blake2b(said.encode(), digest_size=16).hexdigest()

    def text(self) -> str:
        return self._text

    def check(self, expected: str) -> None:
        if expected != self._text:
            raise SourceChanged(f"{self._name}: other files, entities or times than those that were read before")


def _open(store: Store, file: DataFile) -> Stored:
    return store.file(file.path, file.size, int(file.stamp))


def _is_table(file: Stored) -> bool:
    try:
        return kind_of(file) != "lines"
    except ValueError:
        return False


def _check_times(url: str, files: Sequence[DataFile], form: TelemetryFormat) -> None:
    """ValueError where rows have no time and their number cannot be it."""
    if form.time is not None:
        return
    several = len(files) > 1 and "{file}" not in form.default_entity
    if form.entity is not None or several:
        why = f"column {form.entity!r}" if form.entity is not None else f"{len(files)} files"
        raise ValueError(
            f"{url}: without a time column the number of a row is its time, which tells nothing where {why} may hold "
            "several entities; name a time column, or one entity a file (default_entity = '{file}')"
        )


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


@contextmanager
def _named(path: str) -> Iterator[None]:
    """Turn errors of a store into ValueError with the file's name."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {said(error)}") from error
