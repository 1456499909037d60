"""What runs over history lose on their way: memory, processes, a node of a cluster, folders. The rows are the same."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from clusters import RAY, Head, Node

from storage.backfills import Backfills, UnitRow
from tests.tsad import pieces
from tests.tsad.command_line import CONFIGURATION, running_until, tsad
from tests.tsad.histories import Here, backfilled, opened, planned, rows_of
from tests.tsad.streams import FIT_SLOTS, SLOTS, STREAM, differences, normal
from tests.tsad.test_backfill import TABLES, table
from tsad.app import App
from tsad.backfill.driving import Driver, begin, version_of
from tsad.backfill.spec import Wanted
from tsad.engines.local import LocalEngine
from tsad.engines.tasks import CALLS

ENTITIES = "abcdefgh"
CALM = "calm"
"""The run to which nothing happens."""
ROOM, NEEDED = 1500 << 20, 4 << 30
"""Bytes that a node's workers may take before one of them is ended, and what one asks for meanwhile: others of this
machine's processes may come and go."""
COMMAND = """
from tests.tsad import pieces
from tsad.cli import main
from tsad.engines.queue import Queue
from tsad.engines.tasks import CALLS
CALLS["unit"] = "tests.tsad.pieces:fated"
Queue.pauses = (1.0,) * 99  # what others need of the machine's memory may cost attempts, too
main()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, shared_postgresql_url: str) -> Path:
    """A folder with a stream that was fitted, into a database that other machines reach; its history as a folder for
    each entity, and the undisturbed run over it."""
    home = tmp_path_factory.mktemp("losses")
    (home / "tsad.toml").write_text(f"database = {shared_postgresql_url!r}\n{CONFIGURATION}{TABLES}")
    cells = normal(SLOTS, ENTITIES, 3)
    for number, entity in enumerate(ENTITIES):
        for slot in range(FIT_SLOTS + 20 + 10 * number, FIT_SLOTS + 26 + 10 * number):
            cells[entity, slot][number % 4] += 5
    pq.write_table(
        table({key: v for key, v in cells.items() if key[1] < FIT_SLOTS}, ENTITIES), home / "history.parquet"
    )
    live = table({key: v for key, v in cells.items() if key[1] >= FIT_SLOTS}, ENTITIES)
    for entity in ENTITIES:
        (home / "set" / f"entity={entity}").mkdir(parents=True)
        rows = live.filter(pc.equal(live["entity"], entity)).drop_columns("entity")
        pq.write_table(rows, home / "set" / f"entity={entity}" / "part-0.parquet")
    said = tsad(home, "fit", STREAM, "--from", "history.parquet")
    assert said.code == 0, said.err
    with opened(home) as app:
        assert backfilled(app, CALM, wanted(home)) == "finished"
        assert len(rows_of(app, CALM)["alerts"]) >= len(ENTITIES)
    return home


def wanted(home: Path) -> Wanted:
    return Wanted(str(home / "set"), unit_rows=1)


def begun(app: App, run: str, home: Path) -> Driver:
    """A run that is planned."""
    version = version_of(app, STREAM, None).version
    return Driver(app, begin(app, run, STREAM, version, wanted(home), planned(app, wanted(home))), Here())


def units_of(app: App, run: str) -> list[UnitRow]:
    return Backfills(app.database).units(run)


def assert_calm(app: App, run: str) -> None:
    """Its rows are those of the undisturbed run."""
    assert differences(rows_of(app, run), rows_of(app, CALM)) == []


def test_memory_that_is_short_and_a_process_that_is_killed_cost_an_attempt_each(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(pieces.ROOT))
    monkeypatch.setitem(CALLS, "unit", "tests.tsad.pieces:short_then_judge")
    with opened(home) as app, LocalEngine(1) as engine:
        driver = begun(app, "short", home)
        driver.engine = engine
        assert driver.drive() == "finished"
        assert [unit.attempts for unit in units_of(app, "short")] == [2, 2, 1, 1, 1, 1, 1, 1]
        assert_calm(app, "short")


@contextmanager
def away(folder: Path) -> Iterator[None]:
    """As long as the block lasts, the folder is not there."""
    elsewhere = folder.parent.parent / f"away-{folder.name}"
    folder.rename(elsewhere)
    yield
    elsewhere.rename(folder)


def test_a_partition_that_goes_before_it_is_read_costs_its_unit(home: Path) -> None:
    with opened(home) as app:
        driver = begun(app, "gone", home)
        with away(home / "set" / "entity=c"):
            assert driver.drive() == "failed"
        assert [unit.state for unit in units_of(app, "gone")].count("failed") == 1
        assert "entity=c/part-0.parquet: is gone" in units_of(app, "gone")[2].reason
        assert Driver(app, driver.row, Here(), retry=True).drive() == "finished"
        assert_calm(app, "gone")


def test_a_partition_that_goes_between_two_commands_costs_its_unit(home: Path) -> None:
    with opened(home) as app:
        driver = begun(app, "going", home)
        driver.stopping = lambda: driver.standing.done == 3
        assert driver.drive() == "running"
    command = ("backfill", STREAM, "--input", str(home / "set"), "--unit-rows", "1", "--run", "going", "--workers", "1")
    with away(home / "set" / "entity=b"), away(home / "set" / "entity=g"):
        said = tsad(home, *command)
        assert said.code == 1
        assert "unit 6 failed: " in said.err
        assert "entity=g/part-0.parquet: is gone" in " ".join(said.err.split())
        assert tsad(home, *command).code == 1  # what has failed is left alone
        assert tsad(home, *command, "--dry-run", "--json").json["entities"] == len(ENTITIES) - 2
    assert tsad(home, *command, "--retry").code == 0
    with opened(home) as app:
        assert [unit.attempts for unit in units_of(app, "going")] == [1, 1, 1, 1, 1, 1, 2, 1]
        assert_calm(app, "going")


def little_memory() -> str:
    """The share of the machine's memory that is used when `ROOM` more is; skipped where there is hardly any left."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    told = {words[0]: int(words[1]) << 10 for words in lines}
    total, left = told["MemTotal:"], told["MemAvailable:"]
    if left < NEEDED:
        pytest.skip(f"{left >> 20} MiB of memory are too few to use up some")
    return f"{(total - left + ROOM) / total:.4f}"


def test_a_node_without_memory_and_then_lost_costs_its_units_an_attempt_each(home: Path, ray_head: Head) -> None:
    """Its cluster is reached from outside (ray://)."""
    starving = {"RAY_memory_usage_threshold": little_memory(), "RAY_memory_monitor_refresh_ms": "50"}
    doomed = Node(f"--address={ray_head.address}", "--num-cpus=1", environment={pieces.DOOMED: "yes"} | starving)
    arguments = ["backfill", STREAM, "--input", str(home / "set"), "--unit-rows", "1", "--run", "lost"]
    on_ray = ["--engine", "ray", "--address", ray_head.outside, "--workers", "3"]
    driver = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, *on_ray], cwd=home, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | RAY | {"PYTHONPATH": str(pieces.ROOT)},
    )  # fmt: skip
    try:
        running_until(driver, (home / "waits").exists)
        doomed.lose()
        _, err = driver.communicate(timeout=600)
    finally:
        doomed.lose()
        driver.kill()
    assert driver.returncode == 0, err.decode()
    assert b"OutOfMemoryError: " in err
    with opened(home) as app:
        assert [unit.state for unit in units_of(app, "lost")] == ["finished"] * len(ENTITIES)
        assert sum(unit.attempts for unit in units_of(app, "lost")) >= len(ENTITIES) + 2
        assert_calm(app, "lost")
