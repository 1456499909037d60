"""What is encoded is read as the same batch."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.columns import Columns
from streaming.decode import LineDecoder, TelemetryDecoder
from streaming.encode import json_payloads, times_as_text
from streaming.rowtables import empty_batch
from streaming.settings import SECOND, LogFormat, TelemetryFormat
from streaming.types import Lines, Records

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
TIMES = st.integers(-(10**18), 4 * 10**18)
NUMBERS = st.floats(width=32, allow_infinity=False, allow_nan=True)


@st.composite
def records(draw: st.DrawFn) -> Records:
    """Any telemetry; a value at least in each row, and each feature somewhere."""
    entities = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    features = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    rows = draw(st.lists(st.integers(0, len(entities) - 1), min_size=1, max_size=6))
    cells = [draw(st.lists(NUMBERS, min_size=len(features), max_size=len(features))) for _ in rows]
    values = np.array(cells, np.float32)
    values[0] = np.nan_to_num(values[0])
    labels = draw(st.dictionaries(st.sampled_from(entities), st.dictionaries(NAMES, NAMES, max_size=2)))
    times = draw(st.lists(TIMES, min_size=len(rows), max_size=len(rows)))
    count = len(rows)
    return Records(
        entities, np.array(rows, np.int32), np.array(times, np.int64), values, np.arange(count),
        np.full(count, 5 * 10**18), features, count, {name: found for name, found in labels.items() if found},
    )  # fmt: skip


@given(records())
def test_telemetry_is_read_as_it_was(batch: Records) -> None:
    decoder = TelemetryDecoder(TelemetryFormat(), Columns(batch.features))
    again = decoder.decode(json_payloads(batch), batch.positions, batch.ingested, batch.next_position)
    assert again.dead_counts == {}
    assert [again.names[code] for code in again.codes] == [batch.names[code] for code in batch.codes]
    np.testing.assert_array_equal(again.times, batch.times)
    np.testing.assert_array_equal(again.values, batch.values)
    assert again.labels == {
        batch.names[code]: batch.labels[batch.names[code]] for code in batch.codes if batch.names[code] in batch.labels
    }


@given(st.lists(st.tuples(st.integers(0, 1), TIMES, st.text(max_size=40), st.integers(-1, 5)), min_size=1, max_size=6))
def test_lines_are_read_as_they_were(rows: list[tuple[int, int, str, int]]) -> None:
    codes, times, messages, severities = zip(*rows, strict=True)
    messages = [text.replace("\0", "") for text in messages]
    batch = Lines(
        ["a", "b"], np.array(codes, np.int32), np.array(times), messages, np.array(severities, np.int8),
        np.arange(len(rows)), np.full(len(rows), 5 * 10**18), len(rows),
    )  # fmt: skip
    again = LineDecoder(LogFormat()).decode(json_payloads(batch), batch.positions, batch.ingested, len(rows))
    assert again.dead_counts == {}
    assert [again.names[code] for code in again.codes] == [batch.names[code] for code in batch.codes]
    assert list(again.messages) == messages
    np.testing.assert_array_equal(again.times, batch.times)
    np.testing.assert_array_equal(again.severities, batch.severities)


def test_a_record_looks_like_those_of_readme() -> None:
    values = np.array([[44.5, np.nan], [0.1, 3]], np.float32)
    batch = Records(
        ["web-1"], np.zeros(2, np.int32), np.array([0, 1_500_000_000]), values, np.arange(2), np.zeros(2, np.int64),
        ["cpu", "memory"], 2, {"web-1": {"zone": "a"}},
    )  # fmt: skip
    first, second = map(msgspec.json.decode, json_payloads(batch))
    assert first == {
        "entity": "web-1",
        "labels": {"zone": "a"},
        "time": "1970-01-01T00:00:00Z",
        "values": {"cpu": 44.5},
    }
    assert second["values"] == {"cpu": 0.1, "memory": 3.0}
    assert json_payloads(batch)[1].count(b"0.1") == 1


def test_nothing_is_nothing() -> None:
    empty = np.zeros(0, np.int64)
    assert json_payloads(empty_batch("telemetry", 0)) == json_payloads(empty_batch("logs", 0)) == []
    assert times_as_text(empty) == []


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_767_571_200 * SECOND, "2026-01-05T00:00:00Z"),
        (1_767_571_200 * SECOND + 1, "2026-01-05T00:00:00.000000001Z"),
        (-SECOND, "1969-12-31T23:59:59Z"),
    ],
)
def test_times_are_written_whole_where_they_are(time: int, text: str) -> None:
    assert times_as_text(np.array([time])) == [text]
