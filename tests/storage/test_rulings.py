"""Versions of the rules, calendars and decisions."""

from datetime import timedelta

import pytest
from stored_samples import START, Clock, alert, at

from storage.acts import Acts
from storage.engine import Database
from storage.leases import Leases
from storage.rulings import DecisionRow, Rulings
from storage.store import Store
from storage.types import LIVE, Alert, Changes, StoreError


def saved(database: Database, *alerts: Alert) -> None:
    epoch = Leases(database).acquire("fleet", [0], "host")[0]
    Store(database).save([Changes(LIVE, "fleet", 0, epoch, alerts=list(alerts))])


def test_rules_have_versions_that_can_be_taken_back(database: Database) -> None:
    clock = Clock()
    rulings = Rulings(database, clock)
    assert rulings.rulebooks() == []
    first = rulings.apply({"rules": [{"name": "a"}]}, "anna", "because")
    clock.now += timedelta(days=1)
    second = rulings.apply({"rules": []}, "bert", "wrong", since=START)
    assert (first.version, first.since, second.version, second.since) == (1, START, 2, START)
    with pytest.raises(StoreError, match="version 1 of the rules is not the newest, which is 2"):
        rulings.undo(1, "anna")
    third = rulings.undo(2, "anna")
    assert (third.version, third.undoes, third.rules, third.since) == (3, 2, first.rules, START)
    assert rulings.undo(3, "anna").rules == second.rules
    assert [row.version for row in rulings.rulebooks()] == [1, 2, 3, 4]
    assert [one.action for one in Acts(database).listing(10)] == ["apply rules"] * 4
    assert Acts(database).verify().fault is None


def test_the_first_version_taken_back_leaves_no_rules(database: Database) -> None:
    rulings = Rulings(database, Clock())
    with pytest.raises(StoreError, match="not the newest, which is none"):
        rulings.undo(1, "anna")
    rulings.apply({"rules": [{"name": "a"}]}, "anna", "because")
    assert rulings.undo(1, "anna").rules == {}


def test_rules_hold_for_alerts_that_are_not_over(database: Database) -> None:
    clock = Clock(START + timedelta(days=1))
    rulings = Rulings(database, clock)
    assert rulings.apply({}, "anna", "before there were alerts").since == clock.now
    saved(database, alert(slot=10, state="resolved"), alert(slot=20), alert(slot=30, state="confirmed"))
    assert rulings.apply({}, "anna", "now").since == at(20)


def test_calendars_are_replaced_and_dropped(database: Database) -> None:
    clock = Clock()
    rulings = Rulings(database, clock)
    rulings.put_calendar("night", {"kind": "maintenance"}, "anna")
    rulings.put_calendar("xmas", {"kind": "holiday"}, "anna")
    clock.now += timedelta(hours=1)
    rulings.put_calendar("night", {"kind": "holiday"}, "bert")
    found = {row.name: row for row in rulings.calendars()}
    assert (found["night"].calendar, found["night"].by, found["night"].saved_at) == (
        {"kind": "holiday"}, "bert", clock.now,
    )  # fmt: skip
    rulings.drop_calendar("night", "bert")
    assert [row.name for row in rulings.calendars()] == ["xmas"]
    with pytest.raises(StoreError, match="there is no calendar 'night'"):
        rulings.drop_calendar("night", "bert")
    assert len(Acts(database).listing(10)) == 4


def test_decisions_tell_what_is_news(database: Database) -> None:
    made = alert(slot=10), alert(slot=50)
    saved(database, *made)
    rulings = Rulings(database, Clock())
    rows = [DecisionRow(one.id, "notify", "warning", "opened", "", one.id, 0) for one in made]
    assert rulings.decide(rows) == rows
    assert rulings.decide(rows) == []
    changed = DecisionRow(made[0].id, "suppress", "info", "muted", "quiet", made[0].id, 1)
    assert rulings.decide([changed, rows[1]]) == [changed]
    assert rulings.decisions([one.id for one in made]) == {made[0].id: changed, made[1].id: rows[1]}
    assert rulings.decisions([]) == {}
