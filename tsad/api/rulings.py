"""Rules and calendars over the API, and the chain of who changed what."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from storage.events import ContextEvent
from storage.rulings import CalendarRow, RulebookRow, StaleError
from storage.types import StoreError
from tsad.api.alerts import Moment
from tsad.api.cursors import Absent, Limit
from tsad.api.desk import Admin, AtDesk, Responder, Viewer
from tsad.api.problems import NO_JSON, ProblemError, problem
from tsad.api.resources import Event, Resource
from tsad.api.streams import OfStream
from tsad.triage.calendars import Calendar
from tsad.triage.rules import Rulebook
from tsad.triage.standing import calendar_of

router = APIRouter(tags=["rules"])
COMING = 3
"""Stretches of a calendar that are told."""
NOT_THE_NEWEST: dict[int | str, dict[str, Any]] = {"409": problem("It is not the newest version.")}
Sequence = Annotated[int, Field(ge=1, lt=1 << 63)]
CalendarName = Annotated[str, Path(min_length=1, max_length=200, description="Its name.")]


class RulesVersion(Resource):
    """A version of the rules."""

    version: int = Field(description="0 before there was any.")
    at: datetime | None
    since: datetime | None = Field(description="In force for alerts that last until then or longer (event time).")
    by: str
    cause: str
    rulebook: Rulebook
    undoes: int | None = Field(description="The version that it takes back.")


class NewRules(BaseModel):
    """Rules to put in force."""

    model_config = ConfigDict(extra="forbid")

    rulebook: Rulebook
    cause: str = Field(default="", max_length=2000, description="Why.")
    since: Moment | None = Field(
        default=None, description="From that event time on; else for all that is not over and all that comes."
    )
    after: int | None = Field(
        default=None, ge=0, lt=1 << 31, description="The version that these were made of; it must be the newest."
    )


class Undo(BaseModel):
    """The version to take back."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, description="It must be the newest.")


class Stretch(Resource):
    """From when until when, on the clock of a calendar's zone."""

    start: datetime
    end: datetime


class CalendarEntry(Resource):
    """A calendar, and who put it in."""

    calendar: Calendar
    by: str
    saved_at: datetime
    next: list[Stretch] = Field(description="That of now and the next ones, three at most; none where it is over.")


