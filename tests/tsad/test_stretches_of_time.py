"""Long series cut in time: where every detector judges a window by itself, the stretches end with the whole's rows."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.types import Verdicts
from storage.backfills import Backfills
from storage.events import ContextEvent
from storage.types import LIVE
from streaming.settings import SECOND
from tests.tsad.asking import Asking
from tests.tsad.command_line import fresh_home, tsad
from tests.tsad.histories import Here, backfilled, opened, planned, rows_of
from tests.tsad.streams import FEATURES, START, STREAM, differences, normal
from tsad.app import App
from tsad.archive import Archive
from tsad.backfill.driving import Driver
from tsad.backfill.spec import Wanted
from tsad.backfill.stretching import cut, wider
from tsad.cases import Judged
from tsad.config import load_config
from tsad.episodes import Rule
from tsad.judge import Judge
from tsad.overlap import Core, Overlap, TooShortError
from tsad.readings import Readings
from tsad.rows import utc
from tsad.runner import Runner

FIT, SLOTS = 600, 4200
CONFIGURATION = """
[stream.s]
detectors = ["subspace", "linear"]
calibration = "frozen"
window = 16
settle = 5
quiet = 8
late_horizon = 8
alert_budget = 3.0
max_windows = 1000
forget_after = 20
seasons = false

[stream.s.features.net]
counter = true

[stream.s.telemetry]
layout = "wide"
features = ["cpu", "mem", "disk", "net"]
"""
ROWS = 600
"""A unit of so many rows: each series is cut into five or six stretches."""


def values() -> dict[tuple[str, int], np.ndarray]:
    """Three entities, one of which is silent now and then, and alerts of every length, some for most of a stretch."""
    cells = normal(SLOTS, "abc", 3)
    rng = np.random.default_rng(4)
    for entity in "abc":
        climbed = np.cumsum(rng.uniform(1, 2, SLOTS))
        for slot in range(SLOTS):
            cells[entity, slot][3] = climbed[slot] % 5000
    for slot in rng.choice(np.arange(FIT, SLOTS), 60, replace=False):
        cells["abc"[slot % 3], slot][:2] += rng.uniform(1, 5)
    for entity, first, length in (("a", 1400, 40), ("b", 2040, 300), ("c", 2500, 900), ("a", 4190, 10)):
        for slot in range(first, first + length):
            cells[entity, slot][:3] += 3 + (slot % 4)
    return {(e, s): v for (e, s), v in cells.items() if e != "b" or not 2600 < s < 3100}


def table(cells: dict[tuple[str, int], np.ndarray]) -> pa.Table:
    """By time; some rows come twice, and some cannot be used, with and without a readable time."""
    keys = sorted((slot, entity) for entity, slot in cells)
    rows = [[entity, str(START + 60 * slot), *map(str, cells[entity, slot])] for slot, entity in keys]
    for place in range(700, len(rows), 811):
        rows[place][2 + place % 4] = "high"
    for place in range(900, len(rows), 997):
        rows[place][1] = "some day"
    rows[min(1801, len(rows) - 1)][0] = ""
    rows = [row for place, row in enumerate(rows) for _ in range(1 + (place % 20 == 0))]
    columns = zip(*rows, strict=True)
    named = dict(zip(("entity", "time", *FEATURES), map(list, columns), strict=True))
    whole = pa.table(named)
    return whole.set_column(
        1, "time", pa.array([int(t) if t.isdigit() and len(t) < 12 else None for t in named["time"]])
    )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which such a stream was fitted and watched."""
    home = fresh_home(tmp_path_factory.mktemp("stretches"), CONFIGURATION)
    cells = values()
    pq.write_table(table({key: v for key, v in cells.items() if key[1] < FIT}), home / "history.parquet")
    pq.write_table(
        table({key: v for key, v in cells.items() if key[1] >= FIT}), home / "live.parquet", row_group_size=500
    )
    for arguments in (("fit", "s", "--from", "history.parquet"), ("run", "s", "--source", "live.parquet")):
        said = tsad(home, *arguments)
        assert said.code == 0, said.err
    return home


