"""Workers killed, stopped, cut off and outnumbered: whatever happens, the rows are those of an undisturbed run.

A round makes traffic from its seed, sends it to topics of its own, lets one undisturbed worker read it (with a model
promotion on the way), then several disturbed ones under the same orders, and compares every table.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from brokers import create_topics
from kafka import KafkaProducer

from storage import schema
from storage.connect import create_engine, parse_url
from storage.migrate import upgrade
from storage.types import Changes, Order
from tests.tsad.streams import list_app
from tests.tsad.traffic import FEATURES, LATE_HORIZON, Message, Traffic, stamped
from tsad.app import App
from tsad.config import load_config
from tsad.runner import Limits

STREAM = "chaos"
TABLES = ("alerts", "explanations", "scores", "score_rollups", "dead_letters", "audit", "entities", "log_templates")
TIMES = {"saved_at", "detected_at", "ingested_at", "amended_at", "at"}
SABOTAGE = {
    None: "",
    "epoch": "import storage.store as s; s.held = lambda *_: True\n",
    "replay": """
import tsad.recovery as recovery

def skip(runner, checkpoint):
    for topic, source in runner.sources.items():
        if topic in checkpoint.positions:
            source.seek(checkpoint.positions[topic])
    return []

recovery._replay = skip
""",
}
"""What a launcher breaks, so that a comparison that cannot fail is found out."""
PATIENCE = 120
"""Seconds without any progress after which a round has failed."""
_serial = count()


@dataclass
class Ground:
    """Where rounds take place: a broker, a PostgreSQL server (URL up to the last slash), a folder."""

    kafka: str
    postgresql: str
    folder: Path

    def create(self, topics: list[str], partitions: int) -> None:
        """Make topics."""
        create_topics(self.kafka, topics, partitions)

    def database(self) -> str:
        """A fresh, migrated database."""
        name = f"chaos_{os.getpid()}_{next(_serial)}"
        with psycopg.connect(f"{self.postgresql}postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        upgrade(f"{self.postgresql}{name}")
        return f"{self.postgresql}{name}"


@dataclass
class Round:
    """One traffic on topics of its own, and what an undisturbed worker made of it."""

    ground: Ground
    traffic: Traffic
    partitions: int
    folder: Path
    topics: dict[str, str] = field(default_factory=dict)
    ends: int = 0
    orders: dict[int, list[Order]] = field(default_factory=dict)
    homes: dict[int, list[str]] = field(default_factory=dict)
    models: list[Any] = field(default_factory=list)
    expected: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def begin(cls, ground: Ground, traffic: Traffic, partitions: int) -> "Round":
        """Send the traffic, fit two models, and read everything once."""
        folder = ground.folder / f"round{next(_serial)}"
        folder.mkdir(parents=True)
        made = cls(ground, traffic, partitions, folder)
        made._send(traffic.messages())
        made._read_undisturbed()
        return made

    def _send(self, messages: list[Message]) -> None:
        self.topics = {kind: f"{kind}-{os.getpid()}-{next(_serial)}" for kind in ("telemetry", "logs")}
        self.ground.create(list(self.topics.values()), self.partitions)
        producer = KafkaProducer(
            bootstrap_servers=self.ground.kafka.split(","), acks="all", linger_ms=20, max_request_size=4 << 20,
            max_in_flight_requests_per_connection=1,
        )  # fmt: skip
        for message in messages:
            topic = self.topics[message.topic]
            producer.send(topic, key=message.key, value=message.value, timestamp_ms=stamped(message))
        producer.flush()
        producer.close()
        self.ends = len(messages)

    def home(self, instances: bool = True) -> Path:
        """A folder with a configuration on a fresh database, and a group of its own."""
        number = next(_serial)
        home = self.folder / f"home{number}"
        home.mkdir()
        (home / "tsad.toml").write_text(
            f"""
