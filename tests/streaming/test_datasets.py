"""Data sets of Parquet and CSV files: what is listed, what is held, and what is read of it."""

import gzip
import json
import os
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from reading import START, drain, write

from streaming.columns import Columns
from streaming.datasets import held, list_files, open_dataset
from streaming.files import open_source
from streaming.settings import SECOND, TelemetryFormat
from streaming.types import SourceChanged

WIDE = TelemetryFormat(layout="wide", entity="host", time="time")
LONG = TelemetryFormat(layout="long", entity="host", time="time")
HEADER = "host,time,cpu,mem"


def at(seconds):
    return (START + seconds) * SECOND


def parquet(path, rows, group=None, kind=None, **more):
    """Rows of (host, second, cpu) as a Parquet file with times in ms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hosts, seconds, cpu = zip(*rows, strict=True) if rows else ((), (), ())
    kind = kind or pa.timestamp("ms", "UTC")
    times = pa.array([None if s is None else (START + s) * 1000 for s in seconds], pa.int64()).cast(kind)
    table = {"host": pa.array(hosts, pa.string()), "time": times, "cpu": pa.array(cpu, pa.float64())}
    pq.write_table(
        pa.table(table | {name: pa.array(cells) for name, cells in more.items()}), path, row_group_size=group
    )
    return path


def read(url, form=WIDE, entities=None, since=None, until=None, poll=1000, columns=None, files=None, **more):
    files = list_files(str(url), form) if files is None else files
    columns = Columns() if columns is None else columns
    source = open_dataset(str(url), files, form, columns, entities, since, until, **more)
    try:
        return drain(source, poll)
    finally:
        source.close()


def names(url, form=WIDE):
    folder = str(url).split("*")[0].split("/[")[0]
    return [os.path.relpath(file.path, folder) for file in list_files(str(url), form)]


def test_the_files_of_a_folder_by_path(tmp_path):
    for name in (
        "b/2.parquet",
        "b/1.pq",
        "a.csv",
        "c/d/x.csv.gz",
        "_temporary/0.parquet",
        ".x.csv",
        "notes.md",
        "z.log",
    ):
        write(tmp_path / name, []) if "/" not in name else (
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True),
            write(tmp_path / name, []),
        )
    assert names(tmp_path) == ["a.csv", "b/1.pq", "b/2.parquet", "c/d/x.csv.gz"]
    assert names(f"file://{tmp_path}".removeprefix("file://")) == names(tmp_path)
    assert [file.path for file in list_files(f"file://{tmp_path}/a.csv", WIDE)] == [f"{tmp_path}/a.csv"]
    assert names(f"{tmp_path}/*.csv") == ["a.csv"]
    assert names(f"{tmp_path}/*/*.p*") == ["b/1.pq", "b/2.parquet"]
    assert names(f"{tmp_path}/**/*.csv.gz") == ["c/d/x.csv.gz"]
    assert names(f"{tmp_path}/[ab]*") == ["a.csv", "b/1.pq", "b/2.parquet"]
    assert json.loads(json.dumps(list_files(str(tmp_path / "a.csv"), WIDE))) == [
        [f"{tmp_path}/a.csv", 0, str((tmp_path / "a.csv").stat().st_mtime_ns)]
    ]


def test_a_name_with_a_wildcard_in_it(tmp_path):
    write(tmp_path / "x[1].csv", [HEADER])
    write(tmp_path / "x1.csv", [HEADER])
    assert [file.path for file in list_files(f"{tmp_path}/x[1].csv", WIDE)] == [f"{tmp_path}/x[1].csv"]
    assert names(f"{tmp_path}/*[1]*.csv") == ["x1.csv", "x[1].csv"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nothing", "there is no such file or folder"),
        ("empty", "holds no table; files with .csv, .tsv, .parquet, .pq"),
        ("empty/*.parquet", "holds no table"),
        ("nowhere/*/x.parquet", "there is no such file or folder"),
    ],
)
def test_urls_without_tables(tmp_path, url, said):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=said):
        list_files(f"{tmp_path}/{url}", WIDE)


def test_a_scheme_that_nobody_knows():
    with pytest.raises(ValueError, match="nope://x: cannot be reached: Protocol not known: nope"):
        list_files("nope://x", WIDE)


def two_files(tmp_path):
    parquet(tmp_path / "1.parquet", [("a", 0, 1.0), ("b", 1, 2.0), ("a", 5, 3.0)])
    parquet(tmp_path / "2.parquet", [("a", 2, 4.0), ("c", 3, 5.0)])
    return tmp_path


def test_several_files_come_in_event_time_order(tmp_path):
    reading = read(two_files(tmp_path))
    assert [(e, (t - at(0)) // SECOND, v["cpu"]) for e, t, v in reading.records] == [
        ("a", 0, 1.0),
        ("b", 1, 2.0),
        ("a", 2, 4.0),
        ("c", 3, 5.0),
        ("a", 5, 3.0),
    ]


@pytest.mark.parametrize(
    ("entities", "since", "until", "expected"),
    [
        (["a"], None, None, [1.0, 4.0, 3.0]),
        (["a", "c"], at(2), None, [4.0, 5.0, 3.0]),
        (None, at(1), at(3), [2.0, 4.0]),
        (None, at(6), None, []),
        (["nobody"], None, None, []),
        ([], None, None, []),
    ],
)
def test_entities_and_range(tmp_path, entities, since, until, expected):
    reading = read(two_files(tmp_path), WIDE, entities, since, until)
    assert [value["cpu"] for value in reading.values] == expected
    assert reading.dead == []


def test_what_a_file_holds(tmp_path):
    two_files(tmp_path)
    first, second = list_files(str(tmp_path), WIDE)
    assert held(str(tmp_path), first, WIDE) == [("a", 2, at(0), at(5)), ("b", 1, at(1), at(1))]
    assert held(str(tmp_path), second, WIDE, at(3), at(4)) == [("c", 1, at(3), at(3))]
    assert held(str(tmp_path), second, WIDE, at(4)) == []


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_rows_that_nobody_owns_are_held_apart_and_go_where_they_are_asked_for(tmp_path, kind):
    rows = [("a", 0, 1.0), (None, 1, 2.0), ("x" * 300, 2, 3.0), ("b", None, 4.0), ("b", 3, 5.0)]
    if kind == "parquet":
        parquet(tmp_path / "t.parquet", rows)
    else:
        lines = [f"{h or ''},{'' if s is None else START + s},{v},0" for h, s, v in rows]
        write(tmp_path / "t.csv", [HEADER, *lines, "torn"])
    torn = kind == "csv"
    (file,) = list_files(str(tmp_path), WIDE)
    whole = [("", 2 + torn, at(0), at(3)), ("a", 1, at(0), at(0)), ("b", 2, at(3), at(3))]
    assert held(str(tmp_path), file, WIDE) == whole
    assert read(tmp_path, WIDE, ["a"]).counts == {}
    assert read(tmp_path, WIDE, ["b"]).counts == {"missing_time": 1}
    nobody = read(tmp_path, WIDE, ["a", ""])
    assert nobody.counts == {"missing_entity": 1, "bad_entity": 1} | ({"broken_row": 1} if torn else {})
    assert nobody.dead[0].detail.startswith(f"{file.path}: host: ")
    assert [value["cpu"] for value in nobody.values] == [1.0]
    everything = read(tmp_path)
    assert sum(everything.counts.values()) == 3 + torn
    assert [letter.position for letter in everything.dead] == list(range(3 + torn))
    assert everything.positions == [3 + torn, 4 + torn]


def test_row_groups_are_told_by_their_statistics(tmp_path):
    """A group that need not be read is not: its pages are overwritten, and what is asked for comes all the same."""
    rows = [(host, i, float(i)) for host in "abc" for i in range(100)]
    path = parquet(tmp_path / "t.parquet", rows, group=100)
    group = pq.ParquetFile(path).metadata.row_group(1).column(2)
    with path.open("r+b") as file:
        file.seek(group.data_page_offset)
        file.write(b"\xff" * 64)
    (file,) = list_files(str(path), WIDE)
    assert [(one.entity, one.rows) for one in held(str(path), file, WIDE)] == [("a", 100), ("b", 100), ("c", 100)]
    assert len(read(path, WIDE, ["a", "c"]).records) == 200
    with pytest.raises(ValueError, match=r"t\.parquet: row group 1 cannot be read"):
        read(path, WIDE, ["b"])


def test_groups_beyond_the_range_are_not_read(tmp_path):
    path = parquet(tmp_path / "t.parquet", [("a", i, float(i)) for i in range(400)], group=100)
    group = pq.ParquetFile(path).metadata.row_group(3).column(2)
    with path.open("r+b") as file:
        file.seek(group.data_page_offset)
        file.write(b"\xff" * 64)
    assert len(read(path, WIDE, None, at(50), at(300)).records) == 250
    with pytest.raises(ValueError, match="row group 3 cannot be read"):
        read(path, WIDE, None, at(50), at(301))


@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("us", "Asia/Tokyo"), pa.timestamp("ns", "UTC"), pa.int64()]
)
def test_times_of_every_kind_prune_and_filter(tmp_path, kind):
    path = tmp_path / "t.parquet"
    rows = [("a", i, float(i)) for i in range(10)]
    if kind == pa.timestamp("s"):
        parquet(path, rows, group=3)
        table = pq.read_table(path)
        pq.write_table(table.set_column(1, "time", table["time"].cast(pa.timestamp("s"))), path, row_group_size=3)
    else:
        parquet(path, rows, group=3, kind=pa.timestamp("ms") if kind != pa.int64() else kind)
        table = pq.read_table(path)
        pq.write_table(table.set_column(1, "time", table["time"].cast(kind)), path, row_group_size=3)
    (file,) = list_files(str(path), WIDE)
    assert [value["cpu"] for value in read(path, WIDE, None, at(4), at(8)).values] == [4.0, 5.0, 6.0, 7.0]
    assert held(str(path), file, WIDE, at(4), at(8)) == [("a", 4, at(4), at(7))]
    assert held(str(path), file, WIDE) == [("a", 10, at(0), at(9))]


def test_only_the_features_of_closed_columns_are_read(tmp_path):
    path = parquet(tmp_path / "t.parquet", [("a", 0, 1.0)], mem=[2.0], disk=[3.0])
    group = pq.ParquetFile(path).metadata.row_group(0).column(4)
    with path.open("r+b") as file:
        file.seek(group.data_page_offset)
        file.write(b"\xff" * 20)
    reading = read(path, columns=Columns(["mem", "cpu", "net"], open=False))
    assert reading.values == [{"mem": 2.0, "cpu": 1.0}]
    assert reading.unknown == {}
    with pytest.raises(ValueError, match=r"t\.parquet: has none of the features \['net'\]"):
        read(path, columns=Columns(["net"], open=False))


ODD = {
    "text": (["1.5", "high", None, "  "], [1.5, None, None]),
    "words": (["high", "low", "low", "high"], []),
    "truth": ([True, False, None, True], [None]),
    "categories": (pa.array(["1.5", "high", None, "2"]).dictionary_encode(), [1.5, None, 2.0]),
    "numbers by category": (pa.array([1.5, 2.0, None, 2.0]).dictionary_encode(), [1.5, 2.0, None, 2.0]),
    "nothing": (pa.nulls(4), [None] * 4),
    "moments": (pa.array([0, 1, None, 2], pa.timestamp("s")), [None]),
    "lists": ([[1.0], [], None, [2.0]], [None]),
}


@pytest.mark.parametrize("memory", [1 << 20, 0], ids=["swept", "sorted"])
@pytest.mark.parametrize(("cells", "expected"), ODD.values(), ids=ODD)
def test_a_feature_of_the_model_is_read_whatever_its_column_holds(tmp_path, cells, expected, memory):
    """What is no number is a dead letter that names the feature, as in the stream, and never a feature less."""
    rows = [("a", second, float(second)) for second in range(4)]
    path = parquet(tmp_path / "t.parquet", rows, mem=cells)
    reading = read(path, columns=Columns(["cpu", "mem"], open=False), memory_bytes=memory)
    assert [values.get("mem") for values in reading.values] == expected
    letters = [letter for letter in reading.dead if letter.reason == "wrong_type"]
    assert len(letters) == 4 - len(expected)
    assert all("t.parquet: mem: " in letter.detail and "a number" in letter.detail for letter in letters)
    alone = drain(open_source(str(path), WIDE, Columns(["cpu", "mem"], open=False)))  # as `tsad run` reads it
    assert (alone.values, [d.reason for d in alone.dead]) == (reading.values, [d.reason for d in reading.dead])


def test_a_feature_of_the_model_is_read_from_csv_though_its_first_rows_are_words(tmp_path):
    path = write(
        tmp_path / "t.csv", [HEADER, *(f"a,{START + second},1,high" for second in range(9)), f"a,{START + 9},1,2"]
    )
    for reading in (
        read(path, columns=Columns(["cpu", "mem"], open=False)),
        drain(open_source(str(path), WIDE, Columns(["cpu", "mem"], open=False))),
    ):
        assert reading.values == [{"cpu": 1.0, "mem": 2.0}]
        assert {letter.reason for letter in reading.dead} == {"wrong_type"}
        assert len(reading.dead) == 9
    assert len(read(path).values) == 10  # without a model it is no feature


def test_a_file_without_a_needed_column_is_named(tmp_path):
    parquet(tmp_path / "1.parquet", [("a", 0, 1.0)])
    write(tmp_path / "2.csv", ["time,cpu", f"{START},1"])
    (_, second) = list_files(str(tmp_path), WIDE)
    for attempt in (lambda: read(tmp_path), lambda: held(str(tmp_path), second, WIDE)):
        with pytest.raises(ValueError, match=r"2\.csv: has no column \['host'\]"):
            attempt()


@pytest.mark.parametrize("damage", ["footer", "empty", "cut"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = parquet(tmp_path / "t.parquet", [("a", i, 1.0) for i in range(100)])
    content = path.read_bytes()
    path.write_bytes({"footer": content[:-9] + b"\xff" * 9, "empty": b"", "cut": content[: len(content) // 2]}[damage])
    (file,) = list_files(str(path), WIDE)
    for attempt in (lambda: read(path), lambda: held(str(path), file, WIDE)):
        with pytest.raises(ValueError, match=r"t\.parquet: cannot be read as Parquet"):
            attempt()


def test_a_cut_gz_file_is_named(tmp_path):
    whole = gzip.compress("\n".join([HEADER, *(f"a,{START + i},{i},{i * i}" for i in range(500))]).encode())
    (tmp_path / "t.csv.gz").write_bytes(whole)
    assert len(read(tmp_path).records) == 500
    (tmp_path / "t.csv.gz").write_bytes(whole[:-100])
    with pytest.raises(ValueError, match=r"t\.csv\.gz: the compressed file is damaged or cut off"):
        read(tmp_path)


def test_a_file_that_changed_or_is_gone(tmp_path):
    two_files(tmp_path)
    files = list_files(str(tmp_path), WIDE)
    parquet(tmp_path / "2.parquet", [("a", 2, 4.0)])
    with pytest.raises(SourceChanged, match=r"2\.parquet: changed since the data set was listed"):
        read(tmp_path, files=files)
    with pytest.raises(ValueError, match=r"2\.parquet: changed since"):
        held(str(tmp_path), files[1], WIDE)
    (tmp_path / "2.parquet").unlink()
    with pytest.raises(SourceChanged, match=r"2\.parquet: is gone"):
        read(tmp_path, files=files)
    with pytest.raises(ValueError, match=r"2\.parquet: is gone"):
        held(str(tmp_path), files[1], WIDE)


def test_columns_that_folders_name(tmp_path):
    for host, seconds in (("web%2F1", [0, 1]), ("b", [0])):
        folder = tmp_path / f"day=2024-01-01/host={host}"
        folder.mkdir(parents=True)
        times = pa.array([(START + s) * 1000 for s in seconds]).cast(pa.timestamp("ms"))
        pq.write_table(pa.table({"time": times, "cpu": [float(s) for s in seconds]}), folder / "x.parquet")
    lost = tmp_path / "day=2024-01-01/host=__HIVE_DEFAULT_PARTITION__"
    lost.mkdir()
    write(lost / "x.csv", ["time,cpu", f"{START},7"])
    lost_file, b, web = list_files(str(tmp_path), WIDE)
    assert held(str(tmp_path), web, WIDE) == [("web/1", 2, at(0), at(1))]
    assert held(str(tmp_path), b, WIDE) == [("b", 1, at(0), at(0))]
    assert held(str(tmp_path), lost_file, WIDE) == [("", 1, 0, 0)]
    reading = read(tmp_path)
    assert [(e, (t - at(0)) // SECOND, v["cpu"]) for e, t, v in reading.records] == [
        ("b", 0, 0.0),
        ("web/1", 0, 0.0),
        ("web/1", 1, 1.0),
    ]
    assert reading.counts == {"missing_entity": 1}
    assert read(tmp_path, WIDE, ["web/1"]).entities == ["web/1"] * 2
    assert set(read(tmp_path / "day=2024-01-01/host=b").entities) == {"b"}
    assert read(f"{tmp_path}/*/host=w*").entities == ["web/1"] * 2


def test_the_long_layout_and_json_streams(tmp_path):
    write(tmp_path / "t.csv", ["host,time,name,value", f"a,{START},cpu,1", f"a,{START},mem,2", f"b,{START + 1},cpu,3"])
    assert read(tmp_path, LONG).records == [("a", at(0), {"cpu": 1.0, "mem": 2.0}), ("b", at(1), {"cpu": 3.0})]
    assert read(tmp_path, LONG, ["b"]).records == [("b", at(1), {"cpu": 3.0})]
    (file,) = list_files(str(tmp_path), LONG)
    assert held(str(tmp_path), file, LONG) == [("a", 2, at(0), at(0)), ("b", 1, at(1), at(1))]
    write(tmp_path / "t.csv", ["entity,time,cpu", f"a,{START},1"])
    assert read(tmp_path, TelemetryFormat()).records == [("a", at(0), {"cpu": 1.0})]


def test_what_is_not_told_here_is_not_counted_either(tmp_path):
    rows = [f"a,{START + second},{name},{cell}" for second in range(9) for name, cell in (("cpu", "1"), ("gpu", "2"))]
    path = write(tmp_path / "t.csv", ["host,time,name,value", *rows, f"a,{START + 2},cpu,x", f"a,{START + 8},gpu,x"])
    for told, unknown, dead in (
        ((None, None), 9, 2),
        ((at(3), at(7)), 4, 0),
        ((None, at(3)), 3, 1),
        ((at(5), None), 4, 1),
    ):
        reading = read(path, LONG, columns=Columns(["cpu"], open=False), told_ns=told)
        assert (reading.unknown, len(reading.dead)) == ({"gpu": unknown}, dead)
        assert len(reading.values) == 9


def test_without_a_time_column_the_row_is_the_time_of_one_entity_a_file(tmp_path):
    plain = TelemetryFormat(layout="wide", entity=None, time=None, default_entity="{file}")
    for name, cells in (("a", [1, 2, 3]), ("b", [4, 5])):
        write(tmp_path / f"{name}.csv", ["x", *map(str, cells)])
        pq.write_table(pa.table({"x": [float(cell) for cell in cells]}), tmp_path / f"{name}2.parquet")
    files = list_files(str(tmp_path), plain)
    assert [held(str(tmp_path), file, plain) for file in files] == [
        [("a", 3, 0, 2 * SECOND)],
        [("a2", 3, 0, 2 * SECOND)],
        [("b", 2, 0, SECOND)],
        [("b2", 2, 0, SECOND)],
    ]
    reading = read(tmp_path, plain, ["b2", "a"], SECOND)
    assert [(e, t // SECOND, v["x"]) for e, t, v in reading.records] == [("a", 1, 2.0), ("b2", 1, 5.0), ("a", 2, 3.0)]
    for form in (
        TelemetryFormat(layout="wide", entity="host", time=None),
        TelemetryFormat(layout="wide", entity=None, time=None),
    ):
        with pytest.raises(ValueError, match="without a time column the number of a row is its time"):
            list_files(str(tmp_path), form)


def test_a_reading_goes_on_from_a_position(tmp_path):
    two_files(tmp_path)
    files = list_files(str(tmp_path), WIDE)
    whole = read(tmp_path).records

    def source(entities=None):
        return open_dataset(str(tmp_path), files, WIDE, Columns(), entities)

    first = source()
    seen = drain(first, 2, most=2)
    position = json.loads(json.dumps(first.position(seen.next_position)))
    first.close()
    second = source()
    second.seek(position)
    assert seen.records + drain(second, 2).records == whole
    second.close()
    other = source(["a"])
    with pytest.raises(SourceChanged, match="other files, entities or times"):
        other.seek(position)
    other.close()


@pytest.mark.parametrize("memory", [0, 1 << 20])
def test_wherever_a_reading_is_cut_the_rest_comes_once(tmp_path, memory):
    """Records, dead letters and their numbers, whatever lies between them."""
    seconds = [0, 3, 1, 2, None, 4, 5, 6, 6, 7, 9, 8]
    rows = [(host, s, 1.0) for host, s in zip([None, "a", "b"] * 4, seconds, strict=True)]
    parquet(tmp_path / "1.parquet", rows[:8], group=2)
    parquet(tmp_path / "2.parquet", rows[8:], group=3)
    files = list_files(str(tmp_path), WIDE)

    def source():
        return open_dataset(str(tmp_path), files, WIDE, Columns(), memory_bytes=memory)

    whole = drain(source(), 2)
    assert (len(whole.records), whole.counts) == (7, {"missing_entity": 4, "missing_time": 1})
    assert len({*whole.positions, *(letter.position for letter in whole.dead)}) == 12
    for polls in range(1, whole.batches + 1):
        first = source()
        before = drain(first, 2, most=polls)
        second = source()
        second.seek(first.position(before.next_position))
        rest = drain(second, 3)
        assert before.records + rest.records == whole.records
        assert before.positions + rest.positions == whole.positions
        assert [*before.dead, *rest.dead] == whole.dead
        first.close()
        second.close()


def test_a_parquet_file_with_two_columns_of_one_name(tmp_path):
    cells = [pa.array(["a"]), pa.array([START]), pa.array([1.0]), pa.array([2.0])]
    pq.write_table(pa.Table.from_arrays(cells, ["host", "time", "cpu", "cpu"]), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"t\.parquet: has several columns \['cpu'\]"):
        read(tmp_path)


def test_more_than_memory_holds_is_spilled_and_comes_in_order(tmp_path):
    rng = np.random.default_rng(1)
    rows = [(f"h{i % 7}", int(s), float(i)) for i, s in enumerate(rng.permutation(5000))]
    for k in range(5):
        parquet(tmp_path / f"{k}.parquet", rows[k * 1000 : (k + 1) * 1000])
    assert read(tmp_path, memory_bytes=100_000).records == read(tmp_path).records
    assert read(tmp_path, memory_bytes=100_000).times == sorted(at(s) for s in range(5000))


@pytest.mark.parametrize("memory", [1, 100_000, 1 << 30])
def test_a_poll_of_sorted_rows_is_full_whatever_they_were_cut_into(tmp_path, memory):
    parquet(tmp_path / "1.parquet", [(f"h{i % 7}", i * 7 % 3001, float(i)) for i in range(3000)])
    files = list_files(str(tmp_path), WIDE)
    source = open_dataset(str(tmp_path), files, WIDE, Columns(), ["h1", "h2"], memory_bytes=memory)
    found = [len(batch.codes) for batch in iter(lambda: source.poll(400), None) if len(batch.codes)]
    assert found == [400, 400, 58]
    source.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", None]), st.none() | st.integers(0, 9), st.floats(0, 9, width=32)),
        min_size=1,
        max_size=30,
    ),
    st.lists(st.integers(0, 30), max_size=3),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.integers(1, 5),
    st.sets(st.sampled_from(["a", "b", "c"])) | st.none(),
    st.tuples(st.none() | st.integers(0, 9), st.none() | st.integers(0, 9)),
    st.sampled_from([0, 200, 1 << 20]),
)
def test_any_split_gives_the_same_records_as_the_whole_filtered(
    tmp_path_factory, rows, cuts, as_csv, group, entities, ends, memory
):
    folder = tmp_path_factory.mktemp("split")
    since, until = (None if end is None else at(end) for end in ends)
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for k, (start, stop) in enumerate(pairwise(bounds)):
        part = rows[start:stop]
        if as_csv[k]:
            lines = [f"{h or ''},{'' if s is None else START + s},{v}" for h, s, v in part]
            write(folder / f"{k}.csv", ["host,time,cpu", *lines])
        else:
            parquet(folder / f"{k}.parquet", part, group=group)
    whole = [(h, at(s), {"cpu": np.float32(v)}) for h, s, v in rows if h is not None and s is not None]
    inside = [row for row in whole if (since is None or row[1] >= since) and (until is None or row[1] < until)]
    expected = sorted((row for row in inside if entities is None or row[0] in entities), key=lambda row: row[1])
    asked = None if entities is None else sorted(entities)
    assert read(folder, WIDE, asked, since, until, poll=3, memory_bytes=memory).records == expected
    totals = {}
    for file in list_files(str(folder), WIDE):
        for one in held(str(folder), file, WIDE, since, until):
            totals[one.entity] = totals.get(one.entity, 0) + one.rows
    totals.pop("", None)
    timeless = [row for row in rows if row[1] is None]  # in every range, as dead letters of their entity
    assert totals == {name: n for name in "abc" if (n := sum(row[0] == name for row in [*inside, *timeless]))}
