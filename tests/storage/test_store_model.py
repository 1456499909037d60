"""`Store` against a plain dictionary: any sequence of owners, saves and replays leaves what the dictionary says."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_samples import START, Clock, alert, at, empty

from storage.engine import Database
from storage.leases import Leases
from storage.read import AlertFilter, Reader
from storage.store import Store
from storage.types import Alert, Changes, Checkpoint, EntityRow, LeaseLost, Order, Rollup, ScoreRow

SLOTS = st.integers(0, 4)
ENTITIES = st.sampled_from(["a", "b", "'c"])
STATES = st.sampled_from(["open", "confirmed", "retracted", "resolved"])

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 1), st.sampled_from(["one", "two"])),
        st.tuples(
            st.just("save"),
            st.sampled_from(["one", "two"]),
            st.lists(
                st.tuples(
                    st.integers(0, 1),
                    st.lists(st.tuples(ENTITIES, SLOTS, STATES), max_size=3),
                    st.lists(st.tuples(ENTITIES, SLOTS, st.floats(0, 9)), max_size=4),
                    st.integers(0, 99),
                ),
                max_size=2,
                unique_by=lambda part: part[0],
            ),
            st.booleans(),
        ),
    ),
    max_size=12,
)


class Plain:
    """What should be stored: dictionaries, and a loop over the rows."""

    def __init__(self) -> None:
        self.epochs: dict[int, int] = {}
        self.held: dict[str, dict[int, int]] = {"one": {}, "two": {}}
        self.alerts: dict[str, Alert] = {}
        self.scores: dict[tuple[int, str, int], float] = {}
        self.checkpoints: dict[int, Checkpoint] = {}

    def take(self, partition: int, owner: str) -> None:
        self.epochs[partition] = self.epochs.get(partition, 0) + 1
        self.held[owner][partition] = self.epochs[partition]

    def save(self, bundles: list[Changes]) -> list[LeaseLost]:
        lost = []
        for changes in sorted(bundles, key=lambda b: b.partition):
            if self.epochs.get(changes.partition) != changes.epoch:
                lost.append(LeaseLost("live", "fleet", changes.partition, changes.epoch))
                continue
            for row in changes.alerts:
                self.alerts[row.id] = row
            for score in changes.scores:
                self.scores[changes.partition, score.entity, score.slot] = score.score
            assert changes.checkpoint is not None
            self.checkpoints[changes.partition] = changes.checkpoint
        return lost


def changes_of(partition: int, epoch: int, alerts: Any, scores: Any, place: int) -> Changes:
    # Entities carry their partition's number: an entity belongs to one partition.
    return empty(
        partition,
        epoch,
        alerts=[alert(f"{name}{partition}", slot, partition, state=state) for name, slot, state in alerts],
        scores=[ScoreRow(f"{name}{partition}", slot, at(slot), score, 0.1, {}, "m1") for name, slot, score in scores],
        entities=[EntityRow(f"{name}{partition}", {}, slot, slot) for name, slot, _ in scores],
        rollups=[Rollup(f"{name}{partition}", START, score, score, 1) for name, _, score in scores],
        orders=[Order("model", "m1", 0)],
        checkpoint=Checkpoint({"telemetry": place}, place),
    )


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS)
def test_any_sequence_of_owners_and_saves(database: Database, actions: list[Any]) -> None:
    wipe(database)
    plain, leases, store = Plain(), Leases(database, Clock()), Store(database, Clock())
    for action in actions:
        if action[0] == "take":
            _, partition, owner = action
            plain.take(partition, owner)
            assert leases.acquire("fleet", [partition], owner) == {partition: plain.epochs[partition]}
            continue
        _, owner, parts, twice = action
        bundles = [
            changes_of(partition, plain.held[owner].get(partition, 0), alerts, scores, place)
            for partition, alerts, scores, place in parts
        ]
        for _ in range(1 + twice):
            assert list(store.save(bundles).lost) == plain.save(bundles)
    compare(database, store, plain)


def compare(database: Database, store: Store, plain: Plain) -> None:
    reader = Reader(database)
    assert {row.id: row for row in reader.alerts(AlertFilter(limit=None))} == plain.alerts
    assert leased(database) == plain.epochs
    for partition in (0, 1):
        restored = store.restore("live", "fleet", partition)
        assert restored.checkpoint == plain.checkpoints.get(partition)
        assert len(restored.orders) == int(partition in plain.checkpoints)
        unfinished = {
            row.id for row in plain.alerts.values() if row.partition == partition and row.state in {"open", "confirmed"}
        }
        assert {row.id for row in restored.alerts} == unfinished
        for name in ("a", "b", "'c"):
            found = {row["slot"]: row["score"] for row in reader.scores("fleet", f"{name}{partition}")}
            assert found == {slot: s for (p, e, slot), s in plain.scores.items() if (p, e) == (partition, f"{name}{p}")}
    assert reader.counts()["entities"] == len({(p, entity) for p, entity, _ in plain.scores})


def leased(database: Database) -> dict[int, int]:
    return Leases(database).epochs("fleet")


def wipe(database: Database) -> None:
    """The fixture's database serves every example."""
    from storage.columns import metadata

    database.write(lambda c: [c.execute(table.delete()) for table in reversed(metadata.sorted_tables)])
