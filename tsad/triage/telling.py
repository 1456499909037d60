"""An incident in words and rows, for the commands and the API."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from rich.table import Table
from rich.text import Text

from storage.incidents import IncidentRow, TypeRow
from tsad.triage.digests import Member
from tsad.wording import counted, one_line, utc_text

MONTH = timedelta(days=30)
MOMENTS = 500
STYLES = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
WAYS = {1: "up", -1: "down", 0: "-"}


class Moment(NamedTuple):
    """Something that happened: a channel `moved`, an alert `opened` or `ended` (its last anomalous slot)."""

    time: datetime
    what: Literal["moved", "opened", "ended"]
    alert: str
    entity: str
    feature: str | None = None
    direction: int | None = None


def timeline(members: Sequence[Member]) -> list[Moment]:
    """What happened in an incident, in the order of event time; of alerts that stand."""
    found = []
    for member in members:
        digest, alert = member.digest, member.alert_id
        if not digest.stands:
            continue
        for one in digest.main:
            when = datetime.fromtimestamp(one.onset, UTC)
            found.append(Moment(when, "moved", alert, digest.entity, one.feature, one.direction))
        found.append(Moment(member.first, "opened", alert, digest.entity))
        if digest.state == "resolved":
            found.append(Moment(member.end - timedelta(seconds=digest.step), "ended", alert, digest.entity))
    ranks = ("moved", "opened", "ended")
    found.sort(key=lambda one: (one.time, ranks.index(one.what), one.entity, one.feature or "", one.alert))
    return found[:MOMENTS]


def likeness_of(row: IncidentRow, kinds: Mapping[str, TypeRow], times: int | None = None) -> str:
    """In words: "like INC-12, 3 times in 30 days", "new type"; nothing where it has no type."""
    if row.type is None:
        return ""
    kind = kinds.get(row.type)
    like = "new type" if row.type == row.id or kind is None else f"like INC-{kind.number}"
    return like if times is None or times < 2 else f"{like}, {counted(times, 'time')} in 30 days"


def incident_row(row: IncidentRow, kinds: Mapping[str, TypeRow], times: int | None = None) -> dict[str, Any]:
    """As a plain row."""
    names = (
        "id", "run", "stream", "title", "state", "severity", "severity_score", "score", "first_time", "last_time",
        "entity", "feature", "alerts", "entities", "opened_at", "type", "likeness", "merged_into",
    )  # fmt: skip
    return {"number": f"INC-{row.number}", "kind": likeness_of(row, kinds, times)} | {
        name: getattr(row, name) for name in names
    }


def incident_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Incidents as `incident_row` gives them."""
    table = _table(
        "Incidents", "No incidents; `tsad triage --once` makes them of the alerts there are." if not rows else ""
    )
    for heading in ("Incident", "Began (UTC)", "Severity", "What"):
        table.add_column(heading, no_wrap=heading != "What", overflow="fold")
    for row in rows:
        table.add_row(
            _text(row["number"], "bold"), _text(utc_text(row["first_time"])),
            Text("\n").join([_text(row["severity"], STYLES[row["severity"]]), _text(row["state"], "dim")]),
            Text("\n").join([_text(row["title"]), _text(_besides(row), "dim")]),
        )  # fmt: skip
    return table


def suspect_table(suspects: Sequence[Mapping[str, Any]]) -> Table:
    """Suspects, the likeliest first."""
    table = _table("Suspects", "")
    for heading in ("Blame", "Behind", "", "Entity", "Channel"):
        table.add_column(heading, no_wrap=heading in ("Blame", "Behind", ""), overflow="fold")
    for one in suspects:
        table.add_row(
            f"{one['blame']:.0%}", f"{one['lag']:.0f} s", WAYS[one["direction"]], _text(one["entity"]),
            _text(one["text"] or one["feature"]),
        )  # fmt: skip
    return table


def _besides(row: Mapping[str, Any]) -> str:
    said = [counted(row["alerts"], "alert"), row["kind"]]
    return "; ".join(part for part in said if part)


def _table(title: str, caption: str) -> Table:
    return Table(title=title, title_justify="left", caption=caption, caption_justify="left")


def _text(value: object, style: str = "") -> Text:
    return Text(one_line(str(value), 400), style)
