"""`tsad backfill` as it is typed: what it says, and what its processes leave when they are killed."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.backfills import Backfills, UnitRow
from storage.engine import open_database
from tests.tsad.command_line import CONFIGURATION, fresh_home, running_until, started, tsad
from tests.tsad.histories import opened, rows_of
from tests.tsad.streams import FEATURES, FIT_SLOTS, START, normal

ENTITIES = [f"host-{number:02}" for number in range(24)]
MORE_SLOTS = 900


@pytest.fixture(scope="module")
def fitted_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, and a history of two dozen entities with an anomaly each, in three files."""
    home = fresh_home(tmp_path_factory.mktemp("many"), f"{CONFIGURATION}\n[stream.s.telemetry]\nlayout = 'wide'\n")
    cells = normal(FIT_SLOTS + MORE_SLOTS, ENTITIES, 3)
    for number, entity in enumerate(ENTITIES):
        for slot in range(FIT_SLOTS + 60 + 30 * number, FIT_SLOTS + 66 + 30 * number):
            cells[entity, slot][number % 4] += 5
    (home / "set").mkdir()
    (home / "nothing").mkdir()
    (home / "other.csv").write_text("a,b\n1,2\n")
    for number in range(3):
        write(
            home / "set" / f"part-{number}.parquet",
            cells,
            ENTITIES[number::3],
            range(FIT_SLOTS, FIT_SLOTS + MORE_SLOTS),
        )
    write(home / "history.parquet", cells, ENTITIES, range(FIT_SLOTS))
    said = tsad(home, "fit", "s", "--from", "history.parquet")
    assert said.code == 0, said.err
    return home


def write(path: Path, cells: dict[tuple[str, int], np.ndarray], entities: list[str], slots: range) -> None:
    """A table by time and entity."""
    keys = [(entity, slot) for slot in slots for entity in entities]
    values = np.array([cells[key] for key in keys])
    columns = {"entity": [entity for entity, _ in keys], "time": [START + 60 * slot for _, slot in keys]}
    pq.write_table(pa.table(columns | {name: values[:, place] for place, name in enumerate(FEATURES)}), path)


