"""What comes up in a partition between two saves."""

from dataclasses import dataclass, field

from storage.noted import NotedScores
from streaming.types import State
from tsad.cases import Case, Evidence
from tsad.readings import HourlyScores


@dataclass(frozen=True, slots=True)
class Job:
    """An explanation to be made: a case and the evidence to explain."""

    case: Case
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Event:
    """Something for the audit: what happened to an alert, what late data or eviction did, what a topic has lost."""

    kind: str
    entity: str | None
    slot: int
    identity: int | None
    detail: dict[str, str | int]


@dataclass(slots=True)
class Findings:
    """What has to be saved since the last `take`."""

    cases: dict[tuple[int, int], Case] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    scores: list[NotedScores] = field(default_factory=list)
    rollups: list[tuple[list[str], HourlyScores]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    evicted: list[tuple[str, int, State]] = field(default_factory=list)
    born: list[tuple[str, int]] = field(default_factory=list)
    opened: int = 0
    closed: int = 0
    windows: int = 0
