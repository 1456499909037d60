"""Runs over history: their units, who drives them, and what names they may have."""

from dataclasses import replace

import pytest
from stored_samples import Clock

from storage.backfills import Backfills, TakenOverError, UnitRow
from storage.engine import Database
from storage.types import NotThereError, StoreError

UNITS = [UnitRow("", number, {"entities": [f"host-{number}"]}, entities=1, rows=100 * number) for number in range(3)]
SPEC = {"input": "history/", "since": None}


def begun(database: Database, clock: Clock, run: str = "june") -> Backfills:
    found = Backfills(database, clock)
    found.add(run, "hosts", "v1", SPEC, UNITS)
    return found


def test_a_run_is_kept_with_its_units(database: Database) -> None:
    clock = Clock()
    found = begun(database, clock)
    row = found.row("june")
    assert row is not None
    assert (row.stream, row.model_version, row.spec, row.state, row.epoch) == ("hosts", "v1", SPEC, "running", 0)
    assert (row.created_at, row.ended_at) == (clock.now, None)
    assert found.units("june") == [replace(unit, run="june") for unit in UNITS]
    assert found.row("july") is None
    assert found.units("july") == []


def test_runs_are_listed_by_stream_the_newest_first(database: Database) -> None:
    clock = Clock()
    found = begun(database, clock)
    clock.now = clock.now.replace(year=clock.now.year + 1)
    found.add("july", "hosts", "v2", SPEC, [])
    found.add("other", "rockets", "v1", SPEC, [])
    assert [row.run for row in found.listing("hosts")] == ["july", "june"]
    assert {row.run for row in found.listing()} == {"july", "june", "other"}


def test_whoever_drives_it_says_what_becomes_of_units(database: Database) -> None:
    clock = Clock()
    found = begun(database, clock)
    epoch = found.drive("june")
    units = found.units("june")
    found.mark(epoch, [replace(units[0], state="running", attempts=1)])
    found.mark(epoch, [replace(units[0], state="finished", attempts=1, rows=7, alerts=2, seconds=1.5)])
    found.mark(epoch, [replace(units[1], state="failed", attempts=2, reason="part-1.parquet: cut off")])
    done, failed, pending = found.units("june")
    assert (done.state, done.attempts, done.rows, done.alerts, done.seconds) == ("finished", 1, 7, 2, 1.5)
    assert (failed.state, failed.attempts, failed.reason) == ("failed", 2, "part-1.parquet: cut off")
    assert (pending.state, pending.updated_at) == ("pending", clock.now)
    found.end("june", epoch, "failed")
    row = found.row("june")
    assert row is not None
    assert (row.state, row.ended_at) == ("failed", clock.now)


@pytest.mark.parametrize(
    ("again", "expected"), [(False, ["finished", "failed", "pending"]), (True, ["finished", "pending", "pending"])]
)
def test_who_takes_it_over_goes_on_with_what_was_under_way(
    database: Database, again: bool, expected: list[str]
) -> None:
    found = begun(database, Clock())
    epoch = found.drive("june")
    first, second, third = found.units("june")
    found.mark(
        epoch, [replace(first, state="finished"), replace(second, state="failed"), replace(third, state="running")]
    )
    newer = found.drive("june", again)
    assert newer == epoch + 1
    assert [unit.state for unit in found.units("june")] == expected
    for speak in (
        lambda: found.mark(epoch, [replace(third, state="finished")]),
        lambda: found.end("june", epoch, "finished"),
    ):
        with pytest.raises(TakenOverError, match="run 'june' is driven by another process now"):
            speak()
    assert [unit.state for unit in found.units("june")] == expected


def test_many_units_are_kept(database: Database) -> None:
    found = Backfills(database, Clock())
    found.add("june", "hosts", "v1", SPEC, [UnitRow("", number, {}) for number in range(2500)])
    assert [unit.unit for unit in found.units("june")] == list(range(2500))


def test_a_name_is_one_run(database: Database) -> None:
    found = begun(database, Clock())
    with pytest.raises(StoreError, match="there is a run 'june' already; take another name, or delete it first"):
        found.add("june", "hosts", "v1", SPEC, [])
    with pytest.raises(NotThereError, match="there is no run 'july'"):
        found.drive("july")


@pytest.mark.parametrize("run", ["live", "", "-x", "a b", "a/b", "x" * 62, "../up", "a\n"])
def test_what_cannot_be_a_name_is_refused(database: Database, run: str) -> None:
    with pytest.raises(StoreError, match="letters, digits"):
        Backfills(database, Clock()).add(run, "hosts", "v1", SPEC, [])
    assert Backfills(database, Clock()).row(run) is None
