"""CSV and Parquet through `open_source`: layouts, bad cells and rows, order, spilling, positions."""

import datetime as dt
import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import START, drain, write

from streaming.columns import Columns
from streaming.files import open_source
from streaming.settings import SECOND, TelemetryFormat
from streaming.types import SourceChanged

WIDE = TelemetryFormat(layout="wide", entity="host", time="time")
ARRIVAL = TelemetryFormat(layout="wide", entity="host", time="time", order="arrival")
LONG = TelemetryFormat(layout="long", entity="host", time="time")
HEADER = "host,time,cpu,mem"


def follow(path, form=WIDE, poll=5000, columns=None, **more):
    source = open_source(str(path), form, Columns() if columns is None else columns, **more)
    try:
        return drain(source, poll)
    finally:
        source.close()


def csv(tmp_path, *rows, header=HEADER, name="t.csv"):
    return write(tmp_path / name, [header, *rows])


def at(seconds):
    return (START + seconds) * SECOND


@pytest.mark.parametrize("poll", [1, 2, 100])
def test_a_table_sorted_by_host_is_read_in_the_order_of_time(tmp_path, poll):
    rows = [f"{host},{START + i},{i},{-i}" for host in ("a", "b", "c") for i in range(4)]
    reading = follow(csv(tmp_path, *rows), poll=poll)
    assert reading.records == [(h, at(i), {"cpu": float(i), "mem": float(-i)}) for i in range(4) for h in "abc"]
    assert reading.positions == list(range(12, 24))


def test_rows_of_the_same_time_keep_their_order(tmp_path):
    rows = [f"h{i},{START},{i},0" for i in range(100)]
    assert [value["cpu"] for value in follow(csv(tmp_path, *rows), poll=7).values] == list(range(100))


@pytest.mark.parametrize("poll", [1, 3, 100])
def test_bad_rows_are_dead_letters_and_the_rest_goes_on(tmp_path, poll):
    rows = [
        f"a,{START},1,2",
        f"a,{START + 1},x,2",
        f"a,{START + 2},1",
        f"a,{START + 3},1,2,3",
        f",{START + 4},1,2",
        "a,,1,2",
        "a,soon,1,2",
        f"a,{START + 7},inf,2",
        f"a,{START + 8},1e39,2",
        f'a,{START + 9},"1,2',
        f"a,{START + 10}, 5 ,NA",
        f"{'e' * 300},{START + 11},1,2",
        f"a,{START * 1000},1,2",
        f"a,{START + 13},1,2\rb,3,4,5",
    ]
    path = csv(tmp_path, *rows)
    with path.open("ab") as more:
        more.write(b"a,%d,\xff,2\n\xff,%d,1,2\na,%d,3,4" % (START + 14, START + 15, START + 16))
    reading = follow(path, ARRIVAL, poll)
    assert reading.records == [
        ("a", at(0), {"cpu": 1.0, "mem": 2.0}),
        ("a", at(10), {"cpu": 5.0}),
        ("a", at(16), {"cpu": 3.0, "mem": 4.0}),
    ]
    assert reading.positions == [0, 10, 16]
    reasons = dict(reading.reasons)
    assert reasons == {
        1: "wrong_type",
        2: "broken_row",
        3: "broken_row",
        4: "missing_entity",
        5: "missing_time",
        6: "bad_time",
        7: "infinite_value",
        8: "infinite_value",
        9: "broken_row",
        11: "bad_entity",
        12: "mixed_time_unit",
        13: "broken_row",
        14: "wrong_type",
        15: "bad_encoding",
    }
    details = {letter.position: letter.detail for letter in reading.dead}
    assert "cpu" in details[1]
    assert ": 'x'; a number" in details[1]
    assert "4 cells" in details[2]
    assert details[12].endswith("state it as unit")
    payloads = {letter.position: letter.payload for letter in reading.dead}
    assert payloads[1] == rows[1].encode()
    # sorted, the same rows come, and the same dead letters at the numbers of their rows
    ordered = follow(path, WIDE, poll)
    assert ordered.records == reading.records
    assert ordered.dead == reading.dead
    assert ordered.counts == reading.counts


