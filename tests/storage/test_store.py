"""`Store`: one transaction, idempotent, fenced by leases; what comes back is what went in."""

import subprocess
import sys
from dataclasses import fields, replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_samples import START, WINDOW, Clock, alert, at, bundle, empty, explanation, stored

from storage.arrays import unpack
from storage.documents import dump_json
from storage.engine import Database
from storage.leases import Leases
from storage.read import AlertFilter, Reader
from storage.store import Store
from storage.types import (
    Audit,
    Checkpoint,
    DeadLetter,
    EntityRow,
    LeaseLost,
    Order,
    Restored,
    Rollup,
    ScoreRow,
    SnapshotRow,
    StoreError,
    StreamRow,
    Template,
    alert_id,
)


@pytest.fixture
def store(database: Database) -> Store:
    Leases(database, Clock()).acquire("fleet", [0, 1], "host-a")
    return Store(database, Clock())


def test_one_row_of_every_kind_is_saved_and_restored(store: Store) -> None:
    first = bundle()
    saved = store.save([first])
    assert saved.lost == ()
    assert saved.rows["explanations"] == 2
    assert set(saved.rows) == {
        "alerts", "explanations", "scores", "score_rollups", "dead_letters", "orders", "audit", "log_templates",
        "entities", "evicted_states", "checkpoints", "outbox",
    }  # fmt: skip
    restored = store.restore("live", "fleet", 0)
    assert restored == Restored(first.checkpoint, first.snapshots, first.orders, first.alerts)
    arrays, _ = unpack(restored.alerts[0].window or b"")
    assert np.array_equal(arrays["window"], WINDOW) and arrays["window"].dtype == np.float32


def test_an_unknown_partition_restores_to_nothing(store: Store) -> None:
    store.save([bundle()])
    assert store.restore("live", "fleet", 1) == Restored(None, [], [], [])
    assert store.restore("backfill-7", "fleet", 0) == Restored(None, [], [], [])


def test_a_replay_adds_nothing(store: Store, database: Database) -> None:
    store.save([bundle(0), bundle(1)])
    before = stored(database)
    store.save([bundle(0), bundle(1)])
    store.save([bundle(1)])
    assert stored(database) == before


def test_a_replay_at_another_time_changes_no_row_but_by_the_wall_clock(database: Database) -> None:
    clock = Clock()
    Leases(database, clock).acquire("fleet", [0], "host-a")
    Store(database, clock).save([bundle()])
    before = stored(database)
    clock.now += timedelta(days=2)
    again = bundle()
    again.audit = [replace(row, at=clock.now) for row in again.audit]
    again.alerts = [replace(row, detected_at=clock.now, ingested_at=clock.now) for row in again.alerts]
    Store(database, clock).save([again])
    assert stored(database) == before, "the first detection counts, and an audit row is known by its content"


def test_later_rows_replace_earlier_ones_by_key(store: Store, database: Database) -> None:
    store.save([bundle()])
    grown = alert(state="resolved", last_slot=30, last_time=at(30), score=2.5, explanation="done", window=None)
    changes = empty(
        alerts=[alert(score=9.0), grown],
        rollups=[Rollup("web-1", at(0), 2.5, 0.4, 60)],
        templates=[Template(1, "disk <*> is full", 13)],
        entities=[EntityRow("web-1", {"zone": "b"}, 0, 33)],
        checkpoint=Checkpoint({"telemetry": {"offset": 900}}, 34),
    )
    store.save([changes])
    assert store.restore("live", "fleet", 0).checkpoint == changes.checkpoint
    assert Reader(database).alerts() == [grown], "of two rows of a key the last counts"
    found = stored(database)
    assert len(found["score_rollups"]) == len(found["log_templates"]) == len(found["entities"]) == 1
    assert Reader(database).entities("fleet")[0]["labels"] == {"zone": "b"}
    assert Reader(database).templates("fleet")[0]["count"] == 13


