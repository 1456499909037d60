"""What people say of alerts and incidents, over the API: marks and feedback, rules that follow from them, and a look at
what rules would change before anybody applies them."""

from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from storage import marks as marks_kept
from storage.incidents import IncidentRow
from storage.marks import Answer, MarkKind
from storage.read import AlertFilter
from storage.rulings import Standing
from storage.tokens import Token
from storage.types import LIVE, Alert, NotThereError, Severity
from tsad.api.alerts import AlertId, Moment, Run
from tsad.api.cursors import Absent
from tsad.api.desk import AtDesk, Desk, Responder, Viewer
from tsad.api.incidents import IncidentId, found_incident
from tsad.api.problems import NO_JSON, ProblemError, problem
from tsad.api.resources import Resource
from tsad.triage.answers import GoneError
from tsad.triage.feedback import Change, Replay, proposals, replay
from tsad.triage.rules import Rule, Rulebook

router = APIRouter(tags=["answers"])
Days = Annotated[float, Query(gt=0, le=3660, description="Of history, back from the newest alert.")]


class Said(BaseModel):
    """Something to say of an alert or incident."""

    model_config = ConfigDict(extra="forbid")

    kind: MarkKind = Field(description="`feedback` needs an answer, `snooze` until when.")
    answer: Answer | None = Field(default=None, description="Whether it is true, false, or expected.")
    until: Moment | None = Field(default=None, description="The end of a snooze.")
    note: str = Field(default="", max_length=10_000)


class Mark(Resource):
    """What somebody said of an alert or incident."""

    id: str
    kind: MarkKind
    answer: Answer | None
    note: str
    until: datetime | None
    by: str = Field(description="The token's name.")
    at: datetime
    undone_by: str | None
    undone_at: datetime | None
    incident: str | None = Field(description="The incident (its id) that it was said of; null: of the alert alone.")


class Changed(Resource):
    """An alert that other rules would treat in another way."""

    alert: str
    stream: str
    entity: str
    first_time: datetime
    score: float
    severity: Severity
    before: Standing
    after: Standing
    reason: str = Field(description="Why it would be so.")
    rule: str


class Preview(Resource):
    """What rules would change on history."""

    looked_at: int = Field(description="Alerts in all.")
    vanish: list[Changed]
    appear: list[Changed]
    lost: list[Changed] = Field(description="Those that would vanish though somebody said that they are true.")


class Proposed(Resource):
    """A rule that answers speak for, and what it would change. Nothing of it is in force."""

    rule: Rule
    why: str
    alerts: list[str] = Field(description="Those whose answers speak for it.")
    preview: Preview


@router.post(
    "/alerts/{alert}/marks", summary="Say something of an alert", status_code=HTTPStatus.CREATED, responses=NO_JSON
)
def mark(desk: AtDesk, token: Responder, alert: AlertId, said: Said) -> Mark:
    """Acknowledge, snooze, close, reopen, note, or say whether it is true. A false or expected one also holds back what
    comes later and is alike; all of it can be undone."""
    return _say(desk, token, desk.alert(alert)[0], said)


@router.get("/alerts/{alert}/marks", summary="What people said of an alert")
def marks(desk: AtDesk, _: Viewer, alert: AlertId) -> list[Mark]:
    """The oldest first, those that were undone too."""
    one, _parts = desk.alert(alert)
    return [_told(row) for row in desk.answers.standings.marks.on([one.id])]


@router.post(
    "/incidents/{incident}/marks", summary="Say something of an incident", status_code=HTTPStatus.CREATED,
    responses=NO_JSON | {"409": problem("None of its alerts stands any more.")},
)  # fmt: skip
def mark_incident(desk: AtDesk, token: Responder, incident: IncidentId, said: Said, run: Run = LIVE) -> Mark:
    """Of all its alerts at once: it counts as if it had been said of each, and is taken back as one. What is
    acknowledged or snoozed stays so for alerts that join later; all else bears on those that are there."""
    return _say(desk, token, found_incident(desk, incident, run), said)


