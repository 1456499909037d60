"""Odd and bad input of runs over history: it is judged, counted as refused, or named before any work is done."""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from storage.backfills import Backfills
from storage.schema import streams
from storage.served import backfill_units
from storage.types import LIVE
from tests.tsad.command_line import CONFIGURATION, Said, fresh_home, tsad
from tests.tsad.histories import Here, backfilled, opened, planned, rows_of
from tests.tsad.streams import FEATURES, START, differences, normal
from tsad.app import App
from tsad.backfill.driving import Driver
from tsad.backfill.spec import Wanted

FIT, SLOTS = 300, 420


def rows(first: int, last: int) -> list[dict[str, Any]]:
    """Rows of two entities by time, with an anomaly."""
    cells = normal(SLOTS, "ab", 2)
    for slot in range(340, 346):
        cells["a", slot][:2] += 6
    return [
        {"entity": entity, "time": START + 60 * slot}
        | dict(zip(FEATURES, map(float, cells[entity, slot]), strict=True))
        for slot in range(first, last)
        for entity in "ab"
    ]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, and a table to judge."""
    home = fresh_home(tmp_path_factory.mktemp("odd"), f"{CONFIGURATION}\n[stream.s.telemetry]\nlayout = 'wide'\n")
    pq.write_table(pa.Table.from_pylist(rows(0, FIT)), home / "history.parquet")
    pq.write_table(pa.Table.from_pylist(rows(FIT, SLOTS)), home / "live.parquet")
    said = tsad(home, "fit", "s", "--from", "history.parquet")
    assert said.code == 0, said.err
    return home


@pytest.fixture
def app(fitted: Path, tmp_path: Path) -> Iterator[App]:
    with opened(shutil.copytree(fitted, tmp_path / "home")) as app:
        yield app


def asked(*arguments: str) -> Said:
    """`tsad backfill s ARGUMENTS` in the application's folder."""
    return tsad(Path(), "backfill", "s", *arguments)


# Text where numbers are expected.


def texts() -> list[dict[str, Any]]:
    """Rows whose `cpu` is text: numbers, words, nothing."""
    found = rows(FIT, SLOTS)
    for place, row in enumerate(found):
        row["cpu"] = "high" if place % 50 == 7 else None if place % 50 == 9 else str(row["cpu"])
    return found


def letters(app: App, run: str) -> list[tuple[str, str]]:
    """Reason and detail of each, without the name of the file."""
    found = rows_of(app, run)["dead_letters"]
    return sorted((row["reason"], row["detail"].rpartition(".parquet: ")[2]) for row in found)


def test_a_column_of_text_leaves_what_the_stream_leaves(app: App) -> None:
    pq.write_table(pa.Table.from_pylist(texts()), "text.parquet")
    lines = pa.Table.from_pylist(texts()).to_pandas()
    lines.to_csv("text.csv", index=False)
    assert tsad(Path(), "run", "s", "--source", "text.csv").code == 0
    for name in ("text.parquet", "text.csv"):
        assert backfilled(app, name, Wanted(name)) == "finished"
        assert letters(app, name)[0][0] == "wrong_type"
        assert Counter(detail.split(": ", 1)[0] for _, detail in letters(app, "text.parquet")) == {"cpu": 5}
        live, found = rows_of(app, LIVE), rows_of(app, name)
        assert len(live["alerts"]) > 0
        assert not differences(found | {"dead_letters": []}, live | {"dead_letters": []})
        assert [row["reason"] for row in found["dead_letters"]] == [row["reason"] for row in live["dead_letters"]]


def test_the_stream_reads_such_a_column_of_parquet_too(app: App) -> None:
    pq.write_table(pa.Table.from_pylist(texts()), "text.parquet")
    assert tsad(Path(), "run", "s", "--source", "text.parquet").code == 0
    assert backfilled(app, "june", Wanted("text.parquet")) == "finished"
    assert letters(app, "june") == letters(app, LIVE)
    assert len(letters(app, LIVE)) == 5
    assert not differences(
        rows_of(app, "june") | {"dead_letters": []}, rows_of(app, LIVE) | {"dead_letters": []}
    )  # fmt: skip


