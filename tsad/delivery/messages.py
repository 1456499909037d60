"""What is said of an alert, in the form of each receiver: pure functions."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from storage.deliveries import SEVERITIES, Delivery, Status, Telling
from storage.documents import dump_json
from storage.gathered import Gathered, Tell
from storage.rulings import DecisionRow
from storage.types import LIVE, Alert
from tsad.context import sentence_of
from tsad.delivery import incidents
from tsad.delivery.settings import DeliveryConfig, RouteConfig
from tsad.delivery.template import filled
from tsad.wording import one_line

COLOURS = {"info": "#4d7ea8", "warning": "#d9a400", "critical": "#c0392b"}
VERSION = 1
FORGOTTEN = timedelta(days=30)
"""Alertmanager closes what goes on by itself when it has not heard of it for so long."""


def tellings(
    routes: Mapping[str, RouteConfig], alert: Alert, decision: DecisionRow, link: str | None
) -> Iterable[Telling]:
    """What a decision means for each route: that the alert is there, over, or none any more. Only what the run `live`
    finds is told; where a route tells of incidents, what it has told of alerts before is taken back."""
    status, rank = status_of(alert, decision), SEVERITIES.index(decision.severity)
    for name, route in routes.items() if alert.run == LIVE and status is not None else ():
        if route.lets_through(alert.stream, alert.entity):
            none = rank < SEVERITIES.index(route.min_severity) or route.group_by == "incident"
            told: Status = "withdrawn" if none or status is None else status
            key, body = _key(route, alert, decision), _body(alert, decision, link)
            yield Telling(name, key, alert.id, told, decision.severity, body)


def telling(config: DeliveryConfig) -> Tell:
    """`tellings` on the configured routes."""

    def of_alert(alert: Alert, decision: DecisionRow) -> Iterable[Telling]:
        return tellings(config.routes, alert, decision, config.link)

    def of_incident(found: Gathered) -> Iterable[Telling]:
        return incidents.tellings(config.routes, found, config.link)

    grouping = any(route.group_by == "incident" for route in config.routes.values())
    return Tell(of_alert, of_incident if grouping else None)


def status_of(alert: Alert, decision: DecisionRow) -> Status | None:
    """Of what people are to be told; None: of nothing yet."""
    if decision.standing == "notify":
        return "resolved" if alert.state == "resolved" else "firing"
    return None if decision.standing == "hold" else "withdrawn"


def _key(route: RouteConfig, alert: Alert, decision: DecisionRow) -> str:
    """What the receiver is to take for one thing."""
    if route.group_by in ("alert", "incident"):
        return decision.thread
    names = [alert.stream] if route.group_by == "stream" else [alert.stream, alert.entity]
    return hashlib.sha256(dump_json(names).encode()).hexdigest()[:32]


def _body(alert: Alert, decision: DecisionRow, link: str | None) -> dict[str, Any]:
    features = [name for name, _ in sorted(alert.attribution.items(), key=lambda pair: -(pair[1] or 0))[:3]]
    return {
        "version": VERSION, "about": "alert", "id": alert.id, "key": decision.thread, "stream": alert.stream,
        "entity": alert.entity, "severity": decision.severity, "score": round(alert.score, 3), "p": alert.p,
        "reason": decision.reason,
        "first_time": alert.first_time.isoformat(), "last_time": alert.last_time.isoformat(), "features": features,
        "sentence": sentence_of(alert.sentence, alert.explained_by_event) or "not explained yet",
        "link": f"{link.rstrip('/')}/#/alerts/{alert.id}" if link else "",
    }  # fmt: skip


def text_of(route: RouteConfig, one: Delivery) -> str:
    """In words, one line."""
    fields = one.body | {"status": one.status, "features": ", ".join(one.body["features"])}
    return one_line(filled(route.template, fields), 2000)


def generic(route: RouteConfig, one: Delivery) -> dict[str, Any]:
    """A webhook's JSON, and Kafka's."""
    return one.body | {"status": one.status, "text": text_of(route, one)}


def slack(route: RouteConfig, one: Delivery) -> dict[str, Any]:
    """As incoming webhooks of Slack (and Mattermost) take it; what comes from outside is escaped as Slack asks."""
    text = _escaped(text_of(route, one))
    said = {"firing": text, "resolved": f"Resolved: {text}", "withdrawn": f"Withdrawn: {text}"}[one.status]
    more = f" <{one.body['link']}|open>" if one.body["link"] else ""
    colour = COLOURS[one.severity] if one.status == "firing" else "#3c9d5d"
    fields = [
        {"title": title, "value": _escaped(str(value)), "short": True}
        for title, value in (("Entity", one.body["entity"]), ("Score", one.body["score"]))
    ]
    return {"text": said + more, "attachments": [{"color": colour, "fallback": said, "fields": fields}]}


def pagerduty(route: RouteConfig, one: Delivery) -> dict[str, Any]:
    """PagerDuty's Events API v2."""
    key = "" if route.key is None else route.key.get_secret_value()
    if one.status != "firing":
        return {"routing_key": key, "event_action": "resolve", "dedup_key": one.key}
    payload = {
        "summary": text_of(route, one)[:1024], "source": one.body["entity"] or "tsad",
        "severity": one.severity, "timestamp": one.body["first_time"], "component": one.body["stream"],
        "custom_details": one.body,
    }  # fmt: skip
    links = [{"href": one.body["link"], "text": "tsad"}] if one.body["link"] else []
    return {"routing_key": key, "event_action": "trigger", "dedup_key": one.key, "payload": payload, "links": links}


