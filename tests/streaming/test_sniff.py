import datetime as dt
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from reading import START, drain, record, write

from streaming.columns import Columns
from streaming.files import open_source
from streaming.settings import SECOND
from streaming.sniff import sniff

NS = START * SECOND
HOSTS = ("web-1", "web-2", "db-1")


def table(steps=40, step=60, hosts=HOSTS, start=START):
    """Wide rows sorted by host, with distinct values."""
    n = steps * len(hosts)
    return {
        "host": np.repeat(hosts, steps).tolist(),
        "time": np.tile(start + step * np.arange(steps), len(hosts)).tolist(),
        "cpu": np.random.default_rng(1).random(n).round(3).tolist(),
        "mem": np.arange(n, dtype=float).tolist(),
    }


def as_csv(tmp_path, columns, name="t.csv"):
    pacsv.write_csv(pa.table(columns), tmp_path / name)
    return tmp_path / name


def as_parquet(tmp_path, columns, name="t.parquet"):
    pq.write_table(pa.table(columns), tmp_path / name)
    return tmp_path / name


def as_lines(tmp_path, columns, name="t.jsonl"):
    rows = pa.table(columns).to_pylist()
    return write(tmp_path / name, [json.dumps(row, default=str) for row in rows])


WRITERS = [as_csv, as_parquet, as_lines]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_wide_table_in_any_format(tmp_path, writer):
    found = sniff(writer(tmp_path, table()))
    form = found.format
    assert (form.layout, form.entity, form.time, form.ignore) == ("wide", "host", "time", ())
    assert (found.entities, found.rows, found.step_ns) == (3, 120, 60 * SECOND)
    assert (found.start_ns, found.end_ns) == (NS, NS + 39 * 60 * SECOND)
    assert found.continuous == 2
    assert found.notes


@pytest.mark.parametrize("writer", WRITERS)
def test_flags_and_constants_are_not_continuous(tmp_path, writer):
    columns = table() | {"up": [0, 1, 1] * 40, "size": [4.5] * 120}
    assert sniff(writer(tmp_path, columns)).continuous == 2


@pytest.mark.parametrize("writer", WRITERS)
def test_what_was_sniffed_can_be_streamed(tmp_path, writer):
    path = writer(tmp_path, table())
    found = sniff(path)
    columns = Columns()
    reading = drain(open_source(str(path), found.format, columns))
    assert len(reading.records) == found.rows
    assert columns.names == ["cpu", "mem"]
    assert set(reading.entities) == set(HOSTS)


@pytest.mark.parametrize("name", ["timestamp", "TS", "date", "DateTime", "@timestamp", "_time", "Time "])
def test_names_of_times(tmp_path, name):
    columns = {"first": [1.5] * 5, name: (START + np.arange(5)).tolist(), "x": [1.0] * 5}
    assert sniff(as_csv(tmp_path, columns)).format.time == name


@pytest.mark.parametrize(
    "times",
    [
        [f"2023-11-14T22:13:{20 + i}Z" for i in range(5)],
        [f"2023-11-14 22:13:{20 + i}" for i in range(5)],
        [START + i for i in range(5)],
        [(START + i) * 1000 for i in range(5)],
        [float(START + i) for i in range(5)],
        [dt.datetime(2023, 11, 14, 22, 13, 20 + i) for i in range(5)],
        [dt.datetime(2023, 11, 14, 22, 13, 20 + i, tzinfo=dt.UTC) for i in range(5)],
    ],
)
@pytest.mark.parametrize("name", ["time", "collected"])
def test_forms_of_times_by_name_or_by_content(tmp_path, times, name):
    found = sniff(as_parquet(tmp_path, {"x": [0.5, 1.5, 2.5, 3.5, 4.5], name: times}))
    assert found.format.time == name
    assert (found.start_ns, found.step_ns) == (NS, SECOND)


def test_a_row_index_is_seconds(tmp_path):
    columns = {"": list(range(10)), "x": [0.5] * 10}
    found = sniff(as_csv(tmp_path, columns))
    assert found.format.time == ""
    assert (found.start_ns, found.end_ns, found.step_ns) == (0, 9 * SECOND, SECOND)
    assert any("row index" in note for note in found.notes)


