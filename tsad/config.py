"""The one configuration file, `tsad.toml`: validated here, read once, handed down as plain settings."""

import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from typing_extensions import override

from streaming.prometheus.settings import MS
from streaming.settings import SECOND, FeatureRules, LogFormat, TelemetryFormat, Timing
from streaming.types import Topic
from tsad.cluster import KafkaConfig
from tsad.delivery.settings import DeliveryConfig, RouteConfig
from tsad.grouping import SUFFIX, SessionConfig
from tsad.incoming import KAFKA, PUSH, FeatureConfig, LogConfig, MappedFeatureConfig, MappingConfig, TelemetryConfig
from tsad.operating import ApiConfig, HttpConfig, LoggingConfig
from tsad.prometheus import PROMETHEUS, PrometheusConfig
from tsad.renewal import Renewal
from tsad.section import Duration, Section, Without, Zone
from tsad.surroundings import ContextConfig, ContextPatternConfig, ContextRuleConfig
from tsad.triage.settings import TriageConfig

RETENTION: dict[str, float] = {
    "scores": 30,
    "score_rollups": 400,
    "dead_letters": 30,
    "audit": 400,
    "no_data": 400,
    "context_events": 400,
    "homes": 400,
    "deliveries": 30,
}
SECRET = ("password", "secret", "key", "token")
"""Keys of `kafka`, of routes and of `prometheus` whose values are not repeated."""
PRUNABLE = (*RETENTION, "alerts", "evicted_states", "incidents")


class ConfigError(Exception):
    """The configuration is wrong; the message names the key, the value and what is allowed, one line a fault."""


NEEDED = {
    "tuple_type": "a list is needed, such as ['a', 'b']",
    "dict_type": "a table is needed",
    "model_type": "a table is needed",
    "too_short": "at least one is needed",
}
"""What TOML calls things, by pydantic's kind of fault."""


