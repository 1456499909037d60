"""A run over history, driven: its units are given to an engine, and what becomes of each is written down."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import structlog
from pydantic import SecretStr

from storage.backfills import BackfillRow, Backfills, RunState, UnitRow
from storage.types import ModelRow, StoreError
from tsad.app import App
from tsad.backfill.beginning import events_of, spec_of
from tsad.backfill.planning import Planned
from tsad.backfill.spec import Done, Request, Unit, Wanted
from tsad.engines.queue import Queue
from tsad.engines.tasks import Engine, Outcome, Task

NEEDLESS = {"http", "api", "log", "delivery", "triage"}
"""What a unit does not need to know of the configuration."""


@dataclass(slots=True)
class Standing:
    """How far a run is: units, entities and rows in all and done, seconds of work that they took."""

    units: int = 0
    entities: int = 0
    rows: int = 0
    done: int = 0
    failed: int = 0
    entities_done: int = 0
    rows_done: int = 0
    alerts: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)
    read: int = 0

    @property
    def rate(self) -> float:
        """Rows a second since this process began."""
        return self.read / max(time.monotonic() - self.began, 1e-3)

    def count(self, row: UnitRow) -> None:
        """A unit has come to its end."""
        if row.state == "failed":
            self.failed += 1
            return
        self.done += 1
        self.entities_done += row.entities
        self.rows_done += row.rows
        self.alerts += row.alerts
        self.seconds += row.seconds


def run_name(stream: str, version: str, wanted: Wanted, config: dict[str, Any]) -> str:
    """The run that is meant where no name is given: the same words, model and configuration mean the same run."""
    said = json.dumps([stream, version, msgspec.to_builtins(wanted), config], sort_keys=True)
    return f"backfill-{hashlib.sha256(said.encode()).hexdigest()[:10]}"


def begin(app: App, run: str, stream: str, version: str, wanted: Wanted, units: Sequence[Planned]) -> BackfillRow:
    """Write the run and its units down, with what has been told of around the stream. StoreError where there is one of
    that name."""
    rows = [
        UnitRow(
            run, number, msgspec.to_builtins(one.unit), one.entities, one.rows, "failed" if one.fault else "pending",
            reason=one.fault,
        )
        for number, one in enumerate(units)
    ]  # fmt: skip
    spec = spec_of(app.config.of(stream), wanted)
    return Backfills(app.database, app.now).add(run, stream, version, spec, rows, events_of(app, stream))


@dataclass
class Driver:
    """Drives one run to its end; `retry`: what has failed is tried again. `tell` is told how it stands."""

    app: App
    row: BackfillRow
    engine: Engine
    retry: bool = False
    tell: Callable[[Standing], None] = lambda _: None
    stopping: Callable[[], bool] = lambda: False
    standing: Standing = field(default_factory=Standing)
    state: RunState = "running"

    def __post_init__(self) -> None:
        self._backfills = Backfills(self.app.database, self.app.now)
        self._config = config_of(self.app)
        self._log = structlog.get_logger(stream=self.row.stream, run=self.row.run)
        self._units: dict[int, UnitRow] = {}
        self._queue = Queue(())

    def drive(self) -> RunState:
        """Do what is left to be done. TakenOverError where somebody else drives it meanwhile."""
        run = self.row.run
        epoch = self._backfills.drive(run, self.retry)
        self._units = {unit.unit: unit for unit in self._backfills.units(run)}
        if not self._units:
            raise StoreError(f"the run {run!r} has lost its units; delete it (tsad runs delete {run}), and begin anew")
        self._begin()
        for outcome in self._queue.run(self.engine, lambda number: self._task(epoch, number), self.stopping):
            self._take(epoch, outcome)
            self.tell(self.standing)
            if self.stopping():
                break
        if all(unit.state in ("finished", "failed") for unit in self._units.values()):
            self.state = "failed" if self.standing.failed else "finished"
            self._backfills.end(run, epoch, self.state)
        return self.state

    @property
    def failed(self) -> list[UnitRow]:
        """The units that have failed."""
        return [unit for unit in self._units.values() if unit.state == "failed"]

    def _begin(self) -> None:
        everyone = self._units.values()
        self.standing = Standing(
            len(everyone), sum(one.entities for one in everyone), sum(one.rows for one in everyone)
        )
        for unit in everyone:
            if unit.state in ("finished", "failed"):
                self.standing.count(unit)
        self._queue = Queue(unit.unit for unit in everyone if unit.state == "pending")
        self.tell(self.standing)

    def _task(self, epoch: int, number: int) -> Task:
        """The unit is under way now."""
        unit = self._units[number]
        self._put(epoch, replace(unit, state="running", attempts=unit.attempts + 1))
        asked = Request(
            self._config, self.row.run, self.row.stream, self.row.model_version, unit.unit,
            msgspec.convert(unit.spec, Unit), bool(self.row.spec.get("bands")),
        )  # fmt: skip
        return Task(unit.unit, "unit", msgspec.json.encode(asked).decode())

    def _put(self, epoch: int, unit: UnitRow) -> None:
        self._backfills.mark(epoch, [unit])
        self._units[unit.unit] = unit

    def _take(self, epoch: int, outcome: Outcome) -> None:
        """Write down how a unit has ended; one whose process is gone is pending again, a few times."""
        unit = self._units[outcome.number]
        again = outcome.crashed and self._queue.again(unit.unit)
        if outcome.answer is not None:
            done = msgspec.json.decode(outcome.answer, type=Done)
            self.standing.peak_bytes = max(self.standing.peak_bytes, done.peak_bytes)
            entities, alerts = self._backfills.found(unit.run, self.row.stream, unit.unit)
            ended = replace(unit, state="finished", alerts=alerts, seconds=done.seconds, reason="")
            if unit.spec.get("stretch") is None:  # else its neighbours have the same entities, and some of its rows
                ended = replace(ended, entities=entities, rows=max(unit.rows, done.rows))
        else:
            ended = replace(unit, state="pending" if again else "failed", reason=outcome.reason or "")
            self._log.warning("a unit has failed", unit=unit.unit, again=again, reason=outcome.reason)
        self._put(epoch, ended)
        if not again:
            self.standing.count(ended)
            self.standing.read += ended.rows if ended.state == "finished" else 0


def config_of(app: App) -> dict[str, Any]:
    """The configuration as a unit needs it, with its passwords, for a process of our own that stands elsewhere."""
    config = app.config
    shown, held = json.loads(config.model_dump_json(exclude=NEEDLESS)), config.model_dump(exclude=NEEDLESS)
    told: dict[str, Any] = _revealed(shown, held)
    for name in ("models", "history"):
        if "://" not in told[name]:
            told[name] = str(Path(told[name]).absolute())
    if told["database"].startswith("sqlite:///"):
        told["database"] = f"sqlite:///{Path(told['database'].removeprefix('sqlite:///')).absolute()}"
    return told


def _revealed(told: Any, held: Any) -> Any:
    """`told`, as it may be shown, with the secrets of `held`."""
    if isinstance(held, SecretStr):
        return held.get_secret_value()
    return {name: _revealed(told[name], held[name]) for name in held} if isinstance(held, dict) else told


def version_of(app: App, stream: str, version: str | None) -> ModelRow:
    """The version that is to judge: the active one, unless one is named. StoreError where there is none."""
    rows = {row.version: row for row in app.models.listing(stream)}
    if version is not None:
        if version not in rows:
            raise StoreError(f"stream {stream!r} has no model version {version!r}; it has: {', '.join(rows) or 'none'}")
        return rows[version]
    active = app.models.active(stream)
    if active is None:
        raise StoreError(f"stream {stream!r} has no active model; `tsad fit {stream}` makes one")
    return active
