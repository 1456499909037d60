"""What the dashboard's charts are drawn from, as the specification describes it."""

from datetime import datetime

from pydantic import Field

from tsad.api.resources import AlertSummary, Number, Resource


class StreamHealth(Resource):
    """How a stream fares: all its partitions together."""

    stream: str
    partitions: int
    closed_until: datetime | None = Field(description="Event time up to which every partition has closed its slots.")
    saved_at: datetime | None = Field(description="When the partition last saved that has been silent longest.")
    lag_seconds: Number = Field(description="Of that partition which was furthest behind when it saved: by how much.")
    owned: int = Field(description="Partitions that a worker holds.")
    late: int = Field(description="Records that came late, but in time to count.")
    duplicates: int
    dead_letters: int = Field(description="Records that could not be used.")
    open: int = Field(description="Alerts that go on; 10001: more than 10000.")


class Overview(Resource):
    """How everything stands."""

    now: datetime = Field(description="The server's clock.")
    until: datetime = Field(description="Event time up to which there is something to see.")
    open: dict[str, int] = Field(description="Alerts that go on, by severity; 10001 in all: more than 10000.")
    streams: list[StreamHealth]


class AlertBucket(Resource):
    """Alerts that began in a stretch of time."""

    start: datetime
    counts: dict[str, int] = Field(description="By severity.")


class AlertCounts(Resource):
    """Alerts over time, those retracted left out."""

    since: datetime
    until: datetime
    bucket_seconds: int
    buckets: list[AlertBucket] = Field(description="Those with alerts; of more than 100000 alerts, the newest.")


class HeatRow(Resource):
    """An entity's scores by stretches of time."""

    stream: str
    entity: str
    alerts: int = Field(description="That began meanwhile.")
    rate: Number = Field(description="Share of its hours with a score above 1.")
    maxima: list[Number] = Field(description="The greatest score of each stretch; null: none.")


class HeatMap(Resource):
    """Entities with most alerts, then those with the greatest anomaly rate."""

    since: datetime
    until: datetime
    bucket_seconds: int
    rows: list[HeatRow]


class SimilarAlert(AlertSummary):
    """An earlier alert of the same stream, and how much its attribution is like."""

    similarity: float = Field(ge=0, le=1, description="Cosine of the shares by feature.")


class NearMiss(Resource):
    """A slot that came near an alert, or into one that was taken back."""

    time: datetime
    score: Number
    p: Number
    why: str = Field(description="Why it raised none.")
    alert: str | None = Field(description="The alert that was taken back.")


class Curve(Resource):
    """A channel, a value a point; `lower` and `upper` bound 98% of the values where nothing was anomalous."""

    feature: str
    mean: list[Number]
    least: list[Number]
    most: list[Number]
    lower: Number
    upper: Number


class EntityHistory(Resource):
    """An entity's score and channels from the history, thinned."""

    stream: str
    entity: str
    start: datetime | None = Field(description="Of the first point; null where nothing is kept.")
    point_seconds: float
    score: list[Number] = Field(description="The greatest of each point; null: none.")
    channels: list[Curve]
    features: list[str] = Field(description="All channels of that time.")
    texts: dict[str, str] = Field(description="By log feature, the template it counts.")
