"""The benchmark of log mining measures what it says it does: a tiny run of it, without a word about time."""

import gzip
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SYSTEMS = ("Apache", "BGL", "HDFS", "Hadoop", "Linux", "OpenSSH", "OpenStack")
HEAD = {"Apache": "[a] [b] ", "BGL": "1 2 3 4 5 6 7 8 9 ", "HDFS": "1 2 3 4 c: ", "Hadoop": "1 2 3 [main] c: "}
HEAD |= {"Linux": "Jun 14 15:16:01 combo sshd[1]: ", "OpenSSH": "Dec 10 06:55:46 LabSZ sshd[1]: "}
HEAD |= {"OpenStack": "1 2 3 4 5 6 [req] "}


@pytest.fixture(scope="module")
def logs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_logs", ROOT / "benchmarks" / "logs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("logs")
    for system in SYSTEMS:
        place = folder / "log_loghub_2k" / system
        place.mkdir(parents=True)
        said = [f"disk {n} is full" if n % 2 else f"link {n} of eth0 is down now" for n in range(20)]
        lines = "\n".join(HEAD[system] + text for text in said)
        truth = [("E1", "disk <*> is full") if n % 2 else ("E2", "link <*> of eth0 is down now") for n in range(20)]
        rows = "\n".join(f"{n},{key},{text}" for n, (key, text) in enumerate(truth))
        (place / f"{system}_2k.log.gz").write_bytes(gzip.compress(lines.encode()))
        header = "LineId,EventId,EventTemplate\n"
        (place / f"{system}_2k.templates_gt.csv.gz").write_bytes(gzip.compress((header + rows).encode()))
    out = folder / "out" / "logs.json"
    command = [sys.executable, "benchmarks/logs.py", "--lines", "4000", "--worlds", "0"]
    command += ["--data", str(folder), "--out", str(out)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    return found | {"printed": run.stdout}


def test_speed_and_groups_of_every_system_are_reported(report: dict[str, Any]) -> None:
    assert report["mining_lines_per_s"] > 0
    assert report["drain3_lines_per_s"] > 0
    assert report["scored_lines_per_s"] > 0
    assert tuple(report["grouping"]) == SYSTEMS
    assert report["grouping_mean"]["tsad"] == {"grouping": 1.0, "f1": 1.0, "template": 1.0}
    assert report["grouping_mean"]["tsad_merged"]["grouping"] == 1.0
    assert all(name in report["printed"] for name in (*SYSTEMS, "mean", "drain3_masked"))


def test_lines_are_of_the_length_and_the_shapes_that_it_says(logs: ModuleType) -> None:
    from streaming.shapes import shapes

    lines = logs.synthetic(60_000)
    assert {len(line) for line in lines} == {logs.LENGTH}
    assert 0.95 * logs.SHAPES < len(set(shapes(lines))) < 1.2 * logs.SHAPES


@pytest.mark.parametrize(
    ("ids", "texts", "expected"),
    [
        ([1, 1, 2, 2], {1: "a <NUM>", 2: "b"}, {"grouping": 1.0, "f1": 1.0, "template": 1.0}),
        ([1, 1, 2, 2], {1: "a <*>:<NUM>", 2: "c"}, {"grouping": 1.0, "f1": 1.0, "template": 0.5}),
        ([1, 1, 2, 3], {1: "a <*>", 2: "b", 3: "b"}, {"grouping": 0.5, "f1": 0.4, "template": 0.4}),
        ([1, 1, 1, 1], {1: "<*>"}, {"grouping": 0.0, "f1": 0.0, "template": 0.0}),
    ],
)
def test_accuracy_counts_whole_groups(
    logs: ModuleType, ids: list[int], texts: dict[int, str], expected: dict[str, float]
) -> None:
    found = logs.accuracy((ids, texts), ["x", "x", "y", "y"], ["a <*>", "a <*>", "b", "b"])
    assert found == pytest.approx(expected)
