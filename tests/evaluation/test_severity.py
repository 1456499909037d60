"""Concordance of severity: against a plain loop over pairs, and on planted shifts of one, two and four times a size."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_series import waves

from tsad.evaluation.harness import Plan, evaluate
from tsad.evaluation.series import TrainPart, find_series, read_series
from tsad.evaluation.severity import concordance, severity_figures


def by_pairs(levels, scores):
    """Every pair of different levels, one by one."""
    agreeing = pairs = 0
    for one, first in zip(levels, scores, strict=True):
        for other, second in zip(levels, scores, strict=True):
            if one < other:
                pairs += 1
                agreeing += 1 if second > first else 0.5 if second == first else 0
    return agreeing / pairs if pairs else None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1, max_size=25))
def test_it_is_that_of_all_pairs(rows):
    levels, scores = np.array(rows, float).T
    assert concordance(levels, scores) == pytest.approx(by_pairs(levels, scores))


def test_rising_scores_agree_falling_ones_do_not_and_equal_ones_say_nothing():
    levels = np.array([1.0, 2.0, 4.0])
    assert concordance(levels, np.array([0.1, 0.2, 9.0])) == 1
    assert concordance(levels, np.array([3.0, 2.0, 1.0])) == 0
    assert concordance(levels, np.full(3, 0.5)) == 0.5
    assert concordance(np.ones(3), np.arange(3.0)) is None


def test_an_event_counts_by_its_highest_level_and_score_and_normal_rows_are_of_level_0():
    labels = np.array([0, 1, 1, 0, 1, 1, 0], bool)
    levels = np.array([0, 1, 1, 0, 2, 4, 0.0])
    scores = np.array([0.9, 0.1, 0.6, 0.2, 0.5, 0.7, 0.0])
    found = severity_figures(labels, levels, scores, "settled_")
    assert found["settled_event_concordance"] == 1  # .6 of level 1, .7 of level 4
    assert found["settled_row_concordance"] == pytest.approx(by_pairs(levels, scores))
    assert severity_figures(np.zeros(3, bool), np.zeros(3), np.arange(3.0)) == {
        "event_concordance": None, "row_concordance": None,
    }  # fmt: skip


def write(path, rows, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"timestamp": np.arange(rows), "a": np.arange(rows, dtype=np.float32)} | columns), path)


def read(path, train=2):
    return read_series(find_series(path)[0], TrainPart(rows=train))


def test_the_column_of_levels_is_no_channel_and_is_cut_as_the_labels_are(tmp_path):
    path = tmp_path / "s.test.parquet"
    write(path, 6, label=np.array([0, 0, 0, 1, 1, 0], np.int8), level=np.array([0, 0, 0, 2, 4, 0], np.int8))
    series = read(path)
    assert series.channels == ["a"]
    assert series.levels.tolist() == [0, 2, 4, 0]


@pytest.mark.parametrize(
    "columns",
    [
        {"level": np.array([0.5, 0, 0, 2, 4, 0])},  # with no labels: somebody's water level
        {"label": np.array([0, 0, 0, 1, 1, 0], np.int8), "level": np.array([0.5, 0, 0, 2, 4, 0])},
        {"label": np.array([0, 0, 0, 1, 1, 0], np.int8), "level": np.array([0, 0, 0, 2, 0, 0.0])},
        {"label": np.zeros(6, np.int8), "level": np.zeros(6)},
    ],
)
def test_a_channel_that_is_called_level_stays_one(tmp_path, columns):
    path = tmp_path / "s.test.parquet"
    write(path, 6, **columns)
    series = read(path)
    assert series.channels == ["a", "level"]
    assert series.levels is None


def test_shifts_of_one_two_and_four_times_the_size_score_higher_and_higher(tmp_path):
    train, sizes = 900, (1, 2, 4, 1, 2, 4)
    values, levels = waves(train + 900, 9), np.zeros(900)
    for place, size in enumerate(sizes):
        start = 100 + 130 * place
        levels[start : start + 6] = size
        values[train + start : train + start + 6] += 0.8 * size
    columns = {f"m{place}": column for place, column in enumerate(values[train:].T)}
    labels = {"label": (levels > 0).astype(np.int8), "level": levels}
    pq.write_table(pa.table({"timestamp": np.arange(900)} | columns | labels), tmp_path / "s.test.parquet")
    columns = {f"m{place}": column for place, column in enumerate(values[:train].T)}
    pq.write_table(pa.table({"timestamp": np.arange(train)} | columns), tmp_path / "s.train.parquet")
    found = evaluate(tmp_path, Plan(profile="fast"), 1, lambda _: None, lambda: False).measured[0].figures
    print({name: value for name, value in found.items() if "concordance" in name})
    assert found["event_concordance"] >= 0.9
    assert found["settled_event_concordance"] >= 0.9
    assert found["row_concordance"] > 0.8
