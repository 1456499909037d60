"""What the database keeps of incidents: written whole or not at all, found by number, id, type and page."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from stored_samples import Clock, alert, at, empty, explanation

from storage import served
from storage.engine import Database
from storage.incidents import MARGIN, IncidentFilter, IncidentRow, Incidents, Mark, Placed, Triaged, TypeRow
from storage.leases import Leases
from storage.pages import Pages
from storage.prune import prune
from storage.store import Store
from storage.types import Alert, EntityRow, StoreError

SOME = [alert(f"web-{n}", 10 + n) for n in range(4)]


def identity(number: int) -> str:
    return f"{number:032x}"


def row(number: int, /, slot: int | None = None, **changes: Any) -> IncidentRow:
    """The incident of this number, which began at a slot."""
    begun = at(10 + number if slot is None else slot)
    made = IncidentRow(
        id=identity(number), run="live", number=number, stream="fleet", state="open", severity="warning",
        severity_score=float(number), score=2.0, first_time=begun, last_time=begun + timedelta(minutes=3),
        entity="web-1", feature="cpu", title=f"web-1: cpu rises ({number})", alerts=1, entities=1,
        suspects=[{"entity": "web-1", "feature": "cpu", "blame": 1.0}], signature={"fleet|cpu|up": 1.0},
        opened_at=begun, type=identity(1), likeness=1.0,
    )  # fmt: skip
    return replace(made, **changes)


def placed(of: Alert, number: int | None = 1, seen_at: Any = None) -> Placed:
    """An alert in the incident of this number."""
    incident = None if number is None else identity(number)
    started = None if number is None else of.first_time
    return Placed(
        of.id, of.run, incident, started, of.first_time, of.last_time, {"entity": of.entity}, seen_at or at(0)
    )


def kind(number: int) -> TypeRow:
    return TypeRow(identity(number), "live", number, at(10 + number), "cpu rises", {"fleet|cpu|up": 1.0})


@pytest.fixture
def clock() -> Clock:
    return Clock(at(0))


@pytest.fixture
def store(database: Database, clock: Clock) -> Store:
    """With four alerts."""
    made = Store(database, clock)
    epoch = Leases(database, clock).acquire("fleet", [0], "host")[0]
    made.save([empty(0, epoch, alerts=SOME, explanations=[explanation(SOME[0])])])
    return made


@pytest.fixture
def incidents(database: Database, store: Store, clock: Clock) -> Incidents:
    return Incidents(database, clock)


def written(incidents: Incidents, /, **told: Any) -> None:
    """A pass that writes this."""
    mark = incidents.mark()
    assert incidents.write("live", Triaged(replace(mark, **told.pop("marked", {})), **told), mark)


def test_what_was_written_is_read(incidents: Incidents) -> None:
    rows, members = [row(1), row(2)], [placed(SOME[0]), placed(SOME[1]), placed(SOME[2], 2), placed(SOME[3], None)]
    written(incidents, placed=members, incidents=rows, types=[kind(1)], marked={"number": 2, "reached": at(7)})
    assert incidents.mark() == Mark(1, at(7), 2)
    assert incidents.incidents([identity(1), identity(2), identity(9)]) == {one.id: one for one in rows}
    assert incidents.placed(one.id for one in SOME) == {one.alert_id: one for one in members}
    assert {one.alert_id for one in incidents.members([identity(1)])} == {SOME[0].id, SOME[1].id}
    assert incidents.named([identity(1)]) == {identity(1): kind(1)}
    assert incidents.types("live") == [kind(1)]
    assert incidents.types("live", at(11)) == []
    assert incidents.signatures("live", at(12)) == [row(2)]


def test_a_number_is_for_good(incidents: Incidents) -> None:
    written(incidents, incidents=[row(1)])
    written(incidents, incidents=[row(1, number=7, state="resolved", title="another one")])
    found = incidents.find("1")
    assert (found.number, found.state, found.title) == (1, "resolved", "another one")


def test_only_a_pass_that_has_seen_the_last_one_writes(incidents: Incidents) -> None:
    before = incidents.mark()
    written(incidents, incidents=[row(1)])
    assert not incidents.write("live", Triaged(before, incidents=[row(1, title="late")]), before)
    assert incidents.find("1").title == "web-1: cpu rises (1)"
    assert incidents.write("other", Triaged(Mark()), Mark()), "each run has its own"


def test_a_pass_that_the_database_refuses_leaves_nothing(incidents: Incidents) -> None:
    """Two of one number: the mark is as it was, too."""
    with pytest.raises(StoreError):
        written(incidents, incidents=[row(1), row(2, number=1)])
    assert incidents.mark() == Mark()
    assert incidents.incidents([identity(1)]) == {}


def test_what_was_merged_points_to_the_last_heir(incidents: Incidents) -> None:
    written(incidents, incidents=[row(1), row(2), row(3)])
    written(incidents, merged={identity(3): identity(2)})
    gone = incidents.find("3")
    assert (gone.state, gone.alerts, gone.type, gone.merged_into) == ("retracted", 0, None, identity(2))
    written(incidents, merged={identity(2): identity(1)})
    assert {incidents.find(said).merged_into for said in ("2", "3")} == {identity(1)}
    written(incidents, merged={identity(1): None})
    assert incidents.find("1").merged_into is None
    written(incidents, incidents=[row(2)])
    assert incidents.find("2").merged_into is None, "it has alerts again"


def test_changed_are_those_that_were_not_seen_as_they_are(store: Store, incidents: Incidents, clock: Clock) -> None:
    found = incidents.changed("live", None, 10)
    assert [(one.id, when) for one, when in found] == sorted((one.id, at(0)) for one in SOME)
    assert all(one.window is None for one, _ in found), "windows are large, and nobody needs them"
    written(incidents, placed=[placed(one, seen_at=at(0)) for one in SOME])
    assert incidents.changed("live", at(0), 10) == []
    clock.now = at(1)
    again = replace(SOME[2], state="resolved")
    store.save([empty(0, 1, alerts=[again])])
    assert [one.id for one, _ in incidents.changed("live", at(0), 10)] == [again.id]
    assert incidents.changed("live", at(2) + MARGIN, 10) == []
    assert incidents.changed("backfill", None, 10) == []


def test_the_oldest_changes_come_first_so_many_at_a_time(store: Store, incidents: Incidents, clock: Clock) -> None:
    clock.now = at(-1)
    store.save([empty(0, 1, alerts=[SOME[3]])])
    first, when = incidents.changed("live", None, 1)[0]
    assert (first.id, when) == (SOME[3].id, at(-1))


def test_an_explanation_is_a_change(store: Store, incidents: Incidents, clock: Clock) -> None:
    written(incidents, placed=[placed(one, seen_at=at(0)) for one in SOME])
    clock.now = at(3)
    assert store.explained(replace(SOME[1], sentence="cpu rose", explanation="done", window=None), [])
    assert [(one.sentence, when) for one, when in incidents.changed("live", at(0), 10)] == [("cpu rose", at(3))]


def test_those_who_may_be_joined_are_found_by_time(incidents: Incidents) -> None:
    """From the slots 10 to 13, each of three minutes; the last one is in no incident."""
    written(incidents, placed=[*(placed(one, n) for n, one in enumerate(SOME[:3])), placed(SOME[3], None)])
    standing = {one.digest["entity"] for one in incidents.standing("live", at(0), at(12), at(14))}
    assert standing == {"web-1"}, "the first one has ended, the third begins too late"
    assert {one.digest["entity"] for one in incidents.standing("live", at(11), at(20), at(0))} == {"web-1", "web-2"}
    assert [one.digest["entity"] for one in incidents.following("live", at(11))] == ["web-1", "web-2"]


def test_what_follows_is_read_by_pages(
    database: Database, incidents: Incidents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.incidents.PAGE", 2)
    written(incidents, placed=[placed(one) for one in SOME])
    assert [one.first_time for one in incidents.following("live", at(0))] == [at(10), at(11), at(12), at(13)]
    assert incidents.members([]) == []
    assert database.retries == 0


@pytest.mark.parametrize(
    ("said", "number"),
    [("1", 1), ("INC-2", 2), ("inc-2", 2), (" INC-1 ", 1), (identity(2), 2), (identity(1)[:-1] + "1", 1)],
)
def test_one_is_found_by_number_or_id(incidents: Incidents, said: str, number: int) -> None:
    written(incidents, incidents=[row(1), row(2)])
    assert incidents.find(said).number == number


@pytest.mark.parametrize(
    ("said", "why"), [("3", "is no incident"), ("0000000000", "starts more than one"), ("x", "is no")]
)
def test_what_is_not_one_incident_is_refused(incidents: Incidents, said: str, why: str) -> None:
    written(incidents, incidents=[row(1), row(2)])
    with pytest.raises(StoreError, match=why):
        incidents.find(said)


def test_numbers_are_counted_by_run(incidents: Incidents) -> None:
    written(incidents, incidents=[row(1)])
    assert incidents.write("past", Triaged(Mark(), incidents=[row(2, number=1, run="past")]), Mark())
    assert incidents.find("1").id == identity(1)
    assert incidents.find("1", "past").id == identity(2)


def test_those_of_a_type_are_counted_in_time(incidents: Incidents) -> None:
    written(incidents, incidents=[row(1), row(2), row(3, type=None), row(4, slot=500)])
    assert [one.number for one in incidents.alike(row(1))] == [4, 2]
    assert incidents.alike(row(3, type=None)) == []
    assert incidents.times(identity(1), at(0), at(100)) == 2
    assert incidents.times(identity(1), at(12), at(500)) == 2


def test_types_that_nobody_is_of_any_more_go(incidents: Incidents) -> None:
    written(incidents, types=[kind(1), kind(2)])
    written(incidents, dropped_types=[identity(1)])
    assert incidents.types("live") == [kind(2)]


def test_an_alert_knows_its_incident(incidents: Incidents) -> None:
    written(incidents, incidents=[row(1)], placed=[placed(SOME[0]), placed(SOME[1], None)])
    told = incidents.of_alerts(one.id for one in SOME)
    assert told == {SOME[0].id: (identity(1), 1, "web-1: cpu rises (1)")}
    assert [one.id for one in incidents.alerts(identity(1), 10)] == [SOME[0].id]


def test_labels_are_those_that_were_seen_last(database: Database, store: Store, incidents: Incidents) -> None:
    store.save([empty(0, 1, entities=[EntityRow("web-1", {"rack": "r1"}, 0, 9)])])
    epoch = Leases(database).acquire("fleet", [1], "host")[1]
    store.save([empty(1, epoch, entities=[EntityRow("web-1", {"rack": "r2"}, 0, 90)])])
    assert incidents.labels("live", "fleet", ["web-1", "web-2"]) == {"web-1": {"rack": "r2"}}
    assert incidents.labels("live", "fleet", []) == {}


@pytest.mark.parametrize(
    ("which", "numbers"),
    [
        ({}, [4, 3, 2, 1]),
        ({"states": ["resolved"]}, [3]),
        ({"states": ["open", "resolved"], "severities": ["critical"]}, [2]),
        ({"entity": "db-3"}, [4]),
        ({"stream": "other"}, []),
        ({"type": identity(1)}, [3, 2, 1]),
        ({"since": at(15)}, [4, 3, 2]),
        ({"until": at(13)}, [2, 1]),
        ({"run": "past"}, []),
    ],
)
def test_pages_hold_what_is_asked_for(
    database: Database, incidents: Incidents, which: dict[str, Any], numbers: list[int]
) -> None:
    rows = [row(1), row(2, severity="critical"), row(3, state="resolved"), row(4, entity="db-3", type=None)]
    written(incidents, incidents=rows)
    page = Pages(database).incidents(IncidentFilter(**which), "-first_time", None, 10)
    assert [one["number"] for one in page.rows] == numbers
    assert page.last is None


@pytest.mark.parametrize("falling", [True, False])
@pytest.mark.parametrize("key", ["first_time", "severity_score"])
def test_pages_go_on_behind_the_last_row(database: Database, incidents: Incidents, key: str, falling: bool) -> None:
    """Of equal keys the id decides."""
    rows = [row(n, slot=n // 3, severity_score=float(n // 2)) for n in range(1, 9)]
    written(incidents, incidents=rows)
    wanted = sorted(rows, key=lambda one: (getattr(one, key), one.id), reverse=falling)
    turned, after = list[str](), None
    while True:
        page = Pages(database).incidents(IncidentFilter(), f"{'-' if falling else ''}{key}", after, 3)  # type: ignore[arg-type]
        turned += [one["id"] for one in page.rows]
        after = page.last
        if after is None:
            break
    assert turned == [one.id for one in wanted]


def test_a_list_names_the_first_of_a_type(database: Database, incidents: Incidents) -> None:
    written(incidents, incidents=[row(1), row(2), row(3, type=identity(9)), row(4, type=None)], types=[kind(1)])
    page = Pages(database).incidents(IncidentFilter(), "first_time", None, 10)
    like = [(one["like_number"], one["like_title"]) for one in page.rows]
    assert like == [(1, kind(1).title)] * 2 + [(None, None)] * 2
    assert "suspects" not in page.rows[0]


def test_lists_go_by_an_index_on_postgresql(database: Database, incidents: Incidents) -> None:
    """However many incidents there are: no sort, no look at all of them."""
    if database.dialect.name != "postgresql":
        return
    written(incidents, incidents=[row(n) for n in range(1, 400)])
    table = served.incidents
    wanted = {
        "ix_incidents_run_first_time_id": [table.c.run == "live"],
        "ix_incidents_run_state_first_time_id": [table.c.run == "live", table.c.state == "open"],
        "ix_incidents_run_entity_first_time_id": [table.c.run == "live", table.c.entity == "web-1"],
        "ix_incidents_type_first_time_id": [table.c.type == identity(1)],
    }

    def plan(connection: sa.Connection, conditions: list[Any]) -> str:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        query = (
            sa.select(table.c.id).where(*conditions).order_by(table.c.first_time.desc(), table.c.id.desc()).limit(50)
        )
        said = query.compile(connection, compile_kwargs={"literal_binds": True})
        return "\n".join(line for (line,) in connection.exec_driver_sql(f"EXPLAIN {said}"))

    for index, conditions in wanted.items():
        told = database.read(lambda connection, conditions=conditions: plan(connection, conditions))  # type: ignore[misc]
        assert "Sort" not in told, told
        assert index in told or "ix_incidents_run_first_time_id" in told, told


def test_retention_takes_what_is_over_and_alerts_take_their_places(
    database: Database, incidents: Incidents, clock: Clock
) -> None:
    written(
        incidents, incidents=[row(1, state="resolved"), row(2), row(3, state="retracted")],
        placed=[placed(SOME[0]), placed(SOME[1], 2)], types=[kind(1)],
    )  # fmt: skip
    assert prune(database, {"incidents": 1}, clock.now + timedelta(hours=1)) == {"incidents": 0}
    assert prune(database, {"incidents": 1}, clock.now + timedelta(days=2)) == {"incidents": 2}
    assert incidents.find("2").state == "open"
    assert incidents.types("live") == [kind(1)], "what is like the first one still says so"
    gone = sa.delete(served.incident_alerts.metadata.tables["alerts"])
    database.write(lambda connection: connection.execute(gone))
    assert incidents.placed(one.id for one in SOME) == {}
