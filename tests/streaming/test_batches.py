"""Record batches into arrays: what the client itself reads out of them, and nothing from broken ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from streaming.broker.batches import Batch, unpacked

small = st.one_of(st.none(), st.binary(max_size=300))
headers = st.lists(st.tuples(st.text(max_size=3), small), max_size=2)
messages = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**41), small, small, headers), min_size=1, max_size=40)


def packed(given: list[tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]]) -> bytes:
    """A batch as it comes from a broker; of each message first the gap before its offset."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1 << 20)
    offset = -1
    for gap, stamp, key, value, heads in given:
        offset += 1 + gap
        builder.append(offset, stamp, key, value, heads)
    return bytes(builder.build())


def read(data: bytes) -> Batch:
    batch = iter(DefaultRecordBatch(data))
    return unpacked(bytes(batch._buffer), batch._pos, batch.base_offset, batch.first_timestamp, batch.records_count)


@given(given=messages)
def test_the_messages_are_those_that_the_client_reads_one_by_one(given: list) -> None:
    data = packed(given)
    expected = [(one.value or b"", one.offset, one.timestamp) for one in DefaultRecordBatch(data)]
    found = read(data)
    assert list(zip(found.values, found.offsets.tolist(), found.timestamps.tolist(), strict=True)) == expected
    later = found.part(int(found.offsets.searchsorted(7)))
    assert list(later.values) == [value for value, offset, _ in expected if offset >= 7]


@given(given=messages, cut=st.integers(1, 50), place=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_broken_batch_is_refused_or_read_within_its_bounds(given: list, cut: int, place: int, byte: int) -> None:
    """The client has checked the sum before; what is wrong in spite of it may give nonsense, and no other error."""
    data = packed(given)
    with pytest.raises(CorruptRecordError):
        read(data[: max(len(data) - cut, 62)])
    broken = bytearray(data)
    broken[61 + place % (len(data) - 61)] = byte
    try:
        found = read(bytes(broken))
    except CorruptRecordError:
        return
    assert len(found) == len(given) and sum(map(len, found.values)) <= len(data)


def test_numbers_of_every_length() -> None:
    stamps = [0, 1, 63, 64, 8191, 8192, 2**20, 2**27, 2**34, 2**41]
    found = read(packed([(0, stamp, b"k" * (stamp % 200), b"v" * (stamp % 9000), []) for stamp in stamps]))
    assert found.timestamps.tolist() == stamps
    assert [len(value) for value in found.values] == [stamp % 9000 for stamp in stamps]
    assert found.offsets.dtype == np.int64
