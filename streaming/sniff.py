"""What a file of one's own is: its layout, its columns, its entities and its step."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streaming.casting import numbers, texts
from streaming.channels import continuous
from streaming.columns import Columns
from streaming.decoders import decoder_of
from streaming.files import kind_of, open_source
from streaming.formats import format_of
from streaming.json_records import RecordError, untyped
from streaming.proposal import CHUNK, message_lines, propose, raw_messages
from streaming.settings import SECOND, TelemetryFormat
from streaming.tables import CsvForm, csv_lines, open_parquet
from streaming.timestamps import OK, EventTimes
from streaming.types import Ints, Records, Source

HEAD_ROWS = 10_000
TIME_NAMES = (
    "time",
    "timestamp",
    "ts",
    "date",
    "datetime",
    "event_time",
    "eventtime",
    "time_stamp",
    "date_time",
    "epoch",
    "unix_time",
    "unixtime",
    "time_unix_nano",
)
ENTITY_NAMES = (
    *("entity", "host", "hostname", "host_name", "server", "machine", "node", "instance", "pod", "container", "device"),
    *("service", "sensor", "unit", "station", "asset", "source", "series", "id", "entity_id", "host_id", "machine_id"),
    *("device_id", "sensor_id", "server_id", "node_id", "unit_id", "item_id", "kpi_id", "name", "vm", "application"),
)
NAME_NAMES = ("name", "metric", "metric_name", "feature", "variable", "kpi", "measurement", "field", "tag", "parameter")
VALUE_NAMES = ("value", "val", "metric_value", "reading", "measure")
INDEX_NAMES = ("", "index", "unnamed: 0", "row", "row_id", "__index_level_0__")
LABEL = re.compile(r"label|is_anomaly|is_outlier|anomaly|outlier|changepoint|label_.*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sniffed:
    """A file that can be streamed by `format`. Times in ns; `continuous`: features that take more than two values;
    `notes` say what was decided, one sentence each."""

    format: TelemetryFormat
    step_ns: int
    entities: int
    rows: int
    continuous: int
    start_ns: int
    end_ns: int
    notes: list[str]


@dataclass(slots=True)
class _Head:
    """The first rows of a file, by column, and what they hold."""

    columns: dict[str, Any]
    number: list[str]
    text: list[str]
    label: list[str]
    empty: list[str]


def sniff(path: str | Path) -> Sniffed:
    """Look at a CSV, Parquet or JSON Lines file and read it once through; ValueError says why it cannot be used.

    Of OTLP in JSON, a message a line, and of a folder of raw messages (.bin, .pb) the first `SAMPLE` are looked at.
    """
    file = Path(path)
    notes: list[str] = []
    if file.is_dir() and (payloads := raw_messages(file)):
        return sniff_payloads(payloads, file.stat().st_mtime_ns, str(file))
    if not file.is_file():
        raise ValueError(f"{file}: is not a file; a CSV, Parquet or JSON Lines file is expected")
    kind = kind_of(file)
    if kind == "lines":
        payloads = message_lines(file)
        if payloads and format_of(payloads[0]) == "otlp-json":
            return sniff_payloads(payloads, file.stat().st_mtime_ns, str(file))
        objects = _objects(file)
        if {"entity", "time"} <= objects[0].keys() and objects[0].keys() & {"values", "v"}:
            notes.append("records of entity, time and values")
            return _measure(file, TelemetryFormat(layout="json", features=_packed_names(objects[0])), notes)
        columns = {name: _column([row.get(name) for row in objects]) for name in _keys(objects)}
    elif kind == "csv":
        form = CsvForm(file)
        table = form.head(file, HEAD_ROWS)
        columns = {name: table[name].combine_chunks() for name in form.columns}
    else:
        batches = open_parquet(file).iter_batches(HEAD_ROWS)
        batch = next(batches, None)
        columns = {} if batch is None else dict(zip(batch.schema.names, batch.columns, strict=True))
    if not columns or not len(next(iter(columns.values()))):
        raise ValueError(f"{file}: has no rows; at least two are needed")
    return _measure(file, _format(file, _classify(columns), notes), notes)


def sniff_payloads(payloads: Sequence[bytes], ingested: int, name: str) -> Sniffed:
    """Look at sampled messages of a topic, whatever their formats; `ingested` (ns) is when they came.

    ValueError says why they cannot be used.
    """
    proposed = propose(payloads, ingested, name)
    form = TelemetryFormat(format=proposed.format, mapping=proposed.mapping)
    return _measured(_decoded(payloads, ingested, form), form, name, list(proposed.notes))


def _decoded(payloads: Sequence[bytes], ingested: int, form: TelemetryFormat) -> Iterator[Records]:
    decoder = decoder_of(form, Columns())
    for start in range(0, len(payloads), CHUNK):
        part = payloads[start : start + CHUNK]
        stop = start + len(part)
        batch = decoder.decode(part, np.arange(start, stop), np.full(len(part), ingested), stop)
        assert isinstance(batch, Records)  # noqa: S101 - a TelemetryFormat gives telemetry
        yield batch


def _objects(file: Path) -> list[dict[str, Any]]:
    rows = []
    for line in csv_lines(file, 1000):
        try:
            value = untyped(line)
        except RecordError:
            continue
        if isinstance(value, dict):
            rows.append(value)
    if not rows:
        start = b"".join(csv_lines(file, 1))[:60]
        raise ValueError(f"{file}: has no JSON object on a line of its own; it begins with {start!r}")
    return rows


def _keys(objects: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in objects for name in row))


def _packed_names(record: dict[str, Any]) -> tuple[str, ...] | None:
    return tuple(f"v{i}" for i in range(len(record["v"]))) if isinstance(record.get("v"), list) else None


def _column(values: list[Any]) -> Any:
    """JSON values as an Arrow column: numbers if all are, else text."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return pa.array(values, pa.float64() if any(isinstance(value, float) for value in present) else pa.int64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _classify(columns: dict[str, Any]) -> _Head:
    head = _Head({}, [], [], [], [])
    for name, cells in columns.items():
        column = texts(cells)[0] if pa.types.is_binary(cells.type) else cells
        if pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())
        head.columns[name] = column
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            continue
        values, bad = numbers(column)
        is_flag = pa.types.is_boolean(column.type) or bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all())
        if LABEL.fullmatch(name) and is_flag and (pa.types.is_boolean(column.type) or not bad.any()):
            head.label.append(name)
        elif not bad.any() and np.isnan(values).all():
            head.empty.append(name)
        elif 2 * int(bad.sum()) <= pc.count(column).as_py():
            head.number.append(name)
        else:
            head.text.append(name)
    return head


