"""The demo on a thin cut of its bundled data: the same files, fewer rows."""

import gzip
import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from storage.engine import open_database
from storage.read import AlertFilter, Reader
from storage.tokens import Tokens
from tsad.console import Bars
from tsad.demo import DemoReport, run_demo
from tsad.report import as_json

PODS = 2


@pytest.fixture(scope="module")
def thin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 rows of the server's history, 400 that hold its first event, and two pods with their logs."""
    whole, folder = Path(str(files("tsad") / "demo_data")), tmp_path_factory.mktemp("thin")
    pq.write_table(pq.read_table(whole / "smd-train.parquet").slice(0, 500), folder / "smd-train.parquet")
    pq.write_table(pq.read_table(whole / "smd-test.parquet").slice(0, 400), folder / "smd-test.parquet")
    first = json.loads((whole / "smd-events.json").read_bytes())[:1]
    (folder / "smd-events.json").write_text(json.dumps(first))
    metrics = pq.read_table(whole / "nezha-metrics.parquet")
    faults = json.loads((whole / "nezha-faults.json").read_bytes())
    pods = sorted({fault["entity"] for fault in faults})[:PODS]
    kept = metrics.filter(pc.is_in(metrics["entity"], pa.array(pods)))
    pq.write_table(kept, folder / "nezha-metrics.parquet")
    (folder / "nezha-faults.json").write_text(json.dumps([fault for fault in faults if fault["entity"] in pods]))
    with (
        gzip.open(whole / "nezha-logs.jsonl.gz", "rb") as lines,
        gzip.open(folder / "nezha-logs.jsonl.gz", "wb") as out,
    ):
        for line in lines:
            if any(pod.encode() in line for pod in pods):
                out.write(line)
    return folder


def fitted_streams(folder: Path) -> int:
    with sqlite3.connect(folder / "tsad.db") as database:
        return int(database.execute("SELECT count(*) FROM models WHERE state = 'active'").fetchone()[0])


def ran(folder: Path, thin: Path, stopping: Callable[[], bool] = lambda: False) -> DemoReport:
    return run_demo(folder, Bars(quiet=True), stopping, thin, "fast")


@pytest.fixture(scope="module")
def cut(thin: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoReport]:
    """A demo with Ctrl-C as soon as its first stream is fitted."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, ran(folder, thin, lambda: fitted_streams(folder) > 0)


@pytest.fixture(scope="module")
def first(cut: tuple[Path, DemoReport], thin: Path) -> tuple[Path, DemoReport]:
    """The same demo, gone on to its end."""
    return cut[0], ran(cut[0], thin)


def test_an_interrupted_demo_reports_and_the_next_goes_on(
    cut: tuple[Path, DemoReport], first: tuple[Path, DemoReport]
) -> None:
    assert cut[1].interrupted
    assert (cut[1].smd.events, cut[1].rows, cut[1].pictures) == (1, [], [])
    assert not first[1].interrupted
    with sqlite3.connect(first[0] / "tsad.db") as database:
        streams = [stream for (stream,) in database.execute("SELECT stream FROM models ORDER BY stream")]
    assert streams == ["smd", "trainticket"]  # what was fitted is not fitted again


def test_the_figures_are_those_that_are_asked_for(first: tuple[Path, DemoReport]) -> None:
    figures = json.loads(as_json(first[1].figures()))
    assert figures.keys() >= {"events", "events_found", "false_episodes", "alerts", "seconds", "peak_rss_bytes"}
    assert figures["events"] == 1
    assert 0 <= figures["events_found"] <= 1
    assert figures["trainticket"]["events"] > 0
    assert figures["alerts"] >= figures["false_episodes"]


def test_every_alert_is_explained_and_the_strongest_are_drawn(first: tuple[Path, DemoReport]) -> None:
    folder, report = first
    database = open_database(f"sqlite:///{folder}/tsad.db")
    reader = Reader(database)
    for stream in ("smd", "trainticket"):
        assert reader.pending(stream) == []
        assert all(alert.explanation == "done" for alert in reader.alerts(AlertFilter(stream=stream, limit=None)))
    standing = [a for a in reader.alerts(AlertFilter(limit=None)) if a.state != "retracted"]
    database.close()
    assert report.pending == 0
    assert len(report.rows) == len(standing)
    assert len(report.pictures) == min(3, len(standing))
    assert all(path.parent == folder and path.read_bytes().startswith(b"\x89PNG") for path in report.pictures)


def test_logs_and_metrics_meet_in_one_window(first: tuple[Path, DemoReport]) -> None:
    database = open_database(f"sqlite:///{first[0]}/tsad.db")
    texts = [row["text"] for row in Reader(database).templates("trainticket")]
    places = Reader(database).health("trainticket")["partitions"][0]["positions"]
    database.close()
    assert len(texts) > 5
    assert places["logs"]["row"] > 100
    assert places["telemetry"]["row"] > 100


def test_a_second_demo_goes_on_and_finds_the_same(first: tuple[Path, DemoReport], thin: Path) -> None:
    folder, report = first
    again = ran(folder, thin)
    assert again.rows == report.rows
    assert again.smd == report.smd
    assert again.trainticket == report.trainticket


def test_the_report_tells_what_was_found_and_what_to_type(
    first: tuple[Path, DemoReport], capsys: pytest.CaptureFixture[str]
) -> None:
    first[1].print()
    said = " ".join(capsys.readouterr().out.split())
    assert "smd: " in said
    assert "of 1 labelled events found" in said
    assert "next: tsad alerts" in said
    assert f"next: tsad serve, and open http://127.0.0.1:8450/#token={first[1].token}" in said
    assert all(row["entity"][:20] in said for row in map(dict[str, Any], first[1].rows))


def test_the_token_that_it_names_may_look_and_the_one_before_it_no_more(
    first: tuple[Path, DemoReport], cut: tuple[Path, DemoReport]
) -> None:
    database = open_database(f"sqlite:///{first[0]}/tsad.db")
    tokens = Tokens(database)
    held = [token for token in tokens.listing() if token.valid(datetime.now(UTC))]
    assert [(token.role, token.name.split()[0]) for token in held] == [("viewer", "demo")]
    assert held[0].expires_at is not None
    assert tokens.bearer(cut[1].token) is None
    database.close()
