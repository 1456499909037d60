"""From raw bytes in a file to committed SQL: rows a second on one core, by profile, scope and format (`make bench`).

Every row closes a slot and scores a window; 1 row in 1,500 is an anomaly planted in a third of its channels. Each case
runs in a process of its own, pinned to one core. Left out: start-up, the fit (one a profile and scope), the first 45
slots of each entity (until what a score reads is whole and slots become final), and the end: the final snapshot
(`finish_s`) and the history's Parquet files (`history_us_per_row`). Of log lines the warm-up has one a row. Prints a
table and writes benchmarks/out/pipeline.json.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from benchmarks.stages import Stages, watch  # noqa: E402
from detectors.registry import PROFILES  # noqa: E402
from detectors.types import Rows  # noqa: E402
from storage.read import AlertFilter  # noqa: E402
from tsad.app import App  # noqa: E402
from tsad.config import parse_config  # noqa: E402
from tsad.fitting import Collected  # noqa: E402
from tsad.partition import Partition  # noqa: E402
from tsad.runner import Limits, Runner, frozen_heap  # noqa: E402

CHANNELS, WINDOW, STREAM = 38, 64, "bench"
FEATURES = [f"c{number}" for number in range(CHANNELS)]
FIT_ENTITIES, FIT_SLOTS, WARM_SLOTS = 20, 470, 45
PLANTED = 1499
"""One row in so many is an anomaly; a prime, so that every entity gets its turn."""
LINES = ("INFO request {n} served in {m} ms from 10.0.0.{k}", "WARN slow disk sd{k} took {m} ms", "INFO user {n} in")


def values(entities: int, slots: int, first: int, seed: int) -> np.ndarray:
    """Correlated channels: slots x entities x channels, float32."""
    t = np.arange(first, first + slots)[:, None]
    waves = np.stack([np.sin(t / 17), np.cos(t / 31), np.sin(t / 7)], -1) @ np.random.default_rng(5).normal(
        size=(3, CHANNELS)
    )
    noise = np.random.default_rng(seed).normal(0, 0.3, (slots, entities, CHANNELS))
    return (waves + noise).astype(np.float32)


def write_input(folder: Path, case: dict[str, Any], first: int) -> dict[str, str]:
    """The case's JSON Lines: telemetry, and log lines if it has any; kept for the next case with the same input."""
    entities, slots = case["entities"], WARM_SLOTS + case["rows"] // case["entities"]
    paths = {"telemetry": str(folder / "telemetry.jsonl")} | (
        {"logs": str(folder / "logs.jsonl")} if case["lines_per_row"] else {}
    )
    if Path(paths["telemetry"]).exists():
        return paths
    block = values(entities, slots, first, 1)
    block.reshape(-1, CHANNELS)[PLANTED - 1 :: PLANTED, : CHANNELS // 3] += 8
    encode = msgspec.json.Encoder().encode
    with Path(paths["telemetry"]).open("wb") as file:
        for slot, entity in itertools.product(range(slots), range(entities)):
            row = [round(float(value), 4) for value in block[slot, entity]]
            numbers: dict[str, Any] = (
                {"v": row} if case["format"] == "packed" else {"values": dict(zip(FEATURES, row, strict=True))}
            )
            file.write(encode({"entity": f"e{entity}", "time": (first + slot) * 60, **numbers}) + b"\n")
    if case["lines_per_row"]:
        with Path(paths["logs"]).open("wb") as file:
            for slot, entity in itertools.product(range(slots), range(entities)):
                for line in range(case["lines_per_row"] if slot >= WARM_SLOTS else 1):
                    text = LINES[line % 3].format(n=entity * 7 + line, m=slot + line, k=line)
                    body = {"time": (first + slot) * 60 + line, "message": text}
                    file.write(encode({"entity": f"e{entity}", **body}) + b"\n")
    return paths


def configured(folder: Path, models: Path, case: dict[str, Any]) -> App:
    """An application on a database in `folder`."""
    stream = {"profile": case["profile"], "scope": case["scope"], "telemetry": {"features": FEATURES}}
    if case["lines_per_row"]:
        stream["logs"] = {}
    config = {"database": f"sqlite:///{folder}/tsad.db", "models": str(models), "history": f"{folder}/history"}
    return App.open(parse_config({**config, "stream": {STREAM: stream}}))


def fit(folder: Path, case: dict[str, Any]) -> None:
    """Fit the case's profile and scope, once, in `folder`."""
    app = configured(folder, folder / "models", case)
    block = np.ascontiguousarray(values(FIT_ENTITIES, FIT_SLOTS, 0, 0).transpose(1, 0, 2)).reshape(-1, CHANNELS)
    codes = np.repeat(np.arange(FIT_ENTITIES, dtype=np.int32), FIT_SLOTS)
    slots = np.tile(np.arange(FIT_SLOTS), FIT_ENTITIES)
    rows = Rows([f"e{number}" for number in range(FIT_ENTITIES)], codes, slots, block, FEATURES)
    app.models.promote(STREAM, app.fit(STREAM, Collected(rows, {}, {})).version)
    app.close()


def bytes_of_state(partition: Partition) -> dict[str, int]:
    """What one entity holds: the rings, and what was learnt of it (with what follows from that and is kept)."""
    one = np.zeros(1, np.int32)
    scorer, readings, rollups = partition.era.scorer, partition.readings, partition.rollups
    ring = partition.windower.ring.bytes_per_row + partition.era.plane.bytes_per_row
    arrays = [*scorer.rows(one).values(), *scorer._scaling._map.rows(one).values()]
    arrays += [array[:1] for part in (readings, rollups) for array in part.state().arrays.values()]
    return {"ring": ring, "learnt": sum(array.nbytes for array in arrays)}


def run_case(case: dict[str, Any]) -> dict[str, Any]:
    """One case, in this process, pinned to one core."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    fitted, source = Path(case.pop("fitted")), Path(case.pop("input"))
    paths = write_input(source, case, FIT_SLOTS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(fitted / "tsad.db", folder / "tsad.db")
        app = configured(folder, fitted / "models", case)
        limits = Limits(poll=min(Limits().poll, case["rows"] // 4), snapshot_every=10**9)
        runner = app.runner(STREAM, paths, limits=limits)  # type: ignore[arg-type]
        with frozen_heap():
            while runner.progress.windows < WARM_SLOTS * case["entities"] and runner.step():
                pass
            figures = timed(runner) | ended(runner, folder)
        alerts = app.reader.alerts(AlertFilter(stream=STREAM, limit=None))
        explained = sum(alert.explanation == "done" for alert in alerts)
        app.close()
    return case | figures | {"alerts_explained": explained / max(len(alerts), 1), "cores": 1}


def timed(runner: Runner) -> dict[str, Any]:
    """The rest of the input, up to the last save."""
    stages, progress = Stages(), runner.progress
    rows, alerts = progress.windows, progress.alerts
    watch(stages, runner)
    wall, cpu = time.perf_counter(), time.process_time()
    while runner.step():
        pass
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    rows, alerts = progress.windows - rows, progress.alerts - alerts
    waiting = runner.reader.pending(runner.writer.stream, runner.writer.run, 10**6)
    return {
        "rows_per_s": rows / cpu,
        "cpu_us_per_row": cpu / rows * 1e6,
        "wall_us_per_row": wall / rows * 1e6,
        "rows_measured": rows,
        "alerts": alerts,
        "alerts_waiting": len(waiting),
        "stages": {stage: seconds / cpu for stage, seconds in sorted(stages.seconds.items(), key=lambda s: -s[1])},
        "state": bytes_of_state(runner.partition),
    }


def ended(runner: Runner, folder: Path) -> dict[str, float]:
    """What the end costs: the history's files (µs of a final row), and the rest with the snapshot (s)."""
    begun = time.process_time()
    runner.partition.history.flush()
    flushed = time.process_time()
    runner.finish()
    final = sum(pq.read_metadata(path).num_rows for path in folder.glob("history/**/*.parquet"))
    return {
        "history_us_per_row": (flushed - begun) / max(final, 1) * 1e6,
        "finish_s": time.process_time() - flushed,
    }


def river_rows_per_s(rows: int) -> float | None:
    """River's HalfSpaceTrees over the same rows, one by one; None where River is not installed."""
    try:
        from river.anomaly import HalfSpaceTrees
    except ImportError:
        return None
    block = values(1, rows, FIT_SLOTS, 1)[:, 0]
    scaled = (block - block.min(axis=0)) / np.ptp(block, axis=0)
    records = [dict(zip(FEATURES, map(float, row), strict=True)) for row in scaled]
    model = HalfSpaceTrees(seed=0)
    begun = time.process_time()
    for record in records:
        model.score_one(record)
        model.learn_one(record)
    return rows / (time.process_time() - begun)


def cases(rows: int | None, many: int, profiles: Sequence[str]) -> list[dict[str, Any]]:
    """Every combination; those with the same input stand together."""
    found = []
    for scope, kind, lines, profile in itertools.product(("stream", "entity"), ("packed", "named"), (0, 20), profiles):
        entities = many if scope == "stream" else 20
        count = max(rows or (60_000 if scope == "stream" else 40_000) // (2 if lines else 1), entities)
        case = {"profile": profile, "scope": scope, "format": kind, "lines_per_row": lines}
        found.append({**case, "entities": entities, "rows": count // entities * entities})
    return found


def run_apart(case: dict[str, Any], place: Path) -> dict[str, Any]:
    """`run_case` in a process of its own, with model and input in `place` (made if they are not there)."""
    fitted = place / f"{case['profile']}-{case['scope']}"
    if not fitted.exists():
        fitted.mkdir()
        fit(fitted, case)
    source = place / f"{case['scope']}-{case['format']}-{case['lines_per_row']}"
    if not source.exists():
        for old in place.glob("*/*.jsonl"):
            old.unlink()  # no later case reads it
        source.mkdir()
    command = [sys.executable, __file__, "--case", json.dumps({**case, "fitted": str(fitted), "input": str(source)})]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def line_of(run: dict[str, Any]) -> str:
    """A row of the table."""
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in list(run["stages"].items())[:5])
    return (
        f"{run['profile']:8} {run['scope']:7} {run['format']:7} {run['lines_per_row']:5} {run['rows_per_s']:9,.0f} "
        f"{run['cpu_us_per_row']:8.1f} {run['alerts']:7}  {shares}"
    )


def main() -> None:
    """Run everything, or one case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="one case as JSON: print its result as JSON")
    parser.add_argument(
        "--rows",
        type=int,
        help="rows of each case (default: 60,000 at stream scope, 40,000 else, half with log lines)",
    )
    parser.add_argument("--profile", choices=list(PROFILES), help="only this one (else default and fast)")
    parser.add_argument("--scope", choices=("stream", "entity"), help="only this one")
    parser.add_argument("--entities", type=int, default=10_000, help="entities at stream scope")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "pipeline.json")
    given = parser.parse_args()
    if given.case:
        print(json.dumps(run_case(json.loads(given.case))))
        return
    print("profile  scope   format  lines    rows/s   us/row  alerts  largest stages")
    runs = []
    with tempfile.TemporaryDirectory() as place:
        for case in cases(given.rows, given.entities, [given.profile] if given.profile else ["default", "fast"]):
            if given.scope not in (None, case["scope"]):
                continue
            runs.append(run_apart(case, Path(place)))
            print(line_of(runs[-1]), flush=True)
    wanted = ("default", "stream")
    state = next((run["state"] for run in runs if (run["profile"], run["scope"]) == wanted), None)
    river = river_rows_per_s(given.rows or 5000)
    result = {
        "runs": runs,
        "state_bytes_per_entity": state and state["ring"] + state["learnt"],
        "ring_bytes_per_entity": state and state["ring"],
        "learnt_bytes_per_entity": state and state["learnt"],
        "river_rows_per_s": river,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=2))
    if state:
        print(f"state of an entity: rings {state['ring']:,} bytes, learnt {state['learnt']:,} bytes")
    print(f"River HalfSpaceTrees: {'not installed' if river is None else f'{river:,.0f} rows/s'}")
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
