"""`/api/v1/incidents`: alerts that belong together."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from msgspec.json import encode

from storage.incidents import IncidentFilter, IncidentRow, IncidentState
from storage.pages import INCIDENTS_LISTED, IncidentSort
from storage.types import LIVE, NotThereError, Severity
from tsad.api.alerts import Moment, Name, Run, summary_of
from tsad.api.cursors import Absent, Cursor, Limit, read, refused, written
from tsad.api.desk import AtDesk, Desk, Viewer
from tsad.api.problems import ProblemError
from tsad.api.resources import IncidentDetail, IncidentPage, IncidentSummary
from tsad.triage.passes import member_in
from tsad.triage.telling import MONTH, timeline

router = APIRouter(prefix="/incidents", tags=["incidents"])
TOLD = tuple(name for name in IncidentSummary.model_fields if name in INCIDENTS_LISTED)
SHOWN = 200
"""Alerts of an incident that are told at most."""
IncidentId = Annotated[
    str,
    Path(
        pattern="^([0-9a-f]{6,32}|INC-[0-9]{1,18})$",
        description="The id, its first 6 characters and more, or the number: INC-12.",
    ),
]


@router.get("", summary="List incidents", response_model=IncidentPage)
def incidents(
    desk: AtDesk, _: Viewer, stream: Name = None, entity: Name = None,
    type: Annotated[str | Absent, Query(max_length=100, description="By the id of the first of its type.")] = None,
    state: Annotated[list[IncidentState] | Absent, Query(description="Any of these.")] = None,
    severity: Annotated[list[Severity] | Absent, Query(description="Any of these.")] = None,
    since: Annotated[Moment | Absent, Query(description="Those that lasted until then or longer.")] = None,
    until: Annotated[Moment | Absent, Query(description="Those that began before.")] = None,
    run: Run = LIVE, sort: Annotated[IncidentSort, Query(description="Falling with a minus.")] = "-first_time",
    limit: Limit = 50, cursor: Cursor = None,
) -> Response:  # fmt: skip
    """Incidents that meet every condition given, by pages."""
    which = IncidentFilter(
        run=run, stream=stream, entity=entity, type=type, states=state or (), severities=severity or (), since=since,
        until=until,
    )  # fmt: skip
    try:
        page = desk.pages.incidents(which, sort, read(cursor, sort), limit)
    except ValueError:
        raise refused() from None
    items = [_summary(row, row["like_number"], row["like_title"]) for row in page.rows]
    return Response(encode({"items": items, "next_cursor": written(sort, page.last)}), media_type="application/json")


@router.get("/{incident}", summary="One incident, with its alerts")
def incident(desk: AtDesk, _: Viewer, incident: IncidentId, run: Run = LIVE) -> IncidentDetail:
    """Its suspects, what happened in which order, its alerts, and others of its type."""
    row = found_incident(desk, incident, run)
    kind = desk.incidents.named([row.type] if row.type is not None else []).get(row.type or "")
    times = desk.incidents.times(row.type, row.first_time - MONTH, row.first_time) if row.type is not None else 0
    moments = timeline([member_in(one) for one in desk.incidents.members([row.id])])
    first = (kind.number, kind.title) if kind is not None else (None, None)
    told = _summary({name: getattr(row, name) for name in INCIDENTS_LISTED}, *first)
    return IncidentDetail.model_validate(told | {
        "suspects": row.suspects, "timeline": moments, "similar": desk.pages.alike(row.id, row.type),
        "times_in_30_days": times, "members": [summary_of(one) for one in desk.pages.members(row.id, SHOWN)],
    })  # fmt: skip


def found_incident(desk: Desk, said: str, run: str) -> IncidentRow:
    """The incident of a run by its number, id or the first characters of that; else ProblemError."""
    try:
        return desk.incidents.find(said, run)
    except NotThereError:
        raise ProblemError(
            HTTPStatus.NOT_FOUND, f"run {run!r} has no incident {said!r}, or more than one begins so"
        ) from None


def _summary(row: Mapping[str, Any], like_number: int | None, like_title: str | None) -> dict[str, Any]:
    """A row with `INCIDENTS_LISTED` as a summary tells it; number and title of the first of its type, where known."""
    told, kind = {name: row[name] for name in TOLD}, row["type"]
    another = kind not in (None, row["id"]) and like_number is not None
    like = {"id": kind, "number": like_number, "title": like_title} if another else None
    return told | {"new_type": kind == row["id"], "like": like}