database = "{self.ground.database()}"
models = "{self.folder}/models"
history = "{home}/history"
[kafka]
bootstrap = "{self.ground.kafka}"
group = "chaos-{os.getpid()}-{number}"
session_timeout = "6s"
{'instance = "${TSAD_INSTANCE}"' if instances else ""}
[stream.{STREAM}]
detectors = ["subspace", "vote"]
window = 16
late_horizon = {LATE_HORIZON}
settle = 4
quiet = 8
max_lead = 16
forget_after = 20
fit_after = 100000
alert_budget = 2000.0
snapshot_every = 12
history_days = 0
explain_per_poll = 5
[stream.{STREAM}.telemetry]
source = "kafka"
topic = "{self.topics["telemetry"]}"
features = {list(FEATURES)}
[stream.{STREAM}.logs]
source = "kafka"
topic = "{self.topics["logs"]}"
templates = 6
"""
        )
        return home

    def _read_undisturbed(self) -> None:
        app = opened(self.home(instances=False), ticking=True)
        first, second = (self._fitted(app, cut) for cut in (0, 40))
        self.models = list(app.models.listing(STREAM))
        app.models.promote(STREAM, first)
        worker = app.worker(STREAM, limits=Limits(poll=600, snapshot_every=12, explain_per_poll=5))
        while worker.progress.rows < self.ends // 2:
            worker.step()
        app.models.promote(STREAM, second)
        worker.read_out()
        for number in range(self.partitions):
            self.orders[number] = app.store.restore("live", STREAM, number).orders
            claimed = app.homes.claim(STREAM, number, [f"e{entity}" for entity in range(self.traffic.entities)])
            self.homes[number] = [entity for entity, home in claimed.items() if home == number]
        self.expected = tables(app.config.database)
        app.close()

    def _fitted(self, app: App, cut: int) -> str:
        """A version fitted on the history behind `cut` slots."""
        payloads = self.traffic.history()[cut * self.traffic.entities :]
        fitting = list_app(app.config, {"telemetry": payloads, "logs": []})
        version = fitting.fit(STREAM, fitting.collect(STREAM, {})).version
        fitting.close()
        return version

    def ready(self) -> Path:
        """A home whose database knows the models, the orders and the homes of entities of the undisturbed run."""
        home = self.home()
        app = opened(home)
        for row in self.models:
            app.models.add(row)
        app.models.promote(STREAM, self.orders[0][-1].version)
        for number, orders in self.orders.items():
            epoch = app.leases.acquire(STREAM, [number], "orders")[number]
            app.store.save([Changes("live", STREAM, number, epoch, orders=list(orders))])
            # who comes first is not in the records of any one partition either
            app.homes.claim(STREAM, number, self.homes[number])
        app.close()
        return home


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables that the configuration names."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def opened(home: Path, ticking: bool = False) -> App:
    """The application of a home; its clock goes ten seconds a look where it is `ticking`."""
    ticks = count(2 * 10**18, 10**10)
    with environment(TSAD_INSTANCE="reader"):
        config = load_config(home / "tsad.toml")
    return App.open(config, clock=(lambda: next(ticks)) if ticking else time.time_ns)


def tables(url: str) -> dict[str, list[Any]]:
    """Every row but what clocks say, in a fixed order."""
    engine = create_engine(parse_url(url))
    found: dict[str, list[Any]] = {}
    with engine.connect() as connection:
        for name in TABLES:
            table = schema.metadata.tables[name]
            columns = [column for column in table.columns if column.name not in TIMES]
            rows = connection.execute(sa.select(*columns)).mappings()
            found[name] = sorted((dict(row) for row in rows), key=repr)
    engine.dispose()
    return found


def different(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> list[str]:
    """What differs, table by table, for people; empty where nothing does."""
    said = []
    for name in TABLES:
        mine, theirs = Counter(map(repr, one[name])), Counter(map(repr, other[name]))
        missing, more = theirs - mine, mine - theirs
        if missing or more:
            example = next(iter(missing or more))
            said.append(f"{name}: {sum(missing.values())} missing, {sum(more.values())} more, such as {example[:400]}")
    return said


@dataclass
class Crew:
    """Workers in processes of their own; one that ends by itself is started again, as a supervisor does."""

    home: Path
    url: str
    sabotage: str | None = None
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    kills: int = 0
    restarts: int = 0

    def up(self, name: str) -> None:
        """Start worker `name`."""
        code = f"{SABOTAGE[self.sabotage]}from tsad.cli import main; main()"
        log = (self.home / f"{name}.log").open("ab")
        self.running[name] = subprocess.Popen(
            [sys.executable, "-c", code, "run", STREAM], cwd=self.home, stdout=log, stderr=log,
            env=os.environ | {"TSAD_INSTANCE": name, "TSAD_LOG_FORMAT": "json"},
        )  # fmt: skip
        log.close()

    def kill(self, name: str) -> None:
        """SIGKILL, and start it again."""
        self.send(name, signal.SIGKILL)
        self.running[name].wait()
        self.kills += 1
        self.up(name)

    def send(self, name: str, number: int) -> None:
        """A signal."""
        self.running[name].send_signal(number)

    def down(self, name: str) -> int:
        """SIGTERM, and wait; its exit code."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def mend(self) -> None:
        """Start again what ended."""
        for name, process in list(self.running.items()):
            if process.poll() is not None:
                self.restarts += 1
                self.up(name)

    def saved(self) -> int:
        """Rows read by all partitions of all topics, as far as they are saved."""
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                rows = connection.execute("SELECT positions FROM checkpoints").fetchall()
        except psycopg.OperationalError:
            return 0
        return sum(place["row"] for (positions,) in rows for place in positions.values() if isinstance(place, dict))

    def reach(self, rows: int) -> None:
        """Wait until so many rows are saved."""
        best, since = -1, time.monotonic()
        while (saved := self.saved()) < rows:
            if saved > best:
                best, since = saved, time.monotonic()
            assert time.monotonic() - since < PATIENCE, f"no progress at {saved} of {rows} rows: {self.logs()}"
            self.mend()
            time.sleep(0.02)

    def told(self, name: str, event: str) -> None:
        """Wait until worker `name` has logged `event`, or ended: until then it may not have done what was asked."""
        log, until = self.home / f"{name}.log", time.monotonic() + PATIENCE
        while event not in log.read_text() and self.running[name].poll() is None:
            assert time.monotonic() < until, f"{name} does not say {event!r}: {self.logs()}"
            time.sleep(0.02)

    def logs(self) -> str:
        """The last words of each worker."""
        return "\n".join(f"{file.name}: {file.read_text()[-1500:]}" for file in sorted(self.home.glob("*.log")))

    def close(self) -> None:
        """End everybody."""
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.running.clear()


