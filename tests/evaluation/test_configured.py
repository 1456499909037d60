"""`tsad evaluate --stream`: any file that a configured stream can read becomes series, one for each entity."""

import csv
import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tsad.config import ConfigError, parse_config
from tsad.evaluation.configured import configured_series
from tsad.evaluation.harness import Plan, evaluate
from tsad.evaluation.series import TrainPart, find_series, read_series

START = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = 60 * 10**9


def stream_of(**stream):
    return parse_config({"stream": {"web": {"step": "1m", "profile": "fast"} | stream}})


WIDE = {"telemetry": {"layout": "wide", "entity": "host"}}


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(minute, host="a", **values):
    return {"host": host, "time": (START + timedelta(minutes=minute)).isoformat()} | values


def read(folder, config, path, name="web", label="label", **told):
    """The series that the stream gives, cut after two rows, by entity."""
    given = configured_series(config, name, path, label, folder, told.get("budget"), told.get("profile"))
    found = find_series(folder / given.name)
    return given, {file.name: read_series(file, TrainPart(rows=2)) for file in found}


def whole(series):
    return np.concatenate([series.train, series.test])


def test_each_entity_is_a_series_in_slots(tmp_path):
    rows = [row(minute, host, cpu=minute + 10 * (host == "b")) for minute in range(6) for host in "ab"]
    given, found = read(tmp_path, stream_of(**WIDE), write_csv(tmp_path / "x.csv", rows))
    assert (given.name, given.entities) == ("web", 2)
    assert sorted(found) == ["a", "b"]
    assert found["a"].channels == ["cpu"]
    assert whole(found["a"])[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert whole(found["b"])[:, 0].tolist() == [10, 11, 12, 13, 14, 15]
    assert found["a"].labels is None
    assert found["a"].times[2] == int((START + timedelta(minutes=2)).timestamp()) * 10**9
    assert found["a"].step == MINUTE


def test_gaps_are_missing_rows_and_several_records_of_a_slot_one_row(tmp_path):
    rows = [row(0, cpu=1), row(0.25, cpu=3), row(1, cpu=5), row(4, cpu=7)]
    _, found = read(tmp_path, stream_of(**WIDE), write_csv(tmp_path / "x.csv", rows))
    values = whole(found["a"])[:, 0]
    assert values[[0, 1, 4]].tolist() == [2, 5, 7]
    assert np.isnan(values[[2, 3]]).all()


@pytest.mark.parametrize("label", ["label", "fault"])
def test_the_label_is_no_channel_and_a_slot_is_labelled_where_any_of_its_records_is(tmp_path, label):
    rows = [row(minute / 2, cpu=minute, **{label: int(minute == 7)}) for minute in range(12)]
    _, found = read(tmp_path, stream_of(**WIDE), write_csv(tmp_path / "x.csv", rows), label=label)
    assert found["a"].channels == ["cpu"]
    assert found["a"].labels.tolist() == [False, True, False, False]  # of rows 2 to 5


def test_a_label_that_the_stream_ignores_is_read_all_the_same(tmp_path):
    telemetry = {"layout": "wide", "entity": "host", "ignore": ["fault", "note"]}
    rows = [row(minute, cpu=minute, fault=int(minute > 3), note="x") for minute in range(6)]
    _, found = read(tmp_path, stream_of(telemetry=telemetry), write_csv(tmp_path / "x.csv", rows), label="fault")
    assert found["a"].channels == ["cpu"]
    assert found["a"].labels.tolist() == [False, False, True, True]


def test_what_the_stream_derives_is_derived_once(tmp_path):
    features = {"bytes": {"counter": True}, "*": {"missing": "carry", "carry": 5}}
    rows = [row(minute, bytes=600 * minute, cpu=minute) for minute in (0, 1, 2, 5)]
    config = stream_of(**WIDE, features=features)
    given, found = read(tmp_path, config, write_csv(tmp_path / "x.csv", rows))
    values = dict(zip(found["a"].channels, whole(found["a"]).T, strict=True))
    assert values["bytes"][1:3].tolist() == [10, 10]  # a rate a second
    judged = given.config("entity")
    assert (judged.features, judged.logs, judged.lateness) == ({}, None, 0)


def test_json_lines_and_odd_names_of_entities_are_read(tmp_path):
    names = ("eu/web 1", "..", "ü")
    lines = [
        {"entity": name, "time": (START + timedelta(minutes=minute)).isoformat(), "values": {"cpu": minute, "label": 0}}
        for minute in range(5)
        for name in names
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    given, found = read(tmp_path, stream_of(), path)
    assert given.entities == len(found) == 3
    assert sorted(found) == sorted(["eu%2Fweb%201", "..", "%C3%BC"])
    assert all(series.channels == ["cpu"] and series.labels is not None for series in found.values())


def test_the_configured_source_is_read_where_no_path_is_given(tmp_path):
    path = write_csv(tmp_path / "x.csv", [row(minute, cpu=minute) for minute in range(5)])
    telemetry = {"layout": "wide", "entity": "host", "source": str(path)}
    _, found = read(tmp_path, stream_of(telemetry=telemetry), None)
    assert list(found) == ["a"]


def test_the_series_are_judged_as_the_stream_is(tmp_path):
    path = write_csv(tmp_path / "x.csv", [row(minute, host, cpu=minute) for minute in range(5) for host in "abc"])
    config = stream_of(**WIDE, alert_budget=6, quiet=30, detectors=["subspace"])
    given, _ = read(tmp_path, config, path)
    judged = given.config("stream")
    assert (judged.alert_budget, judged.expected_entities, judged.quiet, judged.scope) == (6, 3, 30, "stream")
    assert judged.detectors == ("subspace",)
    (tmp_path / "other").mkdir()
    other, _ = read(tmp_path / "other", config, path, budget=2.0, profile="default")
    assert (other.config("entity").alert_budget, other.config("entity").profile) == (2.0, "default")
    assert other.config("entity").detectors is None


def test_what_cannot_be_evaluated_is_said(tmp_path):
    path = write_csv(tmp_path / "x.csv", [row(0, cpu=1)])
    with pytest.raises(ConfigError, match="'api' is not in the configuration; configured: web"):
        read(tmp_path, stream_of(**WIDE), path, name="api")
    with pytest.raises(ConfigError, match="has no telemetry"):
        read(tmp_path, stream_of(telemetry=False, logs={}), path)
    with pytest.raises(ConfigError, match="source is not set"):
        read(tmp_path, stream_of(**WIDE), None)
    empty = tmp_path / "empty.csv"
    empty.write_text("host,time,cpu\n")
    with pytest.raises(ValueError, match="no row to evaluate"):
        read(tmp_path, stream_of(**WIDE), empty)


@pytest.mark.parametrize("year", [2026, 1970])
def test_it_is_evaluated_like_any_other_series_even_in_1970(tmp_path, year):
    start, rng = datetime(year, 1, 5, tzinfo=UTC), np.random.default_rng(4)
    rows = [
        {
            "host": "a", "time": (start + timedelta(minutes=5 * place)).isoformat(),
            "cpu": math.sin(place / 9) + rng.normal(0, 0.1) + 6 * (700 <= place < 715),
            "label": int(700 <= place < 715),
        }
        for place in range(800)
    ]  # fmt: skip
    config = stream_of(**WIDE | {"step": "5m"})
    given, _ = read(tmp_path, config, write_csv(tmp_path / "x.csv", rows))
    plan = Plan(TrainPart.parse("50%"), stream=given.config("entity"))
    (found,) = evaluate(tmp_path / given.name, plan, 1, lambda _: None, lambda: False).measured
    assert (found.folder, found.series, found.figures["rows"]) == ("web", "a", 400)
    assert found.figures["event_recall"] == 1
    assert found.figures["vus_pr_100"] > 0.5
