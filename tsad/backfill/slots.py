"""The history of a stream as a source: its closed slots once more, which need no decoding and no derivation."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from streaming.columns import Columns
from streaming.types import Records, Topic
from tsad.archive import Archive
from tsad.config import Config, StreamConfig
from tsad.incoming import TelemetryConfig


class SlotSource:
    """The closed slots `first` to `last` of a partition in `archive`, a record for each that has a value: the features
    of `columns` as they were derived then."""

    topic: Topic = "telemetry"

    def __init__(self, archive: Archive, partition: int, first: int, last: int, columns: Columns) -> None:
        self.waiting = True
        self.truncated: tuple[int, int] | None = None
        self._archive, self._place, self._columns = archive, (partition, first, last), columns
        self._read = 0
        self._tables = self._all()

    def poll(self, max_records: int = 5000) -> Records | None:  # noqa: ARG002 -- a batch of the archive at a time
        """The next records; None behind the last."""
        batch = next(self._tables, None)
        if batch is None:
            return None
        entity = batch.column("entity").dictionary_encode()
        values = np.stack([batch.column(f"value:{name}").to_numpy() for name in self._columns.names], axis=1)
        there = ~np.isnan(values).all(axis=1)
        used, codes = np.unique(entity.indices.to_numpy()[there], return_inverse=True)
        names = entity.dictionary.take(pa.array(used)).to_pylist()
        positions = self._read + np.flatnonzero(there)
        self._read += len(batch)
        times = batch.column("slot").to_numpy()[there] * self._archive.step
        now = np.full(len(times), time.time_ns(), np.int64)
        return Records(
            names, codes.astype(np.int32), times, np.ascontiguousarray(values[there]), positions, now,
            self._columns.names, self._read,
        )  # fmt: skip

    def position(self, next_position: int) -> dict[str, Any]:
        """JSON: the row behind the last batch."""
        return {"history": list(self._place), "row": next_position}

    def seek(self, position: dict[str, Any]) -> None:
        """Go on from `position`, which is the end of a batch."""
        self._tables, self._read = self._all(), 0
        wanted = position.get("row", 0)
        while self._read < wanted:
            self._read += sum(len(batch) for batch in islice(self._tables, 1))

    def close(self) -> None:
        """Nothing is open between two polls but a file that is read."""
        self._tables = iter(())

    def _all(self) -> Iterator[Any]:
        return self._archive.batches(*self._place, features=self._columns.names)


def as_closed(config: Config, stream: str) -> Config:
    """The configuration under which closed slots are records: nothing is derived a second time."""
    of: StreamConfig = config.of(stream)
    plain = of.model_copy(update={"features": {}, "logs": None, "sessions": None, "telemetry": TelemetryConfig()})
    return config.model_copy(update={"stream": {stream: plain}})
