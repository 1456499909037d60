"""The benchmark measures what it says it does: a tiny run of it, without a word about time."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tsad.sizing import LEARNT

ROOT = Path(__file__).resolve().parent.parent
ROWS, ENTITIES = 2000, 50
KEYS = {"profile", "scope", "format", "lines_per_row", "rows_per_s", "cpu_us_per_row", "alerts", "cores", "stages"}
STAGES = {"decode", "window", "scale", "gather", "decide", "judge", "save"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("bench") / "out" / "pipeline.json"
    size = ["--rows", str(ROWS), "--entities", str(ENTITIES), "--profile", "fast", "--scope", "stream"]
    command = [sys.executable, "benchmarks/pipeline.py", *size, "--out", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found | {"printed": run.stdout}


def test_every_format_runs_with_and_without_log_lines(report: dict[str, Any]) -> None:
    ran = [(run["profile"], run["scope"], run["format"], run["lines_per_row"]) for run in report["runs"]]
    assert ran == [("fast", "stream", kind, lines) for kind in ("packed", "named") for lines in (0, 20)]
    assert all(run.keys() >= KEYS and run["cores"] == 1 for run in report["runs"])


def test_every_measured_row_was_scored_and_every_alert_explained(report: dict[str, Any]) -> None:
    for run in report["runs"]:
        # the last polls of the warm-up may reach into what is measured
        assert 0 < run["rows_measured"] <= ROWS
        assert run["alerts"] >= run["rows_measured"] / 2000
        assert run["alerts_waiting"] == 0
        assert run["alerts_explained"] == 1


def test_the_shares_of_the_stages_are_parts_of_one_whole(report: dict[str, Any]) -> None:
    for run in report["runs"]:
        detectors = {"detect:linear", "detect:subspace", "detect:vote"}
        assert run["stages"].keys() >= STAGES | detectors
        assert all(share >= 0 for share in run["stages"].values())
        assert 0.5 < sum(run["stages"].values()) <= 1.01
        assert ("mine" in run["stages"]) == (run["lines_per_row"] > 0)


def test_the_formats_say_the_same(report: dict[str, Any]) -> None:
    packed, packed_logs, named, named_logs = report["runs"]
    assert (packed["alerts"], packed["rows_measured"]) == (named["alerts"], named["rows_measured"])
    assert (packed_logs["alerts"], packed_logs["rows_measured"]) == (named_logs["alerts"], named_logs["rows_measured"])


def test_state_of_an_entity_is_counted_with_its_rings(report: dict[str, Any]) -> None:
    for run in report["runs"]:
        # every value lies once as it came and twice scaled
        assert run["state"]["ring"] > 3 * 64 * 38 * 4
        assert 0 < run["state"]["learnt"] <= LEARNT + 1024 * (run["lines_per_row"] > 0)
    # the headline figure is that of the profile `default`, which did not run
    assert report["state_bytes_per_entity"] is report["ring_bytes_per_entity"] is None


def test_river_is_measured_where_it_is_installed(report: dict[str, Any]) -> None:
    if importlib.util.find_spec("river") is None:
        assert report["river_rows_per_s"] is None
        assert "not installed" in report["printed"]
    else:
        assert report["river_rows_per_s"] > 0


def test_a_run_stays_on_one_core() -> None:
    code = (
        "import os, sys; sys.path.insert(0, '.'); from benchmarks import pipeline;"
        "print(os.environ['OMP_NUM_THREADS'], os.environ['OPENBLAS_NUM_THREADS'])"
    )
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=environment, check=True
    )
    assert run.stdout.split() == ["1", "1"]


def test_every_format_of_messages_is_measured() -> None:
    run = subprocess.run(
        [sys.executable, "benchmarks/formats.py", "--minutes", "3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    said = [line.split()[:3] for line in run.stdout.splitlines()]
    assert said == [[form, "as", asked] for form in ("otlp", "otlp-json", "remote-write") for asked in (form, "auto")]
