"""Runs over history: the stream's own rows, whatever the units; resumed, killed, and with files that are broken."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from storage.backfills import Backfills
from tests.tsad.command_line import CONFIGURATION, fresh_home, tsad
from tests.tsad.histories import assert_same, backfilled, planned, rows_of
from tests.tsad.streams import FEATURES, FIT_SLOTS, SLOTS, START, cells_with_anomalies
from tsad.app import App
from tsad.backfill.spec import Wanted
from tsad.config import load_config


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
