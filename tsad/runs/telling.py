"""What is said of runs in lists and of one by itself, as plain rows."""

from collections import Counter
from typing import Any

from storage.backfills import Backfills
from storage.engine import Database
from storage.read import Listing
from storage.runalerts import RunAlerts
from storage.runs import SEVERITIES, Runs
from tsad.runs.inputs import told

MOST = 20
"""Entities, channels and failures that are told of one by one."""


def listing(database: Database) -> Listing:
    """Every run but `live`, by name, as `summary` has it."""
    return [summary(database, run) for run in Runs(database).names()]


def summary(database: Database, run: str) -> dict[str, Any]:
    """A run in a row: what it judged with what, how many of its units are done, its alerts. One that no backfill made
    has neither state nor units."""
    runs, row = Runs(database), Backfills(database).row(run)
    units = {one["state"]: one for one in runs.units(run)}
    streams = [row.stream] if row else runs.streams(run)
    return {
        "run": run,
        "stream": streams[0] if streams else "",
        "model_version": row.model_version if row else ", ".join(runs.versions(run)),
        "state": row.state if row else None,
        "units": sum(one["count"] for one in units.values()),
        "finished": units.get("finished", {"count": 0})["count"],
        "failed": units.get("failed", {"count": 0})["count"],
        "alerts": runs.totals(run).alerts,
        "created_at": row.created_at if row else None,
        "ended_at": row.ended_at if row else None,
    }


def whole(database: Database, run: str, most: int = MOST) -> dict[str, Any]:
    """All that is said of a run: its row, what it reads, its figures, and at `most` so many entities, channels and
    failures. NotThereError where there is no such run."""
    runs = Runs(database)
    row = Backfills(database).row(runs.known(run))
    totals, states, units = runs.totals(run), runs.states(run), runs.units(run)
    severities, by_state = Counter[str](), Counter[str]()
    for one in states:
        by_state[one["state"]] += one["count"]
        severities[one["severity"]] += one["count"] if one["state"] != "retracted" else 0
    return summary(database, run) | {
        "reads": told(row.spec) if row else {},
        "streams": runs.streams(run),
        "rows": sum(one["rows"] for one in units),
        "seconds": sum(one["seconds"] for one in units),
        "first_time": totals.first,
        "last_time": totals.last,
        "entities": totals.entities,
        "severities": {name: severities[name] for name in SEVERITIES},
        "states": dict(by_state),
        "busiest": runs.busiest(run, most),
        "channels": channels(database, run, most),
        "failures": runs.failures(run, most),
    }


def channels(database: Database, run: str, most: int) -> Listing:
    """The channels that lead most alerts: channel, alerts, score (the greatest)."""
    counts, scores = Counter[str](), dict[str, float]()
    for channel, score in RunAlerts(database).channels(run):
        counts[channel] += 1
        scores[channel] = max(score, scores.get(channel, score))
    order = sorted(counts, key=lambda name: (-counts[name], -scores[name], name))
    return [{"channel": name, "alerts": counts[name], "score": scores[name]} for name in order[:most]]
