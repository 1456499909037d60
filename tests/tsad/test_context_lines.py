"""Log lines that are events: what they explain, and that restarts and polls change nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from storage.context import LOGS
from storage.read import AlertFilter
from streaming.onsets import Onset, Symptom
from streaming.settings import SECOND
from streaming.signs import Sighting, Sign
from tests.tsad.deploys import DEPLOYS, deployed
from tests.tsad.streams import FIT_SLOTS, START, differences, final_rows, line, payloads, run_through
from tsad.circumstances import KEPT, TEMPLATES, Circumstances
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
    return {"after": "5m", "patterns": PATTERNS, "lines": False} | more


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


def learnt_alone(**more: Any) -> dict[str, Any]:
    """No pattern says what a line means."""
    return {"after": "5m"} | more


def test_lines_that_set_in_before_such_alerts_are_learnt_as_what_explains_them(make_app: Any) -> None:
    app = make_app(spoken(), logs={}, context=learnt_alone())
    run_through(app, Limits(poll=200))
    assert explained(app) == {331: None, 401: None, 471: "learnt", 541: "learnt", 611: "learnt"}
    found = app.reader.alerts(AlertFilter(stream="s", limit=None))
    named = [one.explained_by_event for one in found if one.explained_by_event]
    assert all(one["title"].startswith("Deploying version <") for one in named)
    assert {one["kind"].rpartition(".")[0] for one in named} == {"log.template"}
    events = app.context_events.listing("s")  # those alone that explain something
    assert [int(one.start.timestamp() - START) for one in events] == [60 * slot + 9 for slot in reversed(DEPLOYS[2:])]
    assert {event.id for event in events} == {one["id"] for one in named}


@pytest.mark.parametrize("switched_off", [{"lines": False}, {"learn": False}])
def test_learning_from_lines_can_be_switched_off(make_app: Any, switched_off: dict[str, bool]) -> None:
    app = make_app(spoken(), logs={}, context=learnt_alone(**switched_off))
    run_through(app, Limits(poll=200))
    assert set(explained(app).values()) == {None}


def test_lines_that_say_an_error_explain_nothing(make_app: Any) -> None:
    said = spoken()
    said["logs"] = [
        payload.replace(b"Deploying", b"ERROR: Deploying") if b"Deploying" in payload else payload
        for payload in said["logs"]
    ]
    app = make_app(said, logs={}, context=learnt_alone())
    run_through(app, Limits(poll=200))
    assert set(explained(app).values()) == {None}


def test_errors_beside_what_a_line_explains_make_it_an_alert(make_app: Any) -> None:
    said = spoken()
    errors = [line("a", 541 + place // 3, f"ERROR: cannot write block {place}", 20 + place % 3) for place in range(12)]
    logs = [*said["logs"], *errors]
    said["logs"] = sorted(logs, key=lambda payload: float(payload.split(b'"time":')[1].split(b",")[0]))
    app = make_app(said, logs={}, context=learnt_alone())
    run_through(app, Limits(poll=200))
    assert explained(app) == {331: None, 401: None, 471: "learnt", 541: None, 611: "learnt"}


@pytest.mark.parametrize(("slots", "why"), [((542, 545), None), ((542,), "learnt"), ((542, 575), "learnt")])
def test_a_warning_that_set_in_and_came_again_is_a_symptom(
    make_app: Any, slots: tuple[int, ...], why: str | None
) -> None:
    said = spoken()
    logs = [*said["logs"], *(line("a", slot, f"WARNING: {slot} threads alive", 30) for slot in slots)]
    said["logs"] = sorted(logs, key=lambda payload: float(payload.split(b'"time":')[1].split(b",")[0]))
    app = make_app(said, logs={}, context=learnt_alone())
    run_through(app, Limits(poll=200))
    assert explained(app) == {331: None, 401: None, 471: "learnt", 541: why, 611: "learnt"}


def complaining(*pairs: tuple[int, int]) -> dict[str, list[bytes]]:
    """With a warning in these slots that sets in and comes again."""
    said = spoken()
    logs = [*said["logs"], *(line("a", slot, f"WARNING: {slot} threads alive", 30) for pair in pairs for slot in pair)]
    said["logs"] = sorted(logs, key=lambda payload: float(payload.split(b'"time":')[1].split(b",")[0]))
    return said


IDLE = ((360, 363), (430, 433))


@pytest.mark.parametrize(("pairs", "why"), [(IDLE[:1], None), (IDLE, "learnt")])
def test_a_warning_that_comes_as_well_where_nothing_happens_is_no_symptom(
    make_app: Any, pairs: tuple[tuple[int, int], ...], why: str | None
) -> None:
    app = make_app(complaining(*pairs, (542, 545)), logs={}, context=learnt_alone())
    run_through(app, Limits(poll=200))
    assert explained(app) == {331: None, 401: None, 471: "learnt", 541: why, 611: "learnt"}


def test_restarts_and_polls_change_nothing_of_what_lines_explain(make_app: Any) -> None:
    whole, killed = (make_app(complaining(*IDLE, (542, 545)), logs={}, context=learnt_alone()) for _ in range(2))
    killed.crashes.update({"poll": {52, 170}, "logs save": {78, 260}})
    assert run_through(whole, Limits(poll=5000)) == 0
    assert run_through(killed, Limits(poll=13, snapshot_every=16)) >= 3
    assert differences(final_rows(whole), final_rows(killed)) == []
    assert killed.context_events.listing("s") == whole.context_events.listing("s")


def test_onsets_to_come_are_not_known_before_their_slot(make_app: Any) -> None:
    """Three of deploys that did nothing: lines may be read far ahead of what is judged."""
    idle = (500, 515, 530)
    far, near = (make_app(spoken((*DEPLOYS, *idle)), logs={}, context=learnt_alone()) for _ in range(2))
    for app, poll in ((far, 5000), (near, 13)):
        run_through(app, Limits(poll=poll))
    assert explained(far) == {331: None, 401: None, 471: "learnt", 541: "learnt", 611: "learnt"}
    assert differences(final_rows(far), final_rows(near)) == []


def onset(slot: int, template: int = 4, name: str = "a") -> Onset:
    return Onset(template, name, slot, slot * 60 * SECOND, f"line of {template}")


def test_onsets_are_bounded_forgotten_and_come_back_from_a_snapshot() -> None:
    around = Circumstances(after=5, reach=10)
    for slot in range(0, 1000, 20):
        around.onset(onset(slot, slot % 3), slot - 1)
    around.onset(onset(1001, name="web[1]*"), 1000)
    for slot in (100, 990):
        around.complaints.add(Symptom("a", slot, slot + 3, 7))
    around.forget(1000)
    assert around.complaints.held == {"a": [[990, 993, 7, 0]]}
    assert [one.first for one in around.begun["a"]] == list(range(860, 1000, 20))
    assert 0 < len(around.ahead) < 51, "those that no alert can change any more are counted"
    around._come_to(1001)
    assert sum(begun for begun, _ in around.tally.values()) == 51
    (one,) = around._known("web[1]*")
    assert (one.kind, one.template, one.known, one.title) == ("log.template.4", 4, 1001, "line of 4")
    other = Circumstances(after=5, reach=10)
    other.restore(around.state())
    assert (other.begun, other.tally, other.complaints) == (around.begun, around.tally, around.complaints)
    around.onset(onset(1500), 1499)
    other.restore(around.state())
    assert other.ahead == around.ahead == [(1500, "log.template.4")]
    for slot in range(2000, 2000 + 2 * KEPT):
        around.onset(onset(slot), slot - 1)
    assert len(around.begun["a"]) == KEPT
    for template in range(TEMPLATES + 10):
        around.onset(onset(5000, template, "b"), 4999)
    around._come_to(5000)
    assert len(around.tally) == TEMPLATES


def test_a_snapshot_of_a_version_that_kept_other_precedents_is_read() -> None:
    around = Circumstances(after=5, reach=10)
    old = {"kind": "deploy", "entity": "a", "identity": 1, "began": 1, "closed": 9, "score": 2.0, "slots": 3}
    state = around.state()
    state.meta["precedents"] = [old | {"opening": {"cpu": 1.0}, "features": ["cpu"]}]
    del state.meta["tally"], state.meta["begun"], state.meta["followed"], state.meta["templates"]
    around.restore(state)
    assert len(around.precedents) == 0


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