class StreamConfig(Renewal):
    """One stream: input, time, detectors, decision."""

    telemetry: Without[TelemetryConfig] = TelemetryConfig()
    logs: LogConfig | None = None
    sessions: SessionConfig | None = None
    context: ContextConfig = ContextConfig()
    window: int = Field(default=64, ge=8, le=1024)
    lateness: Duration = 0
    late_horizon: int = Field(default=16, ge=0, le=1000)
    max_lead: int = Field(default=64, ge=1, le=10_000)
    max_ahead: Duration = 3600 * SECOND
    forget_after: int = Field(default=120, ge=1)
    idle_after: Duration = 300 * SECOND
    no_data_after: Without[Duration] = None
    on_silence: Literal["alert", "ignore"] = "alert"
    max_entities: int = Field(default=20_000, ge=1)
    max_features: int = Field(default=2000, ge=1)
    features: dict[str, FeatureConfig] = Field(default_factory=dict)
    profile: str = "default"
    detectors: tuple[str, ...] | None = Field(default=None, min_length=1)
    detector_options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    scope: Literal["auto", "entity", "group", "stream"] = "auto"
    group_by: str | None = None
    model_memory_mib: int = Field(default=1024, ge=1)
    fusion: Literal["power", "majority"] = "power"
    calibration: Literal["online", "frozen"] = "online"
    alert_budget: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    expected_entities: int | None = Field(default=None, ge=1)
    settle: int = Field(default=20, ge=2, le=64)
    quiet: int = Field(default=60, ge=1)
    accept: int = Field(default=3_000, ge=10)
    timezone: Zone = "UTC"
    seasons: bool = True
    max_windows: int = Field(default=30_000, ge=100)
    explain_per_poll: int = Field(default=50, ge=0)
    snapshot_every: int = Field(default=1440, ge=1)
    seed: int = Field(default=7, ge=0, lt=2**32)

    @field_validator("no_data_after")
    @classmethod
    def _some_time(cls, value: int | None) -> int | None:
        if value == 0:
            raise ValueError("no_data_after must be longer than 0s; false says that there is none")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "StreamConfig":
        if "settle" not in self.model_fields_set:
            object.__setattr__(self, "settle", max(min(self.settle, self.window, self.quiet), 2))
        if self.quiet < self.settle:
            raise ValueError(f"quiet ({self.quiet} slots) must be at least settle ({self.settle} slots)")
        if self.window < self.settle:
            raise ValueError(f"window ({self.window} slots) must be at least settle ({self.settle} slots)")
        if self.step <= 0:
            raise ValueError("step must be longer than 0s")
        if self.scope == "group" and not self.group_by:
            raise ValueError("scope = 'group' needs group_by, the label whose values are the groups")
        if self.telemetry is None and self.logs is None:
            raise ValueError("a stream needs telemetry, logs, or both")
        for name, part in self.sections.items():
            if part.source == KAFKA and not (part.topic or part.topic_pattern):
                raise ValueError(f"{name}: source = 'kafka' needs topic, the name of what is to be read")
            if part.topic and part.topic_pattern:
                raise ValueError(f"{name}: topic and topic_pattern exclude each other")
            if part.topic_pattern and self.telemetry and self.logs:
                raise ValueError(f"{name}: topic_pattern serves a stream of telemetry or of logs, not of both")
        if self.telemetry and self.logs and (self.telemetry.source == KAFKA) != (self.logs.source == KAFKA):
            raise ValueError("telemetry and logs of one stream come both from Kafka, or both not")
        if self.telemetry is not None and self.logs is not None and self.logs.entity is None:
            # both topics name an entity alike
            entity = self.telemetry.mapping.entity
            object.__setattr__(self, "logs", self.logs.model_copy(update={"entity": entity}))
        return self

    @model_validator(mode="after")
    def _pushed_together(self) -> "StreamConfig":
        if len({part.source == PUSH for part in self.sections.values()}) > 1:
            raise ValueError("telemetry and logs of one stream are both pushed, or both not")
        return self

    @model_validator(mode="after")
    def _queries_are_telemetry(self) -> "StreamConfig":
        if self.logs is not None and PROMETHEUS in {part.source for part in self.sections.values()}:
            raise ValueError("source = 'prometheus' is of telemetry alone: give the logs a stream of their own")
        if self.telemetry is not None and self.telemetry.prometheus is not None and self.step % MS:
            raise ValueError("telemetry.prometheus needs a step of whole milliseconds")
        return self

    @model_validator(mode="after")
    def _patterns_have_lines(self) -> "StreamConfig":
        if self.context.topic and not self.from_kafka:
            raise ValueError("context.topic is read by the workers of a stream from Kafka; context.source names a file")
        if self.context.patterns and self.logs is None:
            raise ValueError("context.patterns are sought in log lines: the stream needs a [logs] section")
        if self.sessions is not None and self.logs is None:
            raise ValueError("sessions are of log lines: the stream needs a [logs] section")
        if self.sessions is not None and self.sessions.keyed_by == "session" and self.telemetry:
            raise ValueError(
                "sessions.keyed_by = 'session' serves a stream of logs alone: telemetry is keyed by entity"
            )
        return self

    @model_validator(mode="after")
    def _a_session_has_a_field(self) -> "StreamConfig":
        field = None if self.sessions is None else self.sessions.field
        if field is None or self.logs is None or self.logs.layout != "text":
            return self
        groups = [name for name in re.compile(self.logs.pattern or "").groupindex if name not in ("time", "message")]
        if field not in groups:
            have = ", ".join(groups) or "none"
            raise ValueError(f"sessions.field = {field!r}: logs.pattern has no such group; it has {have}")
        return self

    @property
    @override
    def from_kafka(self) -> bool:
        """Whether the stream is configured to come from Kafka."""
        return all(part.source == KAFKA for part in (self.telemetry, self.logs) if part)

    @property
    def lines_at_hand(self) -> bool:
        """Whether topics hold lines that something is to be fitted on, and no configured history takes their place."""
        asked = self.logs is not None and bool(self.logs.line_scorers or self.sessions)
        return asked and self.from_kafka and not self.history

    @property
    def topic_pattern(self) -> str | None:
        """The pattern of the Kafka topics that this stream reads, if it reads by one."""
        return next((part.topic_pattern for part in self.sections.values() if part.topic_pattern), None)

    @property
    def sections(self) -> dict[Topic, TelemetryConfig | LogConfig]:
        """What is configured of each topic that this stream reads."""
        both: dict[Topic, TelemetryConfig | LogConfig | None] = {"telemetry": self.telemetry or None, "logs": self.logs}
        return {topic: section for topic, section in both.items() if section is not None}

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics that this stream reads."""
        return tuple(self.sections)

    def format_of(self, topic: Topic) -> TelemetryFormat | LogFormat:
        """The plain value for `streaming`, with all that is to be read of each line."""
        form = self.sections[topic].settings()
        field = None if self.sessions is None else self.sessions.field
        if isinstance(form, TelemetryFormat) or field is None or field in form.relations:
            return form
        return replace(form, relations=(*form.relations, field))

    def timing(self) -> Timing:
        """The plain value for `streaming`."""
        return Timing(
            self.step, self.window, self.lateness, self.late_horizon, self.max_lead, self.forget_after,
            self.on_silence, self.max_entities, self.max_ahead,
        )  # fmt: skip

    def rules(self) -> FeatureRules:
        """The feature rules, `*` being the default."""
        named = {name: part.rule() for name, part in self.features.items() if name != "*"}
        typed = self.telemetry is not None and self.telemetry.format != "json"
        return FeatureRules(self.features.get("*", FeatureConfig()).rule(), named, typed)


class Config(Section):
    """The whole file."""

    database: str = "sqlite:///tsad.db"
    models: str = "tsad-models"
    history: str = "tsad-history"
    journal: str = "tsad-journal"
    journal_mib: int = Field(default=4096, ge=64)
    patience: Duration = 300 * SECOND
    kafka: KafkaConfig = KafkaConfig()
    http: HttpConfig = HttpConfig()
    api: ApiConfig = ApiConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    triage: TriageConfig = TriageConfig()
    log: LoggingConfig = LoggingConfig()
    retention_days: dict[str, float] = RETENTION
    stream: dict[str, StreamConfig] = Field(default_factory=dict)

    @field_validator("retention_days")
    @classmethod
    def _known_tables(cls, value: dict[str, float]) -> dict[str, float]:
        """What is not said keeps its default."""
        for table, days in value.items():
            if table not in PRUNABLE:
                raise ValueError(f"no retention for table {table!r}; allowed: {', '.join(PRUNABLE)}")
            if not 0 <= days <= 36_500:
                raise ValueError(f"{table} must be kept for 0 to 36500 days, got {days}")
        return RETENTION | value

    @model_validator(mode="after")
    def _sessions_have_a_name(self) -> "Config":
        """The sessions of a stream are a stream of their own."""
        for name, stream in self.stream.items():
            if stream.sessions is not None and name + SUFFIX in self.stream:
                raise ValueError(
                    f"stream.{name + SUFFIX} is what the sessions of stream {name!r} are called; rename it"
                )
        return self

    @model_validator(mode="after")
    def _nothing_goes_round(self) -> "Config":
        """What goes out must not come in again."""
        for key in ("alerts_topic", "dead_letter_topic"):
            for name, stream in self.stream.items():
                for part in stream.sections.values():
                    told = getattr(self.kafka, key)
                    read = told in (part.topic, stream.context.topic)
                    if told and (read or re.fullmatch(part.topic_pattern or "(?!)", told)):
                        raise ValueError(f"kafka.{key} = {told!r} is what stream {name!r} reads; name another topic")
        return self

    def of(self, stream: str) -> StreamConfig:
        """The configuration of `stream`; ConfigError names those that exist."""
        if stream not in self.stream:
            known = ", ".join(sorted(self.stream)) or "none"
            raise ConfigError(f"stream {stream!r} is not in the configuration; configured: {known}")
        return self.stream[stream]


def load_config(path: Path) -> Config:
    """Read and validate `path`; ConfigError says what is wrong, one line a fault."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; `tsad init` writes one") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return parse_config(raw, str(path))


