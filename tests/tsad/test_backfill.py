"""Runs over history: the stream's own rows, whatever the units; resumed, killed, and with files that are broken."""

import gc
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from detectors.registry import available
from storage.backfills import Backfills
from streaming.settings import SECOND
from tests.tsad.command_line import CONFIGURATION, fresh_home, tsad
from tests.tsad.histories import Here, assert_same, backfilled, planned, rows_of
from tests.tsad.streams import FEATURES, FIT_SLOTS, SLOTS, START, STREAM, cells_with_anomalies, differences
from tsad.app import App
from tsad.backfill.driving import Driver, begin, version_of
from tsad.backfill.spec import Wanted
from tsad.config import ConfigError, load_config
from tsad.engines.queue import Queue
from tsad.engines.tasks import Outcome, Task
from tsad.runner import Runner


@pytest.fixture
def app(home: Path, monkeypatch: pytest.MonkeyPatch) -> App:
    """A stream that was fitted and watched."""
    monkeypatch.chdir(home)
    return App.open(load_config(Path("tsad.toml")))


def test_a_file_gives_the_rows_of_the_stream(app: App) -> None:
    assert backfilled(app, "june", Wanted("live.jsonl")) == "finished"
    assert_same(app, "june")
    (unit,) = Backfills(app.database).units("june")
    assert (unit.state, unit.attempts, unit.entities, unit.rows) == ("finished", 1, 3, 3 * (SLOTS - 300))
    assert unit.alerts == sum(alert["state"] != "retracted" for alert in rows_of(app, "june")["alerts"])


TABLES = """
[stream.s.telemetry]
layout = "wide"
"""


def table(cells: dict[tuple[str, int], np.ndarray], entities: str = "abc") -> pa.Table:
    """The cells as a wide table, by time and entity."""
    keys = sorted((slot, entity) for entity, slot in cells if entity in entities)
    values = np.array([cells[entity, slot] for slot, entity in keys])
    columns = {"entity": [entity for _, entity in keys], "time": [START + 60 * slot for slot, _ in keys]}
    return pa.table(columns | {name: values[:, place] for place, name in enumerate(FEATURES)})


@pytest.fixture(scope="module")
def watched_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a stream of tables was fitted and watched."""
    home = fresh_home(tmp_path_factory.mktemp("tables"), CONFIGURATION + TABLES)
    cells = cells_with_anomalies()
    later = {key: values for key, values in cells.items() if key[1] >= FIT_SLOTS}
    # `b` falls silent and `c` comes late: what becomes of an entity must not depend on who else is in its unit
    later = {
        key: v
        for key, v in later.items()
        if not (key[0] == "b" and key[1] > 385) and not (key[0] == "c" and key[1] < 310)
    }
    for name, part in (("history", {key: v for key, v in cells.items() if key[1] < FIT_SLOTS}), ("live", later)):
        pq.write_table(table(part), home / f"{name}.parquet")
    for arguments in (("fit", "s", "--from", "history.parquet"), ("run", "s", "--source", "live.parquet")):
        said = tsad(home, *arguments)
        assert said.code == 0, said.err
    return home


@pytest.fixture
def tables(watched_tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """The application in a copy of that folder."""
    home = tmp_path / "home"
    shutil.copytree(watched_tables, home)
    monkeypatch.chdir(home)
    app = App.open(load_config(Path("tsad.toml")))
    yield app
    app.close()


def spread(folder: Path) -> Path:
    """The live table once more, as a file for each entity and half."""
    whole = pq.read_table("live.parquet")
    for entity in "abc":
        rows = whole.filter(pc.equal(whole["entity"], entity))
        for half, part in enumerate((rows[: len(rows) // 2], rows[len(rows) // 2 :])):
            place = folder / f"entity={entity}"
            place.mkdir(parents=True, exist_ok=True)
            pq.write_table(part.drop_columns("entity"), place / f"part-{half}.parquet")
    return folder


@pytest.mark.parametrize("unit_rows", [1, 150, 1_000_000])
def test_units_of_entities_give_the_rows_of_the_stream(tables: App, unit_rows: int) -> None:
    wanted = Wanted("live.parquet", unit_rows=unit_rows)
    assert len(planned(tables, wanted)) == {1: 3, 150: 2}.get(unit_rows, 1)
    assert backfilled(tables, "june", wanted) == "finished"
    assert_same(tables, "june")


def test_a_data_set_in_parts_gives_the_rows_of_the_stream(tables: App, tmp_path: Path) -> None:
    folder = spread(tmp_path / "set")
    units = planned(tables, Wanted(str(folder), unit_rows=1))
    assert [len(one.unit.reads["telemetry"].files) for one in units] == [2, 2, 2]
    assert backfilled(tables, "june", Wanted(str(folder), unit_rows=1)) == "finished"
    assert_same(tables, "june")


def test_a_data_set_in_an_object_store_gives_the_rows_of_the_stream(tables: App, bucket: Any, tmp_path: Path) -> None:
    folder = spread(tmp_path / "set")
    for path in sorted(folder.rglob("*.parquet")):
        with bucket.open_output_stream(f"history/set/{path.relative_to(folder)}") as file:
            file.write(path.read_bytes())
    wanted = Wanted("s3://history/set", unit_rows=1)
    assert len(planned(tables, wanted)) == 3
    assert backfilled(tables, "june", wanted) == "finished"
    assert_same(tables, "june")


def test_a_unit_leaves_nothing_in_memory(tables: App) -> None:
    def runners() -> int:
        return sum(isinstance(one, Runner) for one in gc.get_objects())

    gc.collect()
    before = runners()
    assert backfilled(tables, "june", Wanted("live.parquet", unit_rows=1)) == "finished"
    assert runners() == before


def states(app: App, run: str = "june") -> list[tuple[str, int]]:
    """State and attempts of each unit."""
    return [(unit.state, unit.attempts) for unit in Backfills(app.database).units(run)]


def test_what_a_driver_has_left_is_done_by_the_next_and_nothing_twice(tables: App) -> None:
    wanted = Wanted("live.parquet", unit_rows=1)
    row = begin(tables, "june", STREAM, version_of(tables, STREAM, None).version, wanted, planned(tables, wanted))
    first = Here()
    driver = Driver(tables, row, first, stopping=lambda: len(first.done) == 1)
    assert driver.drive() == "running"
    assert states(tables) == [("finished", 1), ("pending", 0), ("pending", 0)]
    second = Here()
    assert backfilled(tables, "june", wanted, second) == "finished"
    assert (first.done, second.done) == ([0], [1, 2])
    assert_same(tables, "june")
    third = Here()
    assert backfilled(tables, "june", wanted, third) == "finished"
    assert third.done == []


@pytest.fixture
def three_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They follow each other at once."""
    monkeypatch.setattr(Queue, "pauses", (0.0, 0.0))


