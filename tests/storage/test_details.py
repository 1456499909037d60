"""One alert and one incident as pages show them: what several questions find one by one, found in few."""

from datetime import timedelta

import pytest
from stored_samples import alert, at, empty, explanation
from test_incident_rows import SOME, identity, kind, placed, row, written

from storage.details import Details
from storage.engine import Database
from storage.incidents import Incidents
from storage.leases import Leases
from storage.rulings import DecisionRow, Rulings
from storage.store import Store
from storage.types import Alert, NotThereError

MONTH = timedelta(days=30)
MOVED, GONE = SOME[0], alert("web-1", 99, state="retracted")
PARTS = [explanation(MOVED, feature=name, value=value) for name, value in (("cpu", 0.5), ("disk", -0.7), ("net", 0.1))]


@pytest.fixture
def incidents(database: Database) -> Incidents:
    """Four alerts, of which the first has parts, a decision and an incident, and one that was taken back."""
    epoch = Leases(database).acquire("fleet", [0], "host")[0]
    Store(database).save([empty(0, epoch, alerts=[*SOME, GONE], explanations=PARTS)])
    Rulings(database).decide([DecisionRow(MOVED.id, "notify", "critical", "opened", "by night", MOVED.id, 3)])
    made = Incidents(database)
    members = [placed(MOVED), placed(SOME[1]), placed(SOME[2], 2), placed(SOME[3], None), placed(GONE)]
    rows = [row(1), row(2), row(3, type=None), row(4, slot=500), row(5, type=identity(5))]
    written(made, placed=members, incidents=rows, types=[kind(1)])
    return made


@pytest.fixture
def details(database: Database, incidents: Incidents) -> Details:
    return Details(database)


@pytest.mark.parametrize("said", [MOVED.id, MOVED.id[:8], MOVED.id.upper()])
def test_an_alert_comes_with_all_that_hangs_on_it(details: Details, said: str) -> None:
    found, parts = details.alert(said)
    assert {name: found[name] for name in Alert.__slots__ if name in found} == {
        name: getattr(MOVED, name) for name in Alert.__slots__ if name in found
    }
    assert (found["decided_standing"], found["decided_rule"], found["decided_version"]) == ("notify", "by night", 3)
    assert (found["incident_id"], found["incident_number"]) == (identity(1), 1)
    assert [part["feature"] for part in parts] == ["disk", "cpu", "net"]
    assert details.curves(said) == {
        "id": MOVED.id, "run": MOVED.run, "stream": MOVED.stream, "evidence": MOVED.evidence,
    }  # fmt: skip


def test_what_hangs_on_nothing_is_an_alert_all_the_same(details: Details) -> None:
    found, parts = details.alert(SOME[3].id)
    assert (found["id"], found["decided_standing"], found["incident_id"], parts) == (SOME[3].id, None, None, [])


@pytest.mark.parametrize("said", ["", "%", "_" * 32, "f" * 32, MOVED.id + "0"])
def test_what_is_no_alert_is_refused(details: Details, said: str) -> None:
    for ask in (details.alert, details.curves):
        with pytest.raises(NotThereError):
            ask(said)


def test_the_beginning_of_several_is_none(details: Details, database: Database) -> None:
    more = [alert(f"host-{number}", 1, 1) for number in range(17)]  # of sixteen digits
    Store(database).save([empty(1, Leases(database).acquire("fleet", [1], "host")[1], alerts=more)])
    first = sorted(one.id[0] for one in more)
    twice = next(digit for digit in first if first.count(digit) > 1)
    with pytest.raises(NotThereError, match="or more than one begins so"):
        details.alert(twice)


@pytest.mark.parametrize("said", ["1", "INC-1", "inc-1", identity(1)])
def test_an_incident_comes_with_its_alerts_and_its_kin(details: Details, incidents: Incidents, said: str) -> None:
    told, whole = details.incident(said, "live", MONTH, 10), incidents.find(said)
    assert {name: told.row[name] for name in ("id", "number", "title", "suspects", "type", "first_time")} == {
        name: getattr(whole, name) for name in ("id", "number", "title", "suspects", "type", "first_time")
    }
    assert told.row["like_number"] == 1
    assert [one["number"] for one in told.similar] == [one.number for one in incidents.alike(whole)] == [4, 2]
    assert told.times == incidents.times(identity(1), whole.first_time - MONTH, whole.first_time) == 1
    assert [one["id"] for one in told.members] == [MOVED.id, SOME[1].id]  # not the one that was taken back
    assert [one["decided_standing"] for one in told.members] == ["notify", None]
    assert told.members[0]["placed_digest"] == {"entity": MOVED.entity}
    assert (told.members[0]["placed_first_time"], told.members[0]["placed_end_time"]) == (
        MOVED.first_time, MOVED.last_time,
    )  # fmt: skip


def test_of_its_type_are_counted_those_before_it(details: Details) -> None:
    assert details.incident("4", "live", MONTH, 10).times == 3
    assert details.incident("4", "live", at(500) - at(12), 10).times == 2
    assert details.incident("4", "live", timedelta(0), 10).times == 1


def test_one_of_no_type_and_the_only_one_of_a_type(details: Details) -> None:
    alone, untyped = details.incident("5", "live", MONTH, 10), details.incident("3", "live", MONTH, 10)
    assert (alone.times, alone.similar, alone.members) == (1, [], [])
    assert (untyped.times, untyped.similar, untyped.row["like_number"]) == (0, [], None)


def test_no_more_alerts_than_are_wanted_the_first_to_begin_first(details: Details) -> None:
    assert [one["id"] for one in details.incident("1", "live", MONTH, 1).members] == [MOVED.id]


@pytest.mark.parametrize("said", ["", "9", "inc-x", "f" * 32, "0" * 20])
def test_what_is_no_incident_is_refused(details: Details, said: str) -> None:
    with pytest.raises(NotThereError):
        details.incident(said, "live", MONTH, 10)
    with pytest.raises(NotThereError):
        details.incident("1", "past", MONTH, 10)