def test_only_unfinished_alerts_are_restored(store: Store) -> None:
    states = ("open", "confirmed", "retracted", "resolved")
    store.save([empty(alerts=[alert(slot=slot, state=state) for slot, state in enumerate(states)])])
    assert [row.state for row in store.restore("live", "fleet", 0).alerts] == ["open", "confirmed"]


def test_orders_come_back_by_first_slot_and_stay_as_they_were_written(store: Store) -> None:
    store.save([empty(orders=[Order("model", "m2", 90), Order("idle", "logs", 12, {"until": 14})])])
    store.save([empty(orders=[Order("idle", "logs", 12, {"until": 99}), Order("model", "m1", 0)])])
    orders = store.restore("live", "fleet", 0).orders
    assert [(order.first_slot, order.version) for order in orders] == [(0, "m1"), (12, "logs"), (90, "m2")]
    assert orders[1].detail == {"until": 14}


def test_two_snapshots_are_kept_and_older_files_named(store: Store) -> None:
    def snapshot(slot: int) -> SnapshotRow:
        return SnapshotRow(slot, {"telemetry": slot * 10}, f"snapshots/{slot}.zip", "cd" * 32)

    assert store.save([empty(snapshots=[snapshot(10)])]).stale_files == ()
    assert store.save([empty(snapshots=[snapshot(20)])]).stale_files == ()
    assert store.save([empty(snapshots=[snapshot(30)])]).stale_files == ("snapshots/10.zip",)
    rewritten = replace(snapshot(30), file="snapshots/30-again.zip")
    assert store.save([empty(snapshots=[rewritten])]).stale_files == ("snapshots/30.zip",)
    assert store.restore("live", "fleet", 0).snapshots == [rewritten, snapshot(20)]


def test_an_explanation_made_again_replaces_that_slot_only(store: Store, database: Database) -> None:
    one = alert()
    opening = [explanation(one, name) for name in ("cpu", "memory", "disk")]
    peak = [explanation(one, "cpu", slot=11), explanation(one, "cpu lag 3", slot=11, target="forecast")]
    store.save([empty(alerts=[one], explanations=opening + peak)])
    store.save([empty(explanations=[explanation(one, "disk", value=-2.0, explained_by="permutation")])])
    found = Reader(database).alert(one.id)[1]
    assert [(e.slot, e.target, e.feature, e.value) for e in found] == [
        (10, "decision", "disk", -2.0),
        (11, "decision", "cpu", 0.8),
        (11, "forecast", "cpu lag 3", 0.8),
    ]


def test_an_alert_explained_later_changes_in_what_explains_only(store: Store, database: Database) -> None:
    one = alert(state="resolved")
    store.save([empty(alerts=[one])])
    done = replace(one, explanation="done", explained_by="permutation", sentence="cpu alone", window=None)
    store.explained(replace(done, score=99.0), [explanation(one, slot=11)])
    assert Reader(database).alert(one.id) == (done, [explanation(one, slot=11)])
    with pytest.raises(StoreError, match="no alert"):
        store.explained(alert("nobody"), [])


def test_an_explanation_of_less_than_what_waits_by_now_is_not_taken(store: Store, database: Database) -> None:
    """Its owner has saved the alert with more to explain since it was read: what was explained is not all."""
    one, reader = alert(state="open", explanation="pending", window=b"opening"), Reader(database)
    store.save([empty(alerts=[one])])
    (read,) = reader.pending("fleet", partition=one.partition)
    assert reader.pending("fleet", partition=one.partition + 1) == []
    store.save([empty(alerts=[replace(one, window=b"opening and peak")])])
    done = replace(read, explanation="done", window=None)
    assert store.explained(done, [explanation(one)], waited=read.window) is False
    assert reader.waiting([one.id, "nobody"]) == {one.id: b"opening and peak"}
    assert reader.alert(one.id)[1] == []
    assert store.explained(done, [explanation(one)], waited=b"opening and peak") is True
    assert reader.waiting([one.id]) == {}
    assert reader.alert(one.id)[1] == [explanation(one)]
    with pytest.raises(StoreError, match="no alert"):
        store.explained(alert("nobody"), [], waited=b"opening")


