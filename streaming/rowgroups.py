"""Parquet files of data sets: the row groups that may hold wanted rows, and their wanted columns."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from streaming.selection import NOBODY, Selection

BATCH_ROWS = 16_384


def row_groups(file: Any, selection: Selection) -> list[int]:
    """The numbers of the row groups of a `ParquetFile` that may hold rows of `selection`, by their statistics."""
    form, meta = selection.format, file.metadata
    places = {meta.schema.column(i).path: i for i in range(meta.num_columns)}
    kept = []
    for number in range(meta.num_row_groups):
        group = meta.row_group(number)
        if form.time in places:
            kind = file.schema_arrow.field(form.time).type
            if not selection.overlaps(*time_ends(group.column(places[form.time]), kind)):
                continue
        if form.entity in places and not _may_hold(group.column(places[form.entity]), selection):
            continue
        kept.append(number)
    return kept


def batches(
    file: Any, groups: Sequence[int], columns: Sequence[str], name: str, rows: int = BATCH_ROWS
) -> Iterator[Any]:
    """The row groups as Arrow batches, one group after another; ValueError names the file where it is damaged."""
    for number in groups:
        try:
            yield from file.iter_batches(rows, row_groups=[number], columns=list(columns), use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise ValueError(f"{name}: row group {number} cannot be read: {said(error)}") from error


def time_ends(column: Any, kind: Any) -> tuple[Any, Any]:
    """The least and the largest time of a column chunk as arrays of one element; None where they are not known."""
    known = column.statistics if column.is_stats_set else None
    ordered = pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_integer(kind)
    if known is None or not known.has_min_max or known.null_count != 0 or not ordered:
        return None, None
    try:
        return pa.array([known.min], kind), pa.array([known.max], kind)
    except (pa.ArrowException, OverflowError, ValueError):  # years that Python does not have
        return None, None


def one_entity(column: Any) -> str | None:
    """The entity of all rows of a column chunk; None where there are several, or its statistics do not tell."""
    known = column.statistics if column.is_stats_set else None
    if known is None or not known.has_min_max or known.null_count != 0 or known.min != known.max:
        return None
    return known.min if isinstance(known.min, str) else None


def _may_hold(column: Any, selection: Selection) -> bool:
    """Whether a column chunk of entities may hold one that is wanted."""
    known = column.statistics if column.is_stats_set else None
    if selection.entities is None or NOBODY in selection.entities or known is None or not known.has_min_max:
        return True
    least, most = known.min, known.max
    if not isinstance(least, str) or not isinstance(most, str):
        return True
    return any(least <= name <= most for name in selection.entities)


def said(error: BaseException) -> str:
    """An error's text in one line."""
    return " ".join(str(error).split())[:300]
