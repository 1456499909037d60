"""A stream from a real broker into PostgreSQL, by client library and profile (`make bench-stream`).

The worker, a process of its own, is pinned to one core; broker and database run on the others. Rows are packed records
of 38 channels, the model's scope is the stream, 1 row in 1,500 is an anomaly; alerts are explained and history written.
`rows_per_s` is by the clock, from the slot in which what a score reads is whole to the end of the topic;
`rows_per_cpu_s` says what the same would be if the core were the worker's alone. Latency is that of the first client
and the last profile: rows come at half the measured rate, and time runs from the first record of the next slot, which
closes a slot, to the commit of the alert. Recovery is the start of a process that was killed: interpreter, model,
snapshot of 10,000 entities by 64 slots, and a replay of what came since. Prints a table and writes
benchmarks/out/stream.json.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import confluent_kafka  # noqa: E402
import msgspec  # noqa: E402
import numpy as np  # noqa: E402
import psycopg  # noqa: E402
import structlog  # noqa: E402
from brokers import broker, create_topics  # noqa: E402
from servers import postgresql  # noqa: E402

from benchmarks.pipeline import CHANNELS, FEATURES, FIT_SLOTS, PLANTED, STREAM, fit, values  # noqa: E402
from benchmarks.stages import Stages, watch  # noqa: E402
from storage.engine import open_database  # noqa: E402
from storage.models import Models  # noqa: E402
from tsad.app import App  # noqa: E402
from tsad.config import parse_config  # noqa: E402
from tsad.runner import Limits, frozen_heap  # noqa: E402
from tsad.worker import Worker  # noqa: E402

CLIENTS, KINDS = ("kafka-python", "confluent"), ("fast", "default")
WARM, WHOLE, TAIL = 40, 64, 2
"""Slots before a measurement (the longest that a detector reads); those that a ring holds; those behind a snapshot,
which a recovery replays."""
_serial = count()


# --- what is sent


def rows_of(slot: int, entities: int) -> list[bytes]:
    """A slot's records, entity by entity."""
    block = values(entities, 1, slot, slot)[0]
    first = -(slot * entities + 1) % PLANTED
    block[first::PLANTED, : CHANNELS // 3] += 8
    encode = msgspec.json.Encoder().encode
    told = np.round(block.astype(float), 4).tolist()
    return [encode({"entity": f"e{n}", "time": slot * 60, "v": row}) for n, row in enumerate(told)]


class Sender:
    """Fills a topic, each entity in its own partition."""

    def __init__(self, address: str, topic: str, partitions: int) -> None:
        self.topic, self.partitions = topic, partitions
        create_topics(address, [topic], partitions)
        self.client = confluent_kafka.Producer({"bootstrap.servers": address, "linger.ms": 5, "log_level": 0})

    def send(self, rows: list[bytes], first: int = 0) -> None:
        """Hand over `rows` of the entities from `first` on."""
        for entity, row in enumerate(rows, first):
            while True:
                try:
                    self.client.produce(self.topic, row, key=f"e{entity}", partition=entity % self.partitions)
                    break
                except BufferError:
                    self.client.poll(0.05)
        self.client.poll(0)

    def fill(self, slots: range, entities: int) -> None:
        """As fast as it goes."""
        for slot in slots:
            self.send(rows_of(slot, entities))
        self.client.flush()

    def pace(self, slots: range, entities: int, rows_per_s: float) -> dict[int, float]:
        """Evenly, so many rows a second: when the first record of the slot behind each was handed over."""
        waiting = [rows_of(slot, entities) for slot in slots]
        closes, begun, sent = {}, time.time(), 0
        size = max(min(100, entities), 1)
        for slot, rows in zip(slots, waiting, strict=True):
            for first in range(0, entities, size):
                time.sleep(max(begun + sent / rows_per_s - time.time(), 0))
                if first == 0:
                    closes[slot - 1] = time.time()
                self.send(rows[first : first + size], first)
                sent += len(rows[first : first + size])
        self.client.flush()
        return closes


# --- the worker's process


@dataclass(frozen=True)
class Case:
    """What a worker's process is told, as JSON."""

    task: str
    kafka: str
    database: str
    models: str
    history: str
    topic: str
    client: str
    profile: str
    entities: int
    group: str
    rows: int = 0
    begun: float = 0.0

    def app(self) -> App:
        """The application."""
        telemetry = {"source": "kafka", "topic": self.topic, "features": FEATURES}
        stream = {"profile": self.profile, "scope": "stream", "telemetry": telemetry}
        return App.open(
            parse_config(
                {
                    "database": self.database,
                    "models": self.models,
                    "history": self.history,
                    "kafka": {"bootstrap": self.kafka, "client": self.client, "group": self.group},
                    "stream": {STREAM: stream},
                }
            )
        )

    def worker(self, app: App) -> Worker:
        """A worker that has its partitions, each where it was."""
        worker = app.worker(STREAM, limits=Limits(min(5000, 4 * self.entities), snapshot_every=10**9))
        while not worker.runners:
            worker.feed.pump(0.2)
            if worker.feed.moved():
                worker._dealt()
        return worker


def read(worker: Worker, rows: int) -> None:
    """Go on until so many rows have been read."""
    while worker.progress.rows < rows:
        worker.step()


def measured(case: Case) -> dict[str, Any]:
    """A topic of warm-up and what is measured, then a snapshot, then a tail that no snapshot holds."""
    app = case.app()
    worker = case.worker(app)
    stages, warm = Stages(), WARM * case.entities
    with frozen_heap():
        read(worker, warm)
        stages.wrap("fetch", worker.feed, "pump")
        for runner in worker.runners.values():
            watch(stages, runner)
        before, alerts = worker.progress.rows, worker.progress.alerts
        wall, cpu = time.perf_counter(), time.process_time()
        read(worker, case.rows)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        shares = {stage: took / cpu for stage, took in sorted(stages.seconds.items(), key=lambda s: -s[1])}
    rows, alerts = worker.progress.rows - before, worker.progress.alerts - alerts
    for runner in worker.runners.values():
        runner.snapshot()
    read(worker, case.rows + TAIL * case.entities)
    waiting = len(app.reader.pending(STREAM, "live", 10**6))
    return {
        "client": case.client,
        "profile": case.profile,
        "rows_per_s": rows / wall,
        "rows_per_cpu_s": rows / cpu,
        "cpu_s_per_million": cpu / rows * 1e6,
        "rows": rows,
        "alerts": alerts,
        "alerts_waiting": waiting,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "stages": shares,
    }


def live(case: Case) -> list[tuple[int, float]]:
    """Read the warm-up, say so, and then (opening slot, time of the commit) of every alert that opens."""
    app = case.app()
    worker = case.worker(app)
    read(worker, WHOLE * case.entities)
    opened: dict[str, tuple[int, float]] = {}
    for runner in worker.runners.values():
        save = runner.store.save

        def saved(changes: Any, save: Any = save) -> Any:
            answer = save(changes)
            now = time.time()
            for alert in (alert for one in changes for alert in one.alerts):
                opened.setdefault(alert.id, (alert.opened_slot, now))
            return answer

        runner.store.save = saved  # type: ignore[method-assign]
        break  # they share one store
    print("ready", flush=True)
    with frozen_heap():
        read(worker, case.rows)
    return list(opened.values())


def recovered(case: Case) -> dict[str, float]:
    """Seconds from the start of the process until every partition is where it was."""
    imported = time.time()
    app = case.app()
    worker = case.worker(app)
    ready = time.time()
    worker.feed.consumer.close()
    return {"recovery_s": ready - case.begun, "start_s": imported - case.begun, "replayed_rows": float(case.rows)}


TASKS = {"measured": measured, "live": live, "recovered": recovered}


# --- the other side


@dataclass
class Bench:
    """The servers, the models, and the cores: the worker's, and everybody else's."""

    kafka: str
    postgresql: str
    folder: Path
    given: argparse.Namespace

    def case(self, task: str, topic: str, client: str, profile: str, **more: Any) -> Case:
        """A worker's case on a database of its own, with the profile's model."""
        fitted = self.folder / profile
        if not fitted.exists():
            fitted.mkdir()
            fit(fitted, {"profile": profile, "scope": "stream", "lines_per_row": 0})
        name = f"bench_{os.getpid()}_{next(_serial)}"
        with psycopg.connect(f"{self.postgresql}postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        models = self.folder / f"{name}-models"  # of its own: who starts removes snapshots that its database knows not
        shutil.copytree(fitted / "models", models)
        case = Case(
            task, self.kafka, f"{self.postgresql}{name}", str(models), str(self.folder / name), topic,
            client, profile, self.given.entities, name, **more,
        )  # fmt: skip
        kept, app = open_database(f"sqlite:///{fitted}/tsad.db"), case.app()
        for row in Models(kept).listing(STREAM):
            app.models.add(row)
            app.models.promote(STREAM, row.version)
        kept.close()
        app.close()
        return case

    def start(self, case: Case) -> "subprocess.Popen[str]":
        """The worker's process, on its core."""
        told = json.dumps({**case.__dict__, "begun": time.time()})
        core = str(self.given.core)
        return subprocess.Popen(
            [sys.executable, __file__, "--case", told, "--core", core], stdout=subprocess.PIPE, text=True
        )

    def run(self, case: Case) -> Any:
        """What it finds."""
        return result(self.start(case))

    def runs(self) -> Iterator[tuple[dict[str, Any], Case]]:
        """Every client and profile, on one topic."""
        given = self.given
        topic = f"rows-{os.getpid()}"
        sender = Sender(self.kafka, topic, given.partitions)
        slots = WARM + given.slots
        sender.fill(range(FIT_SLOTS, FIT_SLOTS + slots + TAIL), given.entities)
        for profile in given.profile or KINDS:
            for client in given.client or CLIENTS:
                case = self.case("measured", topic, client, profile, rows=slots * given.entities)
                yield self.run(case), case

    def latency(self, run: dict[str, Any], rate: float) -> dict[str, float]:
        """Seconds from a slot's close to the commit of the alerts that it opens, at `rate` rows a second."""
        given = self.given
        topic = f"paced-{os.getpid()}"
        sender = Sender(self.kafka, topic, given.partitions)
        # entities that no fit has seen, once they have windows at all, bring a burst of alerts: that is over by then
        sender.fill(range(FIT_SLOTS, FIT_SLOTS + WHOLE), given.entities)
        slots = max(int(given.seconds * rate / given.entities), 2)
        paced = range(FIT_SLOTS + WHOLE, FIT_SLOTS + WHOLE + slots)
        case = self.case("live", topic, run["client"], run["profile"], rows=(WHOLE + slots) * given.entities)
        process = self.start(case)
        assert process.stdout is not None
        process.stdout.readline()
        closes = sender.pace(paced, given.entities, rate)
        delays = [at - closes[slot] for slot, at in result(process) if slot in closes]
        found = np.quantile(delays, [0.5, 0.99]) if delays else [float("nan")] * 2
        return {"p50": float(found[0]), "p99": float(found[1]), "alerts": len(delays), "rows_per_s": rate}

    def recovery(self, case: Case) -> dict[str, float]:
        """The start after a death behind the snapshot."""
        told = {**case.__dict__, "task": "recovered", "group": case.group + "-again"}
        return self.run(Case(**told | {"rows": TAIL * self.given.entities}))  # type: ignore[no-any-return]


def result(process: "subprocess.Popen[str]") -> Any:
    """The last line that a worker's process prints, as JSON."""
    output, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"a worker ended with {process.returncode}")
    return json.loads(output.splitlines()[-1])


def line_of(run: dict[str, Any]) -> str:
    """A row of the table."""
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in list(run["stages"].items())[:6])
    return (
        f"{run['client']:13} {run['profile']:8} {run['rows_per_s']:9,.0f} {run['rows_per_cpu_s']:11,.0f} "
        f"{run['cpu_s_per_million']:9.1f} {run['alerts']:7}  {shares}"
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", help="a worker's case as JSON: print its result as JSON")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the worker's core")
    parser.add_argument("--entities", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=WHOLE - WARM, help="slots that are measured, behind 40 of warm-up")
    parser.add_argument("--partitions", type=int, default=1, help="of the topic; one worker reads them all")
    parser.add_argument("--client", action="append", choices=CLIENTS, help="only this one (may be repeated)")
    parser.add_argument("--profile", action="append", choices=KINDS, help="only this one (may be repeated)")
    parser.add_argument("--seconds", type=float, default=30, help="how long the latency is measured")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "out" / "stream.json")
    return parser.parse_args()