def test_what_refers_to_nothing_fails_the_whole_save(store: Store, database: Database) -> None:
    before = stored(database)
    wrong = bundle(explanations=[explanation(alert("never saved"))])
    with pytest.raises(StoreError, match=r"(?i)foreign key"):
        store.save([bundle(1), wrong])
    assert stored(database) == before


@pytest.mark.parametrize("table", ["alerts", "entities", "checkpoints", "announced", "outbox"])
def test_a_process_that_dies_inside_a_save_leaves_nothing(
    store: Store, database: Database, database_url: str, table: str
) -> None:
    before = stored(database)
    script = """
import os, sys
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from stored_samples import bundle
from storage.engine import open_database
from storage.store import Store

@sa.event.listens_for(Engine, "after_cursor_execute")
def die(connection, cursor, statement, *rest):
    if statement.startswith(f'INSERT INTO "{sys.argv[2]}"'):
        os._exit(9)

Store(open_database(sys.argv[1])).save([bundle(0), bundle(1)])
"""
    here, root = Path(__file__).parent, Path(__file__).parents[2]
    died = subprocess.run(
        [sys.executable, "-c", script, database_url, table], env={"PYTHONPATH": f"{here}:{root}"}, check=False
    )
    assert died.returncode == 9
    assert stored(database) == before
    assert store.save([bundle(0), bundle(1)]).rows["checkpoints"] == 2, "and nothing is left locked"


def test_two_owners_of_one_partition(store: Store, database: Database) -> None:
    """The older owner's save of the lost partition is refused, that of its other partition goes through."""
    older, newer = store, Store(database, Clock())
    older.save([bundle(0), bundle(1)])
    assert Leases(database).acquire("fleet", [1], "host-b") == {1: 2}
    stale = empty(1, epoch=1, checkpoint=Checkpoint({"telemetry": 1}, 99), alerts=[alert("lost", partition=1)])
    mine = empty(0, epoch=1, checkpoint=Checkpoint({"telemetry": 2}, 50), alerts=[alert("kept")])
    saved = older.save([stale, mine])
    assert saved.lost == (LeaseLost("live", "fleet", 1, 1),)
    assert saved.rows == {"alerts": 1, "checkpoints": 1}
    assert older.restore("live", "fleet", 0).checkpoint == mine.checkpoint
    assert older.restore("live", "fleet", 1).checkpoint == bundle(1).checkpoint
    assert [a.entity for a in Reader(database).alerts(AlertFilter(entity="lost"))] == []
    assert newer.save([replace_epoch(stale, 2)]).lost == ()
    assert older.restore("live", "fleet", 1).checkpoint == stale.checkpoint


def replace_epoch(changes, epoch):
    changes.epoch = epoch
    return changes


def test_a_lost_partition_drops_its_snapshot_and_explanations_too(store: Store, database: Database) -> None:
    store.save([bundle(0)])
    Leases(database).acquire("fleet", [0], "host-b")
    before = stored(database)
    late = SnapshotRow(400, {}, "snapshots/late.zip", "ef" * 32)
    saved = store.save([empty(0, snapshots=[late], explanations=[explanation(alert(), "network")])])
    assert (len(saved.lost), saved.rows, saved.stale_files) == (1, {}, ())
    assert stored(database) == before


def test_a_partition_that_nobody_owns_cannot_be_saved(store: Store) -> None:
    assert store.save([empty(7, checkpoint=Checkpoint({}, 1))]).lost == (LeaseLost("live", "fleet", 7, 1),)


def test_a_save_of_nothing_is_no_error(store: Store) -> None:
    assert store.save([]).rows == {}
    assert store.save([empty()]).rows == {}


