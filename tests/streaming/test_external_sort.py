"""Sorting in memory and in runs on disk, and the assembly of values, against plain loops."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import INGESTED, plain, plain_lines

from streaming.external_sort import FAN_IN, sorted_blocks
from streaming.rowtables import empty_batch, joined, ranked, to_lines, to_records, to_table
from streaming.types import Lines, Records


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 6), max_size=9), max_size=5), st.integers(0, 400), st.integers(1, 4))
def test_external_sort_against_sorted(tmp_path, parts, memory, block_rows):
    position = 0
    tables, expected = [], []
    for part in parts:
        rows = [(key, position + i) for i, key in enumerate(part)]
        position += len(part)
        expected += rows
        kinds = {
            "key": pa.array([k for k, _ in rows], pa.int64()),
            "position": pa.array([p for _, p in rows], pa.int64()),
        }
        tables.append(pa.table(kinds))
    blocks = list(sorted_blocks(iter(tables), ["key", "position"], memory, tmp_path, block_rows))
    got = [(row["key"], row["position"]) for block in blocks for row in block.to_pylist()]
    assert got == sorted(expected)


def table(keys, **more):
    return pa.table({"key": pa.array(keys, pa.int64()), "position": np.arange(len(keys)), **more})


def test_nothing_to_sort(tmp_path):
    assert list(sorted_blocks([], ["key"], 100, tmp_path)) == []
    assert list(sorted_blocks([table([])], ["key"], 100, tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_what_fits_in_memory_stays_there(tmp_path):
    blocks = list(sorted_blocks([table([3, 1, 2])], ["key"], 1 << 20, tmp_path, block_rows=2))
    assert [block["key"].to_pylist() for block in blocks] == [[1, 2], [3]]
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_fills_many_blocks(tmp_path):
    """One time for all: nothing can be handed on before the last block of each run has come."""
    tables = [pa.table({"key": [7] * 10, "position": np.arange(10) + 10 * i}) for i in range(4)]
    blocks = list(sorted_blocks(tables, ["key", "position"], 0, tmp_path, block_rows=2))
    assert [place for block in blocks for place in block["position"].to_pylist()] == list(range(40))
    assert len(list(tmp_path.iterdir())) == 4


def test_many_runs_become_one_before_they_are_merged(tmp_path):
    """The number of files that are open, and with it what is in memory, does not grow with the rows."""
    rng = np.random.default_rng(2)
    tables = [pa.table({"key": rng.integers(0, 50, 3), "position": np.arange(3) + 3 * i}) for i in range(FAN_IN * 3)]
    blocks = []
    for block in sorted_blocks(tables, ["key", "position"], 0, tmp_path, block_rows=2):
        blocks.append(block)
        assert len(list(tmp_path.iterdir())) < FAN_IN
    rows = [(row["key"], row["position"]) for block in blocks for row in block.to_pylist()]
    assert rows == sorted((row["key"], row["position"]) for part in tables for row in part.to_pylist())


def test_rows_that_are_in_order_are_not_moved(tmp_path):
    whole = pa.table({"key": [1, 1, 2], "position": [0, 1, 2]})
    (block,) = sorted_blocks([whole], ["key", "position"], 1 << 20, tmp_path)
    assert block["key"].chunk(0).buffers()[1].address == whole["key"].chunk(0).buffers()[1].address
    (block,) = sorted_blocks([pa.table({"key": [1, 1], "position": [1, 0]})], ["key", "position"], 1 << 20, tmp_path)
    assert block["position"].to_pylist() == [0, 1]
    (block,) = sorted_blocks([pa.table({"key": [1, 1], "name": ["b", "a"]})], ["key", "name"], 1 << 20, tmp_path)
    assert block["name"].to_pylist() == ["a", "b"]


def test_every_kind_of_column_survives_the_disk(tmp_path):
    columns = {
        "text": ["é", None, ""],
        "values": pa.array([[1.0], [], [2.0, float("nan")]], pa.list_(pa.float32())),
        "severity": np.array([-1, 3, 2], dtype=np.int8),
    }
    tables = [table([2, 1, 3], **columns), table([0, 5, 4], **columns)]
    (in_memory,) = sorted_blocks(tables, ["key", "position"], 1 << 20, tmp_path)
    spilled = pa.concat_tables(sorted_blocks(tables, ["key", "position"], 0, tmp_path, block_rows=1))
    assert repr(spilled.to_pylist()) == repr(in_memory.to_pylist())


def records(rows, features, names="ab"):
    """Rows of (entity code, time, values)."""
    n = len(rows)
    return Records(
        names=list(names),
        codes=np.array([row[0] for row in rows], np.int32),
        times=np.array([row[1] for row in rows], np.int64),
        values=np.array([row[2] for row in rows], np.float32).reshape(n, len(features)),
        positions=np.arange(n),
        ingested=np.full(n, INGESTED),
        features=list(features),
        next_position=n,
        labels={"a": {"zone": "1"}} if any(row[0] == 0 for row in rows) else {},
    )


nan = float("nan")


def test_records_there_and_back():
    batch = records([(0, 5, [1, nan]), (1, 6, [nan, nan]), (0, 7, [2, 3])], "xy")
    again = to_records(to_table(batch, long=False), batch.positions, 3, ["x", "y"])
    assert plain(again) == plain(batch)
    assert again.labels == batch.labels
    assert again.ingested.tolist() == batch.ingested.tolist()


def test_records_from_before_a_feature_came_lack_its_value():
    parts = [to_table(records([(0, 1, [1])], "x"), False), to_table(records([(0, 2, [2, 3])], "xy"), False)]
    both = to_records(pa.concat_tables(parts), np.arange(2), 2, ["x", "y", "z"])
    assert [values for _, _, values in plain(both)] == [{"x": 1.0}, {"x": 2.0, "y": 3.0}]
    assert both.values.shape == (2, 3)


def test_records_without_features():
    batch = records([(0, 1, [])], "")
    assert to_records(to_table(batch, False), batch.positions, 1, []).values.shape == (1, 0)
    assert joined_values([records([(0, 1, [])], "")], 0) == [("a", 1, {})]


def test_lines_there_and_back():
    batch = Lines(
        ["p", "q"],
        np.array([1, 0], np.int32),
        np.array([4, 5]),
        ["hello", "wörld"],
        np.array([-1, 4], np.int8),
        np.arange(2),
        np.full(2, INGESTED),
        2,
    )
    assert plain_lines(to_lines(to_table(batch, False), np.arange(2), 2)) == [
        ("q", 4, "hello", -1),
        ("p", 5, "wörld", 4),
    ]


@pytest.mark.parametrize("topic", ["telemetry", "logs"])
def test_an_empty_batch(topic):
    batch = empty_batch(topic, 5)
    assert (len(batch.codes), batch.next_position, list(batch.dead)) == (0, 5, [])
    assert isinstance(batch, Lines if topic == "logs" else Records)


def joined_values(batches, width):
    tables = list(joined(ranked(to_table(batch, True) for batch in batches), lambda: width))
    features = [f"f{i}" for i in range(width)]
    return [row for part in tables for row in plain(to_records(part, part["rank"].to_numpy(), 0, features))]


def test_long_rows_are_joined_across_blocks():
    one = records([(0, 1, [1, nan]), (0, 1, [nan, 2])], "xy")
    two = records([(0, 1, [nan, 5]), (1, 1, [3, nan]), (1, 2, [nan, nan])], "xy")
    assert joined_values([one, two], 2) == [
        ("a", 1, {"f0": 1.0, "f1": 2.0}),
        ("a", 1, {"f1": 5.0}),
        ("b", 1, {"f0": 3.0}),
        ("b", 2, {}),
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(-1, 2), st.integers(1, 9)), max_size=20),
    st.integers(1, 7),
)
def test_joining_against_a_plain_loop(rows, block):
    rows = sorted(rows, key=lambda row: (row[1], row[0]))
    expected, seen = {}, {}
    for code, time, feature, value in rows:
        again = 0
        if feature >= 0:
            again = seen[code, time, feature] = seen.get((code, time, feature), -1) + 1
        entry = expected.setdefault((time, "ab"[code], again), {})
        if feature >= 0:
            entry[f"f{feature}"] = float(value)
    values = [[value if i == feature else nan for i in range(3)] for _, _, feature, value in rows]
    flat = [(code, time, row) for (code, time, _, _), row in zip(rows, values, strict=True)]
    batches = [records(flat[i : i + block], "xyz") for i in range(0, len(flat), block)]
    got = joined_values(batches, 3)
    assert [time for _, time, _ in got] == sorted(time for _, time, _ in got)
    assert sorted((t, e, sorted(v.items())) for e, t, v in got) == sorted(
        (t, e, sorted(v.items())) for (t, e, _), v in expected.items()
    )