def main() -> None:
    """Run everything, or one worker."""
    given = parsed()
    if given.case:
        os.sched_setaffinity(0, {given.core})
        # standard output is for what is found
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
        case = Case(**json.loads(given.case))
        print(json.dumps(TASKS[case.task](case)))
        return
    # the servers inherit it; on a machine of one core all share that
    os.sched_setaffinity(0, os.sched_getaffinity(0) - {given.core} or {given.core})
    print("client        profile     rows/s  rows/cpu s  cpu s/M  alerts  largest stages")
    done = []
    with broker() as kafka, postgresql() as url, tempfile.TemporaryDirectory() as folder:
        bench = Bench(kafka, url.removesuffix("postgres"), Path(folder), given)
        for run, case in bench.runs():
            done.append((run, case))
            print(line_of(run), flush=True)
        chosen = next(one for one in done if one[0]["profile"] == done[-1][0]["profile"])
        recovery = bench.recovery(chosen[1])
        latency = bench.latency(chosen[0], chosen[0]["rows_per_s"] / 2)
    told = {"runs": [run for run, _ in done], "alert_latency_s": latency, **recovery}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(told, indent=2))
    print(
        f"from a slot's close to its alerts' commit, at {latency['rows_per_s']:,.0f} rows/s ({chosen[0]['client']}, "
        f"{chosen[0]['profile']}): p50 {latency['p50']:.2f} s, p99 {latency['p99']:.2f} s of {latency['alerts']} alerts"
    )
    print(f"recovery of {given.entities:,} entities: {recovery['recovery_s']:.1f} s")
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