def test_a_row_index_beside_a_time_is_left_out(tmp_path):
    columns = {"": list(range(10)), "time": [START + i for i in range(10)], "x": [0.5] * 10}
    form = sniff(as_csv(tmp_path, columns)).format
    assert (form.time, form.ignore) == ("time", ("",))


def test_a_plain_integer_timestamp_counts_as_seconds(tmp_path):
    found = sniff(as_parquet(tmp_path, {"timestamp": list(range(10)), "x": [0.5] * 10}))
    assert (found.format.time, found.step_ns) == ("timestamp", SECOND)


@pytest.mark.parametrize("writer", WRITERS)
def test_without_a_time_the_row_number_is_one(tmp_path, writer):
    found = sniff(writer(tmp_path, {"x": [3.5, 1.0, 2.0], "y": [1.0, 5.0, 2.5]}))
    assert found.format.time is None
    assert found.format.entity is None
    assert (found.entities, found.rows, found.end_ns, found.step_ns) == (1, 3, 2 * SECOND, SECOND)


def test_measures_are_not_mistaken_for_times(tmp_path):
    found = sniff(as_csv(tmp_path, {"response_time": [0.5, 0.25, 0.75] * 4, "t": [20.5] * 12}))
    assert found.format.time is None


def test_labels_are_left_out(tmp_path):
    columns = table() | {"label": [0, 1] * 60, "is_anomaly": [0] * 120, "label_x": [1] * 120, "anomaly": [0.5] * 120}
    found = sniff(as_csv(tmp_path, columns))
    assert set(found.format.ignore) == {"label", "is_anomaly", "label_x"}
    assert any("labels: label, is_anomaly, label_x" in note for note in found.notes)


def test_boolean_labels_are_left_out(tmp_path):
    columns = table() | {"is_anomaly": [False, True] * 60}
    assert sniff(as_parquet(tmp_path, columns)).format.ignore == ("is_anomaly",)


def test_columns_of_text_are_left_out(tmp_path):
    columns = table() | {"status": ["ok", "bad"] * 60, "note": [f"text {i}" for i in range(120)]}
    for writer in WRITERS:
        found = sniff(writer(tmp_path, columns))
        assert found.format.entity == "host"
        assert set(found.format.ignore) == {"status", "note"}
        assert found.rows == 120


@pytest.mark.parametrize("writer", WRITERS)
def test_columns_without_a_value_are_left_out(tmp_path, writer):
    empty = pa.nulls(120, pa.float64())
    found = sniff(writer(tmp_path, table() | {"gone": empty, "label": [0] * 120}))
    assert found.format.ignore == ("gone", "label")
    assert "features: 2, a column each" in found.notes
    assert any(note.endswith("rows: gone") for note in found.notes)


def test_an_entity_of_another_name_is_found_by_what_it_tells_apart(tmp_path):
    columns = table()
    columns["who"] = columns.pop("host")
    columns["state"] = ["ok"] * 120
    found = sniff(as_csv(tmp_path, columns))
    assert found.format.entity == "who"
    assert found.entities == 3


def test_integer_entities_by_name(tmp_path):
    columns = table(hosts=(1, 2, 3))
    columns["machine_id"] = columns.pop("host")
    found = sniff(as_parquet(tmp_path, columns))
    assert (found.format.entity, found.entities) == ("machine_id", 3)