def test_a_column_that_becomes_text_in_a_later_file_is_told(app: App) -> None:
    found = rows(FIT, SLOTS)
    Path("set").mkdir()
    pq.write_table(pa.Table.from_pylist(found[:120]), "set/1.parquet")
    pq.write_table(
        pa.Table.from_pylist([row | {"mem": "n/a" if row["entity"] == "a" else "low"} for row in found[120:]]),
        "set/2.parquet",
    )
    said = asked("--input", "set", "--run", "june", "--json")
    assert (said.code, said.json["dead_letters"]) == (0, 60)
    assert "records were refused (wrong_type 60)" in said.err


# What cannot be read is named before anything is done.

UNREADABLE = {
    "lists.parquet": "column 'entity' holds list<",
    "others.parquet": "others.parquet: has none of the features ['",
    "notes.md": "notes.md: unknown suffix '.md'; .csv, ",
    "sqlite:///live.db": "sqlite://... is a database: say with --query what is to be read of it",
    "postgresql+psycopg://reader@host/x": "is a database: say with --query",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_refused_before_any_work(app: App, name: str) -> None:
    whole = pa.Table.from_pylist(rows(FIT, SLOTS))
    pq.write_table(whole.set_column(0, "entity", pa.array([["a"]] * len(whole))), "lists.parquet")
    pq.write_table(whole.select(["entity", "time", "cpu"]).rename_columns(["entity", "time", "x"]), "others.parquet")
    Path("notes.md").write_text("hello")
    said = asked("--input", name, "--run", "june")
    assert said.code != 0
    assert UNREADABLE[name] in said.error
    assert Backfills(app.database).listing() == []


def test_a_file_without_a_feature_of_the_model_costs_nobody_else(app: App) -> None:
    whole = pa.Table.from_pylist(rows(FIT, SLOTS))
    Path("set").mkdir()
    pq.write_table(whole, "set/1.parquet")
    pq.write_table(whole.select(["entity", "time", "cpu"]).rename_columns(["entity", "time", "x"]), "set/2.parquet")
    said = asked("--input", "set", "--run", "june", "--json")
    assert (said.code, said.json["units"], said.json["failed"], said.json["rows"]) == (1, 2, 1, len(whole))
    assert "unit 1 failed: " in said.err
    assert "2.parquet: has none of the features" in said.err
    assert "Traceback" not in said.err
    assert said.json["alerts"] > 0


def test_names_of_files_are_read_as_they_are(app: App) -> None:
    whole = pa.Table.from_pylist(rows(FIT, SLOTS))
    Path("set").mkdir()
    names = ("a b", "ü", "new\nline", "br[1]", "st*r", "100%", "%2F", "a=b", "q?", "tab\t", "😀", "UPPER")
    for place, name in enumerate(names):
        pq.write_table(whole[place * 20 : place * 20 + 20], f"set/{name}.parquet")
    Path("set/again").symlink_to("..")  # back to where we come from
    Path("set/again2").symlink_to(".")
    Path("set/gone").symlink_to("nowhere")
    (unit,) = planned(app, Wanted("set"))
    inside = [file.path for file in unit.unit.reads["telemetry"].files if "/set/again/" not in file.path]
    assert sorted(Path(path).stem for path in inside) == sorted(names)
    for name in names:
        assert planned(app, Wanted(f"set/{name}.parquet"))[0].rows == 20


def test_a_name_that_is_not_utf_8_is_named(app: App) -> None:
    Path("set").mkdir()
    shutil.copy("live.parquet", b"set/\xff.parquet".decode("utf-8", "surrogateescape"))
    said = asked("--input", "set")
    assert r"set: holds a name that is not UTF-8: '\udcff.parquet'; rename it" in said.error


def test_lines_beside_tables_are_told_of(app: App) -> None:
    Path("set/more").mkdir(parents=True)
    shutil.copy("live.parquet", "set")
    Path("set/more/x.jsonl").write_text(json.dumps({"entity": "a"}))
    Path("set/_aside.jsonl").write_text("")
    Path("set/x.csv.bak").write_text("")
    said = asked("--input", "set", "--dry-run", "--json")
    assert said.json["rows"] == 2 * (SLOTS - FIT)
    assert "files of lines beside tables are left aside" in said.err
    assert "set/more/x.jsonl" in said.err
    assert "left aside" not in asked("--input", "live.parquet", "--dry-run").err


def test_a_folder_of_links_is_read(app: App) -> None:
    Path("set/entity=x").mkdir(parents=True)
    shutil.copy("live.parquet", "set/entity=x")
    Path("links").mkdir()
    Path("links/entity=x").symlink_to(Path("set/entity=x").absolute())
    assert planned(app, Wanted("links"))[0].rows == 2 * (SLOTS - FIT)


# What was there before, and what cannot be written.


def test_rows_of_a_run_that_is_gone_are_not_built_on(app: App) -> None:
    """As of a deletion that was broken off behind its first transaction."""
    assert backfilled(app, "june", Wanted("live.parquet")) == "finished"
    with closing(sqlite3.connect("tsad.db")) as file, file:
        file.execute("DELETE FROM backfills")
        file.execute("DELETE FROM backfill_units")
    again = ("--input", "live.parquet", "--run", "june")
    assert "there are rows of a run 'june' that nothing goes on with" in asked(*again).error
    assert tsad(Path(), "runs", "delete", "june", "--yes").code == 0
    assert asked(*again).code == 0


@pytest.mark.parametrize("table", [streams, backfill_units])
def test_either_kind_of_left_rows_is_seen(app: App, table: sa.Table) -> None:
    assert backfilled(app, "june", Wanted("live.parquet")) == "finished"
    other = backfill_units if table is streams else streams
    with closing(sqlite3.connect("tsad.db")) as file, file:
        file.execute("DELETE FROM backfills")
        file.execute(f"DELETE FROM {other.name} WHERE run = 'june'")
    assert "there are rows of a run 'june'" in asked("--input", "live.parquet", "--run", "june").error


def test_a_run_without_units_has_not_finished(app: App) -> None:
    assert backfilled(app, "june", Wanted("live.parquet")) == "finished"
    with closing(sqlite3.connect("tsad.db")) as file, file:
        file.execute("DELETE FROM backfill_units")
    assert "has lost its units; delete it" in asked("--input", "live.parquet", "--run", "june").error


def test_a_folder_for_results_that_cannot_be_made_ends_it_before_any_work(app: App) -> None:
    shutil.rmtree("tsad-history", ignore_errors=True)
    Path("tsad-history").write_text("no folder")
    said = asked("--input", "live.parquet", "--run", "june")
    assert said.code == 1
    assert "tsad-history" in said.error
    assert {unit.state for unit in Backfills(app.database).units("june")} == {"pending"}
    Path("tsad-history").unlink()
    assert asked("--input", "live.parquet", "--run", "june").code == 0


def test_what_is_told_by_itself_has_no_traceback(app: App, capfd: pytest.CaptureFixture[str]) -> None:
    """A file that has gone since the plan."""
    wanted = Wanted("live.parquet")
    units = planned(app, wanted)
    assert backfilled(app, "first", wanted) == "finished"
    row = Backfills(app.database).row("first")
    assert row is not None
    with closing(sqlite3.connect("tsad.db")) as file, file:
        file.execute("UPDATE backfill_units SET state = 'pending'")
    Path("live.parquet").unlink()
    driver = Driver(app, row, Here())
    assert driver.drive() == "failed"
    assert len(units) == 1
    assert "is gone" in driver.failed[0].reason
    assert "Traceback" not in "".join(capfd.readouterr())