cells = st.sampled_from(
    ["1", "-2.5", "", "nan", "NA", "inf", "x", '"', '"1"', "1;2", " 7 ", "1e400", "é", "\0", "1\r2"]
)
plain_rows = st.tuples(st.sampled_from(["a", "b", ""]), st.integers(0, 5), cells, cells).map(
    lambda row: f"{row[0]},{START + row[1]},{row[2]},{row[3]}".encode()
)
any_rows = plain_rows | st.binary(min_size=1, max_size=12).map(lambda line: line.replace(b"\n", b""))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(any_rows.filter(lambda line: line.strip(b"\r")), max_size=6), st.integers(1, 4))
def test_any_rows_are_decoded_or_counted_whatever_the_polls(tmp_path, rows, poll):
    # the first rows say that cpu and mem are numbers, and fix the unit of time
    sure = [f"a,{START},1,1".encode()] * 20
    path = write(tmp_path / "t.csv", [HEADER, *sure, *rows])
    whole = follow(path, ARRIVAL)
    assert len(whole.records) + sum(whole.counts.values()) == 20 + len(rows)
    cut = follow(path, ARRIVAL, poll)
    assert (cut.records, cut.positions, cut.dead, cut.counts) == (
        *(whole.records, whole.positions, whole.dead, whole.counts),
    )
    # each row fares as it would alone
    told = dict(zip(whole.positions, whole.records, strict=True)) | dict(whole.reasons)
    for i, row in enumerate(rows):
        alone = follow(write(tmp_path / "one.csv", [HEADER, *sure, row]), ARRIVAL)
        verdict = dict(zip(alone.positions, alone.records, strict=True)) | dict(alone.reasons)
        assert verdict[20] == told[20 + i]


