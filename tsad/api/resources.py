"""What the API answers, as its specification describes it. Times are UTC; a number that is not known is null."""

from datetime import datetime
from typing import Any, Literal

from fastapi import Response
from msgspec.json import encode
from pydantic import BaseModel, ConfigDict, Field

from storage.incidents import IncidentState
from storage.rulings import Standing
from storage.tokens import Role
from storage.types import AlertState, ModelState, Severity

Number = float | None
"""One that is not finite is written as null (pydantic's `ser_json_inf_nan`)."""


class Resource(BaseModel):
    """Made from rows of the database."""

    model_config = ConfigDict(from_attributes=True, ser_json_inf_nan="null")


def direct(told: Any) -> Response:
    """An answer made of the database's rows, as they are: they need no second look, which would cost as much as all
    else."""
    return Response(encode(told), media_type="application/json")


class Share(Resource):
    """A feature's part in something."""

    feature: str
    share: Number


class Decision(Resource):
    """What is to become of an alert."""

    standing: Standing = Field(description="Whether people are told.")
    severity: Severity = Field(description="By the rules; the alert's own where none says one.")
    reason: str = Field(description="By name: opened, direction, maintenance, alike, ...")
    rule: str = Field(description="The rule, calendar or mark that decided.")
    thread: str = Field(description="The alert that this one goes on; its own id where it goes on none.")
    version: int = Field(description="Of the rules; 0 before there were any.")


class AlertSummary(Resource):
    """An alert, as lists tell of it."""

    id: str = Field(description="For good: a hash of run, stream, entity and the slot that first opened it.")
    run: str = Field(description="`live`, or a backfill's id.")
    stream: str
    entity: str
    state: AlertState
    severity: Severity
    score: Number = Field(description="Of the peak; above 1 is anomalous.")
    p: Number = Field(description="Tail probability of the peak.")
    confidence: Number = Field(description="How much of the calibration is the entity's own, 0 to 1.")
    first_time: datetime = Field(description="Event time of the first anomalous slot.")
    last_time: datetime = Field(description="Event time of the last anomalous slot.")
    peak_time: datetime = Field(description="Event time of the strangest slot.")
    detected_at: datetime = Field(description="When it was found, by the clock.")
    model_version: str
    features: list[Share] = Field(description="The three with the greatest share.")
    explained: bool = Field(description="Whether the explanation is there.")
    explained_by: str | None = Field(description="How: shap-tree, shap-permutation, vote and others.")
    explained_by_event: dict[str, Any] | None = Field(description="The context event that explains it away.")
    sentence: str = Field(description="In words.")
    merged_into: str | None
    reason: str = Field(description="What happened to it last.")
    decision: Decision | None = Field(description="Null until somebody has looked at it.")


class Vote(Resource):
    """What one detector says."""

    p: Number = Field(description="Its own tail probability; null where it has no opinion.")
    voted: bool = Field(description="Whether that is beyond its own threshold.")


class QuotedLine(Resource):
    """A log line as it came, without secrets."""

    feature: str
    line: str


class ExplanationPart(Resource):
    """`base` + all `value`s + `residual` = `score`, of one slot and target."""

    target: str = Field(description="The fused `decision`, or the `forecast` of the strongest channel.")
    time: datetime
    feature: str
    value: Number
    share: Number
    base: Number
    score: Number
    residual: Number
    fidelity: Number
    explained_by: str


class AlertDetail(AlertSummary):
    """An alert with why."""

    partition: int
    ingested_at: datetime | None
    amended_at: datetime | None
    votes: dict[str, Vote]
    attribution: list[Share] = Field(description="The greatest share first.")
    explanations: list[ExplanationPart]
    lines: list[QuotedLine] = Field(description="Log lines that raised it.")
    said: dict[str, list[str]] = Field(description="By log feature, the masked texts behind it.")
    texts: dict[str, str] = Field(description="By log feature, the template it counts.")
    incident: "IncidentRef | None" = Field(description="That it belongs to, once triage has seen it.")


class Channel(Resource):
    """A feature around an alert, a value a slot; `lower` and `upper` are the bounds of what was expected."""

    feature: str
    observed: list[Number]
    lower: Number
    upper: Number


class AlertSeries(Resource):
    """The strongest channels in the window that was explained, its last slot being that of `end_time`."""

    alert: str
    step_seconds: float
    end_time: datetime
    channels: list[Channel]


class AlertPage(Resource):
    """Alerts, and where the list goes on."""

    items: list[AlertSummary]
    next_cursor: str | None


class Stream(Resource):
    """A stream that was run."""

    stream: str
    run: str
    step_seconds: float
    sessions_of: str | None = Field(description="The stream whose sessions these are.")
    model_version: str | None = Field(description="In force.")


