"""The history read as Arrow batches: from slot to slot, of one schema, each row once; and what a run leaves there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.tsad.streams import (
    FIT_SLOTS,
    START,
    STREAM,
    cells_with_anomalies,
    normal,
    payloads,
    run_through,
)
from tests.tsad.test_history import MINUTE, add, contents, fill
from tsad.archive import Archive
from tsad.history import History
from tsad.runner import Limits

FIRST = START // 60
Key = tuple[str, int]


def read(archive: Archive, partition: int, first: int, last: int, features: Sequence[str] | None = None) -> pa.Table:
    batches = list(archive.batches(partition, first, last, features))
    return pa.Table.from_batches(batches) if batches else pa.table({"entity": [], "slot": []})


def keys(table: pa.Table) -> list[Key]:
    return list(zip(table.column("entity").to_pylist(), table.column("slot").to_pylist(), strict=True))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """Two partitions of 200 and 70 slots; `y` has a value in every other hour of the first."""
    for partition, slots in ((0, 200), (3, 70)):
        history = History(tmp_path / str(partition), MINUTE, 30)
        fill(history, range(slots), {50})
        history.flush()
    (tmp_path / "lost+found").mkdir()
    return Archive(tmp_path, MINUTE)


def test_rows_come_by_slot_and_entity_between_the_bounds(archive: Archive) -> None:
    found = keys(read(archive, 0, 58, 61))
    assert [slot for _, slot in found] == [58, 58, 58, 59, 59, 59, 60, 60, 61, 61, 61]
    assert "".join(name for name, _ in found) == "abcabcababc"
    assert keys(read(archive, 3, 58, 1000))[-1] == ("b", 69)
    assert keys(read(archive, 3, 500, 600)) == keys(read(archive, 9, 0, 600)) == []


def test_every_batch_has_the_columns_that_are_asked_for(archive: Archive) -> None:
    for batch in archive.batches(0, 0, 200, ["y", "nobody's", "x"]):
        assert batch.schema.names == ["entity", "slot", "score", "value:y", "value:nobody's", "value:x"]
    table = read(archive, 0, 0, 200, ["y", "nobody's", "x"])
    slots = table.column("slot").to_numpy()
    np.testing.assert_array_equal(np.isnan(table.column("value:y").to_numpy()), slots // 60 % 2 == 0)
    np.testing.assert_array_equal(table.column("value:x").to_numpy(), slots)
    assert np.isnan(table.column("value:nobody's").to_numpy()).all()
    assert read(archive, 0, 0, 200).column_names == ["entity", "slot", "score", "value:x", "value:y"]


def test_a_batch_is_small(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsad.archive.BATCH", 7)
    sizes = [batch.num_rows for batch in archive.batches(0, 0, 200)]
    assert max(sizes) <= 7
    assert sum(sizes) == len(keys(read(archive, 0, 0, 200)))


def test_what_there_is(archive: Archive, tmp_path: Path) -> None:
    assert archive.partitions() == [0, 3]
    assert archive.newest() == 199
    assert archive.features(0, 59) == ["x"]
    assert archive.features(0, 60) == ["x", "y"]
    assert [first for first, _ in archive.counts(0, 130)] == [0, 60, 120]
    both = len(keys(read(archive, 0, 0, 59))) + len(keys(read(archive, 3, 0, 59)))
    assert archive.counts(0, 0) == [(0, both)]
    nothing = Archive(tmp_path / "nowhere", MINUTE)
    assert (nothing.partitions(), nothing.newest(), nothing.features(0, 9), nothing.counts(0, 9)) == ([], None, [], [])


def test_files_of_two_owners_count_once(tmp_path: Path) -> None:
    """As a zombie leaves it: its successor's file has the same rows and more."""
    zombie = History(tmp_path / "0", MINUTE, 30, epoch=1)
    fill(zombie, range(50))
    fill(successor := History(tmp_path / "0", MINUTE, 30, epoch=2), range(10, 60))
    zombie.flush()
    before = (tmp_path / "0" / "1970-01-01T00-1.parquet").read_bytes()
    successor.flush()
    (tmp_path / "0" / "1970-01-01T00-1.parquet").write_bytes(before)
    fill(whole := History(tmp_path / "whole" / "0", MINUTE, 30), range(60))
    whole.flush()
    found, expected = (read(Archive(place, MINUTE), 0, 0, 99) for place in (tmp_path, tmp_path / "whole"))
    assert found.equals(expected)


