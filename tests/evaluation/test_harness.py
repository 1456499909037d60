"""`tsad evaluate` end to end on small series: the path of live data, causality, score files, resuming."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_series import TEST, write
from typer.testing import CliRunner

from tsad.cli import app
from tsad.episodes import Rule
from tsad.evaluation.decisions import episodes_of
from tsad.evaluation.harness import Plan, evaluate
from tsad.evaluation.running import Stream, first_slot, fit_together, run_together
from tsad.evaluation.series import TrainPart, find_series, read_series


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "made"
    write(folder, "one", 1)
    write(folder, "two", 2, labelled=False)
    return folder


@pytest.fixture(scope="module")
def evaluated(data: Path, tmp_path_factory: pytest.TempPathFactory):
    scores = tmp_path_factory.mktemp("scores")
    return scores, evaluate(data, Plan(profile="fast", scores=scores), 1, lambda _: None, lambda: False)


def series_of(folder: Path, name: str = "one"):
    (file,) = find_series(folder / f"{name}.test.parquet")
    return read_series(file, TrainPart())


def test_every_test_row_has_a_score_a_settled_one_a_tail_shares_and_detectors(evaluated):
    scores, _ = evaluated
    table = pq.read_table(scores / "made" / "one.parquet").to_pandas()
    named = [
        "row",
        "score",
        "settled",
        "p",
        "alert",
        "surprise",
        "settled_surprise",
        "share:m0",
        "share:m1",
        "share:m2",
    ]
    assert list(table.columns) == [*named, "detector:linear", "detector:subspace", "detector:vote"]
    assert table["row"].tolist() == list(range(TEST))
    assert not table[named].isna().any().any()
    assert (table["alert"] == (table["surprise"] > 1)).all()
    assert table["alert"].any()
    # one calibrated tail, but for the drift of the stream: what is stranger is rarer
    assert table["score"].corr(-np.log(table["p"]), method="spearman") > 0.9
    assert ((table["p"] > 0) & (table["p"] <= 1)).all()
    assert np.allclose(table.filter(like="share:").sum(axis=1)[250:], 1, atol=1e-5)


def test_a_plain_shift_is_found_with_its_channels(evaluated):
    _, found = evaluated
    one, two = (measured.figures for measured in found.measured)
    assert one["event_recall"] == 1
    assert one["delay"] <= 1
    assert one["average_precision"] > 0.4  # .067 by chance; windows of 40 echo
    assert one["extent_hit_rate_100"] == 1
    assert (two["events"], two.get("vus_pr_100"), two["rows"]) == (None, None, TEST)
    assert found.means()["made"]["average_precision"] == one["average_precision"]


def test_cutting_a_file_leaves_what_was_said_before_as_it_was_bit_for_bit(data):
    whole = series_of(data)
    config = Plan(profile="fast").config(whole.step)
    (all_of_it,) = run_together([whole], config)
    for cut, poll in ((214, 5000), (97, 7), (1, 5000)):
        (part,) = run_together([replace(whole, test=whole.test[:cut])], config, poll)
        for name in ("score", "p", "alert", "surprise", "shares", "ratios"):
            assert getattr(part, name).tobytes() == getattr(all_of_it, name)[:cut].tobytes(), (cut, name)
        settled = max(cut - config.settle + 1, 0)
        for name in ("settled", "settled_surprise"):
            assert getattr(part, name)[:settled].tobytes() == getattr(all_of_it, name)[:settled].tobytes()


def test_the_settled_scores_at_the_end_are_over_what_is_left(data):
    whole = series_of(data)
    (found,) = run_together([replace(whole, test=whole.test[:215])], Plan(profile="fast").config(whole.step))
    # the cut lies within the shift: its last 9 rows have a look-ahead of 9 to 1 rows, all of them strange
    assert found.settled[-9:].min() > 1.2 * found.settled[150:190].max()
    assert found.settled_surprise[150:190].max() < 0.9


def test_the_episodes_told_from_a_file_are_those_that_the_judge_opened(data):
    whole = series_of(data)
    config = Plan(profile="fast", budget=50).config(whole.step)
    (scored,) = run_together([whole], config)
    start = first_slot([whole])
    stream = Stream(config, fit_together([whole], config, start), start, whole)
    source = stream.source()
    while (batch := source.poll(100)) is not None:
        stream.partition.process("telemetry", batch, 0, 0)
    stream.partition.end("telemetry", 0)
    cases = stream.partition.take().cases.values()
    told = episodes_of(scored.surprise, scored.settled_surprise, Rule(config.settle, config.quiet))
    judged = sorted((case.track.episode.first - start, case.track.episode.state) for case in cases)
    assert judged == [(one.first, one.state) for one in told]
    assert len(judged) > 1


def test_one_model_for_a_folder_knows_each_entity(data):
    plan = Plan(profile="fast", scope="stream")
    found = evaluate(data, plan, 1, lambda _: None, lambda: False)
    assert [one.series for one in found.measured] == ["one", "two"]
    assert found.measured[0].figures["event_recall"] == 1


def test_scores_of_the_same_version_are_kept_and_others_made_anew(data, tmp_path):
    plan = Plan(profile="fast", scores=tmp_path)
    file = data / "one.test.parquet"
    first = evaluate(file, plan, 1, lambda _: None, lambda: False)
    path = tmp_path / "made" / "one.parquet"
    written = path.stat().st_mtime_ns
    again = evaluate(file, plan, 1, lambda _: None, lambda: False)
    assert path.stat().st_mtime_ns == written
    assert again.measured == first.measured
    evaluate(file, replace(plan, budget=9), 1, lambda _: None, lambda: False)
    assert path.stat().st_mtime_ns != written


def test_workers_say_what_one_process_says(data, evaluated, tmp_path):
    scores, _ = evaluated
    evaluate(data, Plan(profile="fast", scores=tmp_path), 2, lambda _: None, lambda: False)
    for name in ("one", "two"):
        assert pq.read_table(tmp_path / "made" / f"{name}.parquet").equals(
            pq.read_table(scores / "made" / f"{name}.parquet")
        )


def test_the_command_prints_json_writes_a_row_a_series_and_says_what_is_wrong(data, evaluated, tmp_path):
    scores, found = evaluated
    command = ["evaluate", str(data), "--profile", "fast", "--workers", "1"]
    said = CliRunner().invoke(app, [*command, "--scores", str(scores), "--json"])
    assert said.exit_code == 0
    figures = json.loads(said.stdout)
    assert [row["series"] for row in figures["series"]] == ["one", "two"]
    assert figures["mean"]["vus_pr_100"] == pytest.approx(found.mean()["vus_pr_100"])
    with (scores / "series.csv").open() as file:
        assert [row["series"] for row in csv.DictReader(file)] == ["one", "two"]
    table = CliRunner().invoke(app, [*command, "--scores", str(scores)], env={"COLUMNS": "200"})
    assert "VUS-PR" in table.stdout
    assert isinstance(CliRunner().invoke(app, [*command, "--train", "x"]).exception, ValueError)
