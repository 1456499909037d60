"""Where everything is put together: configuration in, a runner, a fitted model or a reader out."""

import functools
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from detectors.ensemble import EnsembleSettings
from detectors.registry import load, options, profile, registered
from storage import snapshots
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
from storage.types import LIVE, ModelRow, Order, StoreError, StreamRow
from streaming.broker.belonging import Belonging
from streaming.broker.consumer import open_consumer
from streaming.broker.feed import Feed
from streaming.broker.producer import Producer
from streaming.broker.source import KafkaSource
from streaming.columns import Columns
from streaming.deadletters import DeadLetters
from streaming.decoders import decoder_of
from streaming.files import open_source
from streaming.logfeatures import is_log_feature
from streaming.logintake import LogIntake
from streaming.masking import Masking
from streaming.types import Source, State, Topic
from streaming.windower import Windower
from tsad.absence import Absence
from tsad.announcing import Announcer
from tsad.config import KAFKA, Config, ConfigError, StreamConfig
from tsad.director import Director
from tsad.episodes import Rule
from tsad.fitting import Collected, Progress, collect, fit_model
from tsad.history import History
from tsad.judge import Judge
from tsad.layout import lay_out
from tsad.meter import Meter
from tsad.models import ModelShelf
from tsad.partition import Partition
from tsad.progress import Limits
from tsad.readings import Readings, Rollups
from tsad.recovery import recover
from tsad.refit import Refitters
from tsad.relay import Relay
from tsad.rows import RowWriter, utc
from tsad.runner import Runner
from tsad.silence import Silence
from tsad.worker import Worker

Clock = Callable[[], int]
Paths = Mapping[Topic, str]
COLD_TEMPLATES = 20
FIT_TEMPLATES = 500
"""Templates that get a column while a model is fitted; the most frequent stay."""


def ensemble_settings(config: StreamConfig, labels: Mapping[str, Mapping[str, str]] | None = None) -> EnsembleSettings:
    """What the ensemble of a stream is told; ConfigError for an unknown profile, detector or option."""
    try:
        offered, few = profile(config.profile), profile(config.profile, few_channels=True)
        names = config.detectors or tuple(offered)
        for name in [*names, *config.detector_options]:
            registered(name)
    except KeyError as error:
        raise ConfigError(error.args[0]) from error
    for name, given in config.detector_options.items():
        _check_options(name, given, offered.get(name, {}))
    by = config.group_by or ""
    groups = {entity: given[by] for entity, given in (labels or {}).items() if by in given}
    return EnsembleSettings(
        step_ns=config.step,
        window=config.window,
        detectors=_told({name: offered.get(name, {}) for name in names}, config),
        few_channels=None if config.detectors else _told(few, config),
        fusion=config.fusion,
        scope=config.scope,
        groups=groups,
        model_memory=config.model_memory_mib << 20,
        alert_budget=config.alert_budget,
        expected_entities=config.expected_entities,
        settle=config.settle,
        quiet=config.quiet,
        calibration=config.calibration,
        seed=config.seed,
        max_windows=config.max_windows,
        accept=config.accept,
        timezone=config.timezone,
        seasons=config.seasons,
    )


def _told(detectors: Mapping[str, dict[str, Any]], config: StreamConfig) -> dict[str, dict[str, Any]]:
    """Detectors with the options that the configuration adds."""
    return {name: options | config.detector_options.get(name, {}) for name, options in detectors.items()}