def _format(file: Path, head: _Head, notes: list[str]) -> TelemetryFormat:
    time = _time_column(file, head, notes)
    name, value = _long_columns(head, time)
    long = name is not None and value is not None
    entity = _entity_column(head, time, name, notes)
    apart = {entity, time}
    features = [] if long else [column for column in head.number if column not in apart and not _is_index(head, column)]
    if not long and not features:
        raise ValueError(
            f"{file}: no column of numbers is left as a feature; its columns are {list(head.columns)[:50]}"
        )
    ignored = tuple(column for column in head.columns if column not in {*apart, *features, name, value})
    if head.label:
        notes.append(f"left out as labels: {', '.join(head.label)}")
    if head.empty:
        notes.append(f"left out, without a value in the first {HEAD_ROWS:,} rows: {', '.join(head.empty[:20])}")
    others = [column for column in ignored if column not in {*head.label, *head.empty}]
    if others:
        notes.append(f"left out, not measures: {', '.join(others[:20])}")
    notes.append(f"one value a row, named by {name!r}" if long else f"features: {len(features)}, a column each")
    base = TelemetryFormat(layout="wide", entity=entity, time=time, ignore=ignored)
    return replace(base, layout="long", name=str(name), value=str(value)) if long else base


def _time_column(file: Path, head: _Head, notes: list[str]) -> str | None:
    named = [column for column in head.columns if column.strip().lower().lstrip("@_") in TIME_NAMES]
    for column in named:
        if _parses(head.columns[column]):
            notes.append(f"time: column {column!r}")
            return column
    if named:
        said = head.columns[named[0]][0].as_py()
        raise ValueError(
            f"{file}: column {named[0]!r} holds no times, e.g. {said!r}; RFC 3339 or epoch numbers are read"
        )
    stamps = [c for c, cells in head.columns.items() if c not in {*head.number, *head.label} and _parses(cells)]
    epochs = [c for c in head.number if _is_epoch(head.columns[c])]
    rows = [c for c in head.number if _is_index(head, c)]
    for column in [*stamps, *epochs, *rows]:
        notes.append(f"time: column {column!r}" + (", a row index read as seconds" if column in rows else ""))
        return column
    notes.append("no time column: the row number is the time, a second a row")
    return None


def _parses(cells: Any) -> bool:
    """Whether nine in ten of the cells are times."""
    far = np.full(len(cells), np.iinfo(np.int64).max)
    _, faults = EventTimes().read_column(cells, far)
    return len(cells) > 0 and float(np.mean(faults == OK)) >= 0.9


def _is_epoch(cells: Any) -> bool:
    """Whether integers look like recent times (after 2001, in any unit) in rising order."""
    values = numbers(cells)[0]
    whole = bool(np.all(values == np.floor(values)))
    return len(values) > 1 and whole and bool(values.min() >= 1e9) and bool(np.mean(np.diff(values) >= 0) > 0.9)


