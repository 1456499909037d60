"""Curves over the rows known of an entity, a first one or a new one of a known fleet, through the path of live data."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tsad.cli import app
from tsad.evaluation.coldstart import ColdStart
from tsad.evaluation.harness import Plan, cold_start_curve, evaluate
from tsad.evaluation.running import run_together
from tsad.evaluation.series import TrainPart, find_series, read_series

TRAIN, TEST, ROWS = 600, 400, "0,50,all"
SHARE = 30 / TEST
"""Labelled rows: the average precision of chance."""


def write(folder: Path, name: str, seed: int) -> None:
    """Four channels on two waves of one fleet, each entity with a phase and a scale of its own; `c` parts from `a` in
    rows 300 to 330 of the test part, inside its usual range."""
    rng = np.random.default_rng(seed)
    at = np.arange(TRAIN + TEST) + rng.uniform(0, 100)
    slow, fast = np.sin(at / 15), np.sin(at / 6)
    values = np.stack([slow, fast, slow + fast, slow - fast], axis=1) * rng.uniform(1, 9) + rng.uniform(-50, 50)
    values += 0.02 * np.ptp(values, axis=0) * rng.normal(size=values.shape)
    strange = slice(TRAIN + 300, TRAIN + 330)
    values[strange, 2] = 2 * values[:, 2].mean() - values[strange, 2]
    columns = dict(zip("abcd", values.astype(np.float32).T, strict=True))
    label = np.zeros(TRAIN + TEST, np.int8)
    label[strange] = 1
    time = {"timestamp": np.arange(TRAIN + TEST)}
    table = pa.table(time | columns | {"label": label})
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.slice(0, TRAIN).drop_columns("label"), folder / f"{name}.train.parquet")
    pq.write_table(table.slice(TRAIN), folder / f"{name}.test.parquet")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "fleet"
    for seed, name in enumerate(("one", "two", "three")):
        write(folder, name, seed)
    return folder


@pytest.fixture(scope="module")
def curves(data: Path) -> dict:
    plan = Plan(profile="fast")
    return {kind: cold_start_curve(data, plan, ColdStart.parse(ROWS, kind)) for kind in ("first", "fleet")}


def precision(curve: dict) -> dict[str, float]:
    return {label: found.mean()["average_precision"] for label, found in curve.items()}


def test_a_curve_has_every_series_at_every_point_and_scores_every_test_row(curves):
    for curve in curves.values():
        assert list(curve) == ROWS.split(",")
        for found in curve.values():
            assert [one.series for one in found.measured] == ["one", "three", "two"]
            assert {one.figures["rows"] for one in found.measured} == {TEST}


def test_the_more_is_known_of_a_first_entity_the_better(curves):
    first = precision(curves["first"])
    assert first["0"] > SHARE
    assert first["all"] > first["50"] > SHARE
    assert first["all"] > 3 * SHARE


def test_a_known_fleet_helps_an_entity_that_nothing_is_known_of(curves):
    first, fleet = precision(curves["first"]), precision(curves["fleet"])
    assert fleet["0"] > first["0"]
    assert fleet["0"] > 2 * SHARE


def test_all_of_a_first_entity_is_what_an_evaluation_measures(data, curves):
    plain = evaluate(data, Plan(profile="fast"), 1, lambda _: None, lambda: False)
    for name in ("average_precision", "vus_pr_100", "settled_average_precision", "false_episodes"):
        assert curves["first"]["all"].mean()[name] == plain.mean()[name]


def test_the_model_of_a_fleet_has_not_seen_the_new_entity(data):
    """Rows of the new entity beyond those known change nothing; a neighbour's do."""
    group = [read_series(file, TrainPart()) for file in find_series(data)]
    config = Plan(profile="fast", cold=ColdStart(50, "fleet")).config(group[0].step)
    point = ColdStart(50, "fleet")
    (plain, *_) = point.run(group, config)
    group[0].train[:-50] += 1000
    (foreign, *_) = point.run(group, config)
    assert foreign.score.tobytes() == plain.score.tobytes()
    group[0].train[-40:-20] += 1000
    (warmed, *_) = point.run(group, config)
    assert warmed.score.tobytes() != plain.score.tobytes()
    group[1].train[:300] *= 2
    (neighbour, *_) = point.run(group, config)
    assert neighbour.score.tobytes() != warmed.score.tobytes()


def test_nothing_known_is_a_score_from_the_first_rows_on(data):
    (file,) = find_series(data / "one.test.parquet")
    series = read_series(file, TrainPart())
    config = Plan(profile="fast").config(series.step)
    (scored,) = ColdStart(0).run([series], config)
    assert scored.detectors == ("vote",)
    assert (scored.row == np.arange(TEST)).all()
    assert (scored.score[20:] > 0).mean() > 0.9
    (fitted,) = run_together([series], config)
    assert fitted.score.tobytes() != scored.score.tobytes()


def test_an_entity_without_neighbours_is_no_fleet(data):
    plan = Plan(profile="fast")
    with pytest.raises(ValueError, match="no other series"):
        cold_start_curve(data / "one.test.parquet", plan, ColdStart.parse("0", "fleet"))


@pytest.mark.parametrize("text", ["", "some", "50,", "-1", "1.5", "all of it"])
def test_points_are_numbers_of_rows_or_all(text):
    with pytest.raises(ValueError, match="--rows needs numbers of rows"):
        ColdStart.parse(text)


def test_the_command_tells_the_curve(data, tmp_path, curves):
    command = ["cold-start", str(data), "--profile", "fast", "--workers", "1", "--rows", "0,50", "--fleet"]
    said = CliRunner().invoke(app, [*command, "--json", "--scores", str(tmp_path)])
    assert said.exit_code == 0
    told = json.loads(said.stdout)
    assert list(told) == ["0", "50"]
    assert told["50"]["mean"]["vus_pr_100"] == curves["fleet"]["50"].mean()["vus_pr_100"]
    assert (tmp_path / "fleet-50" / "fleet" / "one.parquet").exists()
    table = CliRunner().invoke(app, [*command, "--scores", str(tmp_path)], env={"COLUMNS": "200"})
    assert "rows known" in table.stdout
