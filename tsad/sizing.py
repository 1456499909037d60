"""What a stream will need: memory, and how much of a core; by figures that `make bench-stream` gave on one machine.

docs/operations.md has the same formula in words.
"""

from dataclasses import dataclass

from detectors.channels import FEW
from detectors.registry import FEW_CHANNELS
from streaming.settings import SECOND
from tsad.config import StreamConfig

PROGRAM = 600 << 20
"""Bytes of a process before its first entity: interpreter, libraries, model, what a poll takes."""
LEARNT = 6144
"""Bytes that detectors, calibration, readings and roll-ups learn of one entity."""
PAST, PAST_CHANNEL = 38_000, 33_000
"""Bytes of an entity's past, and of each of its channels, where channels are few (`detectors.past`)."""
SPARE = 1.5
"""Arrays of entities double when they are full: half as much again is spare on the average."""
MEASURED = 38
"""Channels of the rows that were measured."""
RATES = {"fast": 29_000.0, "default": 12_000.0, "few": 2_000.0}
"""Rows of `MEASURED` channels that a core does in a second, by profile: fetched, scored, explained and saved."""
FIXED = 0.5
"""The part of a row's cost that does not grow with its channels."""
STAGGER = 60
"""Slots by which partitions differ in when they take their snapshots."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes an entity, bytes of all processes' entities together, rows a second that come, and that one core does."""

    entities: int
    features: int
    entity_bytes: int
    arriving: float
    core: float

    @property
    def memory(self) -> int:
        """Bytes of one process that has all entities."""
        return PROGRAM + int(SPARE * self.entity_bytes * self.entities)

    @property
    def cores(self) -> float:
        """Cores that are busy all the time."""
        return self.arriving / self.core


def need(config: StreamConfig, entities: int, features: int) -> Need:
    """What `entities` of `features` channels (of telemetry and of logs) need, each with one record a slot."""
    row = 4 * features + 8
    raw = config.timing().ring_slots
    scaled = 2 * (config.window + config.late_horizon + config.settle + config.max_lead)
    cost = FIXED + (1 - FIXED) * features / MEASURED
    profile = FEW_CHANNELS.get(config.profile, config.profile) if features <= FEW else config.profile
    learnt = LEARNT + (PAST + PAST_CHANNEL * features if profile == "few" else 0)
    core = RATES.get(profile, RATES["default"]) / cost
    return Need(entities, features, (raw + scaled) * row + learnt, entities / (config.step / SECOND), core)


def replayed(config: StreamConfig) -> int:
    """Nanoseconds of a topic that a start may have to read again: from one snapshot of a partition to the next."""
    slots = config.snapshot_every + STAGGER + config.late_horizon + config.max_lead
    return slots * config.step + config.lateness
