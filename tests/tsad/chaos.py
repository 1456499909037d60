"""Workers killed, stopped, cut off and outnumbered: whatever happens, the rows are those of an undisturbed run.

A round makes traffic from its seed, sends it to topics of its own, lets one undisturbed worker read it (with a model
promotion on the way), then several disturbed ones under the same orders, and compares every table.
"""

import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
from brokers import create_topics
from kafka import KafkaProducer

from storage.migrate import upgrade
from storage.types import Changes, Order
from streaming.deadletters import REASONS
from tests.tsad.compared import different, happened, tables
from tests.tsad.crew import PATIENCE, STREAM, Crew, NoProgressError
from tests.tsad.orders import SECTION, keys_in
from tests.tsad.streams import list_app
from tests.tsad.traffic import FEATURES, LATE_HORIZON, Message, Traffic, stamped
from tsad.app import App
from tsad.config import load_config
from tsad.grouping import of_sessions
from tsad.runner import Limits
from tsad.silence import IDLE, RESUMED
from tsad.worker import Worker

ELSEWHERE = {"broken_row", "broken_message", "unsupported", "no_match"}
"""Reasons for dead letters that topics of JSON never meet."""
WANTED = {
    "alerts": 300, "amended late": 20, "retracted": 20, "opened late": 20, "promotions": 1,
    "aliases": 5, "events in lines": 20, "sessions": 200, "sessions amended": 20, "sessions retracted": 40,
    "sessions reopened": 10, "hopeless early": 60, "parts of sessions": 8, "lines of sessions elsewhere": 10,
}  # fmt: skip
"""How much of each the undisturbed run must have, or a round proves little."""
_serial = count()


