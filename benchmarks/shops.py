"""Incidents on Nezha: faults injected into one pod of a shop. How many alerts became how many incidents, and how often
is the injected pod the first suspect?

The pods' metrics are cut in the middle of the faults: the stream is fitted, unlabelled, on what lies before, and run on
the rest, through the commands, in windows of 16 minutes as `tsad demo` has them (a fault lasts four, a choice of the
data's README). An incident is of a fault if they share a minute; of several the worst (`severity_score`)
counts. `suspect`: faults whose incident has the injected pod as its first suspect, `mover`: as what moved first,
`inside`: among its entities. `strongest`: faults whose strongest alert, without incidents, is of the injected pod.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.deceptive import tsad  # noqa: E402

MINUTE = 60
SHOPS = {"onlineboutique": "nezha_onlineboutique_2022-08-22", "trainticket": "nezha_trainticket_2023-01-29"}
WINDOWS = "window = 16\nsettle = 4\nquiet = 20\n"
NOT_PODS = ("front_service", "source_50", "destination_50")
NOT_METRICS = ("timestamp", "label", "label_system")


@dataclass(frozen=True, slots=True)
class Injection:
    """A fault of a pod, from `start` up to `end` (seconds since 1970)."""

    pod: str
    kind: str
    start: float
    end: float

    def meets(self, row: dict[str, Any]) -> bool:
        """Whether an alert or an incident shares a minute with it."""
        return seconds(row["first"]) < self.end and seconds(row["last"]) + MINUTE > self.start


def seconds(moment: str) -> float:
    """Since 1970, of a time as the commands write it."""
    return datetime.fromisoformat(moment).astimezone(UTC).timestamp()


def injections(folder: Path) -> list[Injection]:
    """The faults of a shop, by time."""
    told = json.loads((folder / "faults.json").read_text())["faults"]
    return sorted((Injection(one["pod"], one["type"], one["t0"], one["t1"]) for one in told), key=lambda one: one.start)


def write_metrics(folder: Path, split: float, out: Path) -> None:
    """The pods' metrics before and after `split`, as a user would have them."""
    records: list[tuple[int, str]] = []
    for path in sorted(folder.glob("*.test.parquet")):
        pod = path.name.removesuffix(".test.parquet")
        if pod in NOT_PODS:
            continue
        table = pq.read_table(path)
        names = [name for name in table.column_names if name not in NOT_METRICS]
        for row in table.to_pylist():
            values = {name: row[name] for name in names}
            records.append((row["timestamp"], json.dumps({"entity": pod, "time": row["timestamp"], "values": values})))
    records.sort()
    for name, early in (("before", True), ("after", False)):
        lines = (text for moment, text in records if (moment < split) is early)
        (out / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def watched(folder: Path, extra: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The alerts that stand, and the incidents with suspects, of a shop's later half."""
    faults = injections(folder)
    middle = faults[len(faults) // 2].start - 5 * MINUTE
    with TemporaryDirectory() as name:
        home = Path(name)
        write_metrics(folder, middle, home)
        (home / "tsad.toml").write_text(f'[stream.shop]\nstep = "1m"\n{extra}[stream.shop.telemetry]\n')
        tsad(home, "fit", "shop", "--from", "before.jsonl")
        tsad(home, "run", "shop", "--source", "after.jsonl")
        alerts = json.loads(tsad(home, "alerts", "--limit", "100000", "--json"))
        listed = json.loads(tsad(home, "incidents", "list", "--limit", "100000", "--json"))
        whole = [
            json.loads(tsad(home, "incidents", "show", row["number"], "--json")) for row in listed if row["alerts"]
        ]
    standing = [one for one in alerts if one["state"] != "retracted"]
    return (
        [
            {"entity": one["entity"], "first": one["event_time"], "last": one["last_time"], "score": one["score"]}
            for one in standing
        ],
        [{**one, "first": one["first_time"], "last": one["last_time"]} for one in whole],
    )  # fmt: skip


def figures(
    faults: Sequence[Injection], alerts: Sequence[dict[str, Any]], incidents: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Over the faults that were watched."""
    met = found = suspect = mover = inside = strongest = entities = 0
    for fault in faults:
        near = [one for one in alerts if fault.meets(one)]
        strongest += bool(near) and max(near, key=lambda one: one["score"])["entity"] == fault.pod
        found += any(one["entity"] == fault.pod for one in near)
        mine = [one for one in incidents if fault.meets(one)]
        if not mine:
            continue
        worst = max(mine, key=lambda one: one["severity_score"])
        met, entities = met + 1, entities + worst["entities"]
        suspect += worst["suspects"][0]["entity"] == fault.pod
        mover += worst["entity"] == fault.pod
        inside += any(one["entity"] == fault.pod for one in worst["members"])
    many = max(len(faults), 1)
    return {
        "faults": len(faults), "alerts": len(alerts), "incidents": len(incidents),
        "alerts_an_incident": round(len(alerts) / max(len(incidents), 1), 2),
        "largest": max((one["alerts"] for one in incidents), default=0),
        "types": len({one["type"] for one in incidents}),
        "with_an_incident": met, "pod_has_an_alert": found, "inside": inside, "suspect": suspect, "mover": mover,
        "strongest": strongest, "suspect_share": round(suspect / many, 3),
        "suspect_share_where_the_pod_has_an_alert": round(suspect / found, 3) if found else None,
    }  # fmt: skip


def shop(folder: Path, profile: str, budget: float) -> dict[str, Any]:
    """Figures of one shop."""
    alerts, incidents = watched(folder, f'{WINDOWS}profile = "{profile}"\nalert_budget = {budget}\n')
    faults = injections(folder)
    return figures(faults[len(faults) // 2 :], alerts, incidents)