def _is_index(head: _Head, column: str) -> bool:
    """Whether a column is the row number that a data frame writes."""
    values = numbers(head.columns[column])[0]
    return column.strip().lower() in INDEX_NAMES and len(values) > 1 and bool(np.all(np.diff(values) == 1))


def _long_columns(head: _Head, time: str | None) -> tuple[str | None, str | None]:
    """The name and value columns of a table of long rows: one of each, and no other numbers."""
    free = [column for column in head.number if column != time]
    values = [column for column in free if column.strip().lower() in VALUE_NAMES]
    names = [column for wanted in NAME_NAMES[1:] + NAME_NAMES[:1] for column in head.text if column.lower() == wanted]
    if time is None or not names or len(values) != 1 or len(free) != 1:
        return None, None
    return names[0], values[0]


def _entity_column(head: _Head, time: str | None, name: str | None, notes: list[str]) -> str | None:
    """A column of few distinct values: one whose name says so, else one without which times would come twice."""
    text = [c for c in head.text if c not in (time, name)]
    whole = [c for c in head.number if c != time and pa.types.is_integer(_as_integers(head.columns[c]).type)]
    named = [c for wanted in ENTITY_NAMES for c in (*text, *whole) if c.strip().lower() == wanted and c != name]
    repeated = _repeats(head, [c for c in (time, name) if c is not None])
    for column in named:
        if _few(head.columns[column]) and (column in text or repeated):
            notes.append(f"entity: column {column!r}")
            return column
    if repeated:
        for column in text:
            if (
                _few(head.columns[column])
                and _repeats(head, [c for c in (time, name) if c is not None] + [column]) < repeated / 2
            ):
                notes.append(f"entity: column {column!r}, which tells rows of the same time apart")
                return column
    notes.append("no entity column: all rows are one series")
    return None


def _few(cells: Any) -> bool:
    distinct = pc.count_distinct(cells).as_py()
    return bool(0 < distinct <= max(1, len(cells) // 2))


def _as_integers(cells: Any) -> Any:
    try:
        return cells.cast(pa.int64())
    except pa.ArrowInvalid:
        return cells


def _repeats(head: _Head, keys: list[str]) -> int:
    """How many rows agree with an earlier one in the columns `keys`."""
    if not keys:
        return 0
    table = pa.table({str(i): head.columns[key] for i, key in enumerate(keys)})
    return int(len(table) - len(table.group_by(table.column_names).aggregate([])))


def _measure(file: Path, form: TelemetryFormat, notes: list[str]) -> Sniffed:
    """Read the file once through, as it comes, for its entities, times and step."""
    source = open_source(str(file), replace(form, order="arrival"), Columns())
    try:
        return _measured(_polled(source), form, str(file), notes)
    finally:
        source.close()


def _polled(source: Source) -> Iterator[Records]:
    while (batch := source.poll(20_000)) is not None:
        assert isinstance(batch, Records)  # noqa: S101 - a TelemetryFormat gives telemetry
        yield batch


def _measured(batches: Iterator[Records], form: TelemetryFormat, name: str, notes: list[str]) -> Sniffed:
    index: dict[str, int] = {}
    codes: list[Any] = [np.zeros(0, np.int64)]
    times: list[Any] = [np.zeros(0, np.int64)]
    counts: dict[str, int] = {}
    said, channels = "", 0
    for batch in batches:
        numbered = np.array([index.setdefault(entity, len(index)) for entity in batch.names], dtype=np.int64)
        channels = max(channels, continuous(batch.values))
        codes.append(numbered[batch.codes] if len(batch.codes) else codes[0])
        times.append(batch.times)
        for reason, count in batch.dead_counts.items():
            counts[reason] = counts.get(reason, 0) + count
        said = said or (batch.dead[0].detail if batch.dead else "")
    every = np.concatenate(times)
    if len(every) < 2:
        raise ValueError(f"{name}: has {len(every)} usable rows, at least two are needed; {counts} {said}".rstrip())
    if counts:
        notes.append(f"rejected rows: {counts}, the first: {said}")
    step = _step(np.concatenate(codes), every, notes)
    return Sniffed(form, step, len(index), len(every), channels, int(every.min()), int(every.max()), notes)


def _step(codes: Ints, times: Ints, notes: list[str]) -> int:
    """The most frequent positive difference within an entity; the median where times are so uneven that none is."""
    order = np.lexsort((times, codes))
    differences = np.diff(times[order])[np.diff(codes[order]) == 0]
    positive = differences[differences > 0]
    if not len(positive):
        notes.append("no entity has two different times: a step of 1 s is assumed")
        return SECOND
    values, counts = np.unique(positive, return_counts=True)
    if counts.max() * 20 >= len(positive):
        return int(values[np.argmax(counts)])
    median = int(np.median(positive))
    notes.append("uneven times: the step is their median distance")
    return max(1, round(median / SECOND)) * SECOND if median >= SECOND else median
