"""What a dashboard draws of one entity: its curves from history, and what came near an alert."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query

from storage.files import folder_of
from storage.types import LIVE
from streaming.settings import SECOND
from tsad.api.alerts import Run
from tsad.api.chart_resources import Curve, EntityHistory, NearMiss
from tsad.api.charts import EPOCH, WEEK, Since, Until, stretch_of
from tsad.api.cursors import Absent
from tsad.api.desk import AtDesk, Desk, Viewer
from tsad.api.problems import ProblemError
from tsad.archive import Archive
from tsad.curves import Curves, curves
from tsad.rows import utc

router = APIRouter(tags=["charts"])
SHOWN, MOST_CHANNELS = 4, 12
"""Channels of a history unless told, and at most."""
TOLD = 10
"""Near misses that are told of, the strangest."""
OfStream = Annotated[str, Query(max_length=1000, description="The stream.")]
OfEntity = Annotated[str, Query(max_length=1000, description="The entity.")]


@router.get("/history", summary="An entity's channels over time")
def history(
    desk: AtDesk, _: Viewer, stream: OfStream, entity: OfEntity, since: Since = None, until: Until = None,
    run: Run = LIVE, feature: Annotated[list[str] | Absent, Query(description="Channels; four unless told.")] = None,
    points: Annotated[int, Query(ge=1, le=1000, description="At most.")] = 400,
) -> EntityHistory:  # fmt: skip
    """Its score and channels, whether or not anything was anomalous, as far back as history is kept."""
    step = desk.stream(stream, run).step_ns
    partitions = desk.overview.partitions_of([(stream, entity)], run).get((stream, entity))
    if partitions is None:
        raise ProblemError.of("query.entity", f"stream {stream!r} has none of that name", HTTPStatus.NOT_FOUND)
    archive = Archive(desk.history / folder_of(run) / folder_of(stream), step)
    first, last = _slots(archive, step, since, until)
    known = [] if first is None or last is None else archive.features(first, last)
    if first is None or last is None or not known:
        return EntityHistory(
            stream=stream, entity=entity, start=None, point_seconds=step / SECOND, score=[], channels=[], features=[],
            texts={},
        )  # fmt: skip
    names = feature or _telling(desk, stream, entity, (utc(first * step), utc((last + 1) * step)), run) + known
    wanted = [name for name in dict.fromkeys(names) if name in set(known)][: MOST_CHANNELS if feature else SHOWN]
    texts = {name: text for one in partitions for name, text in archive.texts(one).items()}
    drawn = curves(archive, partitions, entity, first, last, points, wanted)
    return EntityHistory(
        stream=stream, entity=entity, start=utc(drawn.first * step), point_seconds=drawn.width * step / SECOND,
        score=drawn.score.tolist(), channels=_channels(drawn), features=known, texts=texts,
    )  # fmt: skip


@router.get("/near-misses", summary="Slots of an entity that came near an alert")
def near_misses(
    desk: AtDesk, _: Viewer, stream: OfStream, entity: OfEntity, since: Since = None, until: Until = None,
    run: Run = LIVE,
) -> list[NearMiss]:  # fmt: skip
    """The strangest slots that no alert holds, or only one that was taken back, and why there is none."""
    desk.stream(stream, run)
    first, last = stretch_of(desk, stream, run, since, until)
    alerts = desk.overview.touching(stream, entity, first, last, run)
    standing = [(one["first_time"], one["last_time"]) for one in alerts if one["state"] != "retracted"]
    rows = desk.overview.strangest(stream, entity, (first, last), standing, TOLD, run)
    return [_near_miss(row, alerts) for row in rows]


def _telling(desk: Desk, stream: str, entity: str, time: tuple[datetime, datetime], run: str) -> list[str]:
    """The features that its alerts of that time were about, the most telling first."""
    shares: dict[str, float] = defaultdict(float)
    for row in desk.overview.touching(stream, entity, *time, run):
        for name, share in row["attribution"].items():
            shares[name] += share or 0
    return sorted(shares, key=lambda name: (-shares[name], name))


def _near_miss(row: Mapping[str, Any], alerts: Sequence[Mapping[str, Any]]) -> NearMiss:
    over = [one for one in alerts if one["first_time"] <= row["time"] <= one["last_time"]]
    taken = over[0] if over else None
    told = {name: row[name] for name in ("time", "score", "p")}
    return NearMiss(**told, why=_why(row, taken), alert=None if taken is None else taken["id"])


def _why(row: Mapping[str, Any], taken: Mapping[str, Any] | None) -> str:
    """Why a slot raised no alert that stands."""
    voted = sorted(name for name, vote in row["votes"].items() if vote["voted"])
    said = f"{len(voted)} of {len(row['votes'])} detectors voted" + (f": {', '.join(voted)}" if voted else "")
    if taken is not None:
        return f"an alert was opened and taken back, since it did not last; {said}"
    if row["score"] is None or row["score"] <= 1:
        return f"together they stayed below the threshold, 1; {said}"
    return f"above the threshold, but outside of an alert; {said}"


def _slots(
    archive: Archive, step: int, since: datetime | None, until: datetime | None
) -> tuple[int | None, int | None]:  # fmt: skip
    """The first and last slot of a stretch of history; None where there is no end to count from."""
    newest = archive.newest()
    if newest is None:
        return None, None
    last = newest if until is None else min(newest, int((until - EPOCH).total_seconds() * SECOND) // step)
    week = int(WEEK.total_seconds()) * SECOND // step
    first = last - week if since is None else int((since - EPOCH).total_seconds() * SECOND) // step
    return (first, last) if first <= last else (None, None)


def _channels(drawn: Curves) -> list[Curve]:
    return [
        Curve(
            feature=name, mean=drawn.mean[:, place].tolist(), least=drawn.least[:, place].tolist(),
            most=drawn.most[:, place].tolist(), lower=drawn.lower[place], upper=drawn.upper[place],
        )
        for place, name in enumerate(drawn.features)
    ]  # fmt: skip
