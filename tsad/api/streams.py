"""`/api/v1/streams` and what belongs to a stream: entities, scores, models, context events, dead letters."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from storage.types import LIVE, StreamRow
from tsad.api.alerts import Moment, Run
from tsad.api.cursors import Absent, Cursor, Limit, read, refused, written
from tsad.api.desk import AtDesk, Responder, Viewer
from tsad.api.resources import (
    Bearer,
    DeadLetter,
    DeadLetterPage,
    Entity,
    EntityPage,
    EntityScores,
    Event,
    Model,
    Partition,
    ScoredHour,
    ScoredSlot,
    Stream,
    StreamDetail,
)
from tsad.rows import utc

router = APIRouter(tags=["streams"])
OfStream = Annotated[str, Query(max_length=1000, description="The stream.")]


@router.get("/streams", summary="List streams")
def streams(desk: AtDesk, _: Viewer, run: Run = LIVE) -> list[Stream]:
    """Every stream that was run, by name."""
    active = {row.stream: row.version for row in desk.models.listing() if row.state == "active"}
    return [Stream(**_stream(row, active.get(row.stream))) for row in desk.reader.streams(run)]


@router.get("/streams/{stream:path}", summary="One stream, with its figures")
def stream(desk: AtDesk, _: Viewer, stream: Annotated[str, Path(max_length=1000)], run: Run = LIVE) -> StreamDetail:
    """How far each partition has come, and alerts by state."""
    row = desk.stream(stream, run)
    health, active = desk.reader.health(stream, run), desk.models.active(stream)
    partitions = [_partition(number, told, row.step_ns) for number, told in health["partitions"].items()]
    return StreamDetail(
        **_stream(row, active.version if active else None), alerts=health["alerts"], unexplained=health["pending"],
        partitions=partitions,
    )  # fmt: skip


@router.get("/entities", summary="List a stream's entities")
def entities(
    desk: AtDesk, _: Viewer, stream: OfStream, run: Run = LIVE, limit: Limit = 50, cursor: Cursor = None,
    contains: Annotated[str | Absent, Query(max_length=200, description="Text in the name.")] = None,
) -> EntityPage:  # fmt: skip
    """By name, by pages."""
    step = desk.stream(stream, run).step_ns
    try:
        page = desk.pages.entities(stream, contains, read(cursor, "entity"), limit, run)
    except ValueError:
        raise refused() from None
    items = [_entity(row, step) for row in page.rows]
    return EntityPage(items=items, next_cursor=written("entity", page.last))


@router.get("/scores", summary="How strange an entity was")
def scores(
    desk: AtDesk, _: Viewer, stream: OfStream, entity: Annotated[str, Query(max_length=1000)], run: Run = LIVE,
    limit: Limit = 500,
) -> EntityScores:  # fmt: skip
    """Slots above half of the threshold, and all hours; the newest first."""
    desk.stream(stream, run)
    slots = desk.reader.scores(stream, entity, run, limit)
    hours = desk.reader.rollups(stream, entity, run, limit)
    return EntityScores(slots=[ScoredSlot(**row) for row in slots], hours=[ScoredHour(**row) for row in hours])


@router.get("/models", summary="List model versions")
def models(
    desk: AtDesk,
    _: Viewer,
    stream: Annotated[str | Absent, Query(max_length=1000, description="Only of this one.")] = None,
) -> list[Model]:
    """The oldest first."""
    return [Model.model_validate(row) for row in desk.models.listing(stream)]


@router.get("/context-events", summary="List context events")
def context_events(
    desk: AtDesk, _: Viewer, stream: OfStream, run: Run = LIVE, limit: Limit = 50,
    since: Annotated[Moment | Absent, Query(description="Those that began or lasted until then or later.")] = None,
) -> list[Event]:  # fmt: skip
    """Deploys, batches, backups: what may explain an alert away; the newest first."""
    desk.stream(stream, run)
    return [Event.model_validate(row) for row in desk.events.listing(stream, run, since, limit)]


@router.get("/dead-letters", summary="List dead letters")
def dead_letters(
    desk: AtDesk, _: Responder, stream: OfStream, run: Run = LIVE, limit: Limit = 50, cursor: Cursor = None,
    reason: Annotated[str | Absent, Query(max_length=200, description="Only of this reason.")] = None,
) -> DeadLetterPage:  # fmt: skip
    """Records that could not be used, by their place, with what they said: for responders, since they hold raw data."""
    desk.stream(stream, run)
    try:
        page = desk.pages.dead_letters(stream, reason, read(cursor, "place"), limit, run)
    except ValueError:
        raise refused() from None
    items = [DeadLetter(**row | {"payload": _text(row["payload"])}) for row in page.rows]
    return DeadLetterPage(items=items, next_cursor=written("place", page.last))


@router.get("/me", summary="Who asks", tags=["access"])
def me(token: Viewer) -> Bearer:
    """The token of this request."""
    return Bearer.model_validate(token)


def _stream(row: StreamRow, version: str | None) -> dict[str, Any]:
    return {
        "stream": row.stream, "run": row.run, "step_seconds": row.step_ns / 1e9, "model_version": version,
        "sessions_of": row.settings.get("sessions_of"),
    }  # fmt: skip


def _partition(number: int, told: dict[str, Any], step: int) -> Partition:
    closed = None if told["next_slot"] is None else utc(told["next_slot"] * step)
    return Partition(
        partition=number, closed_until=closed, saved_at=told["saved_at"], owner=told["owner"], counts=told["counts"]
    )


def _entity(row: Mapping[str, Any], step: int) -> Entity:
    times = {"first_time": utc(row["first_slot"] * step), "last_time": utc(row["last_slot"] * step)}
    return Entity.model_validate({**row, **times})


def _text(payload: bytes | None) -> str | None:
    return None if payload is None else payload.decode("utf-8", "backslashreplace")
