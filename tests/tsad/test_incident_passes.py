"""Triage in passes: whatever the order and the cut, the same incidents; numbers, merges and states are kept."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from storage.engine import Database, open_database
from storage.incidents import Mark, Triaged
from storage.types import Alert, EntityRow
from tests.storage.stored_samples import alert, at
from tests.tsad.related_alerts import Desk, moved

ENTITIES = ["a", "b", "c", "d"]
TEXTS = ["disk <*> full", "refused by <*>"]
EVENT = {"id": "e", "kind": "deploy", "title": "shop", "time": "", "why": ""}


@st.composite
def histories(draw: st.DrawFn) -> list[list[Alert]]:
    """Alerts, each with what it was before: younger, open, unexplained, explained away, retracted."""
    found = []
    slots = st.integers(0, 200)
    for entity, slot in draw(st.sets(st.tuples(st.sampled_from(ENTITIES), slots), min_size=1, max_size=14)):
        last = slot + draw(st.integers(0, 12))
        channels = {name: slot - draw(st.integers(0, 2)) for name in draw(st.sets(st.sampled_from("xyz"), min_size=1))}
        said = draw(st.lists(st.sampled_from(TEXTS), max_size=1))
        whole = moved(entity, slot, channels, last, said, state="resolved", score=draw(st.sampled_from([1.2, 2.0])))
        end = draw(st.sampled_from(["resolved", "resolved", "open", "retracted", "explained"]))
        final = replace(whole, state="resolved" if end == "explained" else end)  # type: ignore[arg-type]
        final = replace(final, explained_by_event=EVENT if end == "explained" else {})
        young = alert(entity, slot)
        young = replace(young, last_slot=slot, last_time=at(slot))
        before = draw(
            st.lists(
                st.sampled_from([young, replace(whole, state="open"), replace(young, explained_by_event=EVENT)]),
                max_size=2,
            )
        )
        found.append([*before, final])
    return found


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("triage")


@contextmanager
def fresh(room: Path, template: Path) -> Iterator[Desk]:
    path = room / "tsad.db"
    shutil.copy(template, path)
    database = open_database(f"sqlite:///{path}")
    try:
        yield Desk(database)
    finally:
        database.close()


# a failing example is small enough as it comes: to shrink it takes minutes
@settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True,
    phases=(Phase.explicit, Phase.generate),
)  # fmt: skip
@given(histories(), st.data())
def test_incidents_do_not_depend_on_order_or_passes(
    room: Path, sqlite_template: Path, found: list[list[Alert]], data: st.DataObject
) -> None:
    with fresh(room, sqlite_template) as desk:
        desk.save(*(versions[-1] for versions in found))
        desk.triage.all()
        whole = desk.outcome()
        assert not desk.triage.once().alerts
    waiting = [list(versions) for versions in found]
    with fresh(room, sqlite_template) as desk:
        while waiting:
            place = data.draw(st.integers(0, len(waiting) - 1))
            desk.save(waiting[place].pop(0))
            waiting = [versions for versions in waiting if versions]
            if data.draw(st.booleans()):
                desk.triage.once(at_once=data.draw(st.integers(1, 3)))
        desk.triage.all(at_once=data.draw(st.integers(1, 5)))
        assert desk.outcome() == whole


def test_what_was_apart_becomes_one_once_it_is_explained(database: Database) -> None:
    """Unexplained alerts have no curves: each is an incident of its own, until they turn out to move together."""
    desk = Desk(database)
    known = [moved("a", 10, {"cpu": 9}), moved("b", 11, {"io": 9})]
    assert desk.told(*(alert(one.entity, one.opened_slot) for one in known)) == [["a"], ["b"]]
    assert desk.told(*known) == [["a", "b"]]
    first, second = desk.rows()
    assert (first["number"], second["number"]) == (1, 2)
    assert (second["state"], second["merged_into"], second["alerts"]) == ("retracted", first["id"], 0)
    assert desk.incidents.find("INC-2").merged_into == first["id"]


def test_who_was_merged_first_follows_where_its_heir_goes(database: Database) -> None:
    desk = Desk(database)
    late, later = moved("b", 20, {"x": 18}), moved("c", 21, {"x": 18})
    young = [alert(one.entity, one.opened_slot) for one in (late, later)]
    assert desk.told(*young) == [["b"], ["c"]]
    assert desk.told(late, later) == [["b", "c"]]
    assert desk.told(moved("a", 18, {"x": 18})) == [["a", "b", "c"]]
    rows = {row["number"]: row for row in desk.rows()}
    assert {rows[1]["merged_into"], rows[2]["merged_into"]} == {rows[3]["id"]}


def test_an_incident_keeps_its_number_and_changes_its_state(database: Database) -> None:
    desk = Desk(database)
    one = moved("a", 10, {"cpu": 10}, state="open")
    desk.told(one)
    assert (desk.only()["number"], desk.only()["state"]) == (1, "open")
    desk.told(replace(one, state="confirmed"))
    assert desk.only()["state"] == "open"
    desk.told(replace(one, state="resolved", score=5.0))
    row = desk.only()
    assert (row["number"], row["state"], row["score"]) == (1, "resolved", 5.0)
    desk.told(replace(one, state="retracted"))
    assert (desk.only()["state"], desk.only()["alerts"]) == ("retracted", 0)


def test_who_was_taken_back_counts_for_nothing_and_leaves_the_others_together(database: Database) -> None:
    desk = Desk(database)
    first, second = moved("a", 10, {"cpu": 10}, score=9.0), moved("b", 11, {"io": 10}, score=2.0)
    desk.told(first, second)
    before = desk.only()
    assert (before["entities"], before["score"]) == (2, 9.0)
    assert desk.told(replace(first, state="retracted")) == [["b"]]
    after = desk.only()
    assert after["id"] == before["id"], "people keep the address of it"
    assert (after["entity"], after["alerts"], after["entities"], after["score"]) == ("b", 1, 1, 2.0)


def test_one_that_was_never_told_is_not_told_when_it_was_taken_back(database: Database) -> None:
    desk = Desk(database)
    assert desk.told(moved("a", 10, {"cpu": 10}, state="retracted")) == []
    assert desk.rows() == []


def test_what_a_context_event_explains_opens_none_until_it_goes_further(database: Database) -> None:
    desk = Desk(database)
    one = moved("a", 10, {"cpu": 10}, explained_by_event=EVENT)
    assert desk.told(one) == []
    assert desk.told(replace(one, explained_by_event={})) == [["a"]]
    assert desk.told(one) == []
    assert desk.only()["state"] == "retracted"


def test_an_episode_that_goes_on_meets_later_ones(database: Database) -> None:
    """Late data moves the end of an episode, and with it what belongs together."""
    desk = Desk(database)
    first, second = moved("a", 10, {"cpu": 10}, 12), moved("a", 30, {"cpu": 30}, 33)
    assert desk.told(first, second) == [["a"], ["a"]]
    assert desk.told(replace(first, last_slot=27, last_time=at(27))) == [["a", "a"]]
    assert desk.told(first) == [["a"], ["a"]]


def test_of_two_passes_at_once_one_counts(database: Database) -> None:
    desk = Desk(database)
    desk.save(moved("a", 10, {"cpu": 10}))
    read = desk.incidents.mark()
    assert desk.incidents.write("live", Triaged(read), read), "another process has ended a pass meanwhile"
    assert not desk.incidents.write("live", Triaged(read), read)
    assert desk.incidents.mark() == Mark(1, None, 0)
    assert desk.triage.once().alerts == 1
    assert desk.incidents.mark().epoch == 2


def test_a_pass_that_was_too_late_writes_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(database)
    desk.save(moved("a", 10, {"cpu": 10}))
    changed = desk.incidents.changed

    def slow(*arguments: Any) -> Any:
        found = changed(*arguments)
        monkeypatch.setattr(desk.incidents, "changed", changed)
        desk.triage.once()
        return found

    monkeypatch.setattr(desk.incidents, "changed", slow)
    assert desk.triage.once().contested
    assert desk.groups() == [["a"]]
    assert not desk.triage.once().alerts


def test_rows_that_are_dated_earlier_than_the_last_pass_are_found(database: Database) -> None:
    """A worker dates its rows before it writes them, by a clock of its own."""
    desk = Desk(database)
    desk.clock.now = at(100)
    desk.told(moved("a", 10, {"cpu": 10}))
    desk.clock.now = at(90)
    assert desk.told(moved("z", 50, {"cpu": 50})) == [["a"], ["z"]]


def test_an_explanation_dates_the_alert_anew(database: Database) -> None:
    desk = Desk(database)
    young = replace(alert("a", 10), evidence={}, attribution={"cpu": 1.0})
    desk.told(young)
    assert desk.only()["title"] == "a: cpu moves"
    desk.clock.now += timedelta(seconds=5)
    assert desk.store.explained(moved("a", 10, {"io": 9, "cpu": 9}), [])
    assert desk.triage.once().alerts == 1
    assert desk.only()["title"] == "a: io and 1 more channel rise"


def test_each_run_has_its_own(database: Database) -> None:
    desk = Desk(database)
    desk.told(moved("a", 10, {"cpu": 10}))
    assert not desk.triage.once("backfill").alerts
    assert desk.incidents.mark("backfill") == Mark()


def test_labels_are_those_of_the_entities(database: Database) -> None:
    desk = Desk(database, labels=("rack",))
    rows = [EntityRow(name, {"rack": rack}, 0, 9) for name, rack in (("a", "r1"), ("b", "r1"), ("c", "r2"))]
    desk.save(entities=tuple(rows))
    alone = [moved(name, slot, {name: slot}) for name, slot in (("a", 10), ("b", 13), ("c", 13))]
    assert desk.told(*(replace(one, evidence={}) for one in alone)) == [["a", "b"], ["c"]]
