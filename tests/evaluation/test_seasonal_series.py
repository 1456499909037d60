"""Real timestamps of a series serve its seasons, gaps and repeated times included; row numbers serve none."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tsad.evaluation.harness import Plan
from tsad.evaluation.running import Stream, first_slot, fit_together
from tsad.evaluation.series import TrainPart, find_series, read_series

TRAIN = 48 * 10
EVENT = 700
"""The row of the file at which noon's load comes at night."""


def write(folder: Path, name: str, dated: bool) -> None:
    """Half-hourly rows; every 11th row is absent and every 50th stands there twice, so that 48 rows are no day."""
    folder.mkdir(parents=True, exist_ok=True)
    half_hours = np.sort(np.concatenate([np.arange(1200)[np.arange(1200) % 11 > 0], np.arange(0, 1200, 50) + 1]))
    hour = half_hours % 48 / 2
    rng = np.random.default_rng(1)
    load = 10 + 5 * np.interp(hour, [0, 6, 9, 17, 20, 24], [0, 0, 1, 1, 0, 0])
    night = EVENT + np.flatnonzero((hour[EVENT:] > 1) & (hour[EVENT:] < 4))[:4]
    load[night] = 15
    values = np.stack([load, np.zeros(len(load))], axis=1) + 0.1 * rng.normal(size=(len(load), 2))
    start = datetime(2024, 5, 6)
    times = [start + timedelta(minutes=30 * int(slot)) for slot in half_hours] if dated else np.arange(len(load))
    label = np.zeros(len(load), np.int8)
    label[night] = 1
    table = {"timestamp": times, "load": values[:, 0], "noise": values[:, 1], "label": label}
    pq.write_table(pa.table(table), folder / f"{name}.test.parquet")


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("data") / "seasonal"
    write(folder, "dated", True)
    write(folder, "numbered", False)
    return {file.name: read_series(file, TrainPart(rows=TRAIN)) for file in find_series(folder)}


def scored(series, seasons=True):
    config = Plan(profile="fast").config(series.step).model_copy(update={"seasons": seasons})
    start = first_slot([series])
    model = fit_together([series], config, start)
    return model, Stream(config, model, start, series).run()


def test_the_time_of_each_row_says_its_hour(series):
    dated = series["dated"]
    model, said = scored(dated)
    assert model.seasons.length[0].tolist() == [24, 0]
    unseasonal = scored(dated, seasons=False)[1]
    assert said.score[dated.labels].min() > 1  # for as long as it lasts
    assert unseasonal.score[dated.labels].min() < 1  # without seasons its edge is all there is
    assert np.isfinite(said.ratios[64:, 0]).all()


def test_by_the_number_of_the_row_there_is_no_hour(series):
    numbered = series["numbered"]
    assert numbered.times is None
    model, _ = scored(numbered)
    assert not model.seasons.any
    times = series["dated"].step * np.arange(len(numbered.train) + len(numbered.test), dtype=np.int64)
    assert not scored(replace(numbered, times=times))[0].seasons.any


def test_only_the_rows_that_are_known_teach_a_season(series):
    few, enough = (scored(series["dated"].knowing(rows))[0].seasons for rows in (60, 400))
    assert (few.any, enough.any) == (False, True)