class NewEvent(BaseModel):
    """Something that happened around a stream."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(min_length=1, max_length=200, description="deploy, batch, backup, ...")
    start: Moment
    end: Moment | None = None
    entity: str | None = Field(default=None, max_length=1000, description="Name or glob; else every entity.")
    title: str = Field(default="", max_length=2000)


class Act(Resource):
    """Somebody changed something."""

    sequence: int
    at: datetime
    by: str
    action: str
    target: str
    detail: dict[str, Any]
    hash: str = Field(description="Of this row, and with it of all before.")


class Chain(Resource):
    """Whether the chain of acts is whole."""

    rows: int = Field(description="Rows that fit, from the first on.")
    head: str = Field(description="The hash of the last one. Note it elsewhere.")
    fault: str | None = Field(description="What does not fit; null where all does.")


@router.get("/rules", summary="The rules in force")
def rules(desk: AtDesk, _: Viewer) -> RulesVersion:
    """Their newest version."""
    rows = desk.answers.standings.rulings.rulebooks()
    return _version(rows[-1]) if rows else RulesVersion(
        version=0, at=None, since=None, by="", cause="", rulebook=Rulebook(), undoes=None
    )  # fmt: skip


@router.get("/rules/versions", summary="Every version of the rules")
def versions(desk: AtDesk, _: Viewer) -> list[RulesVersion]:
    """The newest first."""
    return [_version(row) for row in reversed(desk.answers.standings.rulings.rulebooks())]


@router.put("/rules", summary="Put rules in force", responses=NO_JSON | NOT_THE_NEWEST)
def apply(desk: AtDesk, token: Admin, new: NewRules) -> RulesVersion:
    """All of them: what is not said is gone. A new version, which can be taken back."""
    try:
        return _version(desk.answers.rule(new.rulebook, token.name, new.cause, new.since, new.after))
    except StaleError as error:
        raise ProblemError(HTTPStatus.CONFLICT, str(error)) from None


@router.post("/rules/undo", summary="Take rules back", responses=NO_JSON | NOT_THE_NEWEST)
def undo(desk: AtDesk, token: Admin, undo: Undo) -> RulesVersion:
    """The version before becomes the next one."""
    try:
        return _version(desk.answers.take_back(undo.version, token.name))
    except StoreError as error:
        raise ProblemError(HTTPStatus.CONFLICT, str(error)) from None


@router.get("/calendars", summary="List calendars")
def calendars(desk: AtDesk, _: Viewer) -> list[CalendarEntry]:
    """Maintenance windows and holidays, by name."""
    now = desk.clock()
    return [_calendar(row, now) for row in desk.answers.standings.rulings.calendars()]


@router.put("/calendars/{name:path}", summary="Put a calendar in force", responses=NO_JSON)
def put_calendar(desk: AtDesk, token: Responder, name: CalendarName, calendar: Calendar) -> CalendarEntry:
    """One of that name is replaced."""
    if calendar.name != name:
        raise ProblemError.of("body.name", f"it is not that of the path, {name!r}; got {calendar.name!r}")
    return _calendar(desk.answers.put(calendar, token.name), desk.clock())


@router.delete("/calendars/{name:path}", summary="Take a calendar out", status_code=HTTPStatus.NO_CONTENT)
def drop_calendar(desk: AtDesk, token: Responder, name: CalendarName) -> Response:
    """Alerts that it held back come up again."""
    try:
        desk.answers.drop(name, token.name)
    except StoreError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, str(error)) from None
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.post(
    "/context-events", summary="Tell of a context event", status_code=HTTPStatus.CREATED, tags=["streams"],
    responses=NO_JSON,
)  # fmt: skip
def tell(desk: AtDesk, token: Responder, stream: OfStream, event: NewEvent) -> Event:
    """A deploy, a batch, a backup: a running stream takes it up within seconds. Told again, it stays as it is."""
    desk.stream(stream, "live")
    if event.end is not None and event.end < event.start:
        raise ProblemError.of("body.end", f"it lies before the start: {event.end.isoformat()}")
    made = ContextEvent(event.kind, event.start, event.entity, event.end, event.title, source=f"api: {token.name}")
    desk.events.add(stream, [made], by=token.name)
    return Event.model_validate(made)


@router.get("/acts", summary="Who changed what", tags=["access"])
def acts(
    desk: AtDesk, _: Admin, limit: Limit = 50,
    before: Annotated[Sequence | Absent, Query(description="Only rows before this one.")] = None,
) -> list[Act]:  # fmt: skip
    """The newest first."""
    rows = desk.acts.listing(limit, before)
    names = [name for name in Act.model_fields if name != "detail"]
    return [Act(**{name: getattr(row, name) for name in names}, detail=row.told) for row in rows]


@router.get("/acts/verification", summary="Whether the chain of acts is whole", tags=["access"])
def verify(desk: AtDesk, _: Admin) -> Chain:
    """Follows every row; `tsad audit verify` does the same."""
    found = desk.acts.verify()
    return Chain(rows=found.rows, head=found.head.hash, fault=found.fault)


def _version(row: RulebookRow) -> RulesVersion:
    told = {name: getattr(row, name) for name in RulesVersion.model_fields if name != "rulebook"}
    return RulesVersion(**told, rulebook=Rulebook.model_validate(row.rules))


def _calendar(row: CalendarRow, now: datetime) -> CalendarEntry:
    calendar = calendar_of(row.calendar, row.name)
    coming = [Stretch(start=start, end=end) for start, end in calendar.coming(now, COMING)]
    return CalendarEntry(calendar=calendar, by=row.by, saved_at=row.saved_at, next=coming)
