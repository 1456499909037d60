"""`/api/v1/incidents`: alerts that belong together."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Response

from storage.details import REFERENCE
from storage.incidents import IncidentFilter, IncidentRow, IncidentState
from storage.pages import INCIDENTS_LISTED, IncidentSort
from storage.types import LIVE, NotThereError, Severity
from tsad.api.alerts import Moment, Name, Run, summary_of
from tsad.api.cursors import Absent, Cursor, Limit, read, refused, written
from tsad.api.desk import AtDesk, Desk, Viewer
from tsad.api.problems import ProblemError
from tsad.api.resources import IncidentDetail, IncidentPage, IncidentSummary, direct
from tsad.triage.digests import Digest, Member
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
    return direct({"items": [_summary(row) for row in page.rows], "next_cursor": written(sort, page.last)})


@router.get("/{incident}", summary="One incident, with its alerts", response_model=IncidentDetail)
def incident(desk: AtDesk, _: Viewer, incident: IncidentId, run: Run = LIVE) -> Response:
    """Its suspects, what happened in which order, its alerts, and others of its type."""
    with _found(incident, run):
        told = desk.details.incident(incident, run, MONTH, SHOWN)
    if len(told.members) < SHOWN:
        placed = [_placed(row) for row in told.members]
    else:
        placed = [member_in(row) for row in desk.incidents.members([told.row["id"]])]
    return direct(_summary(told.row) | {
        "suspects": told.row["suspects"], "timeline": [moment._asdict() for moment in timeline(placed)],
        "similar": [{name: row[name] for name in REFERENCE} for row in told.similar],
        "times_in_30_days": told.times, "members": [summary_of(row) for row in told.members],
    })  # fmt: skip


def found_incident(desk: Desk, said: str, run: str) -> IncidentRow:
    """The incident of a run by its number, id or the first characters of that; else ProblemError."""
    with _found(said, run):
        return desk.incidents.find(said, run)


@contextmanager
def _found(said: str, run: str) -> Iterator[None]:
    try:
        yield
    except NotThereError:
        raise ProblemError(
            HTTPStatus.NOT_FOUND, f"run {run!r} has no incident {said!r}, or more than one begins so"
        ) from None


def _placed(row: Mapping[str, Any]) -> Member:
    digest = msgspec.convert(row["placed_digest"], Digest)
    return Member(row["id"], row["placed_first_time"], row["placed_end_time"], digest)


def _summary(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `storage.pages.INCIDENTS_LISTED` as a summary tells it."""
    told, kind = {name: row[name] for name in TOLD}, row["type"]
    another = kind not in (None, row["id"]) and row["like_number"] is not None
    like = {"id": kind, "number": row["like_number"], "title": row["like_title"]} if another else None
    return told | {"new_type": kind == row["id"], "like": like}