class Partition(Resource):
    """How far a partition has come."""

    partition: int
    closed_until: datetime | None = Field(description="Event time up to which slots have closed.")
    saved_at: datetime
    owner: str | None
    counts: dict[str, int] = Field(description="Late records, duplicates, evictions, dead letters by reason.")


class StreamDetail(Stream):
    """A stream with its figures."""

    alerts: dict[str, int] = Field(description="By state.")
    unexplained: int = Field(description="Alerts that wait for their explanation.")
    partitions: list[Partition]


class Entity(Resource):
    """What is watched: a host, a pod, a device."""

    entity: str
    partition: int
    labels: dict[str, str]
    first_time: datetime
    last_time: datetime


class EntityPage(Resource):
    """Entities, and where the list goes on."""

    items: list[Entity]
    next_cursor: str | None


class ScoredSlot(Resource):
    """A slot whose score was above half of the threshold."""

    time: datetime
    score: Number
    p: Number
    votes: dict[str, Vote]
    model_version: str


class ScoredHour(Resource):
    """All slots of an hour."""

    hour: datetime
    maximum: Number
    mean: Number
    count: int


class EntityScores(Resource):
    """How strange an entity was, the newest first."""

    slots: list[ScoredSlot]
    hours: list[ScoredHour]


class Model(Resource):
    """A model version."""

    stream: str
    version: str
    state: ModelState
    created_at: datetime
    activated_at: datetime | None
    meta: dict[str, Any]


class Event(Resource):
    """Something that happened around a stream."""

    id: str
    kind: str
    start: datetime
    end: datetime | None
    entity: str | None = Field(description="A name or a pattern; null: every entity.")
    title: str
    source: str


class DeadLetter(Resource):
    """A record that could not be used."""

    topic: str
    partition: int
    position: int
    reason: str
    detail: str
    payload: str | None = Field(description="As text; bytes that are no UTF-8 as \\xNN.")
    saved_at: datetime


class DeadLetterPage(Resource):
    """Dead letters, and where the list goes on."""

    items: list[DeadLetter]
    next_cursor: str | None


class Bearer(Resource):
    """Who asks."""

    name: str
    role: Role
    expires_at: datetime | None


class IncidentRef(Resource):
    """An incident, briefly."""

    id: str
    number: int
    title: str


class IncidentSummary(Resource):
    """Alerts that belong together, as lists tell of them."""

    id: str = Field(description="A hash of its first alert's id.")
    number: int = Field(description="For people (INC-12), counted within the run.")
    run: str
    stream: str = Field(description="Of its first alert.")
    title: str = Field(description="In words.")
    state: IncidentState = Field(description="Open while any of its alerts is.")
    severity: Severity
    severity_score: Number = Field(description="How bad, as a number that orders.")
    score: Number = Field(description="The greatest of its alerts; above 1 is anomalous.")
    first_time: datetime
    last_time: datetime
    entity: str = Field(description="That moved first.")
    feature: str = Field(description="That moved first.")
    alerts: int = Field(description="Those that stand.")
    entities: int
    opened_at: datetime = Field(description="When its first alert was found, by the clock.")
    new_type: bool = Field(description="Whether it is the first of its type.")
    like: IncidentRef | None = Field(description="The first of its type, where that is another one.")
    likeness: Number = Field(description="How alike they are, up to 1.")
    merged_into: str | None = Field(description="The incident that its alerts went to.")


class Suspect(Resource):
    """A channel that may be the cause."""

    stream: str
    entity: str
    feature: str
    text: str = Field(description="Of a log feature, what its lines say.")
    direction: int = Field(description="1 up, -1 down, 0 unknown.")
    share: Number = Field(description="Of the incident's deviation, 0 to 1.")
    lag: Number = Field(description="Seconds behind the first channel that moved.")
    blame: Number = Field(description="By share and lag together; all add up to 1.")


class IncidentMoment(Resource):
    """Something that happened in an incident."""

    time: datetime
    what: Literal["moved", "opened", "ended"]
    alert: str
    entity: str
    feature: str | None = Field(description="Of a channel that moved.")
    direction: int | None


class IncidentDetail(IncidentSummary):
    """An incident with its alerts and what came first."""

    suspects: list[Suspect] = Field(description="The likeliest cause first.")
    timeline: list[IncidentMoment] = Field(description="In the order of event time.")
    members: list[AlertSummary] = Field(description="Its alerts that stand, at most 200, the first to begin first.")
    similar: list[IncidentRef] = Field(description="Others of its type, the newest first.")
    times_in_30_days: int = Field(description="Incidents of its type up to this one, itself included.")


class IncidentPage(Resource):
    """Incidents, and where the list goes on."""

    items: list[IncidentSummary]
    next_cursor: str | None