Disturbance = Callable[[Round, Crew, random.Random], None]


def kills(many: int) -> Disturbance:
    """One worker, killed `many` times at random moments."""

    def disturb(played: Round, crew: Crew, rng: random.Random) -> None:
        crew.up("one")
        for moment in sorted(rng.randrange(1, played.ends) for _ in range(many)):
            crew.reach(moment)
            crew.kill("one")
        crew.reach(played.ends)

    return disturb


def scale(played: Round, crew: Crew, rng: random.Random) -> None:
    """One, four, two workers, with kills."""
    crew.up("one")
    crew.reach(played.ends // 6)
    for name in ("two", "three", "four"):
        crew.up(name)
    crew.reach(played.ends // 3)
    crew.kill(rng.choice(list(crew.running)))
    crew.reach(played.ends // 2)
    for name in ("one", "three"):
        crew.down(name)
    crew.reach(played.ends * 2 // 3)
    crew.kill("two")
    crew.reach(played.ends)


def zombie(played: Round, crew: Crew, rng: random.Random) -> None:
    """The owner is stopped, its successor takes over, and the owner wakes, before or after the rest is done."""
    crew.up("one")
    crew.reach(played.ends // 4)
    crew.send("one", signal.SIGSTOP)
    crew.up("two")
    crew.reach(played.ends // 2 if rng.random() < 0.5 else played.ends)
    crew.send("one", signal.SIGCONT)
    crew.told("one", "partition let go")
    crew.reach(played.ends)


def load(home: Path) -> Any:
    """The configuration of a home."""
    with environment(TSAD_INSTANCE="reader"):
        return load_config(home / "tsad.toml")


def play(played: Round, disturb: Disturbance, seed: int, sabotage: str | None = None) -> tuple[list[str], Crew]:
    """Run `disturb`, let one worker close every slot, and compare: what differs, and who took part."""
    home = played.ready()
    crew = Crew(home, load(home).database, sabotage)
    try:
        disturb(played, crew, random.Random(seed))
    finally:
        crew.close()
    config = load(home)
    kafka = config.kafka.model_copy(update={"group": f"{config.kafka.group}-last", "instance": None})
    app = App.open(config.model_copy(update={"kafka": kafka}))
    app.worker(STREAM).read_out()
    app.close()
    return different(tables(config.database), played.expected), crew