def test_naive_datetimes_are_refused_before_anything_is_written(store: Store, database: Database) -> None:
    before = stored(database)
    naive = datetime(2026, 3, 1)
    for changes in (
        {"alerts": [alert(last_time=naive)]},
        {"scores": [ScoreRow("web-1", 1, naive, 1.0, 0.1, {}, "m1")]},
        {"audit": [Audit("amended", naive)]},
        {"rollups": [Rollup("web-1", naive, 1.0, 1.0, 1)]},
    ):
        with pytest.raises(ValueError, match="naive datetime 2026-03-01"):
            store.save([bundle(1), empty(0, **changes)])
    assert stored(database) == before


def test_other_time_zones_are_stored_as_the_same_instant(store: Store, database: Database) -> None:
    from zoneinfo import ZoneInfo

    there = at(10).astimezone(ZoneInfo("Asia/Kolkata"))
    store.save([empty(alerts=[alert(first_time=there)])])
    found = Reader(database).alerts()[0].first_time
    assert found == at(10) and found.utcoffset() == timedelta(0)


def test_bundles_must_be_of_one_partition_each(store: Store) -> None:
    with pytest.raises(ValueError, match="two bundles"):
        store.save([empty(), empty()])
    with pytest.raises(ValueError, match="belongs to"):
        store.save([empty(0, alerts=[alert(partition=1)])])


NAMES = [
    "'; DROP TABLE alerts; --",
    '" OR 1=1 --',
    "%s %(x)s ? :name",
    "\\.",
    "tab\there\nand line\r\\N",
    "{'$ne': 1}",
    "ünïcödé 日本 🚨",
    "",
    " ",
]


def test_names_that_look_like_sql_are_data(store: Store, database: Database) -> None:
    names = NAMES + [f"{name}{index}" for index in range(100) for name in NAMES[:2]]
    changes = empty(
        alerts=[alert(name) for name in names],
        entities=[EntityRow(name, {name: name}, 0, 1) for name in names],
        dead_letters=[DeadLetter(name, 1, name, name, name.encode()) for name in names],
    )
    store.save([changes])
    reader = Reader(database)
    assert sorted(row["entity"] for row in reader.entities("fleet")) == sorted(names)
    assert all(row["labels"] == {row["entity"]: row["entity"]} for row in reader.entities("fleet"))
    letters = reader.dead_letters(limit=1000)
    assert all(row["detail"] == row["topic"] and row["payload"] == row["topic"].encode() for row in letters)
    for name in NAMES:
        assert [found.entity for found in reader.alerts(AlertFilter(entity=name))] == [name]
        assert reader.alert(alert_id("live", "fleet", name, 10))[0] == alert(name)


def test_what_no_database_can_hold_is_replaced_and_found_again(store: Store, database: Database) -> None:
    odd = alert("a\0b\ud800")
    store.save([empty(alerts=[odd], templates=[Template(1, "x\0y", 1)])])
    found = Reader(database).alert(odd.id)[0]
    assert found.entity == "a\u2400b?"
    assert found.id == odd.id
    assert Reader(database).templates("fleet")[0]["text"] == "x\u2400y"


def test_numpy_values_and_missing_numbers(store: Store, database: Database) -> None:
    vote = {"p": float("nan"), "voted": np.bool_(True)}
    odd = alert(
        opened_slot=np.int64(10), score=np.float32(1.5), p=np.float64(0.25), votes={"vote": vote},
        attribution={"cpu": np.float32(0.5)}, evidence={"observed": np.array([1.0, np.nan], np.float32)},
    )  # fmt: skip
    store.save([empty(alerts=[odd], explanations=[explanation(odd, fidelity=float("nan"))])])
    found, parts = Reader(database).alert(odd.id)
    assert found.opened_slot == 10 and type(found.opened_slot) is int
    assert (found.score, found.p) == (1.5, 0.25)
    assert found.votes == {"vote": {"p": None, "voted": True}}
    assert found.attribution == {"cpu": 0.5} and found.evidence == {"observed": [1.0, None]}
    assert parts[0].fidelity is None


