"""Delivered false alerts on operations that look like faults: metrics alone against metrics and logs in one decision.

A world of `scenarios.py` is fitted (`tsad fit` on its history) and run (`tsad run`) as a user would, with the metrics
alone and with the logs beside them; nothing is configured of what lines mean. What the stream lives through before the
measured part is where it may learn. Counted in the measured part: a fault is found if a delivered alert that was not
retracted overlaps it; a delivered alert that overlaps no fault is false, retracted or not: somebody was told of it.
What a context event explains is not delivered.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.scenarios import START, STEP, Maker, Occurrence, Setting, World  # noqa: E402

GRACE = 12
"""Slots behind a fault in which an alert may still begin for it."""
STREAM = f'[stream.made]\nstep = "{STEP}s"\n'
LOGS = "[stream.made.logs]\n"
WAYS = {"metrics": "", "fused": LOGS, "joined": LOGS + "[stream.made.context]\nlearn = false\n"}
"""What is added to the configuration: metrics alone, logs beside them, and those without what is learnt of context."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert by service and slots; `why`: whether it is explained or was retracted."""

    entity: str
    first: int
    last: int
    why: str
    title: str = ""


def tsad(folder: Path, *arguments: str) -> str:
    """Type `tsad ARGUMENTS` in `folder`; what it printed."""
    from tsad.cli import main

    out = StringIO()
    with chdir(folder), patch.object(sys, "argv", ["tsad", *arguments]), redirect_stdout(out):
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"tsad {' '.join(arguments)} ended with {end.code}") from end
    return out.getvalue()


def write(world: World, folder: Path) -> None:
    """The files that a user would have."""
    stop = world.values.shape[1]
    for name, first, last in (("history", 0, world.history), ("live", world.history, stop)):
        (folder / f"{name}.jsonl").write_text("\n".join(world.telemetry(first, last)) + "\n")
        (folder / f"{name}-logs.jsonl").write_text("\n".join(world.logs(first, last)) + "\n")


def alerts_of(world: World, way: str, extra: str = "") -> list[Alert]:
    """Fit and run the product; every alert that it has made."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(world, folder)
        (folder / "tsad.toml").write_text(STREAM + extra + WAYS[way])
        parts = [["--from", "history.jsonl"], ["--source", "live.jsonl"]]
        if way != "metrics":
            parts = [
                [*part, "--logs", f"{name}-logs.jsonl"] for part, name in zip(parts, ("history", "live"), strict=True)
            ]
        for command, part in zip(("fit", "run"), parts, strict=True):
            tsad(folder, command, "made", *part)
        rows = json.loads(tsad(folder, "alerts", "--json", "--limit", "1000000"))
    return sorted(map(_alert, rows), key=lambda one: (one.first, one.entity))


def _alert(row: Mapping[str, Any]) -> Alert:
    by = row["explained_by_event"]
    why = "explained" if by else "retracted" if row["state"] == "retracted" else ""
    return Alert(row["entity"], _slot(row["event_time"]), _slot(row["last_time"]), why, by["title"] if by else "")


def _slot(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() - START) // STEP


def meets(alert: Alert, one: Occurrence, world: World) -> bool:
    """Whether an alert overlaps an occurrence."""
    near = alert.first < one.stop + GRACE and alert.last >= one.start
    return near and alert.entity == world.names[one.service]


def figures(world: World, alerts: Sequence[Alert]) -> dict[str, float]:
    """Counts in the measured part."""
    faults = [one for one in world.occurrences if one.fault]
    delivered = [alert for alert in alerts if alert.why != "explained"]
    standing = [alert for alert in delivered if not alert.why]
    false = [alert for alert in delivered if not any(meets(alert, one, world) for one in faults)]
    measured = [one for one in faults if one.start >= world.measured]
    found = [one for one in measured if any(meets(alert, one, world) for alert in standing)]
    during = [one for one in measured if one.during]
    return {
        "false": sum(alert.first >= world.measured for alert in false),
        "false_before": sum(alert.first < world.measured for alert in false),
        "false_retracted": sum(alert.first >= world.measured for alert in false if alert.why),
        "explained": sum(alert.why == "explained" and alert.first >= world.measured for alert in alerts),
        "faults": len(measured), "faults_during_deploys": len(during),
        "recall": len(found) / max(len(measured), 1),
        "recall_during_deploys": sum(one in found for one in during) / max(len(during), 1),
        "operations": sum(not one.fault and one.start >= world.measured for one in world.occurrences),
    }  # fmt: skip


def _measured(given: tuple[Setting, str, str]) -> dict[str, float]:
    setting, way, extra = given
    world = Maker(setting).world()
    return figures(world, alerts_of(world, way, extra))


def deceptive(
    settings: Sequence[Setting], ways: Sequence[str] = ("metrics", "fused"), extra: str = "", workers: int = 2
) -> dict[str, Any]:
    """The figures of several worlds, added up, by way."""
    jobs = [(setting, way, extra) for setting in settings for way in ways]
    if workers == 1:
        found = [_measured(job) for job in jobs]
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            found = list(pool.map(_measured, jobs))
    report: dict[str, Any] = {}
    for way in ways:
        mine = [one for job, one in zip(jobs, found, strict=True) if job[1] == way]
        for name in mine[0]:
            values = [one[name] for one in mine]
            report[f"{name}_{way}"] = sum(values) / len(values) if name.startswith("recall") else sum(values)
    return report