@pytest.mark.usefixtures("three_attempts")
def test_a_unit_whose_process_is_gone_is_begun_again_a_few_times(tables: App) -> None:
    wanted = Wanted("live.parquet", unit_rows=1)
    assert backfilled(tables, "june", wanted, Here({0: 1, 2: 2})) == "finished"
    assert states(tables) == [("finished", 2), ("finished", 1), ("finished", 3)]
    assert_same(tables, "june")
    assert backfilled(tables, "july", wanted, Here({1: 3})) == "failed"
    assert states(tables, "july") == [("finished", 1), ("failed", 3), ("finished", 1)]
    assert Backfills(tables.database).units("july")[1].reason == "its process was killed by SIGKILL"


class Eager(Here):
    """Takes all tasks before it does the first."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        return super().run(list(tasks))


def test_a_driver_that_stops_while_the_last_units_are_under_way_has_not_finished(tables: App) -> None:
    wanted = Wanted("live.parquet", unit_rows=1)
    row = begin(tables, "june", STREAM, version_of(tables, STREAM, None).version, wanted, planned(tables, wanted))
    engine = Eager()
    assert Driver(tables, row, engine, stopping=lambda: len(engine.done) == 1).drive() == "running"
    assert states(tables) == [("finished", 1), ("running", 1), ("running", 1)]
    found = Backfills(tables.database).row("june")
    assert found is not None
    assert found.state == "running"
    assert backfilled(tables, "june", wanted) == "finished"
    assert_same(tables, "june")


@pytest.mark.usefixtures("three_attempts")
def test_what_has_crashed_is_begun_again_while_others_are_under_way(tables: App) -> None:
    class Watched(Here):
        """Notes how many tasks there were before it had none."""

        def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
            yield from super().run(tasks)
            rounds.append(len(self.done))

    rounds: list[int] = []
    wanted = Wanted("live.parquet", unit_rows=1)
    assert backfilled(tables, "june", wanted, Watched({0: 2})) == "finished"
    assert (rounds, states(tables)[0]) == ([3], ("finished", 3))


@pytest.mark.parametrize("polls", [1, 3, 7])
def test_a_unit_that_died_between_two_saves_gives_its_rows(
    tables: App, monkeypatch: pytest.MonkeyPatch, polls: int
) -> None:
    """It is read again from its beginning, with nothing kept but rows."""
    monkeypatch.setattr("tsad.backfill.unit.POLL", 40)
    died = 0
    saved = Runner.save

    def save(runner: Runner) -> None:
        nonlocal died
        saved(runner)
        died += 1
        if died == polls:
            raise RuntimeError("the process dies here")

    monkeypatch.setattr(Runner, "save", save)
    assert backfilled(tables, "june", Wanted("live.parquet")) == "failed"
    (unit,) = Backfills(tables.database).units("june")
    assert unit.reason == "RuntimeError: the process dies here"
    row = Backfills(tables.database).row("june")
    assert row is not None
    assert Driver(tables, row, Here(), retry=True).drive() == "finished"
    assert_same(tables, "june")


def broken(folder: Path, how: str) -> str:
    """Damage the second file of `b`; its name."""
    path = folder / "entity=b" / "part-1.parquet"
    whole = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "footer":
        path.write_bytes(whole[:-6])
    else:
        at = len(whole) // 3
        path.write_bytes(whole[:at] + b"\xff" * 64 + whole[at + 64 :])
    return str(path)


@pytest.mark.parametrize("how", ["gone", "footer", "page"])
def test_a_file_that_breaks_after_it_was_planned_costs_its_unit(tables: App, tmp_path: Path, how: str) -> None:
    folder = spread(tmp_path / "set")
    wanted = Wanted(str(folder), unit_rows=1)
    row = begin(tables, "june", STREAM, version_of(tables, STREAM, None).version, wanted, planned(tables, wanted))
    path = broken(folder, how)
    assert Driver(tables, row, Here()).drive() == "failed"
    assert [state for state, _ in states(tables)] == ["finished", "failed", "finished"]
    assert path in Backfills(tables.database).units("june")[1].reason
    alerts = rows_of(tables, "june")["alerts"]
    live = rows_of(tables, "live")["alerts"]
    assert [alert for alert in live if alert["entity"] != "b"] == [alert for alert in alerts if alert["entity"] != "b"]
    shutil.rmtree(folder)
    spread(folder)
    for file in sorted(folder.rglob("*.parquet")):  # as it was, byte for byte and by the clock
        planned_file = next(
            one for unit in Backfills(tables.database).units("june") for one in unit.spec["reads"]["telemetry"]["files"]
            if one[0] == str(file)
        )  # fmt: skip
        os.utime(file, ns=(int(planned_file[2]), int(planned_file[2])))
    assert Driver(tables, row, Here(), retry=True).drive() == "finished"
    assert_same(tables, "june")


def test_a_file_that_cannot_be_read_when_it_is_planned_is_named_and_the_rest_is_done(
    tables: App, tmp_path: Path
) -> None:
    folder = spread(tmp_path / "set")
    path = broken(folder, "footer")
    units = planned(tables, Wanted(str(folder), unit_rows=1))
    assert [bool(one.fault) for one in units] == [False, False, False, True]
    assert path in units[-1].fault
    assert backfilled(tables, "june", Wanted(str(folder), unit_rows=1)) == "failed"
    assert [state for state, _ in states(tables)] == ["finished", "finished", "finished", "failed"]
    row = Backfills(tables.database).row("june")
    assert row is not None
    assert Driver(tables, row, Here(), retry=True).drive() == "failed"
    assert "could not be read when the run was planned" in Backfills(tables.database).units("june")[-1].reason


def test_nothing_of_a_run_is_the_streams_own(tables: App) -> None:
    """No alert, entity, outbox row or model of `live` comes or goes, and nothing is to be delivered."""
    before, active = rows_of(tables, "live"), tables.models.active(STREAM)
    counts = tables.reader.counts("live")
    assert backfilled(tables, "june", Wanted("live.parquet")) == "finished"
    assert (rows_of(tables, "live"), tables.models.active(STREAM), tables.reader.counts("live")) == (
        before,
        active,
        counts,
    )


def test_a_stretch_of_time_is_judged_alone(tables: App) -> None:
    since, until = ((START + 60 * slot) * SECOND for slot in (320, 380))
    assert backfilled(tables, "june", Wanted("live.parquet", since=since, until=until)) == "finished"
    found = rows_of(tables, "june")
    slots = {row["slot"] + 0 for name, rows in found.items() if name.startswith("scores of") for row in rows}
    assert slots
    assert min(slots) >= START // 60 + 320
    assert max(slots) < START // 60 + 380
    (unit,) = Backfills(tables.database).units("june")
    assert unit.rows == 3 * 60


def filled(url: str) -> str:
    """The live table in a database; the statement that gives it back, with other names."""
    engine = sa.create_engine(url)
    whole = pq.read_table("live.parquet").to_pylist()
    rows = sa.Table("readings", sa.MetaData(), sa.Column("host", sa.Text), sa.Column("at", sa.BigInteger), *(
        sa.Column(name, sa.Double) for name in FEATURES
    ))  # fmt: skip
    renamed = [{"host": row.pop("entity"), "at": row.pop("time"), **row} for row in whole]
    with engine.begin() as connection:
        rows.create(connection)
        connection.execute(rows.insert(), renamed)
    engine.dispose()
    return "SELECT host AS entity, at AS time, cpu, mem, disk, net FROM readings"


@pytest.mark.parametrize("unit_rows", [1, 1_000_000])
def test_a_query_gives_the_rows_of_the_stream(tables: App, database_url: str, unit_rows: int) -> None:
    statement = filled(database_url.replace("postgresql://", "postgresql+psycopg://"))
    wanted = Wanted(database_url, query=statement, unit_rows=unit_rows)
    assert len(planned(tables, wanted)) == {1: 3}.get(unit_rows, 1)
    assert backfilled(tables, "june", wanted) == "finished"
    assert_same(tables, "june")


def test_a_password_stays_in_the_environment(tables: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    statement = filled(f"sqlite:///{tmp_path}/{'s3cret'}.db")
    monkeypatch.setenv("HISTORY_NAME", "s3cret")
    wanted = Wanted(f"sqlite:///{tmp_path}/${{HISTORY_NAME}}.db", query=statement)
    assert backfilled(tables, "june", wanted) == "finished"
    found = Backfills(tables.database)
    assert "s3cret" not in f"{found.row('june')} {found.units('june')}"
    assert_same(tables, "june")


def over(rows: dict[str, list[Any]], until: int) -> dict[str, list[Any]]:
    """The alerts that had ended long before the slot `until`, with their explanations."""
    alerts = [alert for alert in rows["alerts"] if alert["last_slot"] < until - 40]
    places = {(alert["entity"], alert["opened_slot"]) for alert in alerts}
    return {"alerts": alerts, "explanations": [part for part in rows["explanations"] if part["of"] in places]}


def test_what_the_stream_has_kept_gives_its_alerts(tables: App) -> None:
    """The newest slots are not final yet, and not kept."""
    (unit,) = planned(tables, Wanted("history"))
    assert backfilled(tables, "june", Wanted("history")) == "finished"
    through = unit.unit.through
    assert through is not None
    live = over(rows_of(tables, "live"), through)
    assert len(live["alerts"]) >= 3
    assert differences(over(rows_of(tables, "june"), through), live) == []
    part = Wanted("history", since=(START + 60 * 340) * SECOND, until=(START + 60 * 380) * SECOND)
    assert backfilled(tables, "july", part) == "finished"
    slots = [row["slot"] for name, rows in rows_of(tables, "july").items() if name.startswith("scores") for row in rows]
    assert START // 60 + 340 <= min(slots) <= max(slots) < START // 60 + 380


def test_a_stream_that_has_kept_nothing_has_no_history(app: App) -> None:
    shutil.rmtree("tsad-history")
    with pytest.raises(ConfigError, match="no record of it lies in the asked range"):
        planned(app, Wanted("history"))


NAMES = [one.name for one in available()]


@pytest.mark.parametrize("name", NAMES)
def test_each_detector_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Alone in its model, by units of an entity each: scores, and alerts where it finds any."""
    chosen = CONFIGURATION.replace('["subspace", "vote"]', f'["{name}"]')
    home = fresh_home(tmp_path / "home", f"{chosen}{TABLES}")
    cells = cells_with_anomalies()
    for part, slots in (("history", range(FIT_SLOTS)), ("live", range(FIT_SLOTS, SLOTS))):
        pq.write_table(table({key: v for key, v in cells.items() if key[1] in slots}), home / f"{part}.parquet")
    for arguments in (("fit", "s", "--from", "history.parquet"), ("run", "s", "--source", "live.parquet")):
        said = tsad(home, *arguments)
        assert said.code == 0, said.err
    monkeypatch.chdir(home)
    app = App.open(load_config(Path("tsad.toml")))
    assert backfilled(app, "june", Wanted("live.parquet", unit_rows=1)) == "finished"
    live, june = rows_of(app, "live"), rows_of(app, "june")
    assert [one for one in live if one.startswith("hours of") and live[one]]
    found = differences(june, live)
    assert not found, found
    app.close()
