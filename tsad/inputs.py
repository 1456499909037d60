"""What a stream reads, as its configuration says: sources, columns, miner, windower, and history cut into slots."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from streaming.broker.belonging import Belonging, SessionBelonging, Sieve
from streaming.columns import Columns
from streaming.deadletters import DeadLetters
from streaming.decoders import PayloadDecoder, decoder_of
from streaming.files import open_source
from streaming.holdings import Held
from streaming.linescores import LineModel
from streaming.linetape import LineTape
from streaming.logintake import LogIntake
from streaming.masking import Masking
from streaming.prometheus.held import held
from streaming.prometheus.settings import Questions
from streaming.prometheus.source import PrometheusRange, open_range
from streaming.redaction import Redaction
from streaming.ring import EVERY
from streaming.sessionintake import SessionIntake, SessionKeys, SessionModel
from streaming.types import Source, Topic
from streaming.windower import Windower
from tsad.config import ConfigError, StreamConfig
from tsad.fitting import Collected, collect
from tsad.grouping import SessionConfig, of_sessions
from tsad.incoming import KAFKA, PUSH, TelemetryConfig
from tsad.prometheus import PROMETHEUS, PrometheusConfig

Clock = Callable[[], int]
Paths = Mapping[Topic, str]
FIT_TEMPLATES = 500
"""Templates that get a column while a model is fitted; the most frequent stay."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of the stream called `name`. `clock` gives the wall clock in ns."""

    name: str
    config: StreamConfig
    clock: Clock = time.time_ns

    def leading(self, slots: int) -> Self:
        """The same where at least so many slots may close at a time."""
        if slots <= self.config.max_lead:
            return self
        return replace(self, config=self.config.model_copy(update={"max_lead": slots}))

    def paths(self, given: Paths) -> dict[Topic, str]:
        """The sources of the topics: `given`, else configured. ConfigError where one is missing or not read."""
        sections = self.config.sections
        for topic in given.keys() - sections.keys():
            read = " and ".join(sections)
            raise ConfigError(f"stream {self.name!r} is configured to read {read} only, not {topic} {given[topic]!r}")
        found: dict[Topic, str] = {}
        for topic, section in sections.items():
            path = given.get(topic) or section.source
            if path is None:
                raise ConfigError(f"stream.{self.name}.{topic}.source is not set; name a file, a folder, or - (stdin)")
            found[topic] = path
        return found

    def sources(self, given: Paths, columns: Columns) -> dict[Topic, Source]:
        """Open the sources that `paths` answers."""
        paths = self.paths(given)
        for topic, path in paths.items():
            if path == PUSH:
                said = f"stream {self.name!r}: what is pushed is read by tsad run alone; name a file of {topic}"
                raise ConfigError(said)
        return {topic: self._open(topic, path, columns) for topic, path in paths.items()}

    def _open(self, topic: Topic, path: str, columns: Columns) -> Source:
        if path == PROMETHEUS:
            now = self.clock()
            return self.past(columns, now - self.prometheus.past, now)
        form, ahead = self.config.format_of(topic), self.config.max_ahead
        return open_source(path, form, columns, max_ahead=ahead, clock=self.clock)

    def on_prometheus(self, given: Paths) -> bool:
        """Whether the stream is what a server answers to queries: `given` (paths on the command line) or the
        configuration says so."""
        return PROMETHEUS in {given.get(topic) or section.source for topic, section in self.config.sections.items()}

    @property
    def prometheus(self) -> PrometheusConfig:
        """The server that is asked. ConfigError where none is configured."""
        found = self.config.telemetry.prometheus if self.config.telemetry else None
        if found is None or self.config.logs is not None:
            raise ConfigError(
                f"stream {self.name!r}: source 'prometheus' is of a stream of telemetry alone, with a table "
                f"stream.{self.name}.telemetry.prometheus that says url and queries"
            )
        return found

    def questions(self) -> Questions:
        """What the server is asked."""
        asked, telemetry = self.prometheus, self.config.telemetry or TelemetryConfig()
        return Questions(asked.queries, self.config.step, telemetry.mapping.mapping(), telemetry.default_entity)

    def past(
        self, columns: Columns, since_ns: int, until_ns: int, entities: Collection[str] | None = None
    ) -> PrometheusRange:
        """What the server answers of [since, until), as far as that is complete by now."""
        asked = self.prometheus
        return open_range(
            asked.server(), self.questions(), columns, since_ns, until_ns, entities=entities, delay=asked.delay,
            clock=self.clock,
        )  # fmt: skip

    def on_kafka(self, given: Paths) -> bool:
        """Whether the stream comes from Kafka: `given` (paths on the command line) or the configuration says so.

        ConfigError where Kafka is asked for and no topic is configured, or only for one of two sources."""
        sections = self.config.sections
        said = {topic: given.get(topic) or section.source for topic, section in sections.items()}
        if KAFKA not in said.values():
            return False
        for topic, source in said.items():
            if source != KAFKA:
                raise ConfigError(
                    f"stream.{self.name}.{topic}.source = {source!r}: 'kafka' is needed, as the other one is"
                )
            if not sections[topic].topic and not self.config.topic_pattern:
                raise ConfigError(f"stream.{self.name}.{topic}.topic is not set; name the topic to read")
        return True

    def on_push(self, given: Paths) -> bool:
        """Whether the stream is what is pushed to the API: `given` (paths on the command line) or the configuration
        says so. ConfigError where only one of two sources is."""
        said = {topic: given.get(topic) or section.source for topic, section in self.config.sections.items()}
        if PUSH not in said.values():
            return False
        for topic, source in said.items():
            if source != PUSH:
                raise ConfigError(
                    f"stream.{self.name}.{topic}.source = {source!r}: 'push' is needed, as the other one is"
                )
            if self.config.sections[topic].source != PUSH:
                raise ConfigError(f"stream.{self.name}.{topic}.source is not 'push': nothing can be pushed to it")
        return True

    def held(self, since_ns: int, until_ns: int) -> list[Held]:
        """The entities that the server has in [since, until), and how many rows of each it counts."""
        return held(self.prometheus.server(), self.questions(), since_ns, until_ns)

    def decoder(self, topic: Topic, columns: Columns) -> PayloadDecoder:
        """What decodes the messages of `topic`."""
        return decoder_of(self.config.format_of(topic), columns, max_ahead=self.config.max_ahead)

    def belonging(self, number: int, claim: Callable[[str, Sequence[str]], Mapping[str, int]]) -> Sieve:
        """What keeps of the messages on partition `number` those that belong there: `claim` answers of names, of this
        stream or of that of its sessions, which partition each belongs to."""
        entities, sessions = Belonging(number, partial(claim, self.name)), self.config.sessions
        if sessions is None:
            return entities
        of_keys = Belonging(number, partial(claim, of_sessions(self.name)))
        by_entity = sessions.keyed_by == "entity"
        return SessionBelonging(number, self._keys(sessions), of_keys, entities if by_entity else None)

    def _keys(self, sessions: SessionConfig) -> SessionKeys:
        return sessions.keys(self.config.logs.relations if self.config.logs else ())

    def columns(self, model_features: list[str] | None = None) -> Columns:
        """The columns: those of the stream's model, else whatever comes."""
        limit = max(self.config.max_features, 4096)
        return Columns(model_features or (), open=model_features is None, max_features=limit)

    def intake(
        self,
        columns: Columns,
        template_columns: int,
        line_model: Callable[[str], LineModel | None] = lambda _: None,
        session_model: Callable[[str], SessionModel | None] = lambda _: None,
    ) -> LogIntake | None:
        """What mines the log lines, and has them scored by the `line_model` of a version, and their sessions by its
        `session_model`; None where there are none."""
        logs = self.config.logs
        if logs is None:
            return None
        masks = None if logs.masks is None else Masking(list(logs.masks.items()))
        sessions, timing = self.config.sessions, self.config.timing()
        grouped = None
        if sessions is not None:
            rules = sessions.rules(timing.step, timing.lateness, timing.late_horizon)
            grouped = SessionIntake(rules, self._keys(sessions), session_model)
        return LogIntake(
            timing, columns, masks, logs.max_templates, template_columns, line_model, Redaction(logs.redact),
            logs.quote, grouped, logs.depth,
        )  # fmt: skip

    def windower(
        self, rejects: Mapping[Topic, DeadLetters], through: int | None = None, own: range = EVERY
    ) -> Windower:
        """The windower; what it refuses goes to `rejects`. At the end it closes slots up to `through`; it counts what
        belongs to the slots `own`."""
        config = self.config
        return Windower(
            config.timing(),
            config.rules(),
            lambda topic, position, reason, detail: rejects[topic].add(position, reason, detail, None),  # type: ignore[arg-type]
            topics=config.topics,
            log_coverage=config.logs.coverage if config.logs else "stream",
            through=through,
            own=own,
        )

    def collect(
        self, given: Paths, until: int | None = None, tell: Callable[[int], None] = lambda _: None
    ) -> Collected:
        """Cut history into closed slots, as the stream itself would."""
        columns = self.columns()
        intake = self.intake(columns, FIT_TEMPLATES)
        if intake is not None:
            intake.tape = LineTape(intake.miner.texts)
            if intake.sessions is not None:
                intake.sessions.taped = True
        windower = self.windower({topic: DeadLetters() for topic in self.config.topics})
        windower.declare(columns.names)
        sources = self.sources(given, columns)
        try:
            return collect(windower, sources, intake, until, tell)
        finally:
            for source in sources.values():
                source.close()
