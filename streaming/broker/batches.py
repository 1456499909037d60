"""Kafka's record batches into arrays, a batch at a time.

kafka-python makes two objects of each message and reads its numbers byte by byte, which costs four times as much.

A whole batch goes through the client as the value of one record, so that checksums, transactions and positions stay
the client's business. Where a version of the client has no place for that, or a batch is small or old, messages come
one by one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecord
from numpy.typing import NDArray
from typing_extensions import override

from streaming.types import Ints

FEW = 12
"""Messages of a batch below which the client's own way is the faster one."""
_MOST_BYTES = 10
"""Of a variable-length integer."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The messages of a batch (N): values, offsets (rising) and Kafka's timestamps (ms, -1 = none)."""

    values: Sequence[bytes]
    offsets: Ints
    timestamps: Ints

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int) -> "Batch":
        """Those from `start` on."""
        return Batch(self.values[start:], self.offsets[start:], self.timestamps[start:])


def by_batches(client: KafkaConsumer) -> None:
    """Let `client` read whole batches, where it is of a version that can be told so."""
    fetcher: Any = getattr(client, "_fetcher", None)
    if hasattr(fetcher, "PartitionRecords"):
        fetcher.PartitionRecords = _Records


def gathered(records: Sequence[Any]) -> Batch:
    """The messages of what a client of `by_batches` has polled of one partition."""
    parts: list[Batch] = []
    for whole, run in groupby(records, lambda record: isinstance(record.value, Batch)):
        some = list(run)
        parts += [record.value for record in some] if whole else [_one_by_one(some)]
    if len(parts) == 1:
        return parts[0]
    values = [value for part in parts for value in part.values]
    return Batch(
        values, np.concatenate([part.offsets for part in parts]), np.concatenate([part.timestamps for part in parts])
    )


def _one_by_one(records: Sequence[Any]) -> Batch:
    count = len(records)
    return Batch(
        [record.value or b"" for record in records],
        np.fromiter((record.offset for record in records), np.int64, count),
        np.fromiter((record.timestamp for record in records), np.int64, count),
    )


class _Records(getattr(Fetcher, "PartitionRecords", object)):  # type: ignore[misc]
    """What the client has fetched of a partition."""

    @override
    def _unpack_records(self, tp: Any, records: Any, *_deserializers: Any) -> Iterator[Any]:
        found: Iterator[Any] = super()._unpack_records(tp, _Batches(records, self.fetch_offset), None, None)
        return found


@dataclass(frozen=True, slots=True)
class _Batches:
    """A partition's batches, each of which looks as if it held one record."""

    records: Any
    first: int

    def next_batch(self) -> Any:
        """The next one; None at the end."""
        batch = self.records.next_batch()
        if batch is None or batch.magic < 2 or batch.is_control_batch or batch.records_count < FEW:
            return batch
        return _OneRecord(batch, self.first)


class _OneRecord:
    """A batch of the client, whose messages with offsets from `first` on are one record's value."""

    def __init__(self, batch: Any, first: int) -> None:
        self._batch, self._first = batch, first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        batch = iter(self._batch)  # which decompresses it
        found = unpacked(
            bytes(batch._buffer), batch._pos, batch.base_offset, batch.first_timestamp, batch.records_count
        )
        if batch.timestamp_type == batch.LOG_APPEND_TIME:
            found = Batch(found.values, found.offsets, np.full(len(found), batch.max_timestamp, np.int64))
        found = found.part(int(found.offsets.searchsorted(self._first)))
        if len(found):
            last, size = int(found.offsets[-1]), batch.size_in_bytes
            yield DefaultRecord(size, last, int(found.timestamps[-1]), batch.timestamp_type, None, found, [])


def unpacked(data: bytes, start: int, base_offset: int, first_timestamp: int, count: int) -> Batch:
    """`count` records from `start` on (Kafka's protocol, record format v2); CorruptRecordError where that is not so.

    Record: length, attributes, timestamp delta, offset delta, key length, key, value length, value, headers, which are
    not looked at.
    """
    try:
        begins, end = _begins(data, start, count)
        if end != len(data):
            raise CorruptRecordError(f"{len(data) - end} bytes behind the last record")
        taken = np.frombuffer(data, np.uint8)
        _, at = _integers(taken, begins)
        times, at = _integers(taken, at)
        offsets, at = _integers(taken, at)
        keys, at = _integers(taken, at)
        sizes, at = _integers(taken, at + np.maximum(keys, 0))
    except IndexError as error:
        raise CorruptRecordError("a record ends beyond its batch") from error
    ends = at + np.maximum(sizes, 0)
    if (ends > np.append(begins[1:], end)).any():
        raise CorruptRecordError("a value ends beyond its record")
    values = [data[first:last] for first, last in zip(at.tolist(), ends.tolist(), strict=True)]
    return Batch(values, base_offset + offsets, first_timestamp + times)


def _begins(data: bytes, place: int, count: int) -> tuple[Ints, int]:
    """Where each record's fields begin, and where the last one ends: the one walk from record to record."""
    begins = []
    for _ in range(count):
        size, shift = data[place], 7
        place += 1
        while size >> shift:
            size = (size & ((1 << shift) - 1)) | data[place] << shift
            place += 1
            shift += 7
        begins.append(place)
        place += size >> 1
    return np.array(begins, np.int64), place


def _integers(taken: NDArray[np.uint8], at: Ints) -> tuple[Ints, Ints]:
    """The zigzag integers of variable length at `at`, and the places behind them."""
    byte = taken[at].astype(np.int64)
    value, behind = byte & 0x7F, at + 1
    going = byte >= 0x80
    for shift in range(7, 7 * _MOST_BYTES, 7):
        if not going.any():
            break
        byte = np.where(going, taken[np.where(going, behind, at)], 0).astype(np.int64)
        value |= (byte & 0x7F) << shift
        behind = behind + going
        going = byte >= 0x80
    return (value >> 1) ^ -(value & 1), behind
