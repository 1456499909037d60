"""Where everything is put together: configuration in, a runner, a fitted model or a reader out."""

import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

import structlog

from detectors.linemodel import FittedLines
from detectors.pieces import Spread
from detectors.sessionmodel import FittedSessions
from storage import snapshots
from storage.context import ContextEvents
from storage.engine import Carrier, Database, at_once, open_database
from storage.files import folder_of
from storage.homes import Homes
from storage.leases import Leases
from storage.models import Models
from storage.outbox import Outbox
from storage.places import Places
from storage.read import Reader
from storage.refits import Refits
from storage.store import Store
from storage.templates import TemplateNames
from storage.types import LIVE, ModelRow, Order, Restored, StoreError, StreamRow
from streaming.broker.consumer import open_consumer
from streaming.broker.feed import Feed
from streaming.broker.producer import Producer
from streaming.broker.source import KafkaSource
from streaming.broker.whole import WholeTopic
from streaming.columns import Columns
from streaming.deadletters import DeadLetters
from streaming.logfeatures import is_log_feature
from streaming.logintake import LogIntake
from streaming.types import Source, State, Topic
from tsad.absence import Absence
from tsad.announcing import Announcer
from tsad.bands import BANDS
from tsad.circumstances import Circumstances
from tsad.config import Config, StreamConfig
from tsad.detection import ensemble_settings
from tsad.director import Director
from tsad.episodes import Rule
from tsad.eventtopic import EventTopic
from tsad.fitting import Collected, Progress, fit_model
from tsad.grouping import of_sessions
from tsad.happenings import Happenings
from tsad.history import ALL_DAYS, History
from tsad.inputs import Clock, Inputs, Paths
from tsad.judge import Judge
from tsad.layout import lay_out
from tsad.linefit import with_lines
from tsad.meter import Meter
from tsad.models import Model, ModelShelf
from tsad.partition import Partition
from tsad.progress import Historic, Limits
from tsad.readings import Readings, Rollups
from tsad.recovery import recover
from tsad.refit import Refitters
from tsad.relay import Relay
from tsad.rows import RowWriter, utc
from tsad.runner import Runner
from tsad.sessioncases import SessionRows
from tsad.sessionfit import SessionTape
from tsad.sessions import SessionDesk
from tsad.silence import Silence
from tsad.worker import Worker

COLD_TEMPLATES = 20
"""Templates that get a column before a model is fitted."""


