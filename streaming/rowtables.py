"""Batches as Arrow tables, so that they can be sorted and spilled, and back."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streaming.related import Related
from streaming.types import Batch, Lines, Records, Topic

RELATED = "related:"
"""What precedes the name of a column of `Related`."""


def empty_batch(topic: Topic, next_position: int) -> Batch:
    """A batch without records."""
    none, codes = np.zeros(0, np.int64), np.zeros(0, np.int32)
    if topic == "logs":
        return Lines([], codes, none, [], np.zeros(0, np.int8), none, none, next_position)
    return Records([], codes, none, np.zeros((0, 0), np.float32), none, none, [], next_position)


def to_table(batch: Batch, long: bool) -> Any:
    """One row a record: time, entity, position, ingested, and what it says.

    Telemetry has `values`, the bytes of the batch's F values (float32); with `long`, `feature` (a column number, -1 =
    none) and `value`, for records that have at most one.
    """
    names = pa.array(list(batch.names), pa.string())
    fields: dict[str, Any] = {
        "time": batch.times,
        "entity": names.take(pa.array(batch.codes)) if len(batch.codes) else pa.array([], pa.string()),
        "position": batch.positions,
        "ingested": batch.ingested,
    }
    if isinstance(batch, Lines):
        given = batch.templates or [None] * len(batch.codes)
        fields |= {"message": pa.array(batch.messages, pa.string()), "severity": batch.severities}
        fields["template"] = pa.array(given, pa.string())
        if batch.related is not None:
            fields |= _related_columns(batch.related)
        return pa.table(fields)
    fields["labels"] = _labels(batch)
    if not long:
        return pa.table(fields | {"values": _packed(batch.values)})
    present = ~np.isnan(batch.values)
    some = np.asarray(present.any(axis=1))
    feature = np.where(some, present.argmax(axis=1), -1) if present.shape[1] else np.full(len(some), -1)
    value = np.full(len(some), np.nan, dtype=np.float32)
    value[some] = batch.values[some, feature[some]]
    return pa.table(fields | {"feature": feature.astype(np.int32), "value": value})


def to_lines(table: Any, positions: Any, next_position: int) -> Lines:
    """Rows of `to_table` as lines at `positions`."""
    names, codes = _coded(table)
    return Lines(
        names=names,
        codes=codes,
        times=table["time"].to_numpy(),
        messages=table["message"].to_pylist(),
        severities=table["severity"].to_numpy(),
        positions=positions,
        ingested=table["ingested"].to_numpy(),
        next_position=next_position,
        templates=table["template"].to_pylist() if table["template"].null_count < len(table) else (),
        related=_related(table),
    )


def _related_columns(related: Related) -> dict[str, Any]:
    texts = pa.array(list(related.texts), pa.string())
    columns = ((name, related.codes[:, place]) for place, name in enumerate(related.names))
    return {f"{RELATED}{name}": texts.take(pa.array(codes, mask=codes < 0)) for name, codes in columns}


def _related(table: Any) -> Related | None:
    names = tuple(name.removeprefix(RELATED) for name in table.column_names if name.startswith(RELATED))
    columns = [table[f"{RELATED}{name}"].to_pylist() for name in names]
    return Related.of(names, list(zip(*columns, strict=True))) if names else None


def to_records(table: Any, positions: Any, next_position: int, features: Sequence[str]) -> Records:
    """Rows of `to_table` (or `joined`) as records at `positions`; rows from before a feature came lack its value."""
    names, codes = _coded(table)
    said = table["labels"]
    labelled = table.select(["entity", "labels"]).filter(pc.is_valid(said)) if said.null_count < len(table) else None
    return Records(
        names=names,
        codes=codes,
        times=table["time"].to_numpy(),
        values=_unpacked(table["values"], len(features)),
        positions=positions,
        ingested=table["ingested"].to_numpy(),
        features=features,
        next_position=next_position,
        labels={row["entity"]: json.loads(row["labels"]) for row in labelled.to_pylist()} if labelled else {},
    )


def _packed(values: Any) -> Any:
    """A matrix as one binary value a row: what Arrow moves at a quarter of the cost of a list."""
    rows, width = values.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * (4 * width)
    content = np.ascontiguousarray(values, dtype=np.float32)
    return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(content)])


def _unpacked(column: Any, width: int) -> Any:
    """Rows of `_packed` as one matrix of `width` columns; what a shorter one lacks is NaN."""
    parts = [_unpacked_chunk(chunk, width) for chunk in column.chunks if len(chunk)]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.zeros((0, width), dtype=np.float32)


def _unpacked_chunk(chunk: Any, width: int) -> Any:
    ends = np.frombuffer(chunk.buffers()[1], dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    cells = np.frombuffer(chunk.buffers()[2] or b"", dtype=np.float32)[ends[0] // 4 : ends[-1] // 4]
    lengths = np.diff(ends) // 4
    if (lengths == width).all():
        return cells.reshape(len(chunk), width).copy()
    values = np.full((len(chunk), width), np.nan, dtype=np.float32)
    values[np.arange(width) < lengths[:, None]] = cells
    return values


def ranked(tables: Iterable[Any]) -> Iterator[Any]:
    """The tables with a column `rank`: the number of each row among all of them."""
    start = 0
    for table in tables:
        yield table.append_column("rank", pa.array(np.arange(start, start + len(table), dtype=np.int64)))
        start += len(table)


def joined(tables: Iterable[Any], width: Callable[[], int]) -> Iterator[Any]:
    """Long rows, sorted by (time, entity), into one row for each (time, entity), otherwise like its first.

    A value that comes again goes into a row of its own, for the windower to count. `width` tells the number of
    features; it is first asked when the first table has come.
    """
    rest: Any = None
    for block in tables:
        table = block if rest is None else pa.concat_tables([rest, block]).combine_chunks()
        starts = _group_starts(table)
        last = int(starts[-1]) if len(starts) else 0
        if last:
            yield _join(table[:last], starts[:-1], width())
        rest = table[last:]
    if rest is not None and len(rest):
        yield _join(rest, np.zeros(1, dtype=np.int64), width())


def _join(table: Any, starts: Any, width: int) -> Any:
    group = np.zeros(len(table), dtype=np.int64)
    group[starts] = 1
    group = np.cumsum(group) - 1
    feature = table["feature"].to_numpy()
    key = group * (width + 1) + feature + 1
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    again = np.empty(len(table), dtype=np.int64)
    again[order] = np.arange(len(table)) - np.repeat(first, np.diff(first, append=len(table)))
    again[feature < 0] = 0
    _, row, record = np.unique(group * (again.max() + 1) + again, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(row))  # records in the order of their first rows
    values = np.full((len(row), width), np.nan, dtype=np.float32)
    known = feature >= 0
    values[place[record[known]], feature[known]] = table["value"].to_numpy()[known]
    return table.take(np.sort(row)).drop_columns(["feature", "value"]).append_column("values", _packed(values))


def _group_starts(table: Any) -> Any:
    if len(table) < 2:
        return np.zeros(len(table), dtype=np.int64)
    time, entity = table["time"].to_numpy(), table["entity"].combine_chunks()
    change = (time[1:] != time[:-1]) | pc.not_equal(entity[1:], entity[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(change) + 1])


def _coded(table: Any) -> tuple[list[str], Any]:
    coded = table["entity"].combine_chunks().dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False).astype(np.int32)


def _labels(batch: Records) -> Any:
    """An entity's labels of this poll, as JSON at its last record in it."""
    labels: list[str | None] = [None] * len(batch.codes)
    if batch.labels:
        last = {name: i for i, name in enumerate(np.asarray(batch.names, dtype=object)[batch.codes].tolist())}
        for name, said in batch.labels.items():
            labels[last[name]] = json.dumps(said)
    return pa.array(labels, pa.string())