@dataclass
class Ground:
    """Where rounds take place: a broker, a PostgreSQL server (URL up to the last slash), a folder."""

    kafka: str
    postgresql: str
    folder: Path

    @property
    def replicas(self) -> int:
        """Copies of a topic."""
        return 1

    def create(self, topics: list[str], partitions: int) -> None:
        """Make topics, which take longer messages than the stream does."""
        create_topics(self.kafka, topics, partitions, self.replicas, max_message_bytes=4 << 20)

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
    homes: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    models: list[Any] = field(default_factory=list)
    second: str = ""
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

    def elsewhere(self, ground: Ground) -> "Round":
        """The same traffic on other servers, whose undisturbed rows are known: names and offsets say the same there."""
        moved = replace(self, ground=ground)
        moved._send(self.traffic.messages())
        return moved

    def _send(self, messages: list[Message]) -> None:
        self.topics = {kind: f"{kind}-{os.getpid()}-{next(_serial)}" for kind in ("telemetry", "logs")}
        self.ground.create(list(self.topics.values()), self.partitions)
        producer = KafkaProducer(
            bootstrap_servers=self.ground.kafka.split(","), acks="all", linger_ms=20, max_request_size=4 << 20,
            max_in_flight_requests_per_connection=1,
        )  # fmt: skip
        sent = [
            (message, producer.send(
                self.topics[message.topic], key=message.key, value=message.value, timestamp_ms=stamped(message)
            ))
            for message in messages
        ]  # fmt: skip
        producer.flush()
        self.ends = len(messages)
        self._settle([(message, future.get().partition) for message, future in sent])
        producer.close()

    def _settle(self, sent: list[tuple[Message, int]]) -> None:
        """Who comes first is not in the records of any one partition, so it is told: the partition of an entity's key.
        Of one entity it is another one, as if a stray had been the first: all that comes of it is dead. Likewise of
        the sessions that come on several partitions; the others are left to whoever reads them."""
        misled = f"e{self.traffic.entities - 1}"
        keys = {message.key.decode(): number for message, number in sent}
        keys[misled] = (keys[misled] + 1) % self.partitions
        seen = defaultdict(set)
        for message, number in sent:
            for key in keys_in(message.value) if message.topic == "logs" else ():
                seen[key].add(number)
        sessions = {key: keys[key.partition("-")[0]] for key, numbers in seen.items() if len(numbers) > 1}
        self.homes = {STREAM: _turned(keys), of_sessions(STREAM): _turned(sessions)}

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
window = 8
late_horizon = {LATE_HORIZON}
settle = 4
quiet = 6
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
line_scorers = ["rare", "sequence"]
[stream.{STREAM}.sessions]
{SECTION}
[stream.{STREAM}.context]
after = "5m"
patterns = [{{kind = "deploy", pattern = "^Deploying version"}}]
"""
        )
        return home

    def _read_undisturbed(self) -> None:
        app = opened(self.home(instances=False), ticking=True)
        first, second = self._fitted(app, 0, self.traffic.scored), self._fitted(app, 40, False)
        self.models = list(app.models.listing(STREAM))
        app.models.promote(STREAM, first)
        self._claim(app)
        # so small and so early that the promotion reaches every partition: those that had all their records before it
        # would meet it in the disturbed runs, which begin after it
        worker = app.worker(
            STREAM, limits=Limits(self.ends // (32 * self.partitions), snapshot_every=12, explain_per_poll=5)
        )
        self._step(worker, self.ends // 4)
        app.models.promote(STREAM, second)
        self.second = second
        worker.read_out()
        for number in range(self.partitions):
            self.orders[number] = _told_ahead(app.store.restore("live", STREAM, number).orders)
            versions = [order.version for order in self.orders[number] if order.kind == "model"]
            assert versions == [first, second] or number not in self.homes[STREAM], f"partition {number}: {versions}"
        self.expected = tables(app.config.database)
        app.close()

    def _step(self, worker: Worker, rows: int) -> None:
        """Let `worker` read so many rows."""
        best, since = -1, time.monotonic()
        while worker.progress.rows < rows:
            worker.step()
            if worker.progress.rows > best:
                best, since = worker.progress.rows, time.monotonic()
            assert time.monotonic() - since < PATIENCE, f"no progress at {best} of {rows} rows"

    def _claim(self, app: App) -> None:
        for stream, homes in self.homes.items():
            for number, names in homes.items():
                app.homes.claim(stream, number, names)

    def _fitted(self, app: App, cut: int, scored: bool) -> str:
        """A version fitted on the history behind `cut` slots: on its lines too where it is `scored`. Sessions are
        judged by either; what is fitted on telemetry alone has that of another history, as a refit has it of the
        version before."""
        payloads = self.traffic.history()[cut * self.traffic.entities :]
        fitting = list_app(
            app.config, {"telemetry": payloads, "logs": self.traffic.lines_before(cut) if scored else []}
        )
        collected = fitting.collect(STREAM, {})
        if not scored:
            fitting.lists = {"telemetry": [], "logs": self.traffic.orders_before(cut)}
            collected.sessions = fitting.collect(STREAM, {}).sessions
        version = fitting.fit(STREAM, collected).version
        fitting.close()
        return version

    def found(self) -> dict[str, int]:
        """How much of each thing that is `WANTED` happened in the undisturbed run."""
        return happened(STREAM, self.expected) | {
            "promotions": len({row["model_version"] for row in self.expected["scores"]}) - 1,
        }

    def without(self, *tables: str) -> "Round":
        """As if nothing had come into some tables."""
        return replace(self, expected=self.expected | {name: [] for name in tables})

    def lacks(self) -> list[str]:
        """What of `WANTED`, and which reasons of dead letters, the undisturbed run lacks; it should be nothing."""
        found = self.found()
        said = [f"{found[name]} of {least} {name}" for name, least in WANTED.items() if found[name] < least]
        dead = {row["reason"] for row in self.expected["dead_letters"]}
        return said + [f"no dead letter {reason}" for reason in sorted({*REASONS} - ELSEWHERE - dead)]

    def ready(self) -> Path:
        """A home whose database knows the models, the orders and the homes of entities of the undisturbed run."""
        home = self.home()
        app = opened(home)
        for row in self.models:
            app.models.add(row)
        app.models.promote(STREAM, self.second)
        for number, orders in self.orders.items():
            epoch = app.leases.acquire(STREAM, [number], "orders")[number]
            app.store.save([Changes("live", STREAM, number, epoch, orders=list(orders))])
        self._claim(app)
        app.close()
        return home


def _told_ahead(orders: list[Order]) -> list[Order]:
    """Without silence that lasts to the end: each run finds that itself, since the order is written with its effect."""
    over = {order.version for order in orders if order.kind == RESUMED}
    return [order for order in orders if order.kind != IDLE or order.version in over]


def _turned(homes: dict[str, int]) -> dict[int, list[str]]:
    """Names by the partition where they are at home."""
    turned = defaultdict(list)
    for name, number in homes.items():
        turned[number].append(name)
    return dict(turned)


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
    """The application of a home; its clock goes a second a look where it is `ticking`."""
    ticks = count(2 * 10**18, 10**9)
    with environment(TSAD_INSTANCE="reader"):
        config = load_config(home / "tsad.toml")
    return App.open(config, clock=(lambda: next(ticks)) if ticking else time.time_ns)


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


def zombie(where: str, late: bool) -> Disturbance:
    """The owner stops itself in a save, before its transaction or `within` it; its successor takes over and goes on,
    to the end if `late`; the owner wakes, and must find its save refused."""

    def disturb(played: Round, crew: Crew, rng: random.Random) -> None:
        crew.up("one", f"{where}:{rng.randrange(1, 5)}")
        crew.stands("one")
        crew.up("two")
        crew.reach(played.ends if late else played.ends * 4 // 5)
        crew.send("one", signal.SIGCONT)
        crew.told("one", "partition let go")
        assert crew.sabotage == "epoch" or "has another owner now" in crew.log("one"), crew.logs()
        crew.reach(played.ends)

    return disturb


def load(home: Path) -> Any:
    """The configuration of a home."""
    with environment(TSAD_INSTANCE="reader"):
        return load_config(home / "tsad.toml")


def play(played: Round, disturb: Disturbance, seed: int, sabotage: str | None = None) -> tuple[list[str], Crew]:
    """Run `disturb`, let one worker close every slot, and compare: what differs, and who took part."""
    home, rng = played.ready(), random.Random(seed)
    crew = Crew(home, load(home).database, sabotage, played.ends // rng.choice((50, 100, 200)))
    try:
        disturb(played, crew, rng)
    except NoProgressError:
        if sabotage is None:
            raise
    finally:
        crew.close()
    config = load(home)
    kafka = config.kafka.model_copy(update={"group": f"{config.kafka.group}-last", "instance": None})
    app = App.open(config.model_copy(update={"kafka": kafka}))
    app.worker(STREAM).read_out()
    app.close()
    return different(tables(config.database), played.expected), crew
