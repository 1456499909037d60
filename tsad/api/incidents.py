"""`/api/v1/incidents`: alerts that belong together."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from storage.incidents import IncidentFilter, IncidentRow, IncidentState, TypeRow
from storage.pages import IncidentSort
from storage.store import record_of
from storage.types import LIVE, NotThereError, Severity
from tsad.api.alerts import Moment, Name, Run, told_of
from tsad.api.cursors import Absent, Cursor, Limit, read, refused, written
from tsad.api.desk import AtDesk, Desk, Viewer
from tsad.api.problems import ProblemError
from tsad.api.resources import (
    AlertSummary,
    IncidentDetail,
    IncidentMoment,
    IncidentPage,
    IncidentRef,
    IncidentSummary,
    Suspect,
)
from tsad.triage.passes import member_in
from tsad.triage.telling import MONTH, timeline

router = APIRouter(prefix="/incidents", tags=["incidents"])
SHOWN = 200
"""Alerts of an incident that are told at most."""
IncidentId = Annotated[
    str,
    Path(
        pattern="^([0-9a-f]{6,32}|INC-[0-9]{1,18})$",
        description="The id, its first 6 characters and more, or the number: INC-12.",
    ),
]


@router.get("", summary="List incidents")
def incidents(
    desk: AtDesk, _: Viewer, stream: Name = None, entity: Name = None,
    type: Annotated[str | Absent, Query(max_length=100, description="By the id of the first of its type.")] = None,
    state: Annotated[list[IncidentState] | Absent, Query(description="Any of these.")] = None,
    severity: Annotated[list[Severity] | Absent, Query(description="Any of these.")] = None,
    since: Annotated[Moment | Absent, Query(description="Those that lasted until then or longer.")] = None,
    until: Annotated[Moment | Absent, Query(description="Those that began before.")] = None,
    run: Run = LIVE, sort: Annotated[IncidentSort, Query(description="Falling with a minus.")] = "-first_time",
    limit: Limit = 50, cursor: Cursor = None,
) -> IncidentPage:  # fmt: skip
    """Incidents that meet every condition given, by pages."""
    which = IncidentFilter(
        run=run, stream=stream, entity=entity, type=type, states=state or (), severities=severity or (), since=since,
        until=until,
    )  # fmt: skip
    try:
        page = desk.pages.incidents(which, sort, read(cursor, sort), limit)
    except ValueError:
        raise refused() from None
    rows = [record_of(IncidentRow, row) for row in page.rows]  # type: ignore[arg-type]
    kinds = desk.incidents.named(row.type for row in rows if row.type is not None)
    return IncidentPage(
        items=[IncidentSummary(**_summary(row, kinds)) for row in rows], next_cursor=written(sort, page.last)
    )


@router.get("/{incident}", summary="One incident, with its alerts")
def incident(desk: AtDesk, _: Viewer, incident: IncidentId, run: Run = LIVE) -> IncidentDetail:
    """Its suspects, what happened in which order, its alerts, and others of its type."""
    row = found_incident(desk, incident, run)
    kinds = desk.incidents.named([row.type] if row.type is not None else [])
    times = desk.incidents.times(row.type, row.first_time - MONTH, row.first_time) if row.type is not None else 0
    members = desk.incidents.alerts(row.id, SHOWN)
    decided = desk.answers.standings.rulings.decisions([one.id for one in members])
    moments = timeline([member_in(one) for one in desk.incidents.members([row.id])])
    return IncidentDetail(
        **_summary(row, kinds), suspects=[Suspect.model_validate(one) for one in row.suspects],
        timeline=[IncidentMoment.model_validate(moment) for moment in moments],
        members=[AlertSummary.model_validate(told_of(one, decided.get(one.id))) for one in members],
        similar=[IncidentRef.model_validate(one) for one in desk.incidents.alike(row)], times_in_30_days=times,
    )  # fmt: skip


def found_incident(desk: Desk, said: str, run: str) -> IncidentRow:
    """The incident of a run by its number, id or the first characters of that; else ProblemError."""
    try:
        return desk.incidents.find(said, run)
    except NotThereError:
        raise ProblemError(
            HTTPStatus.NOT_FOUND, f"run {run!r} has no incident {said!r}, or more than one begins so"
        ) from None


def _summary(row: IncidentRow, kinds: Mapping[str, TypeRow]) -> dict[str, Any]:
    told = {name: getattr(row, name) for name in IncidentSummary.model_fields if name in IncidentRow.__slots__}
    kind = kinds.get(row.type or "")
    like = None if kind is None or kind.id == row.id else IncidentRef.model_validate(kind)
    return told | {"new_type": row.type == row.id, "like": like}
