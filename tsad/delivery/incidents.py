"""What is said of an incident, on routes that group by those: pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from storage.deliveries import SEVERITIES, Status, Telling
from storage.gathered import Decided, Gathered
from storage.incidents import IncidentRow
from storage.types import LIVE, Severity
from tsad.delivery.settings import RouteConfig
from tsad.triage.describing import level_of
from tsad.wording import counted

VERSION = 1


def tellings(routes: Mapping[str, RouteConfig], found: Gathered, link: str | None) -> Iterable[Telling]:
    """What an incident means for each route, by those of its alerts that the route lets through. Only the run `live` is
    told of."""
    row = found.incident
    for name, route in routes.items():
        if route.group_by != "incident" or row.run != LIVE:
            continue
        mine = [one for one in found.alerts if route.lets_through(one.stream, one.entity)]
        status, standing = status_of(mine), [one for one in mine if _stands(one)]
        if status is not None:
            severity = row.severity
            if standing:
                severity = level_of([one.severity for one in standing], {one.entity for one in standing})
            small = SEVERITIES.index(severity) < SEVERITIES.index(route.min_severity)
            told: Status = "withdrawn" if small else status
            yield Telling(name, row.id, row.id, told, severity, body_of(row, standing, severity, link))


def status_of(alerts: Sequence[Decided]) -> Status | None:
    """Of what people are to be told, by the alerts of an incident; None: of nothing new."""
    standing = [one for one in alerts if _stands(one)]
    if standing:
        return "resolved" if all(one.state == "resolved" for one in standing) else "firing"
    waits = any(one.standing == "hold" and one.state != "retracted" for one in alerts)
    return None if waits else "withdrawn"


def _stands(one: Decided) -> bool:
    """Whether people are to know of an alert, over or not. Late data may have taken it back since that was decided."""
    return one.standing == "notify" and one.state != "retracted"


def body_of(row: IncidentRow, alerts: Sequence[Decided], severity: Severity, link: str | None) -> dict[str, Any]:
    """What targets make their messages of; `alerts`: those that people are to know of."""
    title = row.title.removeprefix(f"{row.entity}: ")
    features = list(dict.fromkeys(one["feature"] for one in row.suspects))[:3]
    return {
        "version": VERSION, "about": "incident", "id": row.id, "key": row.id, "number": row.number,
        "stream": row.stream, "entity": row.entity, "severity": severity, "score": round(row.score, 3),
        "p": min((one.p for one in alerts), default=1.0), "reason": _reason(row, alerts),
        "first_time": row.first_time.isoformat(), "last_time": row.last_time.isoformat(), "features": features,
        "alerts": len(alerts), "entities": len({one.entity for one in alerts}), "merged_into": row.merged_into,
        "sentence": f"{title}; {counted(len(alerts), 'alert')} (INC-{row.number})",
        "link": f"{link.rstrip('/')}/#/incidents/{row.id}" if link else "",
    }  # fmt: skip


def _reason(row: IncidentRow, alerts: Sequence[Decided]) -> str:
    if row.merged_into is not None:
        return "merged"
    return alerts[0].reason if alerts else row.state


def example(now: datetime, link: str | None) -> dict[str, Any]:
    """What is said of an incident that is none."""
    row = IncidentRow(
        id="0" * 32, run=LIVE, number=0, stream="example", state="open", severity="critical", severity_score=2.0,
        score=2.0, first_time=now, last_time=now, entity="example-1", feature="cpu", alerts=1, entities=1, signature={},
        title="this is an example of an incident; nothing is wrong", suspects=[{"feature": "cpu"}], opened_at=now,
    )  # fmt: skip
    one = Decided(row.id, row.stream, row.entity, "confirmed", 1e-6, "notify", "critical", "confirmed")
    return body_of(row, [one], "critical", link)
