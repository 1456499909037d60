"""What a stream's input is told: formats, slots, the rules of each feature. Plain values, validated by the caller."""

from dataclasses import dataclass, field
from typing import Literal

Aggregate = Literal["mean", "sum", "last", "max"]
MissingPolicy = Literal["leave", "zero", "carry"]
TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
Order = Literal["time", "arrival"]

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


@dataclass(frozen=True, slots=True)
class FeatureRules:
    """The rule of each feature by name, with a default for the rest."""

    default: FeatureRule = FeatureRule()
    named: dict[str, FeatureRule] = field(default_factory=dict)

    def of(self, name: str) -> FeatureRule:
        """The rule of `name`."""
        return self.named.get(name, self.default)


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
class TelemetryFormat:
    """Where entity, time and values are. `layout`: JSON (named `values` or the packed `v`), wide or long tables.

    `features` declares the order of `v`, or restricts the columns of a wide table (None = every numeric column).
    Tables name their columns; `entity = None` puts every row under `default_entity` ("{file}": the file's own name).
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


@dataclass(frozen=True, slots=True)
class LogFormat:
    """JSON log records, or raw text whose `pattern` has the groups `time`, `message` and perhaps `entity`, `severity`.

    `time_format` is a strptime pattern for the raw `time` group (None = RFC 3339 or epoch).
    """

    layout: Literal["json", "text"] = "json"
    pattern: str | None = None
    time_format: str | None = None
    unit: TimeUnit = "auto"
    default_entity: str = "main"
    order: Order | None = None
