"""Retention: what is old goes, what is open or newest stays."""

from datetime import timedelta

import pytest
from stored_samples import START, Clock, alert, at, bundle, empty, explanation, stored

from storage.engine import Database
from storage.homes import Homes
from storage.leases import Leases
from storage.prune import PRUNABLE, prune
from storage.read import AlertFilter, Reader
from storage.store import Store
from storage.types import Audit, DeadLetter, EntityRow, EvictedState, Rollup, ScoreRow

DAYS = dict.fromkeys(PRUNABLE, 30.0)


@pytest.fixture
def clock(database: Database) -> Clock:
    Leases(database, Clock()).acquire("fleet", [0], "host")
    return Clock()


def test_rows_go_by_their_tables_days(database: Database, clock: Clock) -> None:
    store = Store(database, clock)

    def rows(day: int) -> dict[str, list[object]]:
        return {
            "scores": [ScoreRow("web-1", day, at(0), 1.0, 0.1, {}, "m1")],
            "rollups": [Rollup("web-1", START + timedelta(days=day), 1.0, 0.5, 60)],
            "dead_letters": [DeadLetter("logs", day, "future", "", None)],
            "audit": [Audit("amended", at(0), slot=day)],
        }

    for day in (0, 10, 20, 30):
        clock.now = START + timedelta(days=day)
        store.save([empty(**rows(day))])
    gone = prune(database, {"scores": 15, "score_rollups": 30, "audit": 0, "dead_letters": 25}, clock.now)
    assert gone == {"scores": 2, "score_rollups": 0, "audit": 3, "dead_letters": 1}
    assert [row["slot"] for row in Reader(database).scores("fleet", "web-1")] == [30, 20]
    assert len(Reader(database).rollups("fleet", "web-1")) == 4
    assert prune(database, {"scores": 15}, clock.now) == {"scores": 0}


def test_it_goes_by_when_a_row_was_saved_not_by_its_event_time(database: Database, clock: Clock) -> None:
    """History that is read today is not old: the demo's data begin years ago."""
    clock.now = START + timedelta(days=3000)
    Store(database, clock).save([bundle(alerts=[alert(state="resolved")], explanations=[])])
    assert set(prune(database, DAYS, clock.now + timedelta(days=29)).values()) == {0}


def test_unfinished_alerts_stay_and_explanations_go_with_theirs(database: Database, clock: Clock) -> None:
    states = ("open", "confirmed", "retracted", "resolved")
    alerts = [alert(state=state, slot=slot) for slot, state in enumerate(states)]
    Store(database, clock).save([empty(alerts=alerts, explanations=[explanation(a) for a in alerts])])
    assert prune(database, {"alerts": 30}, clock.now + timedelta(days=31)) == {"alerts": 2}
    left = Reader(database).alerts(AlertFilter())
    assert sorted(a.state for a in left) == ["confirmed", "open"]
    assert {row[0] for row in stored(database)["explanations"]} == {a.id for a in left}


def test_an_alert_that_was_changed_lately_is_not_old(database: Database, clock: Clock) -> None:
    store = Store(database, clock)
    store.save([empty(alerts=[alert()])])
    clock.now += timedelta(days=40)
    store.save([empty(alerts=[alert(state="resolved")])])
    assert prune(database, {"alerts": 30}, clock.now + timedelta(days=1)) == {"alerts": 0}
    assert prune(database, {"alerts": 30}, clock.now + timedelta(days=31)) == {"alerts": 1}


def test_an_entitys_newest_learnt_state_stays(database: Database, clock: Clock) -> None:
    rows = [EvictedState(name, slot, b"") for name in ("a", "b") for slot in (1, 5, 9)]
    Store(database, clock).save([empty(evicted=[*rows, EvictedState("c", 2, b"")])])
    assert prune(database, {"evicted_states": 1}, clock.now + timedelta(days=2)) == {"evicted_states": 4}
    found = Reader(database).evicted("live", "fleet", 0, ["a", "b", "c"], 100)
    assert [(row.entity, row.slot) for row in found] == [("a", 9), ("b", 9), ("c", 2)]


def test_many_rows_go_in_short_transactions(database: Database, clock: Clock) -> None:
    letters = [DeadLetter("logs", n, "future", "", None) for n in range(2500)]
    Store(database, clock).save([empty(dead_letters=letters)])
    late = clock.now + timedelta(days=31)
    assert prune(database, {"dead_letters": 30}, late, batch=400) == {"dead_letters": 2500}
    assert Reader(database).dead_letters() == []


def test_what_recovery_needs_is_never_pruned(database: Database, clock: Clock) -> None:
    store = Store(database, clock)
    store.save([bundle()])
    before = store.restore("live", "fleet", 0)
    prune(database, dict.fromkeys(PRUNABLE, 0), clock.now + timedelta(days=1000))
    assert store.restore("live", "fleet", 0) == before
    assert before.checkpoint is not None and before.orders and before.snapshots and before.alerts


def test_wrong_retention_is_refused_naming_what_is_legal(database: Database) -> None:
    with pytest.raises(
        ValueError, match="no retention for table 'checkpoints'; legal: alerts, audit, context_events, dead"
    ):
        prune(database, {"checkpoints": 1}, START)
    with pytest.raises(ValueError, match="retention of scores is -1 days"):
        prune(database, {"scores": -1}, START)


def test_a_home_goes_when_its_entity_was_not_seen_for_as_long(database: Database, clock: Clock) -> None:
    """Both were claimed on the first day; a snapshot has known one of them since."""
    homes, store = Homes(database, clock), Store(database, clock)
    homes.claim("fleet", 2, ["gone", "here"])
    homes.claim("other", 1, ["here"])
    store.save([empty(entities=[EntityRow("gone", {}, 0, 0), EntityRow("here", {}, 0, 0)])])
    clock.now = START + timedelta(days=25)
    store.save([empty(entities=[EntityRow("here", {}, 0, 9)])])
    homes.claim("fleet", 0, ["new"])
    assert prune(database, {"homes": 30}, START + timedelta(days=29)) == {"homes": 0}
    assert prune(database, {"homes": 30}, START + timedelta(days=31)) == {"homes": 2}
    assert homes.of("fleet", ["gone", "here", "new"]) == {"here": 2, "new": 0}
    assert homes.of("other", ["here"]) == {}
