"""The values that are kept: alerts and what surrounds them, one bundle of rows a partition a save.

Rows do not repeat whose they are: `Changes` names run, stream and partition once for all of them (an `Alert` is read
alone, so it carries them itself). Times are aware datetimes in UTC; a naive one is refused at the save.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypedDict

import msgspec

from storage.documents import dump_json, storable
from storage.events import ContextEvent

AlertState = Literal["open", "confirmed", "retracted", "resolved"]
Severity = Literal["info", "warning", "critical"]
ExplanationStatus = Literal["pending", "done"]
ModelState = Literal["candidate", "active", "retired"]

LIVE = "live"
"""The run that is delivered; every other run is a backfill's id."""


class StoreError(Exception):
    """The database cannot be used, or refused a transaction for good; the text names the database and what to do."""


class NotThereError(StoreError):
    """What was asked for is not there, or more than one is: the database itself answers."""


class FileRefusedError(Exception):
    """A snapshot or model file is missing, changed or foreign; the text names the file."""


class Vote(TypedDict):
    """A detector's own tail probability (None = no opinion) and whether it was beyond its own threshold."""

    p: float | None
    voted: bool


def alert_id(run: str, stream: str, entity: str, opened_slot: int) -> str:
    """An alert's identity, 32 hex digits: a hash of (run, stream, entity, the slot that first opened it)."""
    parts = (storable(run), storable(stream), storable(entity), str(int(opened_slot)))
    key = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(key.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An episode of one entity.

    `opened_slot` is identity and never moves; `first_slot`, `last_slot` and `peak_slot` may, with late data. A `score`
    above 1 is anomalous; `p` is the fused tail probability; `attribution` holds shares by feature that add up to 1.
    `window` is `arrays.pack` of the float32 window, kept while the explanation is pending; `evidence` holds the
    observed values and the expected band. `explained_by_event` names the context event that explains it away (id, kind,
    title, time, why), and is empty where none does. Detection, ingest and amendment times are the wall clock's, all
    others are event times.
    """

    run: str
    stream: str
    partition: int
    entity: str
    opened_slot: int
    first_slot: int
    last_slot: int
    peak_slot: int
    first_time: datetime
    last_time: datetime
    peak_time: datetime
    state: AlertState
    severity: Severity
    score: float
    p: float
    confidence: float
    model_version: str
    detected_at: datetime
    ingested_at: datetime | None = None
    amended_at: datetime | None = None
    votes: dict[str, Vote] = field(default_factory=dict)
    attribution: dict[str, float] = field(default_factory=dict)
    explanation: ExplanationStatus = "pending"
    explained_by: str | None = None
    sentence: str = ""
    window: bytes | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    merged_into: str | None = None
    reason: str = ""
    explained_by_event: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Hash of (run, stream, entity, opened_slot)."""
        return alert_id(self.run, self.stream, self.entity, self.opened_slot)


@dataclass(frozen=True, slots=True)
class Explanation:
    """One feature's part in one alert at one slot: `base` + all `value`s + `residual` = `score`.

    `target` says what is explained: the fused "decision", or the "forecast" of the strongest channel (then `feature` is
    a named input of that forecast). Key: (alert_id, slot, target, feature).
    """

    alert_id: str
    slot: int
    feature: str
    value: float
    share: float
    base: float
    score: float
    residual: float
    fidelity: float | None
    explained_by: str
    target: str = "decision"


class ScoreRow(NamedTuple):
    """The judgement of one entity's window that ends with `slot`; `time` is that slot's event time. `votes` may be JSON
    already: thousands a save come so."""

    entity: str
    slot: int
    time: datetime
    score: float
    p: float
    votes: dict[str, Vote] | msgspec.Raw
    model_version: str


@dataclass(frozen=True, slots=True)
class Rollup:
    """An entity's scores of one hour (`hour` is its start). The row is the whole hour: a later one replaces it."""

    entity: str
    hour: datetime
    maximum: float
    mean: float
    count: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A rejected record by its place. Kept once: a repeated save of the same (topic, position) changes nothing."""

    topic: str
    position: int
    reason: str
    detail: str
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Order:
    """What changes a partition's judgement from `first_slot` on and is not in its records.

    `kind` is for instance "model", "rules", "event", "idle"; `version` is what it names.
    """

    kind: str
    version: str
    first_slot: int
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Audit:
    """Something that was changed or done. Kept once by its content; `at` (the wall clock) is not part of that."""

    kind: str
    at: datetime
    entity: str | None = None
    alert_id: str | None = None
    slot: int | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """Its identity: a hash of all of it but the wall clock."""
        text = dump_json([self.kind, self.entity, self.alert_id, self.slot, self.detail])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Template:
    """A log template of the partition's miner."""

    template_id: int
    text: str
    count: int


@dataclass(frozen=True, slots=True)
class TemplateAlias:
    """A former text of a log template of the partition's miner, by the public id of that text."""

    alias: str
    template_id: int


@dataclass(frozen=True, slots=True)
class EntityRow:
    """An entity, its last labels, and the first and last slot in which it was seen."""

    entity: str
    labels: dict[str, str]
    first_slot: int
    last_slot: int


@dataclass(frozen=True, slots=True)
class EvictedState:
    """What an entity had learnt when it was evicted at the close of `slot` (`blob`: `arrays.pack`)."""

    entity: str
    slot: int
    blob: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The place to go on from: a JSON position for each topic, and the next slot to close.

    `counts` are the partition's cumulative counters (dead letters by reason, duplicates ...): they live here and not in
    rows of their own, so that a replay adds nothing.
    """

    positions: dict[str, Any]
    next_slot: int | None
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """A snapshot file (relative to the models' URL), the positions by topic and the next slot that it belongs to."""

    slot: int
    position: dict[str, Any]
    file: str
    checksum: str


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A stream as configured: slot length in ns, and whatever else describes it."""

    run: str
    stream: str
    step_ns: int
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model version: where its file lies (relative to the models' URL), its checksum, its state, and figures."""

    stream: str
    version: str
    file: str
    checksum: str
    created_at: datetime
    state: ModelState = "candidate"
    activated_at: datetime | None = None
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is to be said of a saved alert on `topic`: `body` is JSON and gets the alert's `revision` from the store.

    `content` is a hash of what makes it worth a message: one equal to the last of its alert is not said again. A
    `quiet` one is said only of an alert that was told before.
    """

    alert_id: str
    topic: str
    body: dict[str, Any]
    content: str
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Forward:
    """A saved dead letter that goes on to `topic`, once: when its row is new."""

    letter: DeadLetter
    topic: str
    key: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class NoData:
    """A topic of a partition that has brought nothing since `since` (both clocks are the wall's); over once resolved.

    It is no final row: when it is opened depends on the clock, and comparisons leave it out. Key: (topic, since).
    """

    id: str
    topic: str
    since: datetime
    opened_at: datetime
    resolved_at: datetime | None = None

    @property
    def state(self) -> Literal["open", "resolved"]:
        """In the words of alerts."""
        return "open" if self.resolved_at is None else "resolved"


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be said on `topic` of a saved `about`, once for each of its states: `body` is JSON."""

    about: NoData
    topic: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One that waits in a partition's outbox; `sequence` rises and is never used again."""

    partition: int
    sequence: int
    topic: str
    key: str
    payload: bytes
    headers: dict[str, str]


@dataclass(slots=True)
class Changes:
    """All that one partition writes in one save, its checkpoint included; `epoch` is the lease under which it writes.

    `explanations` replace all that was stored for their (alert, slot). Rows of a kind are taken in order: of two with
    the same key the last counts. `announcements`, `forwards` and `notices` become messages in the outbox. `guard`: the
    stream whose lease it is, where that is another one (a stream of sessions has none of its own).
    """

    run: str
    stream: str
    partition: int
    epoch: int
    checkpoint: Checkpoint | None = None
    alerts: list[Alert] = field(default_factory=list)
    explanations: list[Explanation] = field(default_factory=list)
    scores: Sequence[ScoreRow] = field(default_factory=list)
    rollups: list[Rollup] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    audit: list[Audit] = field(default_factory=list)
    templates: list[Template] = field(default_factory=list)
    entities: list[EntityRow] = field(default_factory=list)
    evicted: list[EvictedState] = field(default_factory=list)
    snapshots: list[SnapshotRow] = field(default_factory=list)
    announcements: list[Announcement] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    no_data: list[NoData] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    template_aliases: list[TemplateAlias] = field(default_factory=list)
    context_events: list[ContextEvent] = field(default_factory=list)
    guard: str | None = None


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """A partition whose lease was taken by another owner: its changes were dropped."""

    run: str
    stream: str
    partition: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Saved:
    """What a save did: rows written by table, partitions refused, snapshot files that no row names any more."""

    rows: dict[str, int]
    lost: tuple[LeaseLost, ...] = ()
    stale_files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a partition stands: `snapshots` newest first, `orders` by first slot, the unfinished `alerts` and
    `no_data`."""

    checkpoint: Checkpoint | None
    snapshots: list[SnapshotRow]
    orders: list[Order]
    alerts: list[Alert]
    no_data: list[NoData] = field(default_factory=list)
