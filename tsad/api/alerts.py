"""`/api/v1/alerts`: lists, one alert with why, its channels."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from msgspec.json import encode
from pydantic import AfterValidator, AwareDatetime

from storage.pages import DECIDED, AlertSort
from storage.read import AlertFilter
from storage.rulings import DecisionRow, Standing
from storage.types import LIVE, Alert, AlertState, Explanation, Severity
from tsad.api.cursors import Absent, Cursor, Limit, read, refused, written
from tsad.api.desk import AtDesk, Desk, Viewer
from tsad.api.problems import ProblemError, problem
from tsad.api.resources import (
    AlertDetail,
    AlertPage,
    AlertSeries,
    AlertSummary,
    ExplanationPart,
    IncidentRef,
)
from tsad.context import sentence_of
from tsad.rows import utc

router = APIRouter(prefix="/alerts", tags=["alerts"])
TOP = 3
TOLD = tuple(AlertSummary.model_fields)
PARTS = tuple(name for name in ExplanationPart.model_fields if name != "time")


def _in_utc(value: datetime) -> datetime:
    """In UTC; at the ends of the calendar as far as that goes."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return (datetime.min if value.year == 1 else datetime.max).replace(tzinfo=UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Name = Annotated[str | Absent, Query(max_length=1000)]
AlertId = Annotated[str, Path(pattern="^[0-9a-f]{6,32}$", description="The id, or its first 6 characters and more.")]
Run = Annotated[str, Query(max_length=200, description="`live`, or a backfill's id.")]


@router.get("", summary="List alerts", response_model=AlertPage)
def alerts(
    desk: AtDesk, _: Viewer, stream: Name = None, entity: Name = None,
    state: Annotated[list[AlertState] | Absent, Query(description="Any of these.")] = None,
    severity: Annotated[list[Severity] | Absent, Query(description="Any of these.")] = None,
    standing: Annotated[list[Standing] | Absent, Query(description="Any of these.")] = None,
    since: Annotated[Moment | Absent, Query(description="Alerts that lasted until then or longer.")] = None,
    until: Annotated[Moment | Absent, Query(description="Alerts that began before.")] = None,
    run: Run = LIVE, sort: Annotated[AlertSort, Query(description="Falling with a minus.")] = "-first_time",
    limit: Limit = 50, cursor: Cursor = None,
) -> Response:  # fmt: skip
    """Alerts that meet every condition given, by pages."""
    which = AlertFilter(
        run=run,
        stream=stream,
        entity=entity,
        states=state or (),
        severities=severity or (),
        since=since,
        until=until,
        limit=None,
    )
    try:
        page = desk.pages.alerts(which, sort, read(cursor, sort), limit, standing or ())
    except ValueError:
        raise refused() from None
    items = [summary_of(row) for row in page.rows]
    # as it is: rows of the database need no second look, which would cost as much as all else
    return Response(encode({"items": items, "next_cursor": written(sort, page.last)}), media_type="application/json")


@router.get("/{alert}", summary="One alert, with why")
def alert(desk: AtDesk, _: Viewer, alert: AlertId) -> AlertDetail:
    """Votes of the detectors, the explanation by feature, and the log lines behind it."""
    found, parts = desk.alert(alert)
    step = desk.stream(found.stream, found.run).step_ns
    decided = desk.answers.standings.rulings.decisions([found.id]).get(found.id)
    told = {name: getattr(found, name) for name in ("partition", "ingested_at", "amended_at", "votes")}
    evidence = {name: found.evidence.get(name, empty) for name, empty in (("lines", []), ("said", {}), ("texts", {}))}
    return AlertDetail.model_validate(told_of(found, decided) | told | evidence | {
        "attribution": _shares(found.attribution), "incident": _incident(desk, found.id),
        "explanations": [_part(part, step) for part in parts],
    })  # fmt: skip


@router.get("/{alert}/series", summary="An alert's channels", responses={"409": problem("Not yet.")})
def series(desk: AtDesk, _: Viewer, alert: AlertId) -> AlertSeries:
    """The strongest channels in the window that was explained, with the expected band. 409 before it is explained."""
    found = desk.only(alert)
    evidence, step = found.evidence, desk.stream(found.stream, found.run).step_ns
    if "observed" not in evidence:
        raise ProblemError(HTTPStatus.CONFLICT, "there are no curves: it waits to be explained, or is of a session")
    names = ("features", "observed", "lower", "upper")
    rows = zip(*(evidence[name] for name in names), strict=True)
    channels = [dict(zip(("feature", *names[1:]), row, strict=True)) for row in rows]
    told = {"alert": found.id, "step_seconds": step / 1e9, "end_time": utc(evidence["slot"] * step)}
    return AlertSeries.model_validate(told | {"channels": channels})


def _incident(desk: Desk, alert: str) -> IncidentRef | None:
    found = desk.incidents.of_alerts([alert]).get(alert)
    return None if found is None else IncidentRef(id=found[0], number=found[1], title=found[2])


def told_of(alert: Alert, decided: DecisionRow | None = None) -> dict[str, Any]:
    """What a list tells of an alert; `decided` of it."""
    told = summary_of({name: getattr(alert, name) for name in Alert.__slots__} | {"id": alert.id})
    return told | {"decision": decided}


def summary_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `storage.pages.LISTED` as a summary tells it."""
    event = row["explained_by_event"] or None
    return {name: row[name] for name in TOLD if name in row} | {
        "features": _shares(row["attribution"], TOP), "explained": row["explanation"] == "done",
        "decision": _decision(row), "explained_by_event": event, "sentence": sentence_of(row["sentence"], event or {}),
    }  # fmt: skip


def _decision(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row.get("decided_standing") is None:
        return None
    return {name: row[f"decided_{name}"] for name in DECIDED}


def _shares(attribution: Mapping[str, float], most: int | None = None) -> list[dict[str, Any]]:
    pairs = sorted(attribution.items(), key=lambda pair: (-(pair[1] or 0), pair[0]))[:most]
    return [{"feature": feature, "share": share} for feature, share in pairs]


def _part(part: Explanation, step: int) -> dict[str, Any]:
    return {name: getattr(part, name) for name in PARTS} | {"time": utc(part.slot * step)}
