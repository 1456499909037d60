"""Runs over history: rows a second by engine, workers and profile, memory by length, and Ray's overhead.

A data set of 200 partitions (a folder an entity) of 38 channels; 1 row in 1,500 is an anomaly. Each case is `tsad
backfill`'s driver on a fresh SQLite database, its workers processes of their own. `rows_per_s` is by the clock from the
first unit on; the start of workers, and of Ray, is `start_s`. The loop beside them does the same units in one process
without an engine. Prints a table and writes benchmarks/out/backfill.json.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from benchmarks.pipeline import CHANNELS, FEATURES, FIT_SLOTS, PLANTED, STREAM, configured, fit, values  # noqa: E402
from tsad.app import App  # noqa: E402
from tsad.backfill.driving import Driver, begin, version_of  # noqa: E402
from tsad.backfill.planning import plan  # noqa: E402
from tsad.backfill.spec import Wanted  # noqa: E402
from tsad.engines import open_engine  # noqa: E402
from tsad.engines.tasks import Engine, Outcome, Task, perform, place_of  # noqa: E402

ENTITIES = 200
LOOP = "loop"


def write(folder: Path, entities: int, slots: int) -> Path:
    """A data set of so many entities by slots, a folder for each; kept for the next case that wants it."""
    place = folder / f"{entities}x{slots}"
    if place.exists():
        return place
    partial = folder / f".{place.name}"
    times = pa.array(np.arange(FIT_SLOTS, FIT_SLOTS + slots) * 60)
    for number in range(entities):
        block = values(1, slots, FIT_SLOTS, 1000 + number)[:, 0]
        block[(number * slots) % PLANTED :: PLANTED, : CHANNELS // 3] += 8
        inside = partial / f"entity=e{number}"
        inside.mkdir(parents=True)
        columns = {"time": times} | {name: block[:, place] for place, name in enumerate(FEATURES)}
        pq.write_table(pa.table(columns), inside / "part-0.parquet", row_group_size=50_000)
    partial.rename(place)
    return place


class Loop:
    """The units one after the other in this process."""

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """As an engine does."""
        for task in tasks:
            yield Outcome(task.number, *perform(place_of(task), task.request))


@contextmanager
def engine_of(name: str, workers: int) -> Iterator[Engine]:
    """An engine, or the plain loop."""
    if name == LOOP:
        yield Loop()
        return
    with open_engine(name, workers) as engine:
        yield engine


@dataclass
class Timed:
    """An engine that notes when its first task is done by a worker that had to start for it."""

    engine: Engine
    seconds: list[float] = field(default_factory=list)

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """As the engine does."""
        for outcome in self.engine.run(tasks):
            self.seconds.append(json.loads(outcome.answer)["seconds"] if outcome.answer else 0.0)
            yield outcome


@dataclass
class Bench:
    """The models, by profile, and a folder for what is measured."""

    folder: Path
    unit_rows: int | None

    def app(self, profile: str, place: Path) -> App:
        """An application on a fresh database with the profile's model."""
        fitted = self.folder / profile
        case = {"profile": profile, "scope": "stream", "lines_per_row": 0}
        if not fitted.exists():
            fitted.mkdir()
            fit(fitted, case)
        place.mkdir()
        shutil.copy(fitted / "tsad.db", place / "tsad.db")
        return configured(place, fitted / "models", case)

    def run(self, engine: str, workers: int, profile: str, data: Path) -> dict[str, Any]:
        """One case."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            app = self.app(profile, Path(name) / "run")
            judge = version_of(app, STREAM, None)
            wanted = Wanted(str(data), unit_rows=self.unit_rows)
            began = time.monotonic()
            units = plan(app, STREAM, wanted, [app.shelf(STREAM).read(judge).ensemble])
            planned = time.monotonic() - began
            row = begin(app, "bench", STREAM, judge.version, wanted, units)
            began = time.monotonic()
            with engine_of(engine, workers) as opened:
                # every worker starts, imports and reads the model before the clock runs
                warm = begin(app, "warm", STREAM, judge.version, wanted, units[: workers if engine != LOOP else 1])
                Driver(app, warm, opened).drive()
                start, began = time.monotonic() - began, time.monotonic()
                timed = Timed(opened)
                driver = Driver(app, row, timed)
                state = driver.drive()
                wall = time.monotonic() - began
            standing = driver.standing
            app.close()
        assert state == "finished", state
        return {
            "engine": engine, "workers": workers, "profile": profile, "rows_per_s": standing.rows_done / wall,
            "rows_per_core_s": standing.rows_done / sum(timed.seconds), "peak_rss_bytes": standing.peak_bytes,
            "overhead": 1 - sum(timed.seconds) / (wall * workers), "units": standing.units, "rows": standing.rows_done,
            "alerts": standing.alerts, "seconds": wall, "start_s": start, "plan_s": planned,
            "unit_s": sum(timed.seconds) / len(timed.seconds),
        }  # fmt: skip


def table(runs: list[dict[str, Any]]) -> str:
    """The runs as lines."""
    lines = ["engine workers profile      rows/s  rows/core s  overhead  peak MiB  units  unit s  alerts"]
    lines += [
        f"{run['engine']:6} {run['workers']:7} {run['profile']:8} {run['rows_per_s']:10,.0f} "
        f"{run['rows_per_core_s']:12,.0f} {run['overhead']:9.1%} {run['peak_rss_bytes'] / 2**20:9,.0f} "
        f"{run['units']:6} {run['unit_s']:7.1f} {run['alerts']:7}"
        for run in runs
    ]
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """What is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--profiles", nargs="+", default=["fast", "default"])
    parser.add_argument("--engines", nargs="+", default=["loop:1", "local:1", "local:2", "ray:2"])
    parser.add_argument("--unit-rows", type=int)
    parser.add_argument("--lengths", nargs="*", type=int, default=[1, 2, 4])
    parser.add_argument("--folder", type=Path, help="where data lie; kept")
    parser.add_argument("--entities", type=int, default=ENTITIES)
    parser.add_argument("--slots", type=int, default=40_000, help="of an entity of the shortest history for memory")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "backfill.json")
    return parser.parse_args()


def main() -> None:
    """Measure, print and write."""
    given = arguments()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    data = given.folder or folder
    bench = Bench(folder, given.unit_rows)
    try:
        whole = write(data, given.entities, given.rows // given.entities)
        runs = []
        for profile in given.profiles:
            for said in given.engines:
                engine, _, workers = said.partition(":")
                runs.append(bench.run(engine, int(workers), profile, whole))
                print(table(runs[-1:]), flush=True)
        lengths = {
            str(times): bench.run("local", 1, given.profiles[0], write(data, 4, times * given.slots))["peak_rss_bytes"]
            for times in given.lengths
        }
    finally:
        shutil.rmtree(folder)
    overheads = [run["overhead"] for run in runs if run["engine"] == "ray"]
    found = {"runs": runs, "engine_overhead": max(overheads, default=None), "memory_by_length": lengths}
    print(table(runs), lengths, sep="\n")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
