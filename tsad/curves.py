"""An entity's channels and score over a stretch of its history, thinned to so many points as a screen shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streaming.types import Ints
from tsad.archive import Archive
from tsad.history import PREFIX

Reals = NDArray[np.float64]
MOST = 4_000_000
"""Rows, of all entities, that are read at most: the last hours of the stretch."""
QUANTILES = (0.01, 0.99)
"""The bounds of what is usual: of a channel's values where nothing was anomalous."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """P points of `width` slots each, the first at slot `first`. `score` (P) is the greatest of a point; of the F
    features `mean`, `least` and `most` are P x F, `lower` and `upper` (F) the bounds of what is usual; NaN: none."""

    first: int
    width: int
    features: Sequence[str]
    score: Reals
    mean: Reals
    least: Reals
    most: Reals
    lower: Reals
    upper: Reals


def curves(
    archive: Archive,
    partitions: Sequence[int],
    entity: str,
    first: int,
    last: int,
    points: int,
    features: Sequence[str],
) -> Curves:
    """Of an entity of `partitions`, of the slots `first` to `last`, in at most `points` points; of more than `MOST`
    rows only the last hours."""
    first = _least(archive, first, last)
    width = max(-(-(last + 1 - first) // points), 1)
    count = -(-(last + 1 - first) // width)
    slots, scores, values = _read(archive, partitions, entity, first, last, features)
    place = (slots - first) // width
    usual = values[~(scores > 1)]
    bounds = [_quantile(usual, part) for part in QUANTILES]
    extremes = [_by_place(reduce, values, place, count) for reduce in (np.fmin, np.fmax)]
    highest = _by_place(np.fmax, scores[:, None], place, count)[:, 0]
    return Curves(first, width, list(features), highest, _means(values, place, count), *extremes, *bounds)


def _least(archive: Archive, first: int, last: int) -> int:
    """The first slot from which on there are no more than `MOST` rows, and not before the first that there is."""
    least, rows = last, 0
    for begins, count in reversed(archive.counts(first, last)):
        if rows and rows + count > MOST:
            return least
        least, rows = max(begins, first), rows + count
    return least


def _read(
    archive: Archive, partitions: Sequence[int], entity: str, first: int, last: int, features: Sequence[str]
) -> tuple[Ints, Reals, Reals]:
    """Slots (N), scores (N) and values N x F of one entity."""
    slots, scores, values = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros((0, len(features)))]
    for batch in (batch for one in partitions for batch in archive.batches(one, first, last, features)):
        mine = batch.filter(pc.equal(batch.column("entity"), pa.scalar(entity)))
        slots.append(mine.column("slot").to_numpy())
        scores.append(_plain(mine.column("score")))
        columns = [_plain(mine.column(f"{PREFIX}{name}")) for name in features]
        values.append(np.stack(columns, axis=1) if columns else np.zeros((mine.num_rows, 0)))
    return np.concatenate(slots), np.concatenate(scores), np.concatenate(values)


def _plain(column: pa.Array) -> Reals:
    found: Reals = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return found


def _by_place(reduce: np.ufunc, values: Reals, place: Ints, count: int) -> Reals:
    found = np.full((count, values.shape[1]), np.nan)
    reduce.at(found, place, values)
    return found


def _means(values: Reals, place: Ints, count: int) -> Reals:
    """The mean of the values there are, by place."""
    there = np.isfinite(values)
    total, number = np.zeros((count, values.shape[1])), np.zeros((count, values.shape[1]))
    np.add.at(total, place, np.where(there, values, 0.0))
    np.add.at(number, place, there.astype(np.float64))
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def _quantile(values: Reals, part: float) -> Reals:
    """By column, of what is there."""
    found = np.full(values.shape[1], np.nan)
    for column in range(values.shape[1]):
        there = values[np.isfinite(values[:, column]), column]
        if len(there):
            found[column] = np.quantile(there, part)
    return found
