"""What a dashboard draws: how everything stands, alerts over time, entities by their scores, curves from history."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Annotated, Any

from fastapi import APIRouter, Query

from storage.overview import Place
from storage.types import LIVE
from tsad.api.alerts import AlertId, Moment, Name, Run, summary_of
from tsad.api.chart_resources import (
    AlertBucket,
    AlertCounts,
    HeatMap,
    HeatRow,
    Overview,
    SimilarAlert,
    StreamHealth,
)
from tsad.api.cursors import Absent
from tsad.api.desk import AtDesk, Desk, Viewer
from tsad.rows import utc
from tsad.triage.likeness import cosine

router = APIRouter(tags=["charts"])
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WIDTHS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400)
"""Seconds of a stretch of time that a chart counts by."""
COLUMNS = 120
"""Stretches of a chart at most."""
HOUR = 3600
DEAD = "dead:"
"""What precedes a reason where a partition counts its dead letters."""
WEEK = timedelta(days=7)
SIMILAR, ALIKE_FROM = 5, 0.5
"""Similar alerts that are told of, and how similar they are at least."""

Since = Annotated[
    Moment | Absent,
    Query(description="Event time; unless told, a week, or all there is."),
]
Until = Annotated[Moment | Absent, Query(description="Event time; the newest there is unless told.")]


@router.get("/overview", summary="How everything stands")
def overview(desk: AtDesk, _: Viewer, stream: Name = None, run: Run = LIVE) -> Overview:
    """Open alerts, and how far each stream has come."""
    now = desk.clock()
    rows: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in desk.overview.progress(run):
        if stream in (None, row["stream"]):
            rows[row["stream"]].append(row)
    healths = [_health(name, parts, sum(desk.overview.going_on(name, run).values())) for name, parts in rows.items()]
    return Overview(now=now, until=_until(desk, stream, run), open=desk.overview.going_on(stream, run), streams=healths)


@router.get("/alert-counts", summary="Alerts over time")
def alert_counts(
    desk: AtDesk, _: Viewer, stream: Name = None, entity: Name = None, since: Since = None, until: Until = None,
    run: Run = LIVE,
) -> AlertCounts:  # fmt: skip
    """How many alerts began in each stretch of time, by severity."""
    first, last = stretch_of(desk, stream, run, since, until)
    width = _width(first, last)
    by_bucket: dict[int, dict[str, int]] = defaultdict(dict)
    for row in desk.overview.over_time(first, last, width, stream, entity, run):
        by_bucket[row["bucket"]][row["severity"]] = row["count"]
    buckets = [AlertBucket(start=_moment(number * width), counts=counts) for number, counts in by_bucket.items()]
    return AlertCounts(since=first, until=last, bucket_seconds=width, buckets=buckets)


@router.get("/heat-map", summary="Entities by their scores over time")
def heat_map(
    desk: AtDesk, _: Viewer, stream: Name = None, since: Since = None, until: Until = None, run: Run = LIVE,
    limit: Annotated[int, Query(ge=1, le=50, description="Entities at most.")] = 20,
) -> HeatMap:  # fmt: skip
    """The entities with most alerts; where there are fewer than `limit`, some others. From the hours of `/scores`."""
    first, last = stretch_of(desk, stream, run, since, until)
    width = max(_width(first, last, COLUMNS // 2), HOUR)
    alerts: dict[Place, int] = dict(desk.overview.busiest(first, last, stream, limit, run))
    for place in desk.overview.some(stream, limit, run) if len(alerts) < limit else ():
        alerts.setdefault(place, 0)
    places = list(alerts)[:limit]
    hours: dict[Place, list[Mapping[str, Any]]] = {place: [] for place in places}
    for row in desk.overview.hours(places, first - timedelta(seconds=HOUR), last, run):
        hours[row["stream"], row["entity"]].append(row)
    start = (first - EPOCH) // timedelta(seconds=width)  # exact: the last moment of the calendar would be rounded up
    count = ceil((last - EPOCH).total_seconds() / width) - start
    rows = [_heat_row(place, alerts[place], hours[place], (start, count, width)) for place in places]
    rows.sort(key=lambda row: (-row.alerts, -(row.rate or 0), row.stream, row.entity))
    return HeatMap(since=_moment(start * width), until=last, bucket_seconds=width, rows=rows)


@router.get("/alerts/{alert}/similar", summary="Earlier alerts like one")
def similar(desk: AtDesk, _: Viewer, alert: AlertId) -> list[SimilarAlert]:
    """Of the newest 400 before it in its stream, the five whose shares by feature are most like its own."""
    found, _parts = desk.alert(alert)
    scored = [(max(cosine(found.attribution, row["attribution"]), 0.0), row) for row in desk.overview.past(found)]
    best = sorted((one for one in scored if one[0] >= ALIKE_FROM), key=lambda one: -one[0])[:SIMILAR]
    return [SimilarAlert(**summary_of(row), similarity=min(likeness, 1.0)) for likeness, row in best]


def _health(stream: str, rows: Sequence[Mapping[str, Any]], going_on: int) -> StreamHealth:
    """Of the partitions of one stream; of one that never saved, `rows` is a row without a partition."""
    parts = [row for row in rows if row["partition"] is not None]
    closed = {row["partition"]: utc(row["next_slot"] * row["step_ns"]) for row in parts if row["next_slot"] is not None}
    lags = [(row["saved_at"] - closed[row["partition"]]).total_seconds() for row in parts if row["partition"] in closed]
    counts: dict[str, int] = defaultdict(int)
    for row in parts:
        for name, count in row["counts"].items():
            counts["dead_letters" if name.startswith(DEAD) else name] += count
    return StreamHealth(
        stream=stream, partitions=len(parts), closed_until=min(closed.values(), default=None),
        saved_at=min((row["saved_at"] for row in parts), default=None), lag_seconds=max(lags, default=None),
        owned=sum(row["owner"] is not None for row in parts), late=counts["late"], duplicates=counts["duplicates"],
        dead_letters=counts["dead_letters"], open=going_on,
    )  # fmt: skip


def _until(desk: Desk, stream: str | None, run: str) -> datetime:
    """The end of what there is to see, by event time: live it is about now, of a replay it is its end."""
    rows = [row for row in desk.overview.progress(run) if stream in (None, row["stream"])]
    ends = [utc(row["next_slot"] * row["step_ns"]) for row in rows if row["next_slot"] is not None]
    newest = desk.overview.newest(stream, run)
    ends += [newest + timedelta(seconds=1)] if newest is not None else []
    return max(ends, default=desk.clock())


def _beginning(desk: Desk, stream: str | None, run: str) -> datetime | None:
    """Of what there is to see, by event time."""
    begun = [at for name, at in desk.overview.beginnings(run).items() if stream in (None, name)]
    return utc(min(begun)) if begun else None


def stretch_of(
    desk: Desk, stream: str | None, run: str, since: datetime | None, until: datetime | None
) -> tuple[datetime, datetime]:
    """From when until when a chart goes: a week, or all there is, unless told."""
    last = until or _until(desk, stream, run)
    try:
        first = since or last - WEEK
    except OverflowError:
        first = datetime.min.replace(tzinfo=UTC)
    begun = None if since else _beginning(desk, stream, run)
    first = max(first, begun) if begun is not None and begun < last else first
    first = max(first, EPOCH)
    return first, max(last, first)


def _width(first: datetime, last: datetime, columns: int = COLUMNS) -> int:
    """The least width that makes at most so many stretches, in seconds; of long times a multiple of the greatest."""
    seconds = (last - first).total_seconds()
    greatest = WIDTHS[-1]
    return next(
        (width for width in WIDTHS if seconds <= width * columns), greatest * ceil(seconds / columns / greatest)
    )


def _moment(seconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def _heat_row(
    place: Place, alerts: int, hours: Sequence[Mapping[str, Any]], grid: tuple[int, int, int]
) -> HeatRow:  # fmt: skip
    """`grid`: the first stretch, how many, and their width."""
    start, count, width = grid
    maxima: list[float | None] = [None] * count
    for row in hours:
        column = int((row["hour"] - EPOCH).total_seconds()) // width - start
        if 0 <= column < count:
            maxima[column] = max(maxima[column] or 0.0, row["maximum"] or 0.0)
    rate = sum((row["maximum"] or 0) > 1 for row in hours) / len(hours) if hours else None
    return HeatRow(stream=place[0], entity=place[1], alerts=alerts, rate=rate, maxima=maxima)