@pytest.fixture
def app(watched: Path, tmp_path: Path) -> Iterator[App]:
    with opened(shutil.copytree(watched, tmp_path / "home")) as app:
        yield app


def whole(found: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """With dead letters as the stream has them, which do not name their file."""
    letters = [
        row | {"detail": row["detail"].removeprefix(f"{Path.cwd()}/live.parquet: ")} for row in found["dead_letters"]
    ]
    return found | {"dead_letters": sorted(letters, key=repr)}


def assert_the_same(app: App, run: str) -> None:
    live = rows_of(app, LIVE)
    assert len(live["alerts"]) > 20
    assert len(live["dead_letters"]) > 8
    found = differences(whole(rows_of(app, run)), live)
    assert not found, found


def counts(app: App, run: str) -> dict[str, int]:
    """What the partitions of a run have counted, together."""
    total = Counter[str]()
    for place in app.reader.health(STREAM, run)["partitions"].values():
        total.update(place["counts"])
    return dict(total)


def history(app: App, run: str = LIVE) -> list[Any]:
    """What the Parquet of a run holds."""
    archive = Archive(app.history_folder(STREAM, run), app.config.of(STREAM).step)
    names = [f"value:{name}" for name in FEATURES]
    found = []
    for number in archive.partitions():
        for batch in archive.batches(number, 0, 1 << 40, features=list(FEATURES)):
            found += pa.Table.from_batches([batch]).select(["entity", "slot", *names]).to_pylist()
    return sorted(found, key=lambda row: (row["slot"], row["entity"]))


def test_stretches_give_the_rows_of_the_stream(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    more = []
    monkeypatch.setattr("tsad.backfill.unit.wider", lambda unit, before: more.append(before) or wider(unit, before))
    wanted = Wanted("live.parquet", unit_rows=ROWS)
    units = planned(app, wanted)
    assert len(units) > 14
    assert [one.entities for one in units if one.entities] == [2, 1, 1]  # each series has several
    assert backfilled(app, "june", wanted) == "finished"
    assert {True, False} <= set(more)
    assert_the_same(app, "june")
    kept = history(app)  # but for the newest slots, which are not final as long as a stream may go on
    assert repr(history(app, "june")[: len(kept)]) == repr(kept)
    assert counts(app, "june") == counts(app, LIVE)
    assert counts(app, LIVE)["duplicates"] > 1000
    rows = Backfills(app.database).units("june")
    assert sum(unit.rows for unit in rows) == len(pq.read_table("live.parquet"))
    assert sum(unit.entities for unit in rows) == 4
    states = [row["state"] for row in rows_of(app, "june")["alerts"]]
    assert sum(unit.alerts for unit in rows) == sum(state != "retracted" for state in states)


def test_an_entity_of_several_stretches_is_shown_as_one(app: App) -> None:
    assert backfilled(app, "june", Wanted("live.parquet", unit_rows=ROWS)) == "finished"
    asking = Asking(app.database, history=Path(app.config.history))
    ends = (utc((START + 60 * slot) * SECOND).isoformat() for slot in (FIT, SLOTS - 60))
    time = dict(zip(("since", "until"), ends, strict=True))
    assert [row["entity"] for row in asking.found("/entities", stream=STREAM, run="june")["items"]] == ["a", "b", "c"]
    heat = asking.found("/heat-map", run="june", **time)
    assert heat == asking.found("/heat-map", **time)
    assert len(heat["rows"]) == 3
    drawn = asking.found("/history", stream=STREAM, entity="a", run="june", **time)
    assert drawn == asking.found("/history", stream=STREAM, entity="a", **time)
    assert sum(score is not None for score in drawn["score"]) > 380


def test_stretches_of_a_query_give_the_rows_of_the_stream(app: App) -> None:
    """What the database cannot tell the time of is in no range: the stream's letters of it are not compared."""
    rows = pq.read_table("live.parquet")
    with sqlite3.connect("live.db") as file:
        file.execute("CREATE TABLE r (entity TEXT, time INTEGER, cpu TEXT, mem TEXT, disk TEXT, net TEXT)")
        file.executemany("INSERT INTO r VALUES (?, ?, ?, ?, ?, ?)", [tuple(row.values()) for row in rows.to_pylist()])
    wanted = Wanted("sqlite:///live.db", query="SELECT * FROM r", unit_rows=1500)
    assert len(planned(app, wanted)) == 6
    assert backfilled(app, "june", wanted) == "finished"
    live, found = rows_of(app, LIVE), whole(rows_of(app, "june"))
    assert {row["reason"] for row in found["dead_letters"]} == {"wrong_type", "missing_entity"}
    skipped = {"dead_letters": []}
    assert differences(found | skipped, live | skipped) == []


def test_what_died_within_a_stretch_begins_it_anew(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsad.backfill.unit.POLL", 300)
    saves = 0
    saved = Runner.save

    def save(runner: Runner) -> None:
        nonlocal saves
        saved(runner)
        saves += 1
        if saves % 9 == 0 and saves < 40:
            raise RuntimeError("the process dies here")

    monkeypatch.setattr(Runner, "save", save)
    assert backfilled(app, "june", Wanted("live.parquet", unit_rows=1500)) == "failed"
    row = Backfills(app.database).row("june")
    assert row is not None
    for _ in range(5):
        state = Driver(app, row, Here(), retry=True).drive()
    assert (saves > 40, state) == (True, "finished")
    assert_the_same(app, "june")


@pytest.mark.parametrize("lack", ["vote", "online", "event", "young", "csv", "time"])
def test_what_is_not_cut(app: App, watched: Path, lack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something goes on from slot to slot, or a stretch could not be read alone."""
    told = Path("tsad.toml").read_text()
    if lack in ("vote", "online"):
        changed = ('"linear"]', '"vote"]') if lack == "vote" else ('calibration = "frozen"\n', "")
        Path("tsad.toml").write_text(told.replace(*changed))
        version = tsad(Path(), "fit", "s", "--from", "history.parquet", "--json").json[0]["version"]
        assert tsad(Path(), "models", "promote", "s", version).code == 0
        app = App.open(load_config(Path("tsad.toml")))
    if lack == "event":
        app.context_events.add(STREAM, [ContextEvent("deploy", utc((START + 60 * 900) * SECOND), "*", None, "v2")])
    if lack == "young":
        rows = pq.read_table("live.parquet")
        pq.write_table(
            pa.concat_tables([rows, rows.set_column(0, "entity", pa.array(["d"] * len(rows)))]), "live.parquet"
        )
    source = "live.parquet"
    if lack == "time":
        Path("tsad.toml").write_text(f'{told}time = false\nentity = false\ndefault_entity = "a"\n')
        app = App.open(load_config(Path("tsad.toml")))
    if lack == "csv":
        pq.read_table(source).to_pandas().to_csv("live.csv", index=False)
        source = "live.csv"
    cut_up = [
        one.unit.reads["telemetry"].entities for one in planned(app, Wanted(source, unit_rows=ROWS)) if one.unit.stretch
    ]
    assert ["d"] not in cut_up if lack == "young" else not cut_up


def test_a_plan_shows_where_stretches_begin_and_end(app: App) -> None:
    asked = ("backfill", "s", "--input", "live.parquet", "--unit-rows", str(ROWS), "--dry-run")
    plan = tsad(Path(), *asked, "--json").json["plan"]
    edges = [(row["from"], row["to"]) for row in plan[:6]]
    assert (edges[0][0], edges[-1][1]) == (None, None)
    assert [to for _, to in edges[:-1]] == [begin for begin, _ in edges[1:]]
    assert all(begin.endswith(":00:00Z") for begin, _ in edges[1:])
    shown = tsad(Path(), *asked).out
    assert "From" in shown
    assert edges[1][0].replace("T", " ").rstrip("Z") in shown
    assert "From" not in tsad(Path(), *asked[:-3], "--dry-run").out


def test_a_series_that_is_short_beside_its_overlap_is_not_cut(app: App) -> None:
    config = app.config.of(STREAM)
    assert cut(0, 500, 10_000, 100, config) == []
    assert cut(0, 50_000, 10_000, 6_000, config) == []
    parts = cut(0, 50_000, 10_000, 1_000, config)
    assert len(parts) == 10
    assert [part.end for part in parts[:-1]] == [part.begin for part in parts[1:]]
    assert all(part.begin % 60 == 0 for part in parts[1:])  # slots of a minute meet where hours do
    assert (parts[0].begin, parts[-1].end) == (None, None)


# What a part keeps, by itself.

FLAGS = st.lists(st.integers(0, 199), max_size=40, unique=True).map(sorted)


def runs(flags: list[int], quiet: int) -> list[tuple[int, int]]:
    """Alerts of flags, where each settles as it is: first and last flag."""
    found: list[tuple[int, int]] = []
    for slot in flags:
        if found and slot - found[-1][1] <= quiet:
            found[-1] = (found[-1][0], slot)
        else:
            found.append((slot, slot))
    return found


def judged(flags: list[int]) -> Judged:
    """What is said of the slots of one entity that are flags."""
    some, none = np.full(len(flags), 2.0, np.float32), np.zeros((0, len(flags)))
    verdicts = Verdicts((), none, none, some, some, some, none.astype(bool), none, some, some, some)
    return Judged(np.zeros(len(flags), np.int32), np.array(flags, np.int64), (), verdicts, "v", 1e-4)


@given(FLAGS, st.integers(20, 120), st.integers(60, 199), st.integers(1, 12))
def test_who_is_in_step_sees_the_alerts_of_the_whole(flags: list[int], whole_from: int, begin: int, quiet: int) -> None:
    overlap = Overlap(Core(begin, None), quiet, whole_from)
    seen = [slot for slot in flags if slot >= whole_from]
    overlap.note(judged(seen), np.arange(len(seen)))
    mine, all_of_them = runs(seen, quiet), runs(flags, quiet)
    if overlap.in_step:
        assert [run for run in mine if run[0] >= begin] == [run for run in all_of_them if run[0] >= begin]
    elif begin - whole_from >= quiet:
        edges = [whole_from - 1, *[slot for slot in seen if slot < begin], begin]
        assert all(later - earlier <= quiet for earlier, later in pairwise(edges))


def test_a_part_is_over_when_its_own_alerts_have_ended() -> None:
    judge = Judge(Rule(2, 3), Readings(8))
    overlap = Overlap(Core(0, 4), 3, None, more=True)

    def close(slot: int, flagged: bool) -> None:
        score = np.array([2.0 if flagged else 0.1], np.float32)
        judge.close(slot, np.zeros(1, np.int32), score, np.array([0.5]), score)

    for slot, flagged in enumerate([False, False, True, True, True, False]):
        close(slot, flagged)
    assert not overlap.over(judge)
    with pytest.raises(TooShortError, match="behind"):
        overlap.check_end(judge)
    for slot in (6, 7, 8):
        close(slot, False)
    assert overlap.over(judge)
    overlap.check_end(judge)
    close(9, True)  # one that began behind its slots is its neighbour's
    assert overlap.over(judge)


def test_a_core_holds_its_slots() -> None:
    core = Core(3, 6)
    assert [slot for slot in range(9) if core.has(slot)] == [3, 4, 5]
    assert core.inside(np.arange(9)).tolist() == [3 <= slot < 6 for slot in range(9)]
    assert [core.clip(range(*ends)) for ends in ((0, 9), (4, 5), (0, 2), (7, 9))] == [
        range(3, 6), range(4, 5), range(3, 3), range(7, 7),
    ]  # fmt: skip
    assert Core().clip(range(2, 4)) == range(2, 4)
    assert Core().has(-5)
