"""The benchmark of runs over history measures what it says it does: a tiny run of it, without a word about time."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENTITIES, SLOTS = 8, 120


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("bench") / "out" / "backfill.json"
    size = [
        "--rows",
        str(ENTITIES * SLOTS),
        "--entities",
        str(ENTITIES),
        "--unit-rows",
        str(4 * SLOTS),
        "--slots",
        "60",
    ]
    cases = ["--profiles", "fast", "--engines", "loop:1", "local:2", "--lengths", "2"]
    command = [sys.executable, "benchmarks/backfill.py", *size, *cases, "--out", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found | {"printed": run.stdout}


def test_every_row_is_judged_by_each_engine(report: dict[str, Any]) -> None:
    assert [(run["engine"], run["workers"], run["profile"]) for run in report["runs"]] == [
        ("loop", 1, "fast"), ("local", 2, "fast"),
    ]  # fmt: skip
    for run in report["runs"]:
        assert (run["rows"], run["units"]) == (ENTITIES * SLOTS, 2)
        assert run["rows_per_s"] > 0
        assert run["peak_rss_bytes"] > 1 << 26
        assert run["overhead"] < 1
    assert len({run["alerts"] for run in report["runs"]}) == 1


def test_memory_is_told_by_the_length_of_history(report: dict[str, Any]) -> None:
    assert set(report["memory_by_length"]) == {"2"}
    assert all(size > 1 << 26 for size in report["memory_by_length"].values())
    assert report["engine_overhead"] is None  # Ray's, which was not asked for
    assert "rows/core s" in report["printed"]
