"""Runs and comparisons of them on a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from tsad.report import plain_table
from tsad.runs.comparing import ASPECTS, KINDS, LEVELS, Case, Comparison, Kind, Side
from tsad.wording import counted, one_line, utc_text

TITLES: Mapping[Kind, str] = {"appears": "Appear", "vanishes": "Vanish", "changed": "Change", "same": "Stay"}
ASKED = {
    "severity": "severity", "score": "score", "channel": "leading channel", "number": "number of alerts",
}  # fmt: skip
"""What may change, for people."""


def runs_table(rows: Iterable[Mapping[str, Any]]) -> RenderableType:
    """Runs as `tsad.runs.telling.summary` has them: at 80 columns a line each, where names are short."""
    shown = [
        {"run": row["run"], "model": row["model_version"], "state": row["state"], "units": units_text(row),
         "alerts": f"{row['alerts']:,}", "begun": row["created_at"] and utc_text(row["created_at"])}
        for row in rows
    ]  # fmt: skip
    keys = ["run", "model", "state", "units", "alerts", "begun"]
    return plain_table("Runs", keys, shown, "No runs over history; `tsad backfill` makes one.")


def units_text(row: Mapping[str, Any]) -> str:
    """How many of a run's units are done."""
    if not row["units"]:
        return ""
    failed = f", {row['failed']} failed" if row["failed"] else ""
    return f"{row['finished']} of {row['units']}{failed}"


def run_tables(run: Mapping[str, Any]) -> RenderableType:
    """What `tsad.runs.telling.whole` says."""
    shown = ["stream", "model_version", "state", "created_at", "ended_at", "first_time", "last_time"]
    facts = [{"what": name.replace("_", " "), "is": _said(run[name])} for name in shown if run[name] is not None]
    if run["units"]:
        facts.append({"what": "units finished", "is": units_text(run)})
        facts.append({"what": "rows", "is": f"{run['rows']:,}"})
    facts += [{"what": name, "is": said} for name, said in run["reads"].items()]
    facts.append({"what": "alerts", "is": f"{counted(run['alerts'], 'alert')} of {counted(run['entities'], 'entity')}"})
    facts += [{"what": f"alerts: {name}", "is": f"{count:,}"} for name, count in run["severities"].items()]
    if "retracted" in run["states"]:
        facts.append({"what": "retracted, not counted", "is": f"{run['states']['retracted']:,}"})
    busiest = [row | {"score": f"{row['score']:.2f}"} for row in run["busiest"]]
    channels = [row | {"score": f"{row['score']:.2f}"} for row in run["channels"]]
    tables: list[RenderableType] = [plain_table(f"Run {run['run']}", ["what", "is"], facts, "")]
    tables.append(
        plain_table("Entities", ["entity", "count", "critical", "warning", "info", "score"], busiest, "No alerts.")
    )
    tables.append(plain_table("Leading channels", ["channel", "alerts", "score"], channels, "No alerts."))
    if run["failures"]:
        failed = [row | {"unit": str(row["unit"])} for row in run["failures"]]
        tables.append(plain_table("Units that failed", ["unit", "attempts", "reason"], failed, ""))
    return Group(*tables)


def _said(value: Any) -> str:
    return utc_text(value) if isinstance(value, datetime) else str(value)


def comparison_tables(found: Comparison, most: int) -> RenderableType:
    """How two runs differ: the counts, and at `most` so many of each kind."""
    title = f"{one_line(found.after, 80)} against {one_line(found.before, 80)}"
    counts = Table(title=title, title_justify="left", caption=changes(found), caption_justify="left")
    for heading in ("", "Alerts", *(level.capitalize() for level in LEVELS[::-1])):
        counts.add_column(heading, justify="right" if heading else "left")
    for kind in KINDS:
        by_level = [f"{found.severities[kind, level]:,}" for level in LEVELS[::-1]]
        counts.add_row(TITLES[kind], f"{found.kinds[kind]:,}", *by_level)
    parts = [case_table(TITLES[kind], found.strongest(kind)[:most]) for kind in KINDS[:3] if found.kinds[kind]]
    return Group(counts, *parts)


def changes(found: Comparison) -> str:
    """What changed, and in how many."""
    parts = [f"{ASKED[name]} {found.aspects[name]:,}" for name in ASPECTS if found.aspects[name]]
    return f"Changed: {', '.join(parts)}" if parts else ""


def case_table(title: str, cases: Sequence[Case]) -> Table:
    """The strongest cases of a kind."""
    rows = [
        {"time": case.first, "entity": case.entity, "before": side_text(case.before), "after": side_text(case.after)}
        for case in cases
    ]
    return plain_table(f"{title}: the strongest", ["time", "entity", "before", "after"], rows, "")


def side_text(side: Side | None) -> str:
    """What one run says of a case, in words."""
    if side is None:
        return "–"
    many = f"{side.alerts} alerts, " if side.alerts > 1 else ""
    led = f", {one_line(side.channel, 60)}" if side.channel else ""
    return f"{many}{side.severity}, score {side.score:.2f}{led}"