def test_another_step_and_broken_files_are_left_out(archive: Archive, tmp_path: Path) -> None:
    assert Archive(tmp_path, 2 * MINUTE).newest() is None
    broken = tmp_path / "0" / "1970-01-01T03-1.parquet"
    broken.write_bytes(broken.read_bytes()[:-9])
    assert archive.newest() == 179
    assert keys(read(archive, 0, 0, 200))[-1] == ("c", 179)


# --- what runs leave


def kept(app: Any) -> Path:
    folder: Path = app.history_folder(STREAM) / "0"
    return folder


def test_a_run_keeps_every_final_slot_with_its_score(make_app: Any) -> None:
    cells = cells_with_anomalies()
    app = make_app({"telemetry": payloads(cells, FIT_SLOTS)})
    run_through(app, Limits(poll=40))
    table = read(Archive(app.history_folder(STREAM), MINUTE), 0, 0, 10**12, ["cpu", "mem"])
    final = range(FIT_SLOTS, 420 - 8 - 5)
    assert keys(table) == [(entity, FIRST + slot) for slot in final for entity in "abc"]
    expected = [cells[entity, slot][:2] for slot in final for entity in "abc"]
    values = np.stack([table.column(f"value:{name}").to_numpy() for name in ("cpu", "mem")], axis=1)
    np.testing.assert_allclose(values, np.array(expected, np.float32), rtol=1e-6)
    stored = {(e, row["slot"]): row["score"] for e in "abc" for row in app.reader.scores(STREAM, e, limit=10**5)}
    scores = dict(zip(keys(table), table.column("score").to_pylist(), strict=True))
    assert len(stored.keys() & scores.keys()) > 10
    assert all(scores[key] == score for key, score in stored.items() if key in scores)
    assert max(scores.values()) > 1


@pytest.mark.parametrize(("snapshot_every", "where"), [(20, "save"), (10_000, "poll"), (1, "poll"), (70, "save")])
def test_a_killed_run_keeps_the_bytes_of_an_undisturbed_one(make_app: Any, snapshot_every: int, where: str) -> None:
    lines = payloads(cells_with_anomalies(), FIT_SLOTS)
    whole = make_app({"telemetry": lines})
    run_through(whole, Limits(poll=50))
    app = make_app({"telemetry": lines}, {where: {60, 90, 180, 210, 300}})
    assert run_through(app, Limits(poll=30, snapshot_every=snapshot_every)) == 5
    assert contents(kept(app)) == contents(kept(whole))
    assert len(list(kept(app).glob("*.parquet"))) == len(contents(kept(app))) == 2


def test_entities_that_are_evicted_keep_their_last_slots(make_app: Any) -> None:
    """Three entities, and room for two: those that go were final in no slot of their last ones."""
    cells = {
        key: value
        for key, value in normal(420, ("a", "b", "c"), 1).items()
        if key[0] == "a" or (key[1] // 20 % 2 == 0) == (key[0] == "b")
    }
    app = make_app({"telemetry": payloads(cells, FIT_SLOTS)}, max_entities=2)
    run_through(app, Limits(poll=40))
    assert any(row["kind"] == "entity evicted" for row in app.reader.audit(STREAM))
    table = read(Archive(app.history_folder(STREAM), MINUTE), 0, 0, 10**12)
    there = ~np.isnan(table.column("value:cpu").to_numpy())
    found = {key for key, here in zip(keys(table), there, strict=True) if here}
    assert found == {(e, FIRST + slot) for e, slot in cells if FIT_SLOTS <= slot < 420 - 8 - 5}


def test_a_single_reader_of_many_features_sees_them_in_its_order(tmp_path: Path) -> None:
    history = History(tmp_path / "0", MINUTE, 30)
    add(history, 0, {"a": [1, 2, 3]}, ["z", "m", "b"])
    history.flush()
    table = read(Archive(tmp_path, MINUTE), 0, 0, 0, ["m", "z"])
    assert [table.column(3).to_pylist(), table.column(4).to_pylist()] == [[2.0], [1.0]]


@pytest.mark.parametrize("span", [1, 5, 24])
def test_files_of_many_hours_give_the_rows_of_their_hours(tmp_path: Path, span: int) -> None:
    history = History(tmp_path / "0", MINUTE, 30, span=span)
    fill(history, range(0, 2000, 7))
    history.flush()
    archive = Archive(tmp_path, MINUTE)
    for first, last in ((0, 2000), (130, 140), (1437, 1442), (1995, 3000), (-5, 0)):
        found = [slot for _, slot in keys(read(archive, 0, first, last))]
        assert sorted(set(found)) == [slot for slot in range(0, 2000, 7) if first <= slot <= last]
    assert archive.newest() == 1995
    assert archive.features(1500, 1600) == ["x", "y"]
