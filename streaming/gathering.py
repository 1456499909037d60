"""Parts of batches of telemetry, put together in the order of time."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from streaming.types import Records


def take(batch: Records, index: Any) -> Records:
    """The records at `index` (booleans, integers or a slice), with all else that the batch says."""
    codes = batch.codes[index]
    used, numbered = np.unique(codes, return_inverse=True)
    return replace(
        batch,
        names=[batch.names[k] for k in used],
        codes=numbered.astype(np.int32),
        times=batch.times[index],
        values=batch.values[index],
        positions=batch.positions[index],
        ingested=batch.ingested[index],
    )


def in_order(batches: Sequence[Records], features: Sequence[str]) -> Records:
    """The records of all batches by time, then in the order given; `features` begin with those of each batch."""
    if not batches:
        none = np.zeros(0, np.int64)
        values = np.zeros((0, len(features)), np.float32)
        return Records([], none.astype(np.int32), none, values, none, none, features, 0)
    batch = batches[0] if len(batches) == 1 else _joined(batches, features)
    if (batch.times[1:] >= batch.times[:-1]).all():
        return batch
    return take(batch, np.argsort(batch.times, kind="stable"))


def _joined(batches: Sequence[Records], features: Sequence[str]) -> Records:
    index: dict[str, int] = {}
    codes = []
    for batch in batches:
        places = np.array([index.setdefault(name, len(index)) for name in batch.names], dtype=np.int32)
        codes.append(places[batch.codes])
    values = np.full((sum(map(len, codes)), len(features)), np.nan, dtype=np.float32)
    start = 0
    for batch in batches:
        values[start : start + len(batch.codes), : batch.values.shape[1]] = batch.values
        start += len(batch.codes)
    return Records(
        names=list(index),
        codes=np.concatenate(codes),
        times=np.concatenate([batch.times for batch in batches]),
        values=values,
        positions=np.concatenate([batch.positions for batch in batches]),
        ingested=np.concatenate([batch.ingested for batch in batches]),
        features=features,
        next_position=batches[-1].next_position,
    )
