"""What a stream's input is told: formats, slots, the rules of each feature. Plain values, validated by the caller."""

from dataclasses import dataclass, field, replace
from typing import Literal

Aggregate = Literal["mean", "sum", "last", "max"]
MissingPolicy = Literal["leave", "zero", "carry"]
TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
Order = Literal["time", "arrival"]
Format = Literal["auto", "json", "otlp", "otlp-json", "remote-write"]
SeriesKind = Literal["auto", "gauge", "counter", "delta"]

SECOND = 1_000_000_000
"""Nanoseconds in a second: every duration and time below is an integer of nanoseconds."""


@dataclass(frozen=True, slots=True)
class FeatureRule:
    """How a feature's values become one number a slot.

    `aggregate` joins the values of one slot; a `counter` becomes a rate per second, with reset detection; `missing`
    says what an empty slot holds, `carry` for at most `carry` slots.
    """

    aggregate: Aggregate = "mean"
    missing: MissingPolicy = "leave"
    carry: int = 0
    counter: bool = False


RATE, INCREASE = "rate(", "increase("
"""What the name of a feature begins with whose values, by their message, are a counter's or sums since the last one."""


@dataclass(frozen=True, slots=True)
class FeatureRules:
    """The rule of each feature by name, with a default for the rest.

    `typed`: names were given by `streaming.mapping`, and say what kind of series they are: `rate(x)` is a counter,
    `increase(x)` adds up in its slot.
    """

    default: FeatureRule = FeatureRule()
    named: dict[str, FeatureRule] = field(default_factory=dict)
    typed: bool = False

    def of(self, name: str) -> FeatureRule:
        """The rule of `name`."""
        rule = self.named.get(name, self.default)
        if not self.typed or not name.startswith((RATE, INCREASE)):
            return rule
        kind: Aggregate = "last" if name.startswith(RATE) else "sum"
        return replace(
            rule, counter=name.startswith(RATE), aggregate=kind if rule.aggregate == "mean" else rule.aggregate
        )


@dataclass(frozen=True, slots=True)
class Timing:
    """Event time. `step`, `lateness` and `max_ahead` are in ns, all other spans in slots.

    `max_ahead`: a record more than this beyond its own ingest timestamp is from the future. `max_entities` bounds the
    entities of a partition.
    """

    step: int
    window: int = 64
    lateness: int = 0
    late_horizon: int = 16
    max_lead: int = 64
    forget_after: int = 120
    on_silence: Literal["alert", "ignore"] = "alert"
    max_entities: int = 20_000
    max_ahead: int = 3600 * SECOND

    @property
    def ring_slots(self) -> int:
        """Slots that the ring holds for each entity: T + late_horizon + lateness + max_lead."""
        return self.window + self.late_horizon + -(-self.lateness // self.step) + self.max_lead


@dataclass(frozen=True, slots=True)
class MappedFeature:
    """A feature made of the series of `metric` whose labels have the values of `match`.

    `metric` names a metric, or a part of one (`latency.p99`). `aggregate` joins series that differ in other labels only
    at each timestamp: None is the sum of counters and of deltas, the mean of gauges. `kind`: what the series is, where
    the message does not say so, or wrongly.
    """

    name: str
    metric: str
    match: dict[str, str] = field(default_factory=dict)
    aggregate: Aggregate | None = None
    kind: SeriesKind = "auto"


@dataclass(frozen=True, slots=True)
class Mapping:
    """What is an entity and what a feature in OTLP and remote-write messages.

    `entity`: labels (resource attributes, then those of the point) whose values, joined by "/", name the entity; None:
    those of `streaming.mapping.ENTITY_LABELS` that there are. `features` None: every metric is one, by its name.
    """

    entity: tuple[str, ...] | None = None
    features: tuple[MappedFeature, ...] | None = None


@dataclass(frozen=True, slots=True)
class TelemetryFormat:
    """Where entity, time and values are. `layout`: JSON (named `values` or the packed `v`), wide or long tables.

    `format` says what a message is, "auto" looks at each; `mapping` goes with all but "json". `features` declares the
    order of `v`, or restricts the columns of a wide table (None = every numeric column). Tables name their columns;
    `entity = None` puts every row under `default_entity` ("{file}": the file's own name).
    """

    layout: Literal["json", "wide", "long"] = "json"
    features: tuple[str, ...] | None = None
    entity: str | None = "entity"
    time: str | None = "time"
    name: str = "name"
    value: str = "value"
    unit: TimeUnit = "auto"
    default_entity: str = "main"
    ignore: tuple[str, ...] = ()
    order: Order | None = None
    format: Format = "json"
    mapping: Mapping = Mapping()


@dataclass(frozen=True, slots=True)
class LogFormat:
    """JSON log records, or raw text whose `pattern` has the groups `time`, `message` and perhaps `entity`, `severity`.

    `time_format` is a strptime pattern for the raw `time` group (None = RFC 3339 or epoch). `format` as in
    `TelemetryFormat`; `entity` as in `Mapping`, for OTLP. `join_lines`: a line of raw text that the pattern does not
    match belongs to the record before. `relations`: keys, attributes or groups whose values are kept with each line.
    """

    layout: Literal["json", "text"] = "json"
    pattern: str | None = None
    time_format: str | None = None
    unit: TimeUnit = "auto"
    default_entity: str = "main"
    order: Order | None = None
    format: Literal["auto", "json", "otlp", "otlp-json"] = "json"
    entity: tuple[str, ...] | None = None
    join_lines: bool = True
    relations: tuple[str, ...] = ()