class App:
    """One configuration and its open database. `clock` gives the wall clock in ns."""

    def __init__(self, config: Config, database: Database, clock: Clock = time.time_ns) -> None:
        self.config = config
        self.database = database
        self.clock = clock
        self.store = Store(database, self.now)
        self.reader = Reader(database)
        self.models = Models(database, self.now)
        self.leases = Leases(database, self.now)
        self.homes = Homes(database, self.now)
        self.context_events = ContextEvents(database, self.now)
        self.template_names = TemplateNames(database, self.now)
        self.places = Places(database, self.now)
        self.aside: Carrier = at_once
        self.meter = Meter()
        self.refits = Refitters(config, self.models, Refits(database, self.now), self.now, _owner())

    @classmethod
    def open(cls, config: Config, clock: Clock = time.time_ns, create: bool = True) -> "App":
        """Open the configured database (and create its tables where there are none); StoreError says what is wrong."""
        return cls(config, open_database(config.database, create=create), clock)

    def close(self) -> None:
        """Break off refits and close the database."""
        self.refits.close()
        self.database.close()

    def now(self) -> datetime:
        """The wall clock."""
        return utc(self.clock())

    def claim(self) -> AbstractContextManager[None]:
        """Be the one writer of a SQLite file."""
        return self.database.claim()

    def shelf(self, stream: str) -> ModelShelf:
        """The stream's model files."""
        return ModelShelf(self.config.models, stream, ensemble_settings(self.config.of(stream)))

    def inputs(self, stream: str) -> Inputs:
        """What the stream reads."""
        return Inputs(stream, self.config.of(stream), self.clock)

    def worker(self, stream: str, run: str = LIVE, limits: Limits | None = None) -> Worker:
        """A member of the stream's consumer group. BrokerError where the cluster or the topics cannot be used."""
        config, kafka = self.config.of(stream), self.config.kafka
        self.store.put_stream(StreamRow(run, stream, config.step, {"profile": config.profile}))
        numbered = partial(self.places.numbers, stream, run=run)
        layout = lay_out(self.config, stream, numbered, partial(self.places.count, stream, run))
        inputs = self.inputs(stream)
        consumer = open_consumer(kafka.settings(), layout.subscription, f"{kafka.group}.{stream}", kafka.instance)
        feed = Feed(consumer)
        told = kafka.told if run == LIVE else ()

        def make(number: int) -> Runner:
            opened: dict[Topic, KafkaSource] = {}
            belonging = inputs.belonging(number, lambda of, names: self.homes.claim(of, number, names, run))

            def open_sources(columns: Columns) -> dict[Topic, Source]:
                for topic, place in layout.places(number).items():
                    decoder = inputs.decoder(topic, columns)
                    opened[topic] = KafkaSource(feed, topic, place, decoder, self.clock, belonging=belonging)
                return dict(opened)

            runner = self.partition_runner(stream, number, open_sources, run, limits)
            if told:
                runner.announcer = Announcer(kafka.alerts_topic, kafka.dead_letter_topic, layout.places(number))
            for source in opened.values():
                source.open()
            runner.attend(opened)
            return runner

        return Worker(
            layout, feed, make, lambda: self.leases.epochs(stream, run), self.clock,
            relay=Relay(Outbox(self.database), lambda: Producer(kafka.settings()), stream) if told else None,
            patience=self.config.patience, log=structlog.get_logger(stream=stream),
            events=self._event_topic(stream, run),
        )  # fmt: skip

    def _event_topic(self, stream: str, run: str) -> EventTopic | None:
        topic = self.config.of(stream).context.topic
        if topic is None:
            return None
        settings, events = self.config.kafka.settings(), self.context_events
        add, bury = partial(events.add, stream, run=run), partial(events.bury, stream, run=run)
        return EventTopic(topic, partial(WholeTopic, settings, topic), add, bury)

    def history_folder(self, stream: str, run: str = LIVE) -> Path:
        """Where the closed slots of a stream lie, a folder for each partition."""
        return Path(self.config.history) / folder_of(run) / folder_of(stream)

    def collect(
        self, stream: str, paths: Paths, until: int | None = None, tell: Callable[[int], None] = lambda _: None
    ) -> Collected:
        """Cut a stream's history into closed slots, as the stream itself would."""
        return self.inputs(stream).collect(paths, until, tell)

    def fit(
        self,
        stream: str,
        collected: Collected,
        progress: Progress | None = None,
        left_out: int = 0,
        spread: Spread | None = None,
    ) -> ModelRow:
        """Fit a version on `collected` (`spread`: elsewhere), write it and add it as a candidate; its meta say on what,
        and how many rows were `left_out` before."""
        config = self.config.of(stream)
        settings = ensemble_settings(config, collected.labels)
        templates = config.logs.templates if config.logs else 0
        rows, lines = with_lines(collected.rows, collected.tape, config.logs.line_scorers if config.logs else ())
        model = fit_model(
            rows, settings, collected.texts, templates, progress, lines,
            sessions_of(config, collected.sessions), spread,
        )  # fmt: skip
        told = {name: model.figures[name] for name in ("rows", "entities", "windows", "scope")}
        row = replace(self.shelf(stream).write(model, self.now()), meta={"fit": told | {"left_out": left_out}})
        self.models.add(row)
        return row

    def active_model(self, stream: str) -> Model | None:
        """The active version, if there is one."""
        active = self.models.active(stream)
        return None if active is None else self.shelf(stream).read(active)

    def active_lines(self, stream: str) -> FittedLines | None:
        """What scores the log lines in the active version, if anything does."""
        model = self.active_model(stream)
        return None if model is None else model.lines

    def runner(self, stream: str, paths: Paths, run: str = LIVE, limits: Limits | None = None) -> Runner:
        """A runner of a stream of one partition that reads `paths`, brought back to where it was."""
        return self.partition_runner(stream, 0, partial(self.inputs(stream).sources, paths), run, limits)

    def partition_runner(
        self, stream: str, partition_number: int, open_sources: Callable[[Columns], dict[Topic, Source]],
        run: str = LIVE, limits: Limits | None = None, historic: Historic | None = None,
        shelf: ModelShelf | None = None,
    ) -> Runner:  # fmt: skip
        """A runner of one partition, brought back to where it was. It takes the partition from whoever had it. What is
        `historic` is judged by one version, and changes nothing of the stream's. `shelf`: models that are read already.
        """
        inputs = self.inputs(stream).leading(historic.lead if historic else 1)
        config = inputs.config
        epoch = self.leases.acquire(stream, [partition_number], _owner(), run)[partition_number]
        kept = self.store.restore(run, stream, partition_number)
        shelf = shelf or self.shelf(stream)
        orders = [order for order in kept.orders if order.kind == "model"]
        pinned = self._row(stream, historic.version) if historic else None
        active = pinned or self.models.active(stream)
        columns = inputs.columns(self._features(stream, shelf, orders, active))
        read = partial(self._model, stream, shelf)
        intake = inputs.intake(columns, COLD_TEMPLATES, lambda v: read(v).lines, lambda v: read(v).sessions)
        rejects = {topic: DeadLetters() for topic in config.topics}
        windower = inputs.windower(rejects, historic.through, historic.own) if historic else inputs.windower(rejects)
        director = Director(
            shelf, config.timing(), intake, cache(lambda version: self._row(stream, version)),
            lambda partition, slot: self._first_fit(stream, partition, intake, slot), config.fit_after, orders,
            columns, windower,
        )  # fmt: skip
        folder = self.history_folder(stream, run) / str(partition_number)
        readings = Readings(config.late_horizon + config.settle, config.max_lead)
        partition = Partition(
            windower, Judge(Rule(config.settle, config.quiet), readings),
            Rollups(config.step), self._history(folder, config, epoch, intake, historic),
            partial(self._recall, run, stream, partition_number), director.next_era,
            circumstances=_circumstances(config), overlap=historic.overlap if historic else None,
        )  # fmt: skip
        self.store.put_stream(StreamRow(run, stream, config.step, {"profile": config.profile}))
        runner = Runner(
            RowWriter(run, stream, partition_number, config.step), epoch, open_sources(columns),
            columns, partition, director, intake, self.store, self.reader, self.config.models, self.clock,
            lambda version: None if historic else self._activate(stream, version),
            lambda runner: self._follow(stream, runner, pinned),
            Silence(windower, config.idle_after),
            limits or Limits(explain_per_poll=config.explain_per_poll, snapshot_every=config.snapshot_every), rejects,
            absence=Absence((run, stream, partition_number), config.no_data_after, {o.topic: o for o in kept.no_data}),
            happenings=self._happenings(run, stream, config, partition, intake, historic is None),
            desk=self._desk(run, stream, partition_number, intake, cache(read)),
            aside=self.aside, meter=self.meter, log=structlog.get_logger(stream=stream, partition=partition_number),
        )  # fmt: skip
        director.log = runner.log
        self._bring_back(runner, kept, active)
        return runner

    def _happenings(
        self, run: str, stream: str, config: StreamConfig, partition: Partition, intake: LogIntake | None, live: bool
    ) -> Happenings | None:
        if partition.circumstances is None:
            return None
        if intake is not None:
            intake.watch_for(config.context.signs())
            if config.context.learn and config.context.lines:
                intake.watch_onsets(config.context.slots(config.step))
        listed = partial(self.context_events.listing, stream, run, told=True)
        source = config.context.source if live else None  # a run over history has what was told when it began
        return Happenings(partition.circumstances, config.step, self.clock, listed, Path(source) if source else None)

    def _desk(
        self, run: str, stream: str, partition: int, intake: LogIntake | None, read: Callable[[str], Model]
    ) -> SessionDesk | None:
        if intake is None or intake.sessions is None:
            return None
        step, name = self.config.of(stream).step, of_sessions(stream)
        self.store.put_stream(StreamRow(run, name, step, {"sessions_of": stream}))
        rows = SessionRows(run, name, partition, step)
        return SessionDesk(rows, stream, intake.sessions, lambda version: read(version).sessions)

    def _model(self, stream: str, shelf: ModelShelf, version: str) -> Model:
        return shelf.read(self._row(stream, version))

    def _bring_back(self, runner: Runner, kept: Restored, active: ModelRow | None) -> None:
        """To where its partition was."""
        writer = runner.writer
        files = [row.file for row in kept.snapshots]
        snapshots.sweep(self.config.models, writer.run, writer.stream, writer.partition, files)
        recover(runner, kept)
        newest = runner.director.newest
        if active is None and newest is not None:
            self._activate(writer.stream, newest)  # ordered, and stopped before it was activated
        runner.follow(runner)

    def _history(
        self, folder: Path, config: StreamConfig, epoch: int, intake: LogIntake | None, historic: Historic | None
    ) -> History:
        # the first fit needs its slots, however few days are kept
        least = config.fit_after + 2 * (config.late_horizon + config.settle)
        texts = intake.features.texts if intake is not None else dict
        if historic is not None:
            found = History(folder, config.step, ALL_DAYS, epoch=epoch, texts=texts, span=historic.span)
            if historic.bands:
                beside = folder / BANDS
                found.beside = History(beside, config.step, ALL_DAYS, epoch=epoch, span=historic.span, prefix="")
            return found
        days = config.history_days
        return History(folder if days else None, config.step, days, epoch=epoch, least=least, texts=texts)

    def _activate(self, stream: str, version: str) -> None:
        self.models.promote(stream, version)

    def _follow(self, stream: str, runner: Runner, pinned: ModelRow | None = None) -> None:
        """Order what was promoted since: it judges from the next slot to close. Fit again where that is due."""
        if runner.happenings is not None:
            runner.happenings.follow(runner.partition.windower.closed_through)
        active = pinned or self.models.active(stream)
        if active is not None and pinned is None and runner.writer.run == LIVE:
            self.refits.tend(stream, active.version, lambda: self._lacks_lines(stream, active))
        if active is not None and active.version != runner.director.newest:
            runner.director.follow(active.version)

    def _lacks_lines(self, stream: str, active: ModelRow) -> bool:
        """Whether the version has nothing for what is to judge lines or their sessions, though topics hold them."""
        config = self.config.of(stream)
        if config.logs is None or not config.lines_at_hand:
            return False
        model = self.shelf(stream).read(active)
        lines = model.lines is None and bool(config.logs.line_scorers)
        return lines or (model.sessions is None and config.sessions is not None)

    def _features(
        self, stream: str, shelf: ModelShelf, orders: list[Order], active: ModelRow | None
    ) -> list[str] | None:
        """Telemetry features of the model that judges from the beginning; None where the stream began without one."""
        cold = orders[0].first_slot > 0 if orders else active is None
        if cold:
            return None
        row = self._row(stream, orders[0].version) if orders else active
        return None if row is None else [n for n in shelf.read(row).ensemble.features if not is_log_feature(n)]

    def _row(self, stream: str, version: str) -> ModelRow:
        found = {row.version: row for row in self.models.listing(stream)}
        if version not in found:
            raise StoreError(
                f"stream {stream!r} has no model version {version!r}; it has: {', '.join(found) or 'none'}"
            )
        return found[version]

    def _first_fit(self, stream: str, partition: Partition, intake: LogIntake | None, slot: int) -> ModelRow:
        horizon = partition.readings.horizon
        rows = partition.history.rows(partition.windower.features, slot - horizon)
        texts = intake.features.texts() if intake is not None else {}
        return self.fit(stream, Collected(rows, texts, dict(partition.windower.roster.labels)))

    def _recall(self, run: str, stream: str, partition: int, names: Any, slot: int) -> dict[str, State]:
        from storage.arrays import unpack

        found = self.reader.evicted(run, stream, partition, list(names), slot)
        return {row.entity: State(*unpack(row.blob)) for row in found}


def sessions_of(config: StreamConfig, tape: SessionTape | None) -> FittedSessions | None:
    """What judges sessions, fitted on those of a history; None where none are configured, or too few were there."""
    if config.sessions is None or config.logs is None or tape is None:
        return None
    return tape.fit(config.sessions.alert_budget or config.alert_budget, config.logs.max_templates)


def _circumstances(config: StreamConfig) -> Circumstances:
    said = config.context
    reach = config.late_horizon + config.settle + config.quiet
    return Circumstances(said.slots(config.step), reach, said.allowances(config.step), said.learn)


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