def _check_options(name: str, given: Mapping[str, Any], offered: Mapping[str, Any]) -> None:
    """ConfigError for an option or a value that detector `name` does not take."""
    allowed = options(name)
    for option in [] if allowed is None else given.keys() - allowed:
        said = f"detector_options.{name}.{option} = {given[option]!r}"
        raise ConfigError(f"{said} is unknown; allowed: {', '.join(allowed or ['none'])}")
    try:
        load(name)(**{**offered, **given})
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"detector_options.{name}: {error.args[0]}") from error


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

    def paths(self, stream: str, given: Paths) -> dict[Topic, str]:
        """The sources of a stream's topics: `given`, else configured. ConfigError where one is missing or not read."""
        config = self.config.of(stream)
        for topic in given.keys() - set(config.topics):
            read = " and ".join(config.topics)
            raise ConfigError(f"stream {stream!r} is configured to read {read} only, not {topic} {given[topic]!r}")
        configured = {"telemetry": config.telemetry or None, "logs": config.logs}
        found: dict[Topic, str] = {}
        for topic in config.topics:
            section = configured[topic]
            path = given.get(topic) or (section.source if section else None)
            if path is None:
                raise ConfigError(f"stream.{stream}.{topic}.source is not set; name a file, a folder, or - (stdin)")
            found[topic] = path
        return found

    def sources(self, stream: str, paths: Paths, columns: Columns) -> dict[Topic, Source]:
        """Open the sources of `paths`."""
        config = self.config.of(stream)
        formats = {"telemetry": config.telemetry, "logs": config.logs}
        return {
            topic: open_source(
                path, formats[topic].settings(), columns, max_ahead=config.max_ahead, clock=self.clock  # type: ignore[union-attr]
            )
            for topic, path in self.paths(stream, paths).items()
        }  # fmt: skip

    def on_kafka(self, stream: str, given: Paths) -> bool:
        """Whether the stream comes from Kafka: `given` (paths on the command line) or the configuration says so.

        ConfigError where Kafka is asked for and no topic is configured, or only for one of two sources."""
        config = self.config.of(stream)
        parts = {"telemetry": config.telemetry or None, "logs": config.logs}
        said = {topic: given.get(topic) or getattr(parts[topic], "source", None) for topic in config.topics}
        if KAFKA not in said.values():
            return False
        for topic, source in said.items():
            if source != KAFKA:
                raise ConfigError(
                    f"stream.{stream}.{topic}.source = {source!r}: 'kafka' is needed, as the other one is"
                )
            if not getattr(parts[topic], "topic", None) and not config.topic_pattern:
                raise ConfigError(f"stream.{stream}.{topic}.topic is not set; name the topic to read")
        return True

    def worker(self, stream: str, run: str = LIVE, limits: Limits | None = None) -> Worker:
        """A member of the stream's consumer group. BrokerError where the cluster or the topics cannot be used."""
        config, kafka = self.config.of(stream), self.config.kafka
        self.store.put_stream(StreamRow(run, stream, config.step, {"profile": config.profile}))
        layout = lay_out(self.config, stream, lambda wanted: self.places.numbers(stream, wanted, run))
        formats = {"telemetry": config.telemetry, "logs": config.logs}
        consumer = open_consumer(kafka.settings(), layout.subscription, f"{kafka.group}.{stream}", kafka.instance)
        feed = Feed(consumer)
        told = kafka.told if run == LIVE else ()

        def make(number: int) -> Runner:
            opened: dict[Topic, KafkaSource] = {}
            belonging = Belonging(number, lambda names: self.homes.claim(stream, number, names, run))

            def open_sources(columns: Columns) -> dict[Topic, Source]:
                for topic, place in layout.places(number).items():
                    decoder = decoder_of(formats[topic].settings(), columns, max_ahead=config.max_ahead)  # type: ignore[union-attr]
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
        )  # fmt: skip

    def history_folder(self, stream: str, run: str = LIVE) -> Path:
        """Where the closed slots of a stream lie, a folder for each partition."""
        return Path(self.config.history) / folder_of(run) / folder_of(stream)

    def columns(self, stream: str, model_features: list[str] | None = None) -> Columns:
        """The stream's columns: those of its model, else whatever comes."""
        limit = self.config.of(stream).max_features
        return Columns(model_features or (), open=model_features is None, max_features=max(limit, 4096))

    def intake(self, stream: str, columns: Columns, template_columns: int) -> LogIntake | None:
        """What mines the stream's log lines; None where it has none."""
        config = self.config.of(stream)
        if config.logs is None:
            return None
        masks = None if config.logs.masks is None else Masking(list(config.logs.masks.items()))
        return LogIntake(config.timing(), columns, masks, config.logs.max_templates, template_columns)

    def windower(self, stream: str, rejects: Mapping[Topic, DeadLetters]) -> Windower:
        """The stream's windower; what it refuses goes to `rejects`."""
        config = self.config.of(stream)
        return Windower(
            config.timing(),
            config.rules(),
            lambda topic, position, reason, detail: rejects[topic].add(position, reason, detail, None),  # type: ignore[arg-type]
            topics=config.topics,
            log_coverage=config.logs.coverage if config.logs else "stream",
        )

    def collect(
        self, stream: str, paths: Paths, until: int | None = None, tell: Callable[[int], None] = lambda _: None
    ) -> Collected:
        """Cut a stream's history into closed slots, as the stream itself would."""
        columns = self.columns(stream)
        intake = self.intake(stream, columns, FIT_TEMPLATES)
        windower = self.windower(stream, {topic: DeadLetters() for topic in self.config.of(stream).topics})
        windower.declare(columns.names)
        sources = self.sources(stream, paths, columns)
        try:
            return collect(windower, sources, intake, until, tell)
        finally:
            for source in sources.values():
                source.close()

    def fit(self, stream: str, collected: Collected, progress: Progress | None = None) -> ModelRow:
        """Fit a version on `collected`, write it and add it as a candidate."""
        config = self.config.of(stream)
        settings = ensemble_settings(config, collected.labels)
        templates = config.logs.templates if config.logs else 0
        model = fit_model(collected.rows, settings, collected.texts, templates, progress)
        row = self.shelf(stream).write(model, self.now())
        self.models.add(row)
        return row

    def runner(self, stream: str, paths: Paths, run: str = LIVE, limits: Limits | None = None) -> Runner:
        """A runner of a stream of one partition that reads `paths`, brought back to where it was."""
        return self.partition_runner(stream, 0, lambda columns: self.sources(stream, paths, columns), run, limits)

    def partition_runner(
        self,
        stream: str,
        partition_number: int,
        open_sources: Callable[[Columns], dict[Topic, Source]],
        run: str = LIVE,
        limits: Limits | None = None,
    ) -> Runner:
        """A runner of one partition, brought back to where it was. It takes the partition from whoever had it."""
        config = self.config.of(stream)
        epoch = self.leases.acquire(stream, [partition_number], _owner(), run)[partition_number]
        kept = self.store.restore(run, stream, partition_number)
        shelf = self.shelf(stream)
        orders = [order for order in kept.orders if order.kind == "model"]
        active = self.models.active(stream)
        features = self._features(stream, shelf, orders, active)
        columns = self.columns(stream, features)
        intake = self.intake(stream, columns, COLD_TEMPLATES)
        rejects = {topic: DeadLetters() for topic in config.topics}
        windower = self.windower(stream, rejects)
        director = Director(
            shelf, config.timing(), intake, functools.cache(lambda version: self._row(stream, version)),
            lambda partition, slot: self._first_fit(stream, partition, intake, slot), config.fit_after, orders,
            columns, windower,
        )  # fmt: skip
        folder = self.history_folder(stream, run) / str(partition_number) if config.history_days else None
        partition = Partition(
            windower,
            Judge(Rule(config.settle, config.quiet), Readings(config.late_horizon + config.settle)),
            Rollups(config.step),
            self._history(folder, config, epoch, intake),
            lambda names, slot: self._recall(run, stream, partition_number, names, slot),
            director.next_era,
        )
        self.store.put_stream(StreamRow(run, stream, config.step, {"profile": config.profile}))
        runner = Runner(
            RowWriter(run, stream, partition_number, config.step), epoch, open_sources(columns),
            columns, partition, director, intake, self.store, self.reader, self.config.models, self.clock,
            lambda version: self._activate(stream, version), lambda runner: self._follow(stream, runner),
            Silence(windower, config.idle_after),
            limits or Limits(explain_per_poll=config.explain_per_poll, snapshot_every=config.snapshot_every), rejects,
            absence=Absence((run, stream, partition_number), config.no_data_after, {o.topic: o for o in kept.no_data}),
            aside=self.aside, meter=self.meter, log=structlog.get_logger(stream=stream, partition=partition_number),
        )  # fmt: skip
        director.log = runner.log
        snapshots.sweep(self.config.models, run, stream, partition_number, [row.file for row in kept.snapshots])
        recover(runner, kept)
        if active is None and director.newest is not None:
            self._activate(stream, director.newest)  # ordered, and stopped before it was activated
        self._follow(stream, runner)
        return runner

    def _history(self, folder: Path | None, config: StreamConfig, epoch: int, intake: LogIntake | None) -> History:
        # the first fit needs its slots, however few days are kept
        least = config.fit_after + 2 * (config.late_horizon + config.settle)
        texts = intake.features.texts if intake is not None else dict
        return History(folder, config.step, config.history_days, epoch=epoch, least=least, texts=texts)

    def _activate(self, stream: str, version: str) -> None:
        self.models.promote(stream, version)

    def _follow(self, stream: str, runner: Runner) -> None:
        """Order what was promoted since: it judges from the next slot to close. Fit again where that is due."""
        active = self.models.active(stream)
        if active is not None and runner.writer.run == LIVE:
            self.refits.tend(stream, active.version)
        if active is not None and active.version != runner.director.newest:
            runner.director.follow(active.version)

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


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
