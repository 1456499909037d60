"""`tsad evaluate` as a user types it: peers beside it, the report, a configured stream, and what is wrong."""

import json
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from made_series import TEST, write
from typer.testing import CliRunner

from tsad.cli import app
from tsad.config import ConfigError

PEERS = ("k-means", "random")
FAST = ("--profile", "fast", "--workers", "1")


def said(*words):
    return CliRunner().invoke(app, ["evaluate", *map(str, words)], env={"COLUMNS": "220"})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "made"
    write(folder, "one", 1)
    write(folder, "two", 2)
    return folder


@pytest.fixture(scope="module")
def beside(data, tmp_path_factory):
    """Where scores and report went, and what was printed."""
    scores = tmp_path_factory.mktemp("scores")
    peers = [word for name in PEERS for word in ("--baseline", name)]
    found = said(data, *FAST, "--scores", scores, *peers, "--json")
    assert found.exit_code == 0, found.output
    return scores, json.loads(found.stdout)


def test_peers_score_the_same_rows_into_files_of_the_same_form(beside):
    scores, _ = beside
    ours = pq.read_table(scores / "made" / "one.parquet")
    for name in PEERS:
        theirs = pq.read_table(scores / "baselines" / name / "made" / "one.parquet")
        assert theirs.column_names == ["row", "score", "settled", "p", "alert", "surprise", "settled_surprise"]
        assert theirs["row"].to_pylist() == ours["row"].to_pylist() == list(range(TEST))
        assert theirs.schema.field("alert").type == ours.schema.field("alert").type
        assert (scores / "baselines" / name / "series.csv").exists()


def test_peers_have_the_same_figures_and_stand_beside(beside):
    _, figures = beside
    assert list(figures["baselines"]) == list(PEERS)
    for name in PEERS:
        rows = figures["baselines"][name]["series"]
        assert [row["series"] for row in rows] == ["one", "two"]
        assert rows[0].keys() >= {"vus_pr_100", "average_precision", "event_f1", "false_per_1000_rows"}
    side = figures["side_by_side"]["vus_pr_100"]
    assert [one["name"] for one in side] == ["tsad", "tsad, settled", "k-means", "random"]
    assert side[-1]["against"]["tsad"]["won"] == 2
    means = {one["name"]: one["mean"]["mean"] for one in side}
    assert means["tsad"] == pytest.approx(figures["mean"]["vus_pr_100"])
    assert means["random"] == pytest.approx(figures["baselines"]["random"]["mean"]["vus_pr_100"])


def test_the_report_lies_beside_the_scores(beside):
    scores, _ = beside
    page = (scores / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "Side by side: VUS-PR" in page
    assert "profile fast" in page


def test_a_second_call_scores_nothing_again_and_says_the_same(data, beside):
    scores, figures = beside
    files = sorted(scores.rglob("*.parquet"))
    assert len(files) == 6
    before = [path.stat().st_mtime_ns for path in files]
    again = said(data, *FAST, "--scores", scores, "--baseline", "k-means", "--baseline", "random", "--json")
    assert json.loads(again.stdout) == figures
    assert [path.stat().st_mtime_ns for path in files] == before
    # a peer knows of nothing but the budget, and of that all do
    said(data, *FAST, "--scores", scores, "--baseline", "random", "--budget", "9", "--scope", "stream")
    changed = [path.stat().st_mtime_ns != time for path, time in zip(files, before, strict=True)]
    assert changed == ["k-means" not in str(path) for path in files]


def test_without_scores_a_report_is_written_where_it_is_asked_for(data, tmp_path):
    report = tmp_path / "deep" / "why.html"
    found = said(data / "one.test.parquet", *FAST, "--report", report)
    assert found.exit_code == 0, found.output
    assert "VUS-PR" in found.stdout
    assert "Side by side" not in found.stdout
    assert report.read_text().count("<img") == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["why.html"]


def test_the_table_says_by_how_much_and_how_sure(data):
    found = said(data / "one.test.parquet", *FAST, "--baseline", "random")
    (line,) = [line for line in found.stdout.splitlines() if "random" in line][:1]
    assert "no" in line
    assert "p 1" in line  # one series proves nothing
    assert "Side by side: VUS-PR, 95% intervals over series" in found.stdout


def test_a_stream_of_the_configuration_is_evaluated(tmp_path):
    lines = ["host,time,cpu,fault"]
    lines += [
        f"h,{1767571200 + 60 * n},{(n * 7) % 11 + 30 * (300 <= n < 310)},{int(300 <= n < 310)}" for n in range(400)
    ]
    (tmp_path / "x.csv").write_text("\n".join(lines))
    config = tmp_path / "tsad.toml"
    config.write_text('[stream.web]\nprofile = "fast"\n[stream.web.telemetry]\nlayout = "wide"\nentity = "host"\n')
    read = ("--config", config, "--stream", "web", "--label", "fault", "--train", "50%", "--workers", "1", "--json")
    found = said(tmp_path / "x.csv", *read)
    assert found.exit_code == 0, found.output
    (row,) = json.loads(found.stdout)["series"]
    assert (row["folder"], row["series"], row["rows"], row["events"]) == ("web", "h", 200, 1)
    assert row["event_recall"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tsad.toml", "x.csv"]


def test_what_is_wrong_is_said_before_anything_runs(data, tmp_path):
    unknown = said(data, *FAST, "--scores", tmp_path, "--baseline", "kmeans")
    assert isinstance(unknown.exception, ValueError)
    assert "k-means" in str(unknown.exception)
    assert not list(tmp_path.iterdir())
    nothing = said(*FAST)
    assert isinstance(nothing.exception, ConfigError)
    assert "--stream" in str(nothing.exception)
    if find_spec("pyod") is None:
        missing = said(data, *FAST, "--baseline", "ecod")
        assert "needs pyod" in str(missing.exception)
