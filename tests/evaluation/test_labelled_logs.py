"""Labelled logs: read as they lie on disk, cut in time, judged without a look at what comes later or at a label."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_logs import BEGUN, EVERY, alerts, archive, blocks, put
from made_series import write
from typer.testing import CliRunner

from streaming.settings import SECOND
from tsad.cli import app
from tsad.config import ConfigError
from tsad.evaluation.logbaselines import PEERS, log_peer
from tsad.evaluation.logruns import Cut, LogPlan, judge_logs, percentage
from tsad.evaluation.logsets import LogSet, find_logs, read_logs

START = int(BEGUN.timestamp()) * SECOND


def read(folder: Path) -> LogSet:
    (found,) = find_logs(folder)
    return read_logs(found)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return blocks(tmp_path_factory.mktemp("logs") / "hdfs")


def test_lines_of_a_block_are_a_session_whatever_else_they_name(made: Path) -> None:
    logs = read(made)
    assert len(logs.names) == 200 and logs.labels.sum() == 3 and not logs.by_line
    assert logs.messages[0] == "Opening block blk_-100"
    assert logs.times[0] == START
    assert len(logs.messages) == 200 * 5  # neither the stack trace nor the block that nobody labelled
    own = np.flatnonzero(logs.owners == 40)
    assert [logs.messages[line] for line in own][-1] == "Cannot close blk_-60: disk error"
    assert logs.severities[own].tolist() == [2, 2, 2, 2, 3]
    assert (np.diff(logs.times) >= 0).all()


def test_lines_may_be_judged_by_themselves(tmp_path: Path) -> None:
    logs = read(alerts(tmp_path))
    assert logs.by_line
    assert logs.names[:2] == ["1", "2"] and logs.entities[:5] == ["R0", "R1", "R2", "R3", "R0"]
    assert np.flatnonzero(logs.labels).tolist() == [250, 260, 270]
    assert logs.severities[[0, 250]].tolist() == [2, 5]
    assert logs.messages[250] == "kernel panic of core 7"


def test_files_of_an_archive_are_sessions_of_their_folder(tmp_path: Path) -> None:
    logs = read(archive(tmp_path))
    assert len(logs.names) == 30 and len(logs.judged) == 60
    assert sorted(logs.judged.tolist()) == sorted([*range(30), *range(30)])
    cut = Cut.of(logs, 0.5, clean=False)
    assert len(cut.train) == len(cut.test) == 30
    assert cut.names == [f"app_{number}" for number in range(15, 30)]
    assert cut.worst(np.arange(30.0)).shape == (15,)


def test_the_fit_knows_nothing_of_what_comes_after_the_cut(made: Path) -> None:
    logs = read(made)
    cut = Cut.of(logs, 0.5, clean=False)
    moment = START + 100 * EVERY * SECOND
    assert cut.train.starts.max() < moment <= cut.test.starts.min()
    assert (cut.train.times < moment).all()
    assert len(cut.train) == len(cut.test) == 100
    # what lies behind the cut may be anything
    late = logs.times >= moment
    changed = [
        f"nothing of the kind {text}" if later else text for text, later in zip(logs.messages, late, strict=True)
    ]
    other = Cut.of(replace(logs, messages=changed, labels=~logs.labels), 0.5, clean=False)
    assert other.texts == cut.texts
    np.testing.assert_array_equal(other.train.templates, cut.train.templates)
    assert not other.test.templates.any()  # all founded after the cut: foreign to the fit


def test_a_session_that_goes_on_after_the_cut_is_known_as_far_as_it_had_come(tmp_path: Path) -> None:
    lines = [f"26010{day} 00000{n} 1 INFO a.B: step {n} of blk_{n}" for day in (1, 2, 3) for n in range(4)]
    lines += [f"260102 0100{n:02d} 1 INFO a.B: step 1 of blk_{n}" for n in range(4, 9)]
    folder = put(tmp_path, "x", sorted(lines), "id,label", [f"blk_{n},0" for n in range(9)])
    cut = Cut.of(read(folder), 0.5, clean=False)
    assert cut.train.lengths.tolist() == [2, 2, 2, 2]
    assert [cut.names[one] for one in cut.judged.tolist()] == ["blk_4", "blk_5", "blk_6", "blk_7", "blk_8"]


def test_a_clean_fit_leaves_out_the_anomalies_of_the_first_part_alone(made: Path) -> None:
    logs = read(made)
    clean, all_of_it = Cut.of(logs, 0.5, clean=True), Cut.of(logs, 0.5, clean=False)
    assert len(clean.train) == 99
    assert len(clean.texts) == len(all_of_it.texts) - 1
    assert clean.names == all_of_it.names and clean.labels.sum() == 2


def test_what_fails_is_found_at_a_threshold_that_saw_no_label(made: Path) -> None:
    for clean in (False, True):
        (found,) = judge_logs(find_logs(made), [LogPlan(clean=clean)])
        (one,) = found.measured
        assert one.figures["average_precision"] == one.figures["f1"] == 1.0
        assert one.figures["alerts"] == one.figures["anomalies"] == 2
        assert one.figures["false_per_1000"] == 0


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_scores_the_same_sessions(made: Path, name: str) -> None:
    cut = Cut.of(read(made), 0.5, clean=True)
    judged = log_peer(name)(cut, 1.0)
    assert judged.score.shape == judged.surprise.shape == judged.p.shape == (100,)
    assert (judged.p > 0).all() and (judged.p <= 1).all()
    strange, usual = judged.score[cut.labels], judged.score[~cut.labels]
    assert name == "isolation-forest" or strange.min() > usual.max()  # that one looks at what varies in the fit


def test_no_peer_has_an_unknown_name_and_a_part_is_a_percentage() -> None:
    with pytest.raises(ValueError, match="there is: pca, knn"):
        log_peer("best")
    assert percentage("12.5%") == 12.5
    for text in ("0%", "100%", "400", "15%,750", ""):
        with pytest.raises(ValueError, match="percentage"):
            percentage(text)


def said(*words: object) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, ["evaluate", *map(str, words)], env={"COLUMNS": "200"})
    return found.exit_code, found.stdout, found.output


@pytest.fixture(scope="module")
def told(made: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    scores = tmp_path_factory.mktemp("scores")
    code, out, whole = said(made, "--scores", scores, "--baseline", "pca", "--json")
    assert code == 0, whole
    return scores, json.loads(out)


def test_the_command_writes_a_row_for_each_session(told: tuple[Path, dict]) -> None:
    scores, figures = told
    table = pq.read_table(scores / "hdfs" / "made.parquet")
    assert table.column_names == ["session", "score", "p", "alert"]
    rows = {row["session"]: row for row in table.to_pylist()}
    assert len(rows) == 100
    assert [name for name, row in rows.items() if row["alert"]] == ["blk_50", "blk_60"]
    assert all((row["score"] > 1) == row["alert"] and 0 < row["p"] <= 1 for row in rows.values())
    assert figures["series"][0]["f1"] == 1.0
    assert figures["side_by_side"]["average_precision"][1]["name"] == "pca"
    assert (scores / "baselines" / "pca" / "hdfs" / "made.parquet").exists()


def test_its_report_speaks_of_sessions(told: tuple[Path, dict]) -> None:
    page = (told[0] / "report.html").read_text()
    assert "Lines are mined in order" in page
    assert "in the fit, unlabelled" in page
    assert "VUS-PR" not in page
    assert (told[0] / "series.csv").read_text().startswith("folder,series,fitted_on,judged,anomalies")


def test_lines_have_an_entity_and_a_time(tmp_path: Path) -> None:
    alerts(tmp_path / "bgl")
    code, out, whole = said(tmp_path, "--scores", tmp_path / "scores", "--clean")
    assert code == 0, whole
    assert "lines" in out and "precision" in out
    table = pq.read_table(tmp_path / "scores" / "bgl" / "lines.parquet")
    assert table.column_names == ["entity", "time", "score", "p", "alert"]
    found = [(row["entity"], row["time"]) for row in table.to_pylist() if row["alert"]]
    assert found == [(f"R{n % 4}", (1_117_838_570 + 60 * n) * SECOND) for n in (250, 260, 270)]


def test_what_is_wrong_is_said_of_the_file(tmp_path: Path, made: Path) -> None:
    put(tmp_path / "a", "x", ["no header"], "id,label", ["k,0"])
    put(tmp_path / "b", "x", ["no header"], "id,kind", ["k,0"])
    few = blocks(tmp_path / "c", many=20)
    for folder, message in ((tmp_path / "a", "no line begins"), (tmp_path / "b", "column label"), (few, "too few")):
        (file,) = find_logs(folder)
        with pytest.raises(ValueError, match=message):
            judge_logs([file], [LogPlan()])
    assert said(made, "--train", "400")[0] != 0


def test_series_are_none_of_it(tmp_path: Path) -> None:
    write(tmp_path / "made", "one", 1)
    blocks(tmp_path / "logs")
    assert find_logs(tmp_path) == []
    assert find_logs(tmp_path / "logs" / "made.log.gz")[0].name == "made"
    assert find_logs(tmp_path / "made" / "one.test.parquet") == find_logs(tmp_path / "nowhere") == []
    found = CliRunner().invoke(app, ["evaluate", str(tmp_path / "made"), "--clean"])
    assert isinstance(found.exception, ConfigError) or "--clean" in found.output


def test_lines_that_no_header_begins_belong_to_the_record_before(tmp_path: Path) -> None:
    lines = [
        "garbage",
        "2026-01-05 00:00:00,1 INFO req-1 began",
        "Caused by: req-2",
        "",
        "2026-01-05T00:00:01 ERROR req-1 failed",
    ]
    logs = read(put(tmp_path, "x", lines, "request,label", ["req-1,1", "req-2,0"]))
    assert logs.messages == ["req-1 began", "req-1 failed"]
    assert logs.severities.tolist() == [2, 4]
    assert (logs.times - logs.times[0]).tolist() == [0, SECOND]
    assert logs.labels.tolist() == [True, False]


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    folder = put(tmp_path, "x", [], "request,label", ["req-1,0"])
    (folder / "x.log.gz").unlink()
    (folder / "x.log").write_bytes(b"2026-01-05 00:00:00 INFO req-1 \xff\x00 \x1b[31mred\r\n" * 3)
    logs = read(folder)
    assert len(logs.messages) == 3
    assert logs.messages[0].startswith("req-1 ")
    assert logs.owners.tolist() == [0, 0, 0]


def test_a_key_without_lines_is_not_judged(tmp_path: Path) -> None:
    cut = Cut.of(read(blocks(tmp_path, lose=20)), 0.5, clean=False)
    assert len(cut.train) == len(cut.names) == 90


def test_the_largest_of_its_sessions_is_what_is_said_of_a_key(tmp_path: Path) -> None:
    (one,) = judge_logs(find_logs(archive(tmp_path)), [LogPlan(scores=tmp_path / "scores")])[0].measured
    assert one.figures["judged"] == 15 and one.figures["anomalies"] == 1
    assert one.figures["average_precision"] == 1.0
    rows = pq.read_table(next((tmp_path / "scores").glob("*/apps.parquet"))).to_pylist()
    assert max(rows, key=lambda row: row["score"])["session"] == "app_25"
    assert min(rows, key=lambda row: row["p"])["session"] == "app_25"


def test_an_interrupted_evaluation_says_so(made: Path) -> None:
    done: list[int] = []
    found, peer = judge_logs(
        find_logs(made), [LogPlan(), LogPlan(judge=log_peer("knn"))], done.append, lambda: bool(done)
    )
    assert done == [1]
    assert found.ended and not peer.ended and not peer.measured


def test_budget_moves_the_threshold_of_a_peer_too(made: Path) -> None:
    cut = Cut.of(read(made), 0.5, clean=False)
    small, large = (log_peer("1-nn")(cut, budget) for budget in (0.01, 1000.0))
    np.testing.assert_array_equal(small.score, large.score)
    assert cut.alpha(0.01) < cut.alpha(1000.0) == 0.01
    assert small.surprise.max() <= large.surprise.max()
