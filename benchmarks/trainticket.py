"""Faults injected into TrainTicket (Nezha, 2023-01-29): metrics alone, logs alone, any line at all, and one decision.

Lines exist for some three minutes around each fault only, so that only minutes with a line of any pod count, and a
minute without one is missing, not quiet. The stream is fitted, unlabelled, on what lies before the middle one of those
minutes, and run on the rest, through the commands and with their defaults but for the profile. An event is a fault of
its pod; a minute of a pod is flagged where its score is beyond the threshold. Event recall: events with a flag.
Precision: flags of pods that lie in an event of that pod, or (`system`) minutes with any flag that lie in any event.
Event F1: of both. `first`: the share of events whose pod has the highest score of all in its minutes. All scores
count there, from the history of closed slots: the database keeps those above half of the threshold, and where no pod
comes near it, whose is the highest could not be told.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.deceptive import tsad  # noqa: E402
from benchmarks.make_demo_data import NEZHA, NOT_METRICS, read_lines  # noqa: E402

MINUTE = 60
WAYS = {
    "metrics": "[stream.shop.telemetry]\n", "logs": "telemetry = false\n[stream.shop.logs]\n",
    "fused": "[stream.shop.telemetry]\n[stream.shop.logs]\n",
}  # fmt: skip
Cell = tuple[str, int]
"""A pod and a minute."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Minutes `first` to `last` of a pod."""

    pod: str
    first: int
    last: int

    def holds(self, pod: str | None, minute: int) -> bool:
        """Whether a minute of a pod (None: of any) lies in it."""
        return self.first <= minute <= self.last and pod in (None, self.pod)


@dataclass(frozen=True, slots=True)
class Shop:
    """Records of telemetry and of logs as (minute, JSON), the pods that wrote a line in each minute, and the faults."""

    telemetry: list[tuple[int, str]]
    logs: list[tuple[int, str]]
    lines: dict[int, set[str]]
    faults: list[Fault]

    @property
    def middle(self) -> int:
        """The middle one of the covered minutes."""
        return sorted(self.lines)[len(self.lines) // 2]

    @classmethod
    def read(cls, folder: Path) -> "Shop":
        """The data set as it is shared."""
        telemetry = [row for path in sorted(folder.glob("ts-*.test.parquet")) for row in _records(path)]
        by_pod, _, _ = read_lines(folder / "logs.tsv.gz")
        logs, lines = list[tuple[int, str]](), dict[int, set[str]]()
        for line in sorted((line for mine in by_pod.values() for line in mine), key=lambda one: (one.time, one.pod)):
            time = line.time.timestamp()
            said = {"entity": line.pod, "time": time, "message": line.message, "severity": line.severity}
            logs.append((int(time) // MINUTE, json.dumps(said)))
            lines.setdefault(int(time) // MINUTE, set()).add(line.pod)
        told = json.loads((folder / "faults.json").read_text())["faults"]
        faults = [Fault(one["pod"], one["t0"] // MINUTE, (one["t1"] - 1) // MINUTE) for one in told]
        return cls(sorted(telemetry), logs, lines, faults)

    def write(self, folder: Path) -> None:
        """What a user would have."""
        for name, records in (("metrics", self.telemetry), ("logs", self.logs)):
            for part, early in (("before", True), ("after", False)):
                said = "\n".join(text for minute, text in records if (minute < self.middle) is early)
                (folder / f"{name}-{part}.jsonl").write_text(said + "\n")


def _records(path: Path) -> list[tuple[int, str]]:
    table = pq.read_table(path)
    names = [name for name in table.column_names if name not in NOT_METRICS]
    pod, found = path.name.removesuffix(".test.parquet"), []
    for row in table.to_pylist():
        record = {"entity": pod, "time": row["timestamp"], "values": {name: row[name] for name in names}}
        found.append((row["timestamp"] // MINUTE, json.dumps(record)))
    return found


def scored(shop: Shop, way: str, extra: str = "") -> dict[Cell, float]:
    """Fit and run; every score (1 = the threshold) of a pod and a minute, but for the last ones, which late records
    might still have changed."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        shop.write(folder)
        (folder / "tsad.toml").write_text(f'[stream.shop]\nstep = "1m"\nhistory_days = 1\n{extra}{WAYS[way]}')
        for command, option, part in (("fit", "--from", "before"), ("run", "--source", "after")):
            metrics = [option, f"metrics-{part}.jsonl"] if way != "logs" else []
            tsad(folder, command, "shop", *metrics, *(["--logs", f"logs-{part}.jsonl"] if way != "metrics" else []))
        return _history(folder)


def _history(folder: Path) -> dict[Cell, float]:
    from tsad.archive import Archive

    found: dict[Cell, float] = {}
    for batch in Archive(folder / "tsad-history" / "live" / "shop", MINUTE * 10**9).batches(0, 0, 1 << 40, []):
        columns = (batch.column(name).to_pylist() for name in ("entity", "slot", "score"))
        found |= {(pod, slot): score for pod, slot, score in zip(*columns, strict=True) if not math.isnan(score)}
    return found


def figures(shop: Shop, scores: Mapping[Cell, float]) -> dict[str, float]:
    """Over covered minutes behind the middle; a score above 1 is a flag."""
    covered = {minute for minute in shop.lines if minute >= shop.middle}
    flags = {cell for cell, score in scores.items() if score > 1 and cell[1] in covered}
    events = [one for one in shop.faults if one.first >= shop.middle and covered & set(range(one.first, one.last + 1))]
    found = sum(any(one.holds(*cell) for cell in flags) for one in events)
    anywhere = sum(any(one.holds(None, minute) for _, minute in flags) for one in events)
    minutes = {minute for _, minute in flags}
    right = sum(any(one.holds(*cell) for one in shop.faults) for cell in flags)
    inside = sum(any(one.holds(None, minute) for one in shop.faults) for minute in minutes)
    first = 0
    for one in events:
        seen = {cell: score for cell, score in scores.items() if one.holds(None, cell[1]) and cell[1] in covered}
        first += bool(seen) and max(seen, key=lambda cell: (seen[cell], cell))[0] == one.pod
    many = max(len(events), 1)
    return {
        "events": len(events), "recall": found / many, "precision": right / max(len(flags), 1),
        "event_f1": f1(found / many, right / max(len(flags), 1)), "first": first / many, "flags": len(flags),
        "event_f1_system": f1(anywhere / many, inside / max(len(minutes), 1)),
    }  # fmt: skip


def f1(recall: float, precision: float) -> float:
    """Harmonic mean."""
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def _figures(given: tuple[Path, str, str]) -> dict[str, float]:
    folder, way, extra = given
    shop = Shop.read(folder)
    return figures(shop, scored(shop, way, extra))


def trainticket(data: Path, extra: str = "", workers: int = 2, ways: Sequence[str] = tuple(WAYS)) -> dict[str, Any]:
    """Figures of each way, and of flags wherever a pod wrote a line."""
    shop = Shop.read(data / NEZHA)
    present = {(pod, minute): 2.0 for minute, pods in shop.lines.items() for pod in pods}
    jobs = [(data / NEZHA, way, extra) for way in ways]
    if workers == 1:
        found = list(map(_figures, jobs))
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            found = list(pool.map(_figures, jobs))
    return dict(zip(ways, found, strict=True)) | {"any_line": figures(shop, present)}
