"""Closed slots for good: what was kept comes back once, in order, with the columns that are asked for."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.types import Rows
from streaming.settings import SECOND
from tsad.history import History

MINUTE = 60 * SECOND
NAN = float("nan")
Cells = dict[tuple[str, int], list[float]]


def add(history: History, slot: int, values: dict[str, list[float]], features: Sequence[str] = ("x", "y")) -> None:
    """Keep one slot: the values of each entity; the score is the first value."""
    array = np.array(list(values.values()), np.float32)
    history.add(list(values), slot, array, array[:, 0], features)


def flush_due(history: History) -> None:
    """As a save does."""
    if history.due:
        history.flush_over()


def cells(rows: Rows) -> Cells:
    parts = zip(rows.codes.tolist(), rows.slots.tolist(), rows.values.tolist(), strict=True)
    return {(rows.names[code], slot): values for code, slot, values in parts}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "kept", MINUTE, 30)


def test_what_is_added_comes_back_before_and_after_it_was_written(history: History) -> None:
    add(history, 5, {"b": [1, 2], "a": [3, 4]})
    add(history, 6, {"a": [5, 6]})
    expected = {("a", 5): [3, 4], ("a", 6): [5, 6], ("b", 5): [1, 2]}
    assert cells(history.rows(["x", "y"], 100)) == expected
    history.flush()
    again = history.rows(["x", "y"], 100)
    assert cells(again) == expected
    assert (again.names, again.codes.tolist(), again.slots.tolist()) == (["a", "b"], [0, 0, 1], [5, 6, 5])
    assert again.features == ["x", "y"]


def test_only_slots_below_the_bound_are_read(history: History) -> None:
    for slot in range(5):
        add(history, slot, {"a": [slot, 0]})
    assert sorted(cells(history.rows(["x"], 3))) == [("a", 0), ("a", 1), ("a", 2)]


def test_columns_come_in_the_order_that_is_asked_for_and_unknown_ones_are_missing(history: History) -> None:
    add(history, 0, {"a": [1, 2]})
    history.flush()
    values = history.rows(["y", "z", "x"], 9).values
    np.testing.assert_array_equal(values, [[2, np.nan, 1]])


def test_a_column_that_came_later_is_missing_before(history: History) -> None:
    features = ["x"]
    add(history, 0, {"a": [1]}, features)
    history.flush()
    add(history, 1, {"a": [2]}, features)
    features.append("y")
    add(history, 2, {"a": [3, 4]}, features)
    expected = [[1, np.nan], [2, np.nan], [3, 4]]
    np.testing.assert_array_equal(history.rows(features, 9).values, expected)
    history.flush()
    np.testing.assert_array_equal(history.rows(features, 9).values, expected)


def test_a_file_for_each_hour_rewritten_while_slots_come(history: History, tmp_path: Path) -> None:
    add(history, 3, {"a": [1, 1]})
    add(history, 9, {"b": [2, 1], "a": [3, 1]})
    history.flush()
    history.flush()
    add(history, 59, {"a": [4, 1]})
    add(history, 60, {"a": [5, 1]})
    history.flush()
    assert files(tmp_path / "kept") == ["1970-01-01T00-1.parquet", "1970-01-01T01-1.parquet"]
    table = pq.read_table(tmp_path / "kept" / "1970-01-01T00-1.parquet")
    assert table.column_names == ["entity", "slot", "score", "value:x", "value:y"]
    assert table.column("entity").to_pylist() == ["a", "a", "b", "a"]
    assert table.column("slot").to_pylist() == [3, 9, 9, 59]
    assert table.column("score").to_pylist() == [1.0, 3.0, 2.0, 4.0]
    assert json.loads(table.schema.metadata[b"tsad"]) == {"format": "tsad-history-1", "step_ns": MINUTE}


def test_an_hour_is_written_when_it_is_over_and_nothing_before_it_was_saved(history: History, tmp_path: Path) -> None:
    for slot in range(59):
        add(history, slot, {"a": [slot, 1]})
        flush_due(history)
    assert not (tmp_path / "kept").exists()
    add(history, 60, {"a": [60, 1]})
    assert not (tmp_path / "kept").exists()
    flush_due(history)
    assert files(tmp_path / "kept") == ["1970-01-01T00-1.parquet"]


def test_what_has_begun_of_an_hour_is_held_back_and_its_file_written_once(history: History, tmp_path: Path) -> None:
    """Many slots come at a time, as to a run over history, and hours end among them."""
    whole = History(tmp_path / "whole", MINUTE, 30)
    written = []
    for start in range(0, 210, 35):
        slots = np.repeat(np.arange(start, start + 35), 2)
        values = np.stack([slots, -slots], axis=1).astype(np.float32)
        for kept in (history, whole):
            kept.add(["b", "a"], slots, values, values[:, 0], ["y", "x"], np.tile([0, 1], 35))
        flush_due(history)
        written += [path.stat().st_mtime_ns for path in sorted((tmp_path / "kept").glob("*T00-1.parquet"))]
    assert len(set(written)) == 1
    assert files(tmp_path / "kept") == [f"1970-01-01T0{hour}-1.parquet" for hour in range(3)]
    for kept in (history, whole):
        assert sorted(cells(kept.rows(["x"], 210))) == sorted((name, slot) for name in "ab" for slot in range(210))
        kept.flush()
    assert contents(tmp_path / "kept") == contents(tmp_path / "whole")
    assert not history.due


def test_where_much_is_held_nothing_is_held_back(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsad.history.BUFFERED", 90)
    history.beside = History(tmp_path / "beside", MINUTE, 30)
    shared, first = np.ones((1, 2), np.float32), np.zeros(1, np.int64)
    for slot in range(60, 110):
        add(history, slot, {"a": [slot, 1]})
        history.beside.add(["a"], slot, shared, shared[:, 0], ["u", "v"], at=first)
        assert history.due == (slot == 89), "30 rows of two values and a score"
        flush_due(history)
    for folder in ("kept", "beside"):
        table = pq.read_table(tmp_path / folder / "1970-01-01T01-1.parquet")
        assert table["slot"].to_pylist() == list(range(60, 90))


def test_what_lies_beside_may_be_full_first_and_values_in_common_count_once(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsad.history.BUFFERED", 200)
    history.beside = History(tmp_path / "beside", MINUTE, 30)
    shared, first = np.ones((1, 100), np.float32), np.zeros(1, np.int64)
    features = [f"c{number}" for number in range(100)]
    for slot in range(50):
        add(history, slot, {"a": [slot, 1]})
        history.beside.add(["a"], slot, shared, shared[:, 0], features, at=first)
        assert not history.due
    add(history, 50, {"a": [50, 1]})
    history.beside.add(["a"], 50, shared.copy(), shared[:, 0], features, at=first)
    assert history.due
    flush_due(history)
    assert not history.due
    assert files(tmp_path / "kept") == files(tmp_path / "beside") == ["1970-01-01T00-1.parquet"]


def test_what_could_not_be_written_is_held_until_it_can(history: History, tmp_path: Path) -> None:
    for slot in range(50, 70):
        add(history, slot, {"a": [slot, 1]})
    in_the_way = tmp_path / "kept" / ".1970-01-01T00-1.parquet.partial"
    in_the_way.mkdir(parents=True)
    for write in (history.flush_over, history.flush):
        with pytest.raises(OSError, match="directory"):
            write()
    in_the_way.rmdir()
    history.flush_over()
    assert files(tmp_path / "kept") == ["1970-01-01T00-1.parquet"]
    history.flush()
    slots = [slot for path in sorted((tmp_path / "kept").iterdir()) for slot in pq.read_table(path)["slot"].to_pylist()]
    assert slots == list(range(50, 70))


def test_a_file_of_many_hours_is_written_when_they_are_over(tmp_path: Path) -> None:
    kept = History(tmp_path / "kept", MINUTE, 30, epoch=2, span=24)
    for slot in (1439, 1440, 2000):
        add(kept, slot, {"a": [slot, 1]})
        assert kept.due == (slot > 1439)
    kept.flush()
    add(kept, 2100, {"a": [2100, 1]})
    kept.flush()
    assert files(tmp_path / "kept") == ["1970-01-01T00+24-2.parquet", "1970-01-02T00+24-2.parquet"]
    table = pq.read_table(tmp_path / "kept" / "1970-01-02T00+24-2.parquet")
    assert table.column("slot").to_pylist() == [1440, 2000, 2100]


def test_days_that_are_too_old_go_as_whole_files(tmp_path: Path) -> None:
    kept = History(tmp_path / "kept", MINUTE, 2, span=24)
    for day in range(5):
        add(kept, day * 1440 + 700, {"a": [day, 1]})
        kept.flush()
    assert files(tmp_path / "kept") == [f"1970-01-0{day}T00+24-1.parquet" for day in (3, 4, 5)]


def fill(history: History, slots: Iterable[int], flushes: Iterable[int] = ()) -> None:
    """Three entities, one of them now and then, and a feature that comes and goes by the hour."""
    for slot in slots:
        here = {name: [float(slot), 0.5 if slot // 60 % 2 else NAN] for name in ("b", "a", *["c"][: slot % 3])}
        add(history, slot, here)
        if slot in flushes:
            history.flush()


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of each hour; whose epoch it was does not count."""
    return {path.name.rpartition("-")[0]: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


@pytest.mark.parametrize("killed", [[(100, 70)], [(100, 70), (130, 0)], [(61, 60), (62, 59), (179, 119)], [(40, 0)]])
def test_kills_and_replays_leave_the_bytes_of_an_undisturbed_run(tmp_path: Path, killed: list[tuple[int, int]]) -> None:
    """Each new owner begins at the last snapshot, behind which nothing is known to be on disk."""
    whole = History(tmp_path / "whole", MINUTE, 30)
    fill(whole, range(200))
    whole.flush()
    start, folder = 0, tmp_path / "kept"
    for epoch, (died, snapshot) in enumerate([*killed, (200, 0)], 1):
        history = History(folder, MINUTE, 30, epoch=epoch)
        fill(history, range(start, died), {snapshot - 1, (snapshot + died) // 2, died - 7})
        start = snapshot
    history.flush()
    assert contents(folder) == contents(tmp_path / "whole")
    assert len(list(folder.glob("*.parquet"))) == 4, "one file an hour"


def test_an_owner_that_was_cut_off_harms_nothing(tmp_path: Path) -> None:
    """It wakes up when its successor has gone on, and writes what it had saved."""
    whole = History(tmp_path / "whole", MINUTE, 30)
    fill(whole, range(130))
    whole.flush()
    zombie, folder = History(tmp_path / "kept", MINUTE, 30, epoch=1), tmp_path / "kept"
    fill(zombie, range(50), {20})
    successor = History(folder, MINUTE, 30, epoch=2)
    fill(successor, range(21, 70))
    zombie.flush()
    assert "1970-01-01T00-1.parquet" in files(folder)
    successor.flush()
    assert [name for name in files(folder) if name.endswith("-1.parquet")] == []
    fill(zombie, range(50, 62))
    zombie.flush()
    fill(successor, range(70, 130))
    successor.flush()
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_file_that_cannot_be_read_is_left_out_and_written_anew(history: History, tmp_path: Path) -> None:
    fill(history, range(130), {129})
    broken = tmp_path / "kept" / "1970-01-01T01-1.parquet"
    broken.write_bytes(broken.read_bytes()[:100])
    assert {slot // 60 for _, slot in cells(history.rows(["x"], 999))} == {0, 2}
    again = History(tmp_path / "kept", MINUTE, 30, epoch=2)
    fill(again, range(60, 130))
    again.flush()
    assert {slot // 60 for _, slot in cells(again.rows(["x"], 999))} == {0, 1, 2}


def test_log_templates_are_told_beside_the_slots(tmp_path: Path) -> None:
    texts = {"log.template.0": "GET <*>"}
    history = History(tmp_path, MINUTE, 30, texts=lambda: texts)
    for slot in range(2):
        add(history, slot, {"a": [1, 1]})
        history.flush()
        texts["log.template.1"] = "ü \ud83d"
    assert json.loads((tmp_path / "templates.json").read_text()) == texts


def test_what_the_first_fit_needs_is_kept_however_few_days_are(tmp_path: Path) -> None:
    history = History(tmp_path, MINUTE, days=1 / 24, least=300)
    for slot in range(0, 600, 10):
        add(history, slot, {"a": [slot, 0]})
        history.flush()
    kept = {slot for _, slot in cells(history.rows(["x"], 1000))}
    assert kept >= set(range(290, 600, 10))
    assert min(kept) == 240, "the hour that slot 290 lies in"


def test_slots_written_twice_by_a_replay_count_once(history: History) -> None:
    for _ in range(2):
        for slot in range(4):
            add(history, slot, {"a": [slot, 1], "b": [slot, 2]})
        history.flush()
        add(history, 4, {"a": [4, 1]})
    assert len(cells(history.rows(["x"], 9))) == len(history.rows(["x"], 9).slots) == 9


def test_files_that_are_too_old_are_removed(tmp_path: Path) -> None:
    history = History(tmp_path, MINUTE, days=1 / 24)
    for slot in (0, 30, 70, 130):
        add(history, slot, {"a": [slot, 0]})
        history.flush()
    assert [slot for _, slot in cells(history.rows(["x"], 1000))] == [70, 130]


def test_nothing_is_kept_without_a_folder() -> None:
    history = History(None, MINUTE, 30)
    add(history, 0, {"a": [1, 2]})
    history.flush()
    rows = history.rows(["x", "y"], 9)
    assert len(rows.slots) == 0
    assert rows.values.shape == (0, 2)


def test_nothing_kept_is_no_rows(history: History, tmp_path: Path) -> None:
    history.flush()
    assert not (tmp_path / "kept").exists()
    assert history.rows(["x"], 9).names == []


def test_a_half_written_file_is_not_read(history: History, tmp_path: Path) -> None:
    add(history, 0, {"a": [1, 2]})
    history.flush()
    half = tmp_path / "kept" / ".1970-01-01T00-1.parquet.partial"
    half.write_bytes(b"half")
    assert len(history.rows(["x"], 9).slots) == 1
    add(history, 60 * 24 * 40, {"a": [1, 2]})
    history.flush()
    assert not half.exists(), "it goes when its hour is too old"


NAMES = st.sampled_from(["a", "b", "ü", "x" * 200, ""])


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(st.integers(0, 15), st.dictionaries(NAMES, st.floats(-9, 9, width=32), min_size=1), max_size=12),
    st.sets(st.integers(0, 15)),
    st.integers(0, 16),
)
def test_whatever_is_flushed_when_the_rows_are_those_of_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, slots: dict[int, dict[str, float]], flushes: set[int], until: int
) -> None:
    history = History(tmp_path_factory.mktemp("any"), MINUTE, 30)
    expected: Cells = {}
    for slot, values in sorted(slots.items()):
        add(history, slot, {name: [value] for name, value in values.items()}, ["x"])
        expected |= {(name, slot): [value] for name, value in values.items() if slot < until}
        if slot in flushes:
            history.flush()
    rows = history.rows(["x"], until)
    assert cells(rows) == expected
    order = list(zip(rows.codes.tolist(), rows.slots.tolist(), strict=True))
    assert order == sorted(order)
