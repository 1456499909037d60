"""Reading labelled series: the shared layout, TSB-AD's, and what their timestamps and labels mean."""

import json
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tsad.evaluation.series import TrainPart, extents_of, find_series, read_series


def write(path, rows, labels=None, timestamps=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"timestamp": np.arange(rows) if timestamps is None else timestamps}
    columns |= {"a": np.arange(rows, dtype=np.float32), "b": np.ones(rows, np.float32)} | more
    columns |= {} if labels is None else {"label": np.array(labels, np.int8)}
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize(
    ("text", "rows", "wanted"), [("400", 1000, 400), ("25%", 1001, 250), ("15%,750", 1000, 150), ("15%,750", 9000, 750)]
)
def test_the_train_part_is_rows_or_a_share_up_to_a_limit(text, rows, wanted):
    assert TrainPart.parse(text).of(rows) == wanted


@pytest.mark.parametrize("text", ["", "x", "0%", "100%", "10,5", "-3", "15%,"])
def test_another_train_part_is_refused_with_examples(text):
    with pytest.raises(ValueError, match="400, 25% or 15%,750"):
        TrainPart.parse(text)


def test_series_are_found_in_a_folder_in_folders_and_as_a_file(tmp_path):
    write(tmp_path / "set" / "one.test.parquet", 10)
    write(tmp_path / "set" / "one.train.parquet", 5)
    write(tmp_path / "set" / "alone.train.parquet", 5)
    write(tmp_path / "other" / "two.test.parquet", 10)
    assert [(one.folder, one.name) for one in find_series(tmp_path)] == [("other", "two"), ("set", "one")]
    assert [one.name for one in find_series(tmp_path / "set")] == ["one"]
    (only,) = find_series(tmp_path / "set" / "one.test.parquet")
    assert (only.folder, only.name, only.train) == ("set", "one", tmp_path / "set" / "one.train.parquet")
    with pytest.raises(ValueError, match="holds no series"):
        find_series(tmp_path / "missing")


def test_a_train_file_is_the_train_part_and_every_test_row_is_scored(tmp_path):
    write(tmp_path / "s.test.parquet", 10, labels=[0] * 8 + [1] * 2, changepoint=np.zeros(10), note=["x"] * 10)
    write(tmp_path / "s.train.parquet", 6, labels=[1] * 6)
    (file,) = find_series(tmp_path)
    series = read_series(file, TrainPart(rows=4))
    assert (series.channels, series.first) == (["a", "b"], 0)
    assert series.train[:, 0].tolist() == list(range(6))
    assert (series.test.shape, series.labels.sum()) == ((10, 2), 2)


def test_without_a_train_file_the_start_is_the_train_part_and_without_labels_there_are_none(tmp_path):
    write(tmp_path / "s.test.parquet", 10)
    series = read_series(find_series(tmp_path)[0], TrainPart(rows=4))
    assert (series.first, len(series.train), series.labels) == (4, 4, None)
    assert series.test[:, 0].tolist() == list(range(4, 10))
    with pytest.raises(ValueError, match="too few"):
        read_series(find_series(tmp_path)[0], TrainPart(rows=10))


def test_the_name_of_a_tsb_file_says_where_its_train_part_ends(tmp_path):
    table = pa.table({"x": np.arange(8.0), "y": np.ones(8), "Label": [0, 0, 0, 0, 0, 1, 1, 0]})
    pyarrow.csv.write_csv(table, tmp_path / "057_SMD_id_1_Facility_tr_3_1st_5.csv")
    series = read_series(find_series(tmp_path)[0], TrainPart())
    assert (series.file.name, series.first) == ("057_SMD_id_1_Facility_tr_3_1st_5", 3)
    assert series.channels == ["x", "y"]
    assert series.labels.tolist() == [False, False, True, True, False]


@pytest.mark.parametrize(("end", "inclusive"), [(4, False), (3, True)])
def test_whether_causes_end_inclusively_is_read_off_the_labels(tmp_path, end, inclusive):
    write(tmp_path / "s.test.parquet", 10, labels=[0, 0, 1, 1, 0, 0, 0, 0, 0, 0])
    event = {"start": 2, "end": end, "channels": ["b"]}
    (tmp_path / "s.interpretation_label.json").write_text(json.dumps({"events": [event]}))
    series = read_series(find_series(tmp_path)[0], TrainPart(rows=1))
    ((cause, extent),) = extents_of(series.causes, series)
    assert (cause.start, cause.stop, cause.channels) == (2, 4, {"b"})
    assert (extent.starts.tolist(), extent.stops.tolist()) == ([1], [3])


def test_real_timestamps_give_step_and_place_and_row_numbers_take_the_manifest(tmp_path):
    start = datetime(2024, 5, 1)
    write(tmp_path / "d" / "real.test.parquet", 9, timestamps=[start + timedelta(minutes=5 * i) for i in range(9)])
    write(tmp_path / "d" / "epoch.test.parquet", 9, timestamps=1_700_000_000 + 30 * np.arange(9))
    write(tmp_path / "d" / "told.test.parquet", 9)
    write(tmp_path / "d" / "untold.test.parquet", 9)
    told = {"dataset": "d", "series": "told", "interval": "300 s median"}
    (tmp_path / "manifest.json").write_text(json.dumps({"series": [told]}))
    read = {one.name: read_series(one, TrainPart(rows=3)) for one in find_series(tmp_path)}
    seconds = {name: one.step / 1e9 for name, one in read.items()}
    assert seconds == {"real": 300, "epoch": 30, "told": 300, "untold": 60}
    assert read["epoch"].times.tolist() == [(1_700_000_000 + 30 * i) * 10**9 for i in range(9)]
    assert read["epoch"].knowing(1).times.tolist() == read["epoch"].times[2:].tolist()
    assert read["epoch"].knowing(1).train.tolist() == read["epoch"].train[2:].tolist()
    assert (read["told"].times, read["untold"].knowing(2).times) == (None, None)