def test_one_series_with_a_column_of_states_stays_one(tmp_path):
    columns = {"time": [START + i for i in range(20)], "mode": ["a", "b"] * 10, "x": [0.5] * 20}
    found = sniff(as_csv(tmp_path, columns))
    assert found.format.entity is None
    assert found.entities == 1


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize(("name", "value"), [("name", "value"), ("metric", "val"), ("kpi", "reading")])
def test_long_rows(tmp_path, writer, name, value):
    wide = table(steps=10)
    columns = {
        "host": wide["host"] * 2,
        "time": wide["time"] * 2,
        name: ["cpu"] * 30 + ["mem"] * 30,
        value: wide["cpu"] + wide["mem"],
    }
    path = writer(tmp_path, columns)
    found = sniff(path)
    form = found.format
    assert (form.layout, form.entity, form.time, form.name, form.value) == ("long", "host", "time", name, value)
    assert (found.entities, found.step_ns) == (3, 60 * SECOND)
    reading = drain(open_source(str(path), form))
    assert all(value.keys() <= {"cpu", "mem"} for value in reading.values)


def test_records_of_values(tmp_path):
    path = write(tmp_path / "t.jsonl", [record("ab"[i % 2], START + 10 * (i // 2)) for i in range(20)])
    found = sniff(path)
    assert (found.format.layout, found.entities, found.step_ns) == ("json", 2, 10 * SECOND)


def test_packed_records_get_names(tmp_path):
    path = write(tmp_path / "t.jsonl", [record(time=START + i, v=[1, i]) for i in range(5)])
    assert sniff(path).format.features == ("v0", "v1")


def test_broken_rows_are_counted_in_a_note(tmp_path):
    path = as_csv(tmp_path, table())
    with path.open("ab") as more:
        more.write(b"broken\n")
    found = sniff(path)
    assert found.rows == 120
    assert any("broken_row" in note for note in found.notes)
    lines = write(tmp_path / "t.jsonl", ["broken", record(), record(time=START + 1)])
    assert sniff(lines).rows == 2


def test_gzip(tmp_path):
    path = as_csv(tmp_path, table())
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert sniff(tmp_path / "t.csv.gz").rows == 120


def test_the_step_is_the_most_frequent_distance_within_an_entity(tmp_path):
    times = [START + t for t in (0, 5, 10, 15, 100, 105, 110)]
    columns = {"host": ["a"] * 7 + ["b"] * 7, "time": times + [t + 1 for t in times], "x": [0.5] * 14}
    assert sniff(as_csv(tmp_path, columns)).step_ns == 5 * SECOND


def test_the_step_of_uneven_times_is_their_median_distance(tmp_path):
    times = np.cumsum(10_000 + np.random.default_rng(2).permutation(200)) + START * 1000
    found = sniff(as_csv(tmp_path, {"time": times.tolist(), "x": [0.5] * 200}))
    assert found.step_ns == 10 * SECOND
    assert any("uneven" in note for note in found.notes)


def test_a_single_time_gives_a_step_of_a_second(tmp_path):
    found = sniff(as_csv(tmp_path, {"host": ["a", "b"] * 2, "time": [START] * 4, "x": [0.5] * 4}))
    assert found.step_ns == SECOND


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.xlsx", "x", "unknown suffix"),
        ("a.csv", "", "no rows"),
        ("a.csv", "time,x\n", "no rows"),
        ("a.csv", f"time,note\n{START},hello\n{START},you\n", "no column of numbers"),
        ("a.csv", "time,x\nsoon,1\nlater,2\n", "holds no times, e.g. 'soon'"),
        ("a.csv", f"time,x\n{START},1\n", "at least two"),
        ("a.csv", "x,x\n1,2\n", "more than once"),
        ("a.json", '[{"time": 1}]', "no JSON object on a line"),
        ("a.json", '{\n  "a": 1\n}\n', "no JSON object on a line"),
        ("a.parquet", "x", "cannot be read as Parquet"),
        ("a.csv", "time,x\n8999999999,1\n8999999998,2\n", "0 usable rows.*future"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_by_name(tmp_path, name, content, word):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=word) as error:
        sniff(path)
    assert str(path) in str(error.value)


def test_folders_and_missing_files_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(ValueError, match="is not a file"):
            sniff(path)


def test_an_empty_parquet_file_is_refused(tmp_path):
    path = as_parquet(tmp_path, {"time": pa.array([], pa.int64()), "x": pa.array([], pa.float64())})
    with pytest.raises(ValueError, match="no rows"):
        sniff(path)
