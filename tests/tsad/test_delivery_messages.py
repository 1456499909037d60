"""What is said to each kind of receiver, without a receiver."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from triaged import at, episode

from storage.deliveries import Delivery, Status
from storage.documents import dump_json, load_json
from storage.rulings import DecisionRow, Standing
from storage.types import Alert, Severity
from tsad.config import parse_config
from tsad.delivery import messages
from tsad.delivery.messages import preview, status_of, tellings, text_of
from tsad.delivery.settings import RouteConfig
from tsad.delivery.template import FIELDS, filled

SEVERITIES: list[Severity] = ["info", "warning", "critical"]


def route(kind: str = "webhook", **more: Any) -> RouteConfig:
    needs = {"pagerduty": {"key": "k"}, "email": {"server": "x:25", "sender": "a@x", "to": ["b@x"]},
             "kafka": {"topic": "t"}}  # fmt: skip
    found = parse_config({"delivery": {"routes": {
        "r": {"kind": kind, "url": "https://example.org/x"} | needs.get(kind, {}) | more
    }}})  # fmt: skip
    return found.delivery.routes["r"]


def decision(
    alert: Alert, standing: Standing = "notify", severity: Severity = "warning", thread: str = ""
) -> DecisionRow:
    return DecisionRow(alert.id, standing, severity, "confirmed", "", thread or alert.id, 0)


def said(one: RouteConfig, alert: Alert, made: DecisionRow | None = None, link: str | None = None) -> list[Any]:
    return list(tellings({"r": one}, alert, made or decision(alert), link))


def delivery(one: RouteConfig, alert: Alert, status: Status = "firing", link: str | None = None) -> Delivery:
    [told] = said(one, alert, link=link)
    return Delivery(7, "r", told.key, told.alert_id, status, told.severity, told.body, "pending", 0, at(0), "", at(0))


@pytest.mark.parametrize(
    ("state", "standing", "status"),
    [
        ("open", "notify", "firing"),
        ("confirmed", "notify", "firing"),
        ("resolved", "notify", "resolved"),
        ("open", "hold", None),
        ("resolved", "hold", None),
        ("confirmed", "suppress", "withdrawn"),
        ("resolved", "suppress", "withdrawn"),
        ("retracted", "withdraw", "withdrawn"),
    ],
)
def test_what_a_decision_means(state: Any, standing: Standing, status: Status | None) -> None:
    alert = episode(state=state)
    assert status_of(alert, decision(alert, standing)) == status
    assert [one.status for one in said(route(), alert, decision(alert, standing))] == ([status] if status else [])


@pytest.mark.parametrize("least", SEVERITIES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_what_is_too_small_for_a_route_takes_back_what_was_bigger(least: Severity, severity: Severity) -> None:
    alert = episode()
    [one] = said(route(min_severity=least), alert, decision(alert, severity=severity))
    small = SEVERITIES.index(severity) < SEVERITIES.index(least)
    assert one.status == ("withdrawn" if small else "firing")
    over = episode(state="resolved")
    [end] = said(route(min_severity=least), over, decision(over, severity=severity))
    assert end.status == ("withdrawn" if small else "resolved")


@pytest.mark.parametrize(
    ("patterns", "there"),
    [
        ({}, True),
        ({"stream": "fl*"}, True),
        ({"entity": "web-?"}, True),
        ({"stream": "x"}, False),
        ({"entity": "db-*"}, False),
    ],
)
def test_routes_choose_by_stream_and_entity(patterns: dict[str, str], there: bool) -> None:
    assert bool(said(route(**patterns), episode())) == there


def test_keys_by_what_a_route_groups() -> None:
    alerts = [episode(), episode(slot=500), episode(entity="web-2"), episode(stream="other")]
    keys = {
        group: [said(route(group_by=group), alert)[0].key for alert in alerts]
        for group in ("alert", "entity", "stream")
    }
    assert keys["alert"] == [alert.id for alert in alerts]
    assert len(set(keys["entity"])) == 3
    assert keys["entity"][0] == keys["entity"][1]
    assert len(set(keys["stream"])) == 2
    again = episode(slot=600)
    assert said(route(), again, decision(again, thread="abc"))[0].key == "abc", "that of the alert that it goes on"


def test_the_body_says_what_there_is_and_is_json() -> None:
    alert = episode(score=1.23456, attribution={"a": 0.1, "b": 0.6, "c": 0.2, "d": 0.1}, sentence="")
    [one] = said(route(), alert, link="https://x.org/")
    assert one.body["features"] == ["b", "c", "a"]
    assert (one.body["score"], one.body["sentence"]) == (1.235, "not explained yet")
    assert one.body["link"] == f"https://x.org/#/alerts/{alert.id}"
    assert load_json(dump_json(one.body)) == one.body
    assert set(FIELDS) - set(one.body) == {"status"}


def test_a_template_is_one_line_without_what_a_terminal_obeys() -> None:
    alert = episode(entity="web\n\x1b[31m", sentence="a\r\nb")
    text = text_of(route(template="{entity}|{sentence}|{features}|{status}"), delivery(route(), alert))
    assert "\n" not in text
    assert "\r" not in text
    assert "\x1b" not in text
    assert text.endswith("|cpu|firing")


@given(st.text(max_size=60))
def test_a_template_is_filled_or_names_the_field_that_there_is_not(template: str) -> None:
    fields = {name: f"<{name}>" for name in FIELDS}
    try:
        found = filled(template, fields)
    except KeyError as error:
        assert "{" + error.args[0] + "}" in template
    else:
        assert ("{" in found) <= ("{" in template)


@given(st.text(max_size=40), st.text(max_size=40))
def test_what_fields_hold_is_not_filled_again(entity: str, sentence: str) -> None:
    fields = dict.fromkeys(FIELDS, "") | {"entity": entity, "sentence": sentence}
    assert filled("{entity}-{sentence}", fields) == f"{entity}-{sentence}"


@pytest.mark.parametrize("status", ["firing", "resolved", "withdrawn"])
@pytest.mark.parametrize("kind", ["generic", "slack", "pagerduty", "alertmanager"])
def test_every_form_is_json_and_knows_the_thing_by_one_key(kind: str, status: Status) -> None:
    one, alert = route("pagerduty" if kind == "pagerduty" else "webhook"), episode(entity="<&>")
    made = getattr(messages, kind)(one, delivery(one, alert, status, "https://x.org"))
    assert load_json(dump_json(made)) == made
    if kind != "slack":
        assert alert.id in dump_json(made)
    else:
        assert "<&>" not in made["text"]
        assert "&lt;&amp;&gt;" in made["attachments"][0]["fields"][0]["value"]


def test_pagerdutys_bounds() -> None:
    alert = episode(sentence="x" * 5000)
    made = messages.pagerduty(route("pagerduty"), delivery(route("pagerduty"), alert))
    assert len(made["payload"]["summary"]) == 1024
    assert made["links"] == []


def test_an_example_says_that_it_is_one() -> None:
    for status in ("firing", "resolved"):
        one = preview("r", route(), status, 1, at(0) + timedelta(hours=1), None)  # type: ignore[arg-type]
        assert (one.status, one.body["entity"]) == (status, "example-1")
        assert "nothing is wrong" in text_of(route(), one)