@pytest.fixture
def home(fitted_home: Path, tmp_path: Path) -> Path:
    shutil.copytree(fitted_home, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture(scope="module")
def undisturbed(fitted_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the history was judged by two processes without anything happening to them."""
    home = tmp_path_factory.mktemp("undisturbed") / "home"
    shutil.copytree(fitted_home, home)
    said = tsad(home, *COMMAND, "--json")
    assert said.code == 0, said.err
    assert {key: said.json[key] for key in ("run", "state", "units", "failed", "entities", "rows")} == {
        "run": "june", "state": "finished", "units": 12, "failed": 0, "entities": 24, "rows": 24 * MORE_SLOTS,
    }  # fmt: skip
    assert said.json["alerts"] >= 24
    return home


COMMAND = ("backfill", "s", "--input", "set", "--run", "june", "--workers", "2", "--unit-rows", "1800")


def units_of(home: Path) -> list[UnitRow]:
    """The run's units; none before it has begun."""
    with opened(home) as app:
        return Backfills(app.database).units("june")


def enough(home: Path, count: int) -> Callable[[], bool]:
    """Whether so many units are finished. Asked often: each look is at the same open database."""
    rows = Backfills(open_database(f"sqlite:///{home}/tsad.db"))
    return lambda: sum(unit.state == "finished" for unit in rows.units("june")) >= count


def children(process: int) -> list[int]:
    """The processes that it has started."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def assert_as_undisturbed(home: Path, undisturbed: Path) -> None:
    """The final rows, and the files of results, whoever has written them."""
    with opened(home) as app, opened(undisturbed) as other:
        found, expected = rows_of(app, "june"), rows_of(other, "june")
    assert len(expected["alerts"]) >= 24
    assert found == expected
    assert files_of(home) == files_of(undisturbed)


def files_of(home: Path) -> dict[str, bytes]:
    """The bytes of each file of results by unit and hour; whose lease it was written under does not count."""
    found = {}
    for path in sorted((home / "tsad-history" / "june" / "s").rglob("*.parquet")):
        found[f"{path.parent.name}/{path.name.rpartition('-')[0]}"] = path.read_bytes()
    return found


def test_the_same_command_again_does_nothing(undisturbed: Path) -> None:
    before = units_of(undisturbed)
    said = tsad(undisturbed, *COMMAND, "--json")
    assert (said.code, said.json["state"], said.json["rows"]) == (0, "finished", 24 * MORE_SLOTS)
    assert units_of(undisturbed) == before
    assert files_of(undisturbed)


def test_a_worker_that_is_killed_costs_its_unit(home: Path, undisturbed: Path) -> None:
    process = started(home, *COMMAND, "--json")
    running_until(process, enough(home, 2))
    os.kill(children(process.pid)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["failed"] == 0
    assert sorted(unit.attempts for unit in units_of(home))[-1] == 2
    assert_as_undisturbed(home, undisturbed)


def test_a_driver_that_is_killed_is_gone_with_its_workers_and_the_next_goes_on(home: Path, undisturbed: Path) -> None:
    process = started(home, *COMMAND)
    running_until(process, enough(home, 3))
    workers = children(process.pid)
    process.kill()
    process.communicate(timeout=60)
    done = {unit.unit for unit in units_of(home) if unit.state == "finished"}
    assert len(done) < 12
    said = tsad(home, *COMMAND, "--json")
    assert (said.code, said.json["state"]) == (0, "finished"), said.err
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    attempts = {unit.unit: unit.attempts for unit in units_of(home)}
    assert {attempts[unit] for unit in done} == {1}
    assert_as_undisturbed(home, undisturbed)


def test_ctrl_c_leaves_what_is_left_to_the_next(home: Path, undisturbed: Path) -> None:
    process = started(home, *COMMAND)
    running_until(process, enough(home, 2))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"the same command goes on from here" in err
    assert tsad(home, *COMMAND).code == 0
    assert_as_undisturbed(home, undisturbed)


def test_a_plan_is_shown_and_nothing_is_written(home: Path) -> None:
    said = tsad(home, *COMMAND, "--dry-run", "--json")
    assert said.code == 0, said.err
    assert (said.json["units"], said.json["entities"], said.json["rows"]) == (12, 24, 24 * MORE_SLOTS)
    assert said.json["core_seconds"] >= 0
    assert [unit["rows"] for unit in said.json["plan"]] == [2 * MORE_SLOTS] * 12
    assert units_of(home) == []
    shown = tsad(home, *COMMAND, "--dry-run")
    assert "what it may cost" in shown.out
    assert not (home / "tsad-history" / "june").exists()


def test_ray_gives_the_same(home: Path, undisturbed: Path) -> None:
    """On a cluster of this machine, of which a worker is killed."""
    command = (*COMMAND, "--engine", "ray", "--json")
    process = started(home, *command)
    running_until(process, enough(home, 2))
    os.kill(rays_worker(home), signal.SIGKILL)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert json.loads(out)["failed"] == 0
    assert sorted(unit.attempts for unit in units_of(home))[-1] == 2
    assert_as_undisturbed(home, undisturbed)


def rays_worker(home: Path) -> int:
    """A process of Ray that is at work on a unit of `home`: it has its database open."""
    database = str(home / "tsad.db")
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name = (place / "cmdline").read_bytes()
            if name.startswith(b"ray::") and database in {os.readlink(file) for file in (place / "fd").iterdir()}:
                return int(place.name)
    raise AssertionError("no process of Ray has the database open")


def test_records_that_are_refused_are_told(home: Path) -> None:
    table = pq.read_table(home / "set" / "part-0.parquet")
    times = table["time"].to_numpy().copy()
    times[5:8] = 4 * 10**9  # the year 2096
    pq.write_table(table.set_column(1, "time", pa.array(times)), home / "ahead.parquet")
    said = tsad(home, "backfill", "s", "--input", "ahead.parquet", "--run", "ahead", "--workers", "1", "--json")
    assert (said.code, said.json["dead_letters"], said.json["rows"]) == (0, 3, 8 * MORE_SLOTS)
    assert "records were refused (future 3); tsad dead-letters s --run ahead shows some" in said.err


def test_an_entity_of_which_no_time_can_be_read_is_refused_and_not_passed_over(home: Path) -> None:
    table = pq.read_table(home / "set" / "part-0.parquet")
    times = [None if row["entity"] == "host-03" else row["time"] for row in table.to_pylist()]
    pq.write_table(table.set_column(1, "time", pa.array(times)), home / "timeless.parquet")
    said = tsad(home, "backfill", "s", "--input", "timeless.parquet", "--run", "none", "--workers", "1", "--json")
    assert (said.code, said.json["dead_letters"], said.json["entities"]) == (0, MORE_SLOTS, 7)
    assert f"records were refused (missing_time {MORE_SLOTS})" in said.err


def test_names_follow_from_what_is_asked(home: Path) -> None:
    first, second, third = (
        tsad(home, "backfill", "s", "--input", "set", "--workers", "1", *more, "--json")
        for more in ((), (), ("--to", "2023-11-15T06:00"))
    )
    assert (first.code, second.code, third.code) == (0, 0, 0)
    assert first.json["run"] == second.json["run"] != third.json["run"]
    assert first.json["run"].startswith("backfill-")
    assert third.json["rows"] < first.json["rows"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nobody", "--input", "set"], 2, "stream 'nobody' is not in the configuration"),
        (["s", "--input", "nowhere"], 1, "nowhere"),
        (["s"], 2, "stream.s.telemetry.source is not set"),
        (["s", "--input", "set", "--from", "yesterday"], 2, "'yesterday' is no time"),
        (["s", "--input", "set", "--run", "live"], 1, "run 'live'"),
        (["s", "--input", "set", "--run", "../x"], 1, "run '../x'"),
        (["s", "--input", "set", "--model", "v9"], 1, "has no model version 'v9'"),
        (["s", "--input", "set", "--from", "2030-01-01"], 2, "no record of it lies in the asked range"),
        (["s", "--input", "set", "--engine", "ray", "--address", "ray://x:1"], 2, "cannot write to a SQLite file"),
        (["s", "--input", "set", "--address", "ray://x:1"], 2, "--address ray://x:1 is that of a Ray cluster"),
        (["s", "--input", "set", "--run", ""], 1, "run '': 1 to 61 letters"),
        (["s", "--input", "set", "--report", "set"], 2, "--report set is a folder; name a file"),
        (["s", "--input", "nothing"], 2, "nothing: this folder holds no file that can be read; .csv, "),
        (["s", "--input", "other.csv"], 2, "other.csv: has no column ['entity', 'time']; its columns are ['a', 'b']"),
        (["s", "--input", "foo://x/y"], 1, "foo://x/y: cannot be reached: "),
        (
            ["s", "--input", "sqlite:///tsad.db", "--query", "DELETE FROM runs"],
            1,
            "'DELETE FROM runs' is not one that only",
        ),
        (["s", "--input", "sqlite:///tsad.db", "--query", " "], 1, "the query '' is not one that only reads: "),
        (
            ["s", "--input", "sqlite:///tsad.db", "--query", "SELECT * FROM no"],
            1,
            "sqlite:///tsad.db: no such table: no",
        ),
        (["s", "--input", "-"], 2, "standard input cannot be read by the processes that do the work"),
        (["s", "--input", "push"], 2, "what was pushed is kept as closed slots alone: --input history"),
        (["s", "--input", "set", "--from", "2026-01-02", "--to", "2026-01-01"], 2, "does not lie before --to"),
        (["s", "--query", "SELECT 1"], 2, "--query needs a database: --input URL"),
        (["s", "--input", "set", "--logs", "x.log"], 2, "is configured to read telemetry only"),
        (["s", "--input", "set", "--workers", "0"], 2, "workers"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(home: Path, arguments: list[str], code: int, said: str) -> None:
    ended = tsad(home, "backfill", *arguments)
    assert ended.code == code
    assert said in ended.error
    assert all(ended.error.count(name) < 2 for name in ("/nothing", "/other.csv"))
    assert units_of(home) == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--input", "history.parquet"), "--input set, not history.parquet; --unit-rows 1800, not none"),
        (("--input", "set", "--unit-rows", "1800", "--from", "2023-11-15"), "--from none, not 2023-11-15 00:00:00"),
        (("--input", "set", "--unit-rows", "1800", "--no-bands"), "--bands asked for, not none"),
    ],
)
def test_a_name_means_one_thing(undisturbed: Path, arguments: tuple[str, ...], named: str) -> None:
    ended = tsad(undisturbed, "backfill", "s", *arguments, "--run", "june")
    assert ended.code == 1
    assert f"there is a run 'june' already, which was begun with something else: {named}. Ask for" in ended.error


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("quiet = 8", "quiet = 9"), "stream.s.quiet was another"),
        (("quiet = 8", ""), "stream.s.quiet was set"),
        (("quiet = 8", "quiet = 8\nfusion = 'majority'"), "stream.s.fusion was not set"),
        (
            ("layout = 'wide'", "layout = 'wide'\ntime = 'at'\n[stream.s.detector_options.subspace]\nrank = 9\n"),
            "stream.s.detector_options.subspace.rank was not set; stream.s.telemetry.time was not set",
        ),
        (("layout = 'wide'", "layout = 'wide'\n[stream.other]\nstep = '5m'\n"), ""),
        (("quiet = 8", "quiet = 8\nfusion = 'power'"), ""),
    ],
)
def test_a_run_goes_on_under_the_configuration_that_it_began_with(
    home: Path, undisturbed: Path, change: tuple[str, str], named: str
) -> None:
    shutil.copy(undisturbed / "tsad.db", home / "tsad.db")
    said = (home / "tsad.toml").read_text()
    (home / "tsad.toml").write_text(said.replace(*change))
    ended = tsad(home, *COMMAND)
    if named:
        assert ended.code == 1
        assert f"which was begun with something else: {named}. Ask for the same, take another name" in ended.error
    else:
        assert ended.code == 0, ended.err


def test_a_run_goes_on_with_the_model_that_it_began_with(home: Path, undisturbed: Path) -> None:
    shutil.copy(undisturbed / "tsad.db", home / "tsad.db")
    first = tsad(home, "runs", "show", "june", "--json").json["model_version"]
    assert tsad(home, "fit", "s", "--from", "set/part-0.parquet").code == 0
    ended = tsad(home, *COMMAND)
    assert ended.code == 1
    assert f"begun with something else: model {first}, not " in ended.error
    assert tsad(home, *COMMAND, "--model", first).code == 0


def test_without_a_model_nothing_can_be_judged(tmp_path: Path) -> None:
    home = fresh_home(tmp_path / "fresh")
    ended = tsad(home, "backfill", "s", "--input", "live.jsonl")
    assert ended.code == 1
    assert "stream 's' has no active model; `tsad fit s` makes one" in ended.error