def parse_config(raw: dict[str, Any], origin: str = "tsad.toml") -> Config:
    """Validate a parsed file. Strings may name environment variables as ${NAME}."""
    return validated(_from_environment(raw), origin)


def validated(raw: dict[str, Any], origin: str) -> Config:
    """Validate a configuration whose strings are taken as they are; ConfigError says what is wrong with `origin`."""
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [_fault(fault) for fault in error.errors()]
        raise ConfigError("\n".join(f"{origin}: {line}" for line in lines)) from None


def _from_environment(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _from_environment(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_from_environment(part) for part in value]
    if not isinstance(value, str):
        return value
    return resolved(value)


def resolved(text: str) -> str:
    """`text` with the environment variables that it names as ${NAME}; ConfigError where one is not set."""
    return re.sub(r"\$\{(\w+)\}", _variable, text)


def _variable(match: re.Match[str]) -> str:
    if match[1] not in os.environ:
        raise ConfigError(f"the environment variable {match[1]} is named in the configuration but not set")
    return os.environ[match[1]]


def _fault(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        section = _section(fault["loc"][:-1])
        return f"{place} is unknown; allowed here: {', '.join(section.model_fields)}"
    message = NEEDED.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
    # a whole table says nothing about the fault, and may hold an address with a password
    secret = isinstance(fault["input"], dict) or _is_secret(fault["loc"])
    return f"{place}: {message}" if secret else f"{place} = {fault['input']!r}: {message}"


def _is_secret(place: tuple[Any, ...]) -> bool:
    if place[0] == "stream":
        return "prometheus" in place[2:4] and (place[-1] in (*SECRET, "url") or "headers" in place)
    return place[-1] in SECRET


_TABLES: dict[tuple[Any, ...], type[Section]] = {
    (): StreamConfig,
    ("telemetry",): TelemetryConfig,
    ("telemetry", "mapping"): MappingConfig,
    ("telemetry", "prometheus"): PrometheusConfig,
    ("telemetry", "mapping", "features"): MappedFeatureConfig,
    ("logs",): LogConfig,
    ("sessions",): SessionConfig,
    ("features",): FeatureConfig,
    ("context",): ContextConfig,
    ("context", "rules"): ContextRuleConfig,
    ("context", "patterns"): ContextPatternConfig,
}
"""What lies below `stream.NAME`; below `features` each entry has a name, in lists a number."""


TOP: dict[str, type[Section]] = {
    "kafka": KafkaConfig, "http": HttpConfig, "api": ApiConfig, "triage": TriageConfig, "log": LoggingConfig,
}  # fmt: skip


def _section(place: tuple[Any, ...]) -> type[Section]:
    for name, section in TOP.items():
        if place[:1] == (name,):
            return section
    if place[:1] == ("delivery",):
        return DeliveryConfig if len(place) < 3 else RouteConfig
    if place[:1] != ("stream",) or len(place) < 2:
        return Config
    below = tuple(part for part in place[2:] if not isinstance(part, int))
    return _TABLES.get(below[:1] if below[:1] == ("features",) else below, Config)