def test_a_row_that_is_too_long(tmp_path):
    path = csv(tmp_path, f"a,{START},1,2", f"a,{START},{'1' * 3_000_000},2", f"a,{START + 1},1,2")
    reading = follow(path, ARRIVAL)
    assert reading.positions == [0, 2]
    assert reading.reasons == [(1, "too_long")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_and_quotes(tmp_path, delimiter):
    rows = [["host", "time", "cpu (%)", "note"], ['"a,b;c"', f'"{START}"', '"1.5"', "some text"]]
    path = write(tmp_path / "t.csv.gz", [])
    path.write_bytes(gzip.compress("\r\n".join(delimiter.join(row) for row in rows).encode()))
    if delimiter in ",;":
        path = write(tmp_path / "t.csv", [delimiter.join(row) for row in rows])
    assert follow(path).records == [("a,b;c", at(0), {"cpu (%)": 1.5})]


def test_columns_of_text_are_no_features_and_ignored_ones_neither(tmp_path):
    path = csv(tmp_path, f"a,{START},1,ok,0,", f"a,{START + 1},,bad,1,", header="host,time,cpu,status,label,void")
    form = TelemetryFormat(layout="wide", entity="host", time="time", ignore=("label",))
    columns = Columns()
    reading = follow(path, form, columns=columns)
    assert reading.values == [{"cpu": 1.0}, {}]
    assert columns.names == ["cpu"]


def test_declared_features_restrict_a_table(tmp_path):
    path = csv(tmp_path, f"a,{START},1,2", f"a,{START},1,x")
    form = TelemetryFormat(layout="wide", entity="host", time="time", features=("mem",))
    reading = follow(path, form)
    assert reading.values == [{"mem": 2.0}]
    assert reading.counts == {"wrong_type": 1}


def test_a_model_that_does_not_know_a_column_drops_it(tmp_path):
    path = csv(tmp_path, f"a,{START},1,2", f"a,{START + 1},1,")
    for form in (WIDE, ARRIVAL):
        reading = follow(path, form, columns=Columns(["gone", "cpu"], open=False))
        assert reading.values == [{"cpu": 1.0}] * 2
        assert reading.unknown == {"mem": 1}


def test_without_entity_and_time_columns(tmp_path):
    form = TelemetryFormat(layout="wide", entity=None, time=None, default_entity="{file}!")
    reading = follow(csv(tmp_path, "1,2", "3,x", "5,6", header="a,b", name="m.x.csv"), form)
    assert reading.records == [("m!", 0, {"a": 1.0, "b": 2.0}), ("m!", 2 * SECOND, {"a": 5.0, "b": 6.0})]


@pytest.mark.parametrize(
    ("header", "form", "word"),
    [
        ("host,time,cpu", TelemetryFormat(layout="wide", entity="node", time="time"), r"no column \['node'\]"),
        ("host,when,cpu", WIDE, r"no column \['time'\]"),
        ("host,time,cpu", TelemetryFormat(layout="wide", entity="host", features=("gpu",)), "gpu"),
        ("host,time,cpu", LONG, r"\['name', 'value'\]"),
        ("host,time,note", WIDE, "no column of numbers"),
        ("host,time,cpu,cpu", WIDE, r"\['cpu'\] more than once"),
        ("", WIDE, "no column"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_by_name(tmp_path, header, form, word):
    path = csv(tmp_path, f"a,{START},text", header=header)
    with pytest.raises(ValueError, match=word) as error:
        open_source(str(path), form)
    assert "t.csv" in str(error.value)


@pytest.mark.parametrize("form", [WIDE, ARRIVAL])
def test_a_table_of_a_header_alone_is_empty(tmp_path, form):
    source = open_source(str(csv(tmp_path)), form)
    reading = drain(source)
    assert reading.reasons == [(0, "empty")]
    assert reading.batches == 1
    assert source.poll() is None


@pytest.mark.parametrize("poll", [1, 2, 100])
def test_long_rows_become_one_record_for_an_entity_and_a_time(tmp_path, poll):
    rows = [f"{host},{START + i},{name},{i}" for name in ("cpu", "mem") for host in "ba" for i in range(3)]
    rows += [f"a,{START + 1},cpu,99", f"a,{START + 2},gpu,", f"c,{START},,1", f"c,{START},cpu,x"]
    path = csv(tmp_path, *rows, header="host,time,name,value")
    columns = Columns()
    reading = follow(path, LONG, poll, columns)
    expected = [(host, at(i), {"cpu": float(i), "mem": float(i)}) for i in range(3) for host in "ab"]
    # the value that came twice stands in a record of its own, for the windower to count
    expected.insert(3, ("a", at(1), {"cpu": 99.0}))
    assert sorted(reading.records, key=repr) == sorted(expected, key=repr)
    assert reading.times == sorted(reading.times)
    assert reading.reasons == [(14, "missing_values"), (15, "wrong_type")]
    assert columns.names == ["cpu", "mem"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.sampled_from("xyz"), st.integers(0, 9)), max_size=25
    ),
    st.integers(1, 5),
    st.sampled_from([1, 1 << 20]),
)
def test_long_rows_against_a_plain_loop(tmp_path, rows, poll, memory):
    path = csv(tmp_path, *(f"{h},{START + t},{n},{v}" for h, t, n, v in rows), header="host,time,name,value")
    told = follow(path, LONG, poll, memory_bytes=memory)
    seen, expected = {}, {}
    for host, time, name, value in rows:
        again = seen[host, time, name] = seen.get((host, time, name), -1) + 1
        expected.setdefault((time, host, again), {})[name] = float(value)
    assert sorted((t, h, sorted(v.items())) for h, t, v in told.records) == sorted(
        (at(time), host, sorted(values.items())) for (time, host, _), values in expected.items()
    )
    assert told.times == sorted(told.times)
    source = open_source(str(path), LONG)
    for _ in range(2):
        batch = source.poll(poll)
    if batch is not None and rows:
        again = open_source(str(path), LONG)
        again.seek(source.position(batch.next_position))
        assert drain(again).records == [
            record for record, place in zip(told.records, told.positions, strict=True) if place >= batch.next_position
        ]


def test_long_rows_as_they_come_are_records_of_one_value(tmp_path):
    path = csv(tmp_path, f"a,{START},cpu,1", f"a,{START},mem,2", header="host,time,name,value")
    form = TelemetryFormat(layout="long", entity="host", time="time", order="arrival")
    assert follow(path, form).values == [{"cpu": 1.0}, {"mem": 2.0}]


def parquet(tmp_path, table, name="t.parquet"):
    pq.write_table(table, tmp_path / name, row_group_size=3)
    return tmp_path / name


@pytest.mark.parametrize("poll", [1, 2, 100])
def test_parquet_with_its_own_types(tmp_path, poll):
    table = pa.table(
        {
            "host": pa.array(["b", "a", None, "a", "a"]).dictionary_encode(),
            "time": pa.array([dt.datetime(2023, 11, 14, 22, 13, s) for s in (21, 20, 22, 23, 24)]),
            "cpu": pa.array([1, 2, 3, 4, None], pa.int16()),
            "mem": pa.array([0.5, None, 1.0, float("inf"), float("nan")], pa.float64()),
            "up": [True, False, True, True, True],
            "note": ["x"] * 5,
        }
    )
    columns = Columns()
    reading = follow(parquet(tmp_path, table), poll=poll, columns=columns)
    assert reading.records == [("a", at(0), {"cpu": 2.0}), ("b", at(1), {"cpu": 1.0, "mem": 0.5}), ("a", at(4), {})]
    assert columns.names == ["cpu", "mem"]
    assert reading.reasons == [(2, "missing_entity"), (3, "infinite_value")]
    payload = json.loads(reading.dead[0].payload)
    assert payload["cpu"] == "3"
    assert payload["host"] == "None"


def test_parquet_with_integer_entities_and_texts_of_time(tmp_path):
    table = pa.table({"host": [7, 8], "time": ["2023-11-14T22:13:20Z", "later"], "x": [1.0, 2.0]})
    reading = follow(parquet(tmp_path, table))
    assert reading.records == [("7", at(0), {"x": 1.0})]
    assert reading.reasons == [(1, "bad_time")]


def test_parquet_times_beyond_int64_are_bad_alone(tmp_path):
    times = pa.array([dt.datetime(9999, 1, 1), dt.datetime(2023, 11, 14, 22, 13, 20)], pa.timestamp("us"))
    reading = follow(parquet(tmp_path, pa.table({"host": ["a", "a"], "time": times, "x": [1.0, 2.0]})))
    assert reading.times == [at(0)]
    assert reading.counts == {"bad_time": 1}


def test_an_empty_parquet_file_and_one_that_is_none(tmp_path):
    empty = parquet(tmp_path, pa.table({"host": pa.array([], pa.string()), "time": [], "x": pa.array([], pa.int8())}))
    assert follow(empty).counts == {"empty": 1}
    with pytest.raises(ValueError, match=r"no\.parquet: cannot be read as Parquet"):
        open_source(str(write(tmp_path / "no.parquet", ["x"])), WIDE)


def many(tmp_path, rows=3000):
    rng = np.random.default_rng(5)
    lines = [f"h{rng.integers(9)},{START + rng.integers(500)},{i},{i % 7}" for i in range(rows)]
    lines[10] = "bad"
    return csv(tmp_path, *lines)


@pytest.mark.parametrize("memory", [1, 20_000, 1 << 30])
def test_what_memory_cannot_hold_is_spilled_and_comes_out_the_same(tmp_path, monkeypatch, memory):
    monkeypatch.setattr("streaming.sorted_source._READ_ROWS", 200)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "spill"))
    (tmp_path / "spill").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    path = many(tmp_path)
    source = open_source(str(path), WIDE, Columns(), memory_bytes=memory)
    assert (len(source.poll(1).codes), source.poll(1).positions.tolist()) == (0, [3000]), (
        "what was rejected comes first"
    )
    source.seek(source.position(3000))
    first = source.poll(1)
    assert bool(list((tmp_path / "spill").rglob("*.arrow"))) == (memory < 1 << 30)
    rest = drain(source, 371)
    cpu = [first.values[0, 0].item()] + [value["cpu"] for value in rest.values]
    times = [first.times[0].item(), *rest.times]
    assert list(zip(times, cpu, strict=True)) == sorted(zip(times, cpu, strict=True))
    assert len(set(cpu)) == 2999
    source.close()
    assert list((tmp_path / "spill").iterdir()) == []


