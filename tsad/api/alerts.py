"""`/api/v1/alerts`: lists, one alert with why, its channels."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from operator import itemgetter
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, AwareDatetime

from storage.details import REFERENCE
from storage.pages import DECIDED, AlertSort
from storage.read import AlertFilter
from storage.rulings import DecisionRow, Standing
from storage.types import LIVE, Alert, AlertState, Severity
from tsad.api.cursors import Absent, Cursor, Limit, read, refused, written
from tsad.api.desk import AtDesk, Viewer, found_only
from tsad.api.problems import ProblemError, problem
from tsad.api.resources import (
    AlertDetail,
    AlertPage,
    AlertSeries,
    AlertSummary,
    ExplanationPart,
    QuotedLine,
    direct,
)
from tsad.context import sentence_of
from tsad.rows import utc

router = APIRouter(prefix="/alerts", tags=["alerts"])
TOP = 3
MADE = {"features", "explained", "decision", "explained_by_event", "sentence"}
AS_THEY_ARE = tuple(name for name in AlertSummary.model_fields if name not in MADE)
"""What a summary tells as its row has it; all else is made of that."""
_AS_THEY_ARE, _DECIDED = itemgetter(*AS_THEY_ARE), itemgetter(*(f"decided_{one}" for one in DECIDED))
_VALUE = itemgetter(1)
QUOTED = tuple(QuotedLine.model_fields)
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
    return direct({"items": [summary_of(row) for row in page.rows], "next_cursor": written(sort, page.last)})


@router.get("/{alert}", summary="One alert, with why", response_model=AlertDetail)
def alert(desk: AtDesk, _: Viewer, alert: AlertId) -> Response:
    """Votes of the detectors, the explanation by feature, and the log lines behind it."""
    with found_only(alert):
        row, parts = desk.details.alert(alert)
    step, evidence = desk.stream(row["stream"], row["run"]).step_ns, row["evidence"]
    reference = {name: row[f"incident_{name}"] for name in REFERENCE}
    return direct(summary_of(row) | {
        "partition": row["partition"], "ingested_at": row["ingested_at"], "amended_at": row["amended_at"],
        "votes": row["votes"],
        "attribution": _shares(row["attribution"]), "explanations": [_part(part, step) for part in parts],
        "lines": [{name: one[name] for name in QUOTED} for one in evidence.get("lines", ())],
        "said": evidence.get("said", {}), "texts": evidence.get("texts", {}),
        "incident": reference if reference["id"] is not None else None,
    })  # fmt: skip


@router.get(
    "/{alert}/series", summary="An alert's channels", response_model=AlertSeries, responses={"409": problem("Not yet.")}
)
def series(desk: AtDesk, _: Viewer, alert: AlertId) -> Response:
    """The strongest channels in the window that was explained, with the expected band. 409 before it is explained."""
    with found_only(alert):
        found = desk.details.curves(alert)
    evidence, step = found["evidence"], desk.stream(found["stream"], found["run"]).step_ns
    if "observed" not in evidence:
        raise ProblemError(HTTPStatus.CONFLICT, "there are no curves: it waits to be explained, or is of a session")
    names = ("features", "observed", "lower", "upper")
    rows = zip(*(evidence[name] for name in names), strict=True)
    channels = [dict(zip(("feature", *names[1:]), row, strict=True)) for row in rows]
    told = {"alert": found["id"], "step_seconds": step / 1e9, "end_time": utc(evidence["slot"] * step)}
    return direct(told | {"channels": channels})


def told_of(alert: Alert, decided: DecisionRow | None = None) -> dict[str, Any]:
    """What a list tells of an alert; `decided` of it."""
    told = summary_of({name: getattr(alert, name) for name in Alert.__slots__} | {"id": alert.id})
    return told | {"decision": decided}


def summary_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `storage.pages.LISTED` as a summary tells it."""
    event = row["explained_by_event"] or None
    told = dict(zip(AS_THEY_ARE, _AS_THEY_ARE(row), strict=True))
    told["features"] = _shares(row["attribution"], TOP)
    told["explained"] = row["explanation"] == "done"
    told["decision"] = _decision(row)
    told["explained_by_event"] = event
    told["sentence"] = sentence_of(row["sentence"], event) if event else row["sentence"]
    return told


def _decision(row: Mapping[str, Any]) -> dict[str, Any] | None:
    if row.get("decided_standing") is None:
        return None
    return dict(zip(DECIDED, _DECIDED(row), strict=True))


def _shares(attribution: Mapping[str, float], most: int | None = None) -> list[dict[str, Any]]:
    try:  # rows hold them in the order of their names, in which equal ones stay
        pairs = sorted(attribution.items(), key=_VALUE, reverse=True)[:most]
    except TypeError:  # one is not known
        pairs = sorted(attribution.items(), key=_share, reverse=True)[:most]
    return [{"feature": feature, "share": share} for feature, share in pairs]


def _share(pair: tuple[str, float | None]) -> float:
    return pair[1] or 0


def _part(part: Mapping[str, Any], step: int) -> dict[str, Any]:
    return {name: part[name] for name in PARTS} | {"time": utc(part["slot"] * step)}
