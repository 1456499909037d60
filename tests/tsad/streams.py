"""A small stream with known anomalies, a source that can crash, and the rows that must come out the same."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from storage.migrate import upgrade
from storage.read import AlertFilter
from storage.types import LIVE
from streaming.columns import Columns
from streaming.decode import LineDecoder, TelemetryDecoder
from streaming.settings import SECOND, LogFormat, TelemetryFormat
from streaming.types import Batch, Topic
from tsad.app import App
from tsad.config import parse_config
from tsad.inputs import Inputs
from tsad.runner import Limits

STREAM = "s"
START = 1_700_000_000 // 60 * 60
NOW = (START + 10_000_000) * SECOND
FEATURES = ("cpu", "mem", "disk", "net")


class Crash(Exception):
    """The process dies here."""


@dataclass
class ListSource:
    """Payloads in memory. `crashes`: rows before which a poll dies; `late_crashes`: rows behind which it dies when the
    batch was processed and before it is saved. Each happens once. `sizes`: how many records the next poll gives at most
    (0 too), which makes any interleaving of two topics."""

    topic: Topic
    payloads: Sequence[bytes]
    decoder: TelemetryDecoder | LineDecoder
    crashes: set[int] = field(default_factory=set)
    late_crashes: set[int] = field(default_factory=set)
    sizes: Callable[[], int] | None = None
    at: int = 0
    waiting: bool = True
    truncated: tuple[int, int] | None = None

    def poll(self, max_records: int = 5000) -> Batch | None:
        if self.at in self.crashes:
            self.crashes.discard(self.at)
            raise Crash
        if self.at >= len(self.payloads):
            return None
        most = max_records if self.sizes is None else min(max_records, self.sizes())
        stop = min([self.at + most, len(self.payloads), *(c for c in self.crashes if c > self.at)])
        part = self.payloads[self.at : stop]
        positions = np.arange(self.at, stop, dtype=np.int64)
        batch = self.decoder.decode(part, positions, np.full(len(part), NOW, np.int64), stop)
        self.at = stop
        return batch

    def position(self, next_position: int) -> dict[str, Any]:
        if next_position in self.late_crashes:
            self.late_crashes.discard(next_position)
            raise Crash
        return {"row": next_position, "decoder": self.decoder.state(next_position)}

    def seek(self, position: dict[str, Any]) -> None:
        self.at = position.get("row", 0)
        if "decoder" in position:
            self.decoder.restore(position["decoder"])

    def close(self) -> None:
        pass


def record(entity: str, slot: int, values: dict[str, float | None]) -> bytes:
    return msgspec.json.encode({"entity": entity, "time": START + 60 * slot, "values": values})


def line(entity: str, slot: int, message: str, second: int = 0) -> bytes:
    return msgspec.json.encode({"entity": entity, "time": START + 60 * slot + second, "message": message})


def normal(slots: int, entities: Sequence[str], seed: int) -> dict[tuple[str, int], np.ndarray]:
    """Correlated, slowly swinging channels: values of each (entity, slot)."""
    rng = np.random.default_rng(seed)
    cells = {}
    for number, entity in enumerate(entities):
        phase, slot = rng.uniform(0, 6, 2), np.arange(slots)
        swing = np.sin(slot / 15 + phase[0]), np.cos(slot / 40 + phase[1])
        base = np.stack([swing[0], swing[0] * 0.8, swing[1], swing[0] - swing[1]], axis=1) + 3 * number
        cells |= {(entity, place): row for place, row in enumerate(base + rng.normal(0, 0.1, (slots, 4)))}
    return cells


def payloads(cells: dict[tuple[str, int], np.ndarray], first: int = 0) -> list[bytes]:
    """In event-time order."""
    return [
        record(entity, slot, dict(zip(FEATURES, map(float, values), strict=True)))
        for (entity, slot), values in sorted(cells.items(), key=lambda item: (item[0][1], item[0][0]))
        if slot >= first
    ]


ENTITIES = ("a", "b", "c")
FIT_SLOTS, SLOTS = 300, 420


def cells_with_anomalies() -> dict[tuple[str, int], np.ndarray]:
    """Level shifts in `a` (slots 330 to 336), a spike in `b` (370), a long one in `c` (390 to 410)."""
    cells = normal(SLOTS, ENTITIES, 1)
    for slot in range(330, 337):
        cells["a", slot][0] += 4
    cells["b", 370] += 6
    for slot in range(390, 411):
        cells["c", slot][2:] -= 3
    return cells


@cache
def migrated() -> bytes:
    """The file of a database without rows: to make one by its migrations takes a tenth of a second each time."""
    with TemporaryDirectory() as folder:
        upgrade(f"sqlite:///{folder}/tsad.db")
        return (Path(folder) / "tsad.db").read_bytes()


def configuration(folder: Path, url: str, **stream: Any) -> Any:
    """Of a stream with models and history in `folder`, where the database is as well if it is a file."""
    place = Path(url.removeprefix("sqlite:///"))
    if place.parent == folder and not place.exists():
        place.write_bytes(migrated())
    section = {
        "window": 16, "late_horizon": 8, "settle": 5, "quiet": 8, "detectors": ["subspace", "vote"], "max_lead": 32,
        "alert_budget": 3.0, "forget_after": 30, "max_windows": 2000,
    } | stream  # fmt: skip
    return parse_config(
        {
            "database": url, "models": str(folder / "models"), "history": str(folder / "history"),
            "stream": {STREAM: section},
        }
    )  # fmt: skip


def source(topic: Topic, lines: Sequence[bytes], columns: Columns, logs: LogFormat) -> ListSource:
    decoder: TelemetryDecoder | LineDecoder
    decoder = TelemetryDecoder(TelemetryFormat(), columns) if topic == "telemetry" else LineDecoder(logs)
    return ListSource(topic, lines, decoder)


@dataclass(frozen=True)
class ListInputs(Inputs):
    """Inputs whose sources are made otherwise."""

    make: Callable[[Columns], dict[Topic, ListSource]] = lambda _: {}

    def sources(self, given: Any, columns: Columns) -> Any:
        return self.make(columns)


class ListApp(App):
    """The application, reading from lists: topic -> payloads."""

    lists: dict[Topic, Sequence[bytes]]
    crashes: dict[str, set[int]]
    sizes: dict[Topic, Callable[[], int]]

    def inputs(self, stream: str) -> ListInputs:
        config = self.config.of(stream)
        logs = config.format_of("logs") if config.logs else LogFormat()
        return ListInputs(stream, config, self.clock, partial(self._sources, logs))

    def _sources(self, logs: LogFormat, columns: Columns) -> dict[Topic, ListSource]:
        found = {}
        for topic, lines in self.lists.items():
            one = source(topic, lines, columns, logs)
            # shared, so that a crash happens once and not again after the restart
            of = "" if topic == "telemetry" else f"{topic} "
            one.crashes = self.crashes.setdefault(f"{of}poll", set())
            one.late_crashes = self.crashes.setdefault(f"{of}save", set())
            one.sizes = self.sizes.get(topic)
            found[topic] = one
        return found


def list_app(config: Any, lists: dict[Topic, Sequence[bytes]], crashes: dict[str, set[int]] | None = None) -> ListApp:
    app = ListApp.open(config, clock=lambda: NOW)
    assert isinstance(app, ListApp)
    app.lists, app.crashes, app.sizes = lists, {} if crashes is None else crashes, {}
    return app


def run_through(app: ListApp, limits: Limits) -> int:
    """Run to the end, starting again after each crash; how many there were."""
    crashed = 0
    while True:
        try:
            app.runner(STREAM, {}, limits=limits).run()
        except Crash:
            crashed += 1
        else:
            return crashed


NOT_COMPARED = {"detected_at", "ingested_at", "amended_at", "saved_at", "at"}


def final_rows(app: App, run: str = LIVE) -> dict[str, list[Any]]:
    """Everything but detection, ingest and amendment times, in a fixed order."""
    reader = app.reader
    alerts = reader.alerts(AlertFilter(run=run, stream=STREAM, limit=None))
    explanations = [part for alert in alerts for part in reader.alert(alert.id)[1]]
    tables: dict[str, list[Any]] = {
        "alerts": [_plain(asdict(alert)) for alert in alerts],
        "explanations": [_plain(asdict(part)) for part in explanations],
        "audit": [_plain(row) for row in reader.audit(STREAM, run, limit=100_000)],
        "dead_letters": [_plain(row) for row in reader.dead_letters(STREAM, run=run, limit=100_000)],
        "entities": [_plain(row) for row in reader.entities(STREAM, run)],
        "templates": [_plain(row) for row in reader.templates(STREAM, run)],
    }
    for entity in [row["entity"] for row in reader.entities(STREAM, run)]:
        tables[f"scores of {entity}"] = [_plain(row) for row in reader.scores(STREAM, entity, run, limit=100_000)]
        tables[f"hours of {entity}"] = [_plain(row) for row in reader.rollups(STREAM, entity, run, limit=100_000)]
    return {name: sorted(rows, key=repr) for name, rows in tables.items()}


def _plain(row: Any) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in NOT_COMPARED}


def differences(one: dict[str, list[Any]], other: dict[str, list[Any]]) -> list[str]:
    """Which rows and fields differ, for people."""
    found = []
    for name in one.keys() | other.keys():
        left, right = one.get(name, []), other.get(name, [])
        if len(left) != len(right):
            found.append(f"{name}: {len(left)} rows against {len(right)}")
        for a, b in zip(left, right, strict=False):
            fields = [key for key in a | b if a.get(key) != b.get(key)]
            found += [f"{name}.{key}: {a.get(key)!r:.120} against {b.get(key)!r:.120}" for key in fields]
    return found