def test_going_on_in_a_sorted_table(tmp_path):
    path = many(tmp_path, 200)
    whole = follow(path)
    assert whole.reasons == [(10, "broken_row")]
    source = open_source(str(path), WIDE)
    while (batch := source.poll(61)) is not None:
        position = json.loads(json.dumps(source.position(batch.next_position)))
        assert sorted(position) == ["checksum", "path", "row"]
        again = open_source(str(path), WIDE)
        again.seek(position)
        rest = drain(again, 17)
        assert rest.records == whole.records[len(whole.records) - len(rest.records) :]
        assert rest.positions == [place for place in whole.positions if place >= batch.next_position]
        assert rest.dead == []
    source.seek({**position, "row": 0})
    assert drain(source).dead == whole.dead


@pytest.mark.parametrize("form", [WIDE, ARRIVAL])
def test_a_changed_table_is_refused_by_name(tmp_path, form):
    path = many(tmp_path, 50)
    position = open_source(str(path), form).position(20)
    open_source(str(path), form).seek(position)
    path.write_bytes(path.read_bytes() + f"a,{START},1,2\n".encode())
    with pytest.raises(SourceChanged, match=r"t\.csv: changed"):
        open_source(str(path), form).seek(position)


def test_a_folder_of_tables_of_different_columns(tmp_path):
    csv(tmp_path, f"{START},1", f"{START + 2},2", header="time,cpu", name="a.csv")
    parquet(tmp_path, pa.table({"time": [START + 1, START + 3], "mem": [1.0, 2.0]}), "b.train.parquet")
    write(tmp_path / "labels.json", ["{}"])
    form = TelemetryFormat(layout="wide", entity=None, time="time", default_entity="{file}")
    columns = Columns()
    reading = follow(tmp_path, form, poll=3, columns=columns)
    assert reading.records == [
        ("a", at(0), {"cpu": 1.0}),
        ("b", at(1), {"mem": 1.0}),
        ("a", at(2), {"cpu": 2.0}),
        ("b", at(3), {"mem": 2.0}),
    ]
    assert columns.names == ["cpu", "mem"]
    assert reading.counts == {}
