"""A run as one HTML file that needs nothing else. Its length does not grow with alerts or entities: sums come from the
database, and of all that is listed there are the strongest."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import log1p
from pathlib import Path
from typing import Any

from storage.engine import Database
from storage.read import Listing
from storage.runs import SEVERITIES, Runs
from tsad.context import sentence_of
from tsad.runs.charts import CHART_STYLE, KEY, bar, columns, width_for
from tsad.runs.comparing import KINDS, Case, Comparison, compare
from tsad.runs.tables import changes, side_text
from tsad.runs.telling import whole
from tsad.webpage import Cell, facts, table, text, tiles, write
from tsad.wording import counted, utc_text

STRONGEST, DIFFERENT = 50, 25
"""Alerts, and cases of each kind of difference, that are listed."""
EDGES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
"""Of scores."""


def write_report(database: Database, run: str, path: Path, other: str | None = None) -> None:
    """Write the page of `run` to `path`, with what the run `other` over the same input says differently, if one is
    named. NotThereError where there is no such run."""
    found = whole(database, run)
    differ = None if other is None else compare(database, run, other, DIFFERENT)
    write(path, f"Run {run}", _parts(Runs(database), run, found, differ), CHART_STYLE)


def _parts(runs: Runs, run: str, found: Mapping[str, Any], differ: Comparison | None) -> Iterator[str]:
    yield f"<h1>Run {text(run)}</h1>"
    yield facts({name: said for name, said in _facts(found).items() if said})
    yield tiles(_tiles(found))
    if found["alerts"]:
        seconds = width_for(found["first_time"], found["last_time"])
        yield "<h2>Alerts over time</h2>" + columns(runs.over_time(run, seconds), seconds)
        yield "<h2>Entities</h2>" + _busiest(found["busiest"], found["entities"])
        yield "<h2>Leading channels</h2>" + _channels(found["channels"])
    else:
        yield "<p>No alerts.</p>"
    yield _scores(runs, run)
    if found["alerts"]:
        yield "<h2>The strongest alerts</h2>" + _strongest(runs.strongest(run, STRONGEST))
    if differ is not None:
        yield from _differences(differ)
    if found["failed"]:
        yield f"<h2>Units that failed</h2>{_failures(found['failures'], found['failed'])}"
    yield _how(found)


def _facts(found: Mapping[str, Any]) -> dict[str, str]:
    begun, ended = found["created_at"], found["ended_at"]
    return {
        "stream": ", ".join(found["streams"]) or found["stream"], "model": found["model_version"], **found["reads"],
        "state": found["state"] or "", "begun": utc_text(begun) if begun else "",
        "ended": utc_text(ended) if ended else "",
    }  # fmt: skip


def _tiles(found: Mapping[str, Any]) -> dict[str, str]:
    shown = {"alerts": found["alerts"]} | found["severities"] | {"entities with alerts": found["entities"]}
    said = {name: f"{count:,}" for name, count in shown.items()}
    if found["units"]:
        said |= {"rows read": f"{found['rows']:,}", "units finished": f"{found['finished']:,} of {found['units']:,}"}
        said |= {"units failed": f"{found['failed']:,}"} if found["failed"] else {}
    return said


def _busiest(rows: Listing, entities: int) -> str:
    most = max(row["count"] for row in rows)
    several = len({row["stream"] for row in rows}) > 1
    lines = []
    for row in rows:
        whose = text(row["entity"]) + (f" <small>{text(row['stream'])}</small>" if several else "")
        drawn = bar([(name, row[name]) for name in SEVERITIES], most)
        lines.append(("", [whose, f"{row['count']:,}", f"{row['score']:.2f}", drawn]))
    note = f"The {len(rows)} with most alerts, of {entities:,}.{KEY}" if len(rows) < entities else KEY
    return f'<p class="note">{note}</p>' + table(["entity", "alerts", "greatest score", ""], lines, "bars")


def _channels(rows: Listing) -> str:
    most = max((row["alerts"] for row in rows), default=1)
    lines = [
        ("", [text(row["channel"]), f"{row['alerts']:,}", f"{row['score']:.2f}", bar([("info", row["alerts"])], most)])
        for row in rows
    ]
    note = '<p class="note">Of each alert the channel that has the greatest part in it.</p>'
    return note + table(["channel", "alerts", "greatest score", ""], lines, "bars")


def _scores(runs: Runs, run: str) -> str:
    hours, alerts = runs.hours(run, EDGES), runs.scores(run, EDGES)
    sides = {"Hours of all entities, by their greatest score": hours, "Alerts, by their greatest score": alerts}
    shown = [f"<div><h3>{title}</h3>{_histogram(counts)}</div>" for title, counts in sides.items() if any(counts)]
    note = '<p class="note">A score above 1 is anomalous. The bars are logarithmic.</p>'
    return f'<h2>Scores</h2>{note}<div class="pair">{"".join(shown)}</div>' if shown else ""


def _histogram(counts: Sequence[int]) -> str:
    between = [f"{low:g} to {high:g}" for low, high in pairwise(EDGES)]
    names = [f"below {EDGES[0]:g}", *between, f"{EDGES[-1]:g} and more"]
    there = [place for place, count in enumerate(counts) if count]
    most = log1p(max(counts))
    lines = []
    for place in range(there[0], there[-1] + 1):
        kind = "warning" if place > EDGES.index(1.0) else "calm"
        lines.append(("", [names[place], f"{counts[place]:,}", bar([(kind, log1p(counts[place]))], most)]))
    return table(["score", "", ""], lines, "bars")


def _strongest(rows: Listing) -> str:
    lines = []
    for row in rows:
        why = text(sentence_of(row["sentence"], row["explained_by_event"]), 500)
        which: list[Cell] = [
            ("time", utc_text(row["first_time"])),
            ("name left", text(row["entity"])),
            ("left", row["severity"]),
        ]
        lines.append(
            ("", [*which, f"{row['score']:.2f}", ("said", why), ("left", f"<small>{text(row['id'][:12])}</small>")])
        )
    return table(
        ["began (UTC)", ("left", "entity"), ("left", "severity"), "score", ("left", "why"), ("left", "id")], lines
    )


def _differences(found: Comparison) -> Iterator[str]:
    before, after = text(found.before), text(found.after)
    titles = {
        "appears": f"Only {after}",
        "vanishes": f"Only {before}",
        "changed": "Both, but otherwise",
        "same": "Both",
    }
    yield f"<h2>Compared with {after}</h2>"
    yield '<p class="note">Alerts of an entity that meet in time are the same, and counted once.</p>'
    lines = [
        ("", [titles[kind], f"{found.kinds[kind]:,}", *(f"{found.severities[kind, level]:,}" for level in SEVERITIES)])
        for kind in KINDS
    ]
    yield table(["", "alerts", *SEVERITIES], lines)
    yield f"<p>{text(changes(found))}</p>"
    for kind in KINDS[:3]:
        cases = [("", _case(case)) for case in found.strongest(kind)]
        if cases:
            yield f"<h3>{titles[kind]}: the strongest</h3>"
            yield table(["began (UTC)", ("left", "entity"), ("left", before), ("left", after)], cases)


def _case(case: Case) -> list[Cell]:
    sides = [("left", text(side_text(side))) for side in (case.before, case.after)]
    return [("time", utc_text(case.first)), ("name left", text(case.entity)), *sides]


def _failures(rows: Listing, failed: int) -> str:
    lines: list[tuple[str, list[Cell]]] = [
        ("", [str(row["unit"]), str(row["attempts"]), ("said", text(row["reason"], 500))]) for row in rows
    ]
    note = f'<p class="note">The first {len(rows)} of {failed:,}.</p>' if len(rows) < failed else ""
    return note + table(["unit", "attempts", ("left", "reason")], lines)


def _how(found: Mapping[str, Any]) -> str:
    said = "The records were judged as those of the stream are when they come. Nobody was told of these alerts."
    if taken := found["states"].get("retracted"):
        verb = "was" if taken == 1 else "were"
        said += f" {counted(taken, 'alert')} {verb} taken back once the scores had settled, and not counted."
    return f'<p class="note">{said}</p>'