def alertmanager(route: RouteConfig, one: Delivery) -> list[dict[str, Any]]:
    """Alertmanager's API v2. Labels are identity there: of another severity it is another alert, which is over, and who
    moved first in an incident, which may turn out to be somebody else, is none. What goes on says that it ends late:
    Alertmanager takes for over what it does not hear of again for minutes."""
    told, incident = one.body, one.body.get("about") == "incident"
    names = {"alertname": "tsad_incident" if incident else "tsad_anomaly", "stream": told["stream"], "tsad_id": one.key}
    annotations = {"summary": text_of(route, one), "status": one.status, "score": str(told["score"])}
    (annotations if incident else names)["entity"] = told["entity"]
    alert = {"annotations": annotations, "startsAt": told["first_time"]}
    alert |= {"generatorURL": told["link"]} if told["link"] else {}
    late = (one.saved_at + FORGOTTEN).isoformat()
    goes_on = [one.severity] if one.status == "firing" else []
    return [
        alert | {"labels": names | {"severity": severity}, "endsAt": late if severity in goes_on else told["last_time"]}
        for severity in SEVERITIES
    ]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def preview(name: str, route: RouteConfig, status: Status, number: int, now: datetime, link: str | None) -> Delivery:
    """An example of what goes out on a route."""
    alert = Alert(
        run=LIVE, stream="example", partition=0, entity="example-1", opened_slot=0, first_slot=0, last_slot=0,
        peak_slot=0, first_time=now, last_time=now, peak_time=now, state="confirmed", severity="critical", score=2.0,
        p=1e-6, confidence=1.0, model_version="", detected_at=now, attribution={"cpu": 1.0},
        sentence="this is an example of an alert; nothing is wrong",
    )  # fmt: skip
    decision = DecisionRow(alert.id, "notify", "critical", "confirmed", "", alert.id, 0)
    body, key = _body(alert, decision, link), _key(route, alert, decision)
    if route.group_by == "incident":
        body = incidents.example(now, link)
        return Delivery(number, name, body["key"], body["id"], status, "critical", body, "pending", 0, now, "", now)
    return Delivery(number, name, key, alert.id, status, "critical", body, "pending", 0, now, "", now)
