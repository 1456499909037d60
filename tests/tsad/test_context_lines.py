"""Log lines that are events: what they explain, and that restarts and polls change nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from storage.context import LOGS
from storage.read import AlertFilter
from streaming.settings import SECOND
from streaming.signs import Sighting, Sign
from tests.tsad.deploys import DEPLOYS, deployed
from tests.tsad.streams import FIT_SLOTS, START, differences, final_rows, line, payloads, run_through
from tsad.circumstances import Circumstances
from tsad.runner import Limits

Cells = Mapping[tuple[str, int], np.ndarray]
PATTERNS = [{"kind": "deploy", "pattern": "Deploying version"}]
LAST = 640


def spoken(deploys: tuple[int, ...] = DEPLOYS) -> dict[str, list[bytes]]:
    """Telemetry of `a`, and its log: a line a minute, and one more in the minutes of deploys."""
    cells = {key: values for key, values in deployed().items() if key[0] == "a" and key[1] < LAST}
    said = [line("a", slot, f"served {slot * 7} requests", 5) for slot in range(FIT_SLOTS, LAST)]
    said += [line("a", slot, f"Deploying version 1.{slot}.2 of shop", 9) for slot in deploys]
    at = {payload: float(payload.split(b'"time":')[1].split(b",")[0]) for payload in said}
    return {"telemetry": payloads(cells, FIT_SLOTS), "logs": sorted(said, key=lambda payload: at[payload])}


def explained(app: Any) -> dict[int, str | None]:
    """By the slot of opening what an event has to do with the alert."""
    found = app.reader.alerts(AlertFilter(stream="s", limit=None))
    first = START // 60 + DEPLOYS[0]
    return {
        one.opened_slot - START // 60: one.explained_by_event.get("why")
        for one in sorted(found, key=lambda one: one.opened_slot)
        if one.opened_slot > first
    }


def context(**more: Any) -> dict[str, Any]:
    return {"after": "5m", "patterns": PATTERNS} | more


def test_lines_of_deploys_explain_what_follows_them(make_app: Any) -> None:
    app = make_app(spoken(), logs={}, context=context())
    run_through(app, Limits(poll=200))
    assert explained(app) == {331: None, 401: None, 471: "learnt", 541: "learnt", 611: "learnt"}
    events = app.context_events.listing("s")
    assert [int(one.start.timestamp() - START) for one in events] == [60 * slot + 9 for slot in reversed(DEPLOYS)]
    assert {(one.kind, one.entity, one.source) for one in events} == {("deploy", "a", LOGS)}
    assert all(one.title.startswith("Deploying version <") for one in events)
    assert [one.detail["line"] for one in events] == [f"Deploying version 1.{slot}.2 of shop" for slot in DEPLOYS[::-1]]
    lines = {one.explained_by_event.get("line") for one in app.reader.alerts(AlertFilter(stream="s", limit=None))}
    assert lines == {None, *(f"Deploying version 1.{slot - 1}.2 of shop" for slot in (471, 541, 611))}
    assert app.context_events.listing("s", told=True) == []  # they are nobody else's


@pytest.mark.parametrize(("entity", "why"), [("*", "rule"), ("a", "rule"), ("b*", None)])
def test_a_pattern_may_say_whose_event_it_is(make_app: Any, entity: str, why: str | None) -> None:
    patterns = [{"kind": "deploy", "pattern": "Deploying", "entity": entity}]
    app = make_app(spoken(), logs={}, context=context(patterns=patterns, rules=[{"kind": "deploy"}]))
    run_through(app, Limits(poll=200))
    assert set(explained(app).values()) == {why}


@pytest.mark.parametrize(
    ("poll", "crashes"),
    [
        (13, {"poll": {52, 170}, "logs save": {78, 260}}),
        (75, {"logs poll": {31, 103}, "save": {75, 150, 300}}),
    ],
)
def test_restarts_and_polls_change_nothing(make_app: Any, poll: int, crashes: dict[str, set[int]]) -> None:
    whole, killed = (make_app(spoken(), logs={}, context=context()) for _ in range(2))
    killed.crashes.update({name: set(rows) for name, rows in crashes.items()})
    assert run_through(whole, Limits(poll=5000)) == 0
    assert run_through(killed, Limits(poll=poll, snapshot_every=16)) >= 3
    assert differences(final_rows(whole), final_rows(killed)) == []
    assert killed.context_events.listing("s") == whole.context_events.listing("s")


def sight(slot: int, name: str = "a", entity: str | None = None) -> Sighting:
    return Sighting(Sign("deploy", "x", entity), name, slot, slot * 60 * SECOND, "Deploying")


def test_lines_of_one_deploy_are_one_event() -> None:
    around = Circumstances(after=5, reach=10)
    made = [around.sight(sight(slot), None) for slot in (100, 103, 108, 98, 120, 119)]
    assert [event is not None for event in made] == [True, False, False, False, True, False]
    assert [(one.first, one.last) for one in around.seen["a"]] == [(98, 108), (119, 120)]
    assert around.sight(sight(100, "b"), None) is not None
    assert around.sight(sight(101, "b"), None) is None


def test_names_with_the_letters_of_patterns_are_taken_as_they_are() -> None:
    around = Circumstances(after=5, reach=10)
    around.sight(sight(100, "web[1]*"), None)
    (one,) = around._known("web[1]*")
    assert one.concerns("web[1]*", 101, 5)
    assert not one.concerns("web1x", 101, 5)
    assert list(around._known("web1x")) == []


def test_what_is_long_past_is_forgotten_and_the_rest_comes_back_from_a_snapshot() -> None:
    around = Circumstances(after=5, reach=10)
    for slot in range(0, 1000, 20):
        around.sight(sight(slot), None)
    around.sight(sight(995, "c", entity="*"), None)
    around.forget(1000)
    assert [one.first for one in around.seen["a"]] == list(range(860, 1000, 20))  # those that a look back counts too
    other = Circumstances(after=5, reach=10)
    other.restore(around.state())
    assert (other.seen, other.wide) == (around.seen, {"*"})
    assert [one.first for one in other._known("anybody")] == [995]