def test_ten_thousand_rows_of_a_kind_in_a_save(store: Store, database: Database) -> None:
    def many(score: float) -> list[ScoreRow]:
        votes = {"forecast": {"p": 0.01, "voted": True}}
        return [ScoreRow(f"host-{i:05d}", i % 7, at(i % 7), score + i, 0.1, votes, "m1") for i in range(10_000)]

    rollups = [Rollup(f"host-{i:05d}", START, 1.0, 0.5, 60) for i in range(10_000)]
    for score in (0.0, 0.5):
        saved = store.save([empty(scores=many(score) + many(score)[:100], rollups=rollups)])
        assert saved.rows == {"scores": 10_000, "score_rollups": 10_000}
    assert Reader(database).counts()["scores"] == 10_000
    row = Reader(database).scores("fleet", "host-04711")[0]
    assert (row["score"], row["slot"], row["time"]) == (4711.5, 4711 % 7, at(4711 % 7))
    assert row["votes"] == {"forecast": {"p": 0.01, "voted": True}}


@pytest.mark.parametrize("copies", [1, 60], ids=["row by row", "all at once"])
def test_scores_come_back_whatever_they_are(store: Store, database: Database, copies: int) -> None:
    """Few rows and many take two ways into PostgreSQL; votes may be JSON already."""
    votes = {"\\back\tslash": {"p": 1e-300, "voted": True}, "none\n": {"p": None, "voted": False}}
    ready = msgspec.Raw(dump_json(votes).encode())
    numbers = [0.1 + 0.2, 1e-300, 5e-324, 1.7e308, -0.0, 3.0, np.float32(0.1), np.int64(7)]
    rows = [
        ScoreRow(name, np.int64(slot), at(slot % 3), score, 0.5, ready if slot % 2 else votes, "m\\1")
        for name in NAMES
        for slot, score in enumerate(numbers * copies)
    ]
    store.save([empty(scores=rows)])
    for name in NAMES:
        found = {row["slot"]: row for row in Reader(database).scores("fleet", name, limit=10_000)}
        assert [found[slot]["score"] for slot in range(len(numbers))] == [float(number) for number in numbers]
        assert {row["time"] for row in found.values()} == {at(0), at(1), at(2)}
        assert all(row["votes"] == votes and row["model_version"] == "m\\1" for row in found.values())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(portions=st.lists(st.lists(st.integers(0, 150), max_size=200), max_size=3))
def test_any_order_and_repetition_of_saves_ends_the_same(database: Database, portions: list[list[int]]) -> None:
    """Dead letters, orders and audit rows: their set is what was saved, however often and in whatever portions."""
    epoch = Leases(database, Clock()).acquire("fleet", [0], "host")[0]
    store = Store(database, Clock())
    everything = {row["slot"] for row in Reader(database).audit("fleet", limit=10_000)}
    for portion in portions:
        everything |= set(portion)
        changes = empty(
            epoch=epoch,
            dead_letters=[DeadLetter("logs", n, "broken_json", f"line {n}", None) for n in portion],
            orders=[Order("event", f"e{n}", n) for n in portion],
            audit=[Audit("amended", at(n), slot=n) for n in portion],
        )
        assert store.save([changes]).lost == ()
    counts = Reader(database).counts()
    audited = Reader(database).audit("fleet", limit=10_000)
    assert counts["dead_letters"] == counts["orders"] == len(audited) == len(everything)
    assert [order.first_slot for order in store.restore("live", "fleet", 0).orders] == sorted(everything)


def test_a_stream_is_described_and_renewed(store: Store, database: Database) -> None:
    store.put_stream(StreamRow("live", "fleet", 60_000_000_000, {"window": 64}))
    renewed = StreamRow("live", "fleet", 30_000_000_000, {"window": 32})
    store.put_stream(renewed)
    assert Reader(database).streams() == [renewed]


def test_an_alert_comes_back_field_by_field(store: Store, database: Database) -> None:
    full = alert(amended_at=at(50), merged_into="f" * 32, reason="met an older one", explained_by="surrogate")
    assert all(getattr(full, item.name) is not None for item in fields(full)), "every field is tested"
    store.save([empty(alerts=[full])])
    assert Reader(database).alert(full.id)[0] == full