@router.get("/incidents/{incident}/marks", summary="What people said of an incident")
def incident_marks(desk: AtDesk, _: Viewer, incident: IncidentId, run: Run = LIVE) -> list[Mark]:
    """Of it as a whole: the oldest first, those that were undone too."""
    row = found_incident(desk, incident, run)
    return [_told(one) for one in desk.answers.standings.marks.of("incident", [row.id])]


@router.delete("/marks/{mark}", summary="Take back what was said")
def undo(
    desk: AtDesk, token: Responder, mark: Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Its id.")]
) -> Mark:
    """And all that it did."""
    try:
        return _told(desk.answers.unsay(mark, token.name))
    except NotThereError:
        raise ProblemError(HTTPStatus.NOT_FOUND, f"there is no mark {mark!r} that stands") from None


@router.post("/rules/preview", summary="What rules would change", responses=NO_JSON)
def preview(
    desk: AtDesk, _: Viewer, rulebook: Rulebook, days: Days = 30.0,
    stream: Annotated[str | Absent, Query(max_length=1000, description="Only of this one.")] = None,
) -> Preview:  # fmt: skip
    """On alerts of the last days; nothing is put in force."""
    return _preview(replay(desk.answers.standings, rulebook, _history(desk, stream, days)))


@router.get("/feedback/proposals", summary="Rules that answers speak for")
def proposed(
    desk: AtDesk, _: Viewer, days: Days = 30.0,
    stream: Annotated[str | Absent, Query(max_length=1000, description="Only of this one.")] = None,
) -> list[Proposed]:  # fmt: skip
    """With what each would change on alerts of the last days. A person applies one by `PUT /rules`, or nobody does."""
    standings, which = desk.answers.standings, _history(desk, stream, days)
    made = proposals(standings.marks.answers(), desk.reader.alerts(which))
    return [
        Proposed(
            rule=one.rule, why=one.why, alerts=list(one.alerts),
            preview=_preview(replay(standings, standings.with_rule(one.rule), which)),
        )
        for one in made
    ]  # fmt: skip


def _say(desk: Desk, token: Token, about: Alert | IncidentRow, said: Said) -> Mark:
    try:
        made = desk.answers.say(about, said.kind, token.name, answer=said.answer, note=said.note, until=said.until)
    except GoneError as error:
        raise ProblemError(HTTPStatus.CONFLICT, str(error)) from None
    except ValueError as error:
        raise ProblemError.of("body", str(error)) from None
    return _told(made)


def _told(mark: marks_kept.Mark) -> Mark:
    told = {name: getattr(mark, name) for name in Mark.model_fields if name != "incident"}
    return Mark(**told, incident=mark.target if mark.about == "incident" else mark.detail.get("incident"))


def _history(desk: AtDesk, stream: str | None, days: float) -> AlertFilter:
    newest = desk.reader.alerts(AlertFilter(stream=stream, limit=1))
    since = newest[0].last_time - timedelta(days=days) if newest else None
    return AlertFilter(run=LIVE, stream=stream, since=since, limit=HISTORY)


def _preview(told: Replay) -> Preview:
    return Preview(
        looked_at=told.looked_at, vanish=[_changed(one) for one in told.vanish],
        appear=[_changed(one) for one in told.appear], lost=[_changed(one) for one in told.lost],
    )  # fmt: skip


def _changed(one: Change) -> Changed:
    alert, after = one.alert, one.after
    return Changed(
        alert=alert.id, stream=alert.stream, entity=alert.entity, first_time=alert.first_time, score=alert.score,
        severity=after.severity, before=one.before.standing, after=after.standing, reason=after.reason, rule=after.rule,
    )  # fmt: skip


HISTORY = 10_000
"""Alerts that are looked at, the newest."""
