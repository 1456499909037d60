"""The tables of a stream that say what comes in: telemetry, its features and their mapping, and logs."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from streaming.redaction import Redaction
from streaming.settings import FeatureRule, LogFormat, MappedFeature, Mapping, TelemetryFormat
from tsad.prometheus import PROMETHEUS, PrometheusConfig
from tsad.section import Expression, Section, Without

KAFKA = "kafka"
"""The source that is a topic of the configured cluster."""
PUSH = "push"
"""The source that is what was pushed to the API (`tsad serve`)."""


def _of_pushes(section: Any) -> None:
    """What is pushed says itself in which format it comes. ValueError where one is configured."""
    if section.source == PUSH and section.format != "auto":
        if "format" in section.model_fields_set:
            raise ValueError(f"format = {section.format!r}: what is pushed comes in any format; leave it out")
        object.__setattr__(section, "format", "auto")


class FeatureConfig(Section):
    """How one feature becomes one number a slot."""

    aggregate: Literal["mean", "sum", "last", "max"] = "mean"
    missing: Literal["leave", "zero", "carry"] = "leave"
    carry: int = Field(default=0, ge=0, le=1000)
    counter: bool = False

    @model_validator(mode="after")
    def _carry_goes_with_carry(self) -> "FeatureConfig":
        if (self.missing == "carry") != (self.carry > 0):
            raise ValueError("carry (1 to 1000 slots) goes with missing = 'carry', and only with it")
        return self

    def rule(self) -> FeatureRule:
        """The plain value for `streaming`."""
        return FeatureRule(self.aggregate, self.missing, self.carry, self.counter)


class MappedFeatureConfig(Section):
    """A feature made of the series of a metric."""

    name: str = Field(min_length=1, max_length=240)
    metric: str = Field(min_length=1)
    match: dict[str, str] = Field(default_factory=dict)
    aggregate: Literal["mean", "sum", "last", "max"] | None = None
    kind: Literal["auto", "gauge", "counter", "delta"] = "auto"


class MappingConfig(Section):
    """What is an entity and what a feature in OTLP and remote-write messages."""

    entity: tuple[str, ...] | None = None
    features: tuple[MappedFeatureConfig, ...] | None = None

    @field_validator("features")
    @classmethod
    def _features_differ(cls, value: tuple[MappedFeatureConfig, ...] | None) -> tuple[MappedFeatureConfig, ...] | None:
        names = [part.name for part in value or ()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"features must have different names, twice there: {', '.join(twice[:20])}")
        return value

    def mapping(self) -> Mapping:
        """The plain value for `streaming`."""
        features = None if self.features is None else tuple(MappedFeature(**f.model_dump()) for f in self.features)
        return Mapping(self.entity, features)


class TelemetryConfig(Section):
    """The telemetry of a stream: its source (`topic` or `topic_pattern` where that is Kafka), format and layout."""

    source: str | None = None
    topic: str | None = None
    topic_pattern: Expression | None = None
    history: str | None = None
    format: Literal["auto", "json", "otlp", "otlp-json", "remote-write"] = "json"
    layout: Literal["json", "wide", "long"] = "json"
    features: tuple[str, ...] | None = None
    entity: Without[str] = "entity"
    time: Without[str] = "time"
    name: str = "name"
    value: str = "value"
    unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    default_entity: str = "main"
    ignore: tuple[str, ...] = ()
    order: Literal["time", "arrival"] | None = None
    mapping: MappingConfig = MappingConfig()
    prometheus: PrometheusConfig | None = None

    @model_validator(mode="after")
    def _pushes_have_any_format(self) -> "TelemetryConfig":
        _of_pushes(self)
        return self

    @model_validator(mode="after")
    def _queries_are_there(self) -> "TelemetryConfig":
        if self.source == PROMETHEUS and self.prometheus is None:
            raise ValueError("source = 'prometheus' needs the table telemetry.prometheus: url and queries")
        if self.source == PROMETHEUS and self.mapping.features is not None:
            raise ValueError("mapping.features is of messages: prometheus.queries name the features")
        return self

    def settings(self) -> TelemetryFormat:
        """The plain value for `streaming`."""
        ours = {"source", "topic", "topic_pattern", "history", "mapping", "prometheus"}
        return TelemetryFormat(**self.model_dump(exclude=ours), mapping=self.mapping.mapping())


LineScorerName = Literal["rare", "sequence", "field", "relation", "recurrent"]
RECURRENT_DEPTH = 10
MOST_RELATIONS = 8
"""Names whose values are related at most: each pair of them is a number to be learnt."""


class LogConfig(Section):
    """The logs of a stream: its source, its format and layout, and how templates become features."""

    source: str | None = None
    topic: str | None = None
    topic_pattern: Expression | None = None
    history: str | None = None
    format: Literal["auto", "json", "otlp", "otlp-json"] = "json"
    layout: Literal["json", "text"] = "json"
    pattern: str | None = None
    time_format: str | None = None
    entity: tuple[str, ...] | None = None
    unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    default_entity: str = "main"
    order: Literal["time", "arrival"] | None = None
    templates: int = Field(default=20, ge=1, le=500)
    coverage: Literal["stream", "entity", "always"] = "stream"
    max_templates: int = Field(default=5000, ge=100)
    masks: dict[str, str] | None = None
    line_scorers: tuple[LineScorerName, ...] = ("rare", "sequence", "field", "relation")
    relations: tuple[str, ...] = ()
    join_lines: bool = True
    quote: bool = True
    redact: dict[str, bool | str] | None = None

    @model_validator(mode="after")
    def _text_needs_a_pattern(self) -> "LogConfig":
        _of_pushes(self)
        if self.layout == "text" and not self.pattern:
            raise ValueError("layout = 'text' needs a pattern with the groups time and message")
        for label, pattern in [("pattern", self.pattern or ""), *(self.masks or {}).items()]:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{label}: {pattern!r} is no regular expression: {error}") from None
        self._check_relations()
        groups = re.compile(self.pattern).groupindex if self.pattern else {}
        if self.layout == "text" and not {"time", "message"} <= set(groups):
            raise ValueError(f"pattern needs the groups time and message, got {', '.join(groups) or 'none'}")
        return self

    @property
    def depth(self) -> int:
        """How many lines before each of an entity are remembered: those that a recurrent network reads, else two."""
        return RECURRENT_DEPTH if "recurrent" in self.line_scorers else 2

    def _check_relations(self) -> None:
        names = self.relations
        if len(names) == 1 or len(names) > MOST_RELATIONS or len(set(names)) < len(names) or "" in names:
            raise ValueError(f"relations: {list(names)}; none, or 2 to {MOST_RELATIONS} different names are allowed")
        if {"time", "message"} & set(names):
            raise ValueError(f"relations: {list(names)}; time and message relate nothing")
        groups = re.compile(self.pattern or "").groupindex
        unknown = [name for name in names if self.layout == "text" and name not in {"entity", "severity", *groups}]
        if unknown:
            raise ValueError(f"relations: the pattern has no groups {', '.join(unknown)}; it has {', '.join(groups)}")
        if {"sequence", "recurrent"} <= set(self.line_scorers):
            raise ValueError("line_scorers: sequence and recurrent judge the same order; one of the two is allowed")

    @field_validator("redact")
    @classmethod
    def _can_be_sought(cls, value: dict[str, bool | str] | None) -> dict[str, bool | str] | None:
        Redaction(value)
        return value

    def settings(self) -> LogFormat:
        """The plain value for `streaming`."""
        return LogFormat(
            self.layout, self.pattern, self.time_format, self.unit, self.default_entity, self.order, self.format,
            self.entity, self.join_lines, self.relations,
        )  # fmt: skip
