"""The benchmark of streams measures what it says it does: a tiny run of it, without a word about time."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENTITIES, SLOTS, TAIL = 60, 34, 2
STAGES = {"fetch", "decode", "window", "scale", "gather", "decide", "save", "history"}


@pytest.fixture(scope="module")
def report(kafka_server: str, postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("bench") / "out" / "stream.json"
    size = ["--entities", str(ENTITIES), "--profile", "fast", "--seconds", "1", "--partitions", "2"]
    command = [sys.executable, "benchmarks/stream.py", *size, "--out", str(out)]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"TSAD_TEST_KAFKA": kafka_server},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found | {"printed": run.stdout}


def test_the_report_has_its_keys_and_both_clients(report: dict[str, Any]) -> None:
    assert report.keys() >= {"runs", "alert_latency_s", "recovery_s"}
    assert [(run["client"], run["profile"]) for run in report["runs"]] == [
        ("kafka-python", "fast"), ("confluent", "fast"),
    ]  # fmt: skip
    assert report["alert_latency_s"].keys() >= {"p50", "p99"}
    assert report["recovery_s"] > report["start_s"] > 0
    assert report["replayed_rows"] == TAIL * ENTITIES
    assert all(one["client"] in report["printed"] for one in report["runs"])


def test_every_row_is_measured_and_its_stages_are_parts_of_one_whole(report: dict[str, Any]) -> None:
    for run in report["runs"]:
        # a poll may reach over either end of what is measured
        assert 0 < run["rows"] <= ENTITIES * (SLOTS + TAIL)
        assert run["rows_per_s"] > 0
        assert run["cpu_s_per_million"] == pytest.approx(1e6 / run["rows_per_cpu_s"])
        assert run["stages"].keys() >= STAGES
        assert 0.3 < sum(run["stages"].values()) <= 1.01


def test_both_clients_find_the_same_alerts(report: dict[str, Any]) -> None:
    one, other = report["runs"]
    # a poll may end in another slot, so the last one may be counted in the warm-up
    assert abs(one["alerts"] - other["alerts"]) <= 2
    assert one["alerts"] > 0
