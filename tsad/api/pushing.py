"""Ingestion for those without Kafka: OTLP/HTTP metrics and logs, and Prometheus remote-write."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import msgspec
import structlog
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, Header, Query, Request, Response

from storage.tokens import Token
from streaming.journal import JournalError, JournalFullError, Pushed
from streaming.json_records import RecordError
from streaming.otlp_json import LogsRequest, MetricsRequest
from streaming.types import Topic
from tsad.api.access import needs
from tsad.api.cursors import Absent
from tsad.api.problems import ProblemError, problem
from tsad.pushing import NoStreamError, Pushes, WhichStreamError

OTLP = APIRouter(tags=["ingest"])
WRITE = APIRouter(tags=["ingest"])
Sender = Annotated[Token, Depends(needs("ingest"))]
PROTOBUF, JSON = "application/x-protobuf", "application/json"
PATHS = ("/v1/metrics", "/v1/logs", "/api/v1/write")
PATIENCE = 30.0
"""Seconds in which a body has to come."""
HELD = 256 << 20
"""Bytes of bodies that are held at a time."""
READ_AT_ONCE, WRITTEN_AT_ONCE = 2, 16
"""Messages that are unpacked and looked at, which takes many times their bytes, and that wait for the disk together."""
V1 = "proto=prometheus.WriteRequest"
STATUSES = {
    "too_long": HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "unsupported": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}  # fmt: skip
"""Of what is wrong with a message as a whole; else 400."""
FULL = "60"
"""Seconds after which a full journal may be asked again."""
Result = TypeVar("Result")


@dataclass
class Door:
    """Takes in bodies: no more at a time than there is room for, and none that does not come."""

    pushes: Pushes
    patience: float = PATIENCE
    room: int = HELD
    held: int = 0
    reading: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(READ_AT_ONCE))
    writing: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(WRITTEN_AT_ONCE))

    async def read(self, work: Callable[[], Result]) -> Result:
        """What `work` makes of a body, on a thread."""
        return await to_thread.run_sync(work, limiter=self.reading)

    async def write(self, work: Callable[[], Result]) -> Result:
        """What `work` does to a disk, on a thread."""
        return await to_thread.run_sync(work, limiter=self.writing)

    @contextmanager
    def holding(self) -> Iterator[Callable[[int], None]]:
        """Tells of bytes that came, which are held while the block runs; ProblemError 429 beyond the room."""
        mine = 0

        def hold(size: int) -> None:
            nonlocal mine
            mine, self.held = mine + size, self.held + size
            if self.held > self.room:
                said = "other messages are still being taken in"
                raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, said, {"Retry-After": "1"})

        try:
            yield hold
        finally:
            self.held -= mine

    async def body(self, request: Request, hold: Callable[[int], None]) -> bytes:
        """The body of `request`; ProblemError 408 where it does not come in time."""
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self.patience):
                async for part in request.stream():
                    hold(len(part))
                    parts.append(part)
        except TimeoutError:
            said = f"the body did not come in {self.patience:g} s"
            raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, said, {"Connection": "close"}) from None
        return b"".join(parts)


async def _door(request: Request) -> Door:
    found: Door = request.app.state.door
    return found


AtDoor = Annotated[Door, Depends(_door)]
Named = Annotated[str | Absent, Query(max_length=1000, description="The stream; needed where several take it.")]
ByHeader = Annotated[
    str | Absent, Header(alias="X-Tsad-Stream", max_length=1000, description="The same, for exporters.")
]
REFUSED: dict[int | str, dict[str, Any]] = {
    "400": problem("Nothing of the message can be read."), "408": problem("The body did not come in time."),
    "413": problem("The message is too large, packed or unpacked."), "415": problem("No such format is taken."),
    "429": problem("Too many requests, or the journal is full: come again after `Retry-After` seconds."),
    "503": problem("It cannot be kept now."),
}  # fmt: skip


def _described(shape: str, binary: str, answer: dict[str, Any]) -> dict[str, Any]:
    """What a body holds, and what is answered."""
    content: dict[str, Any] = {binary: {"schema": {"type": "string", "format": "binary"}}}
    if shape:
        content[JSON] = {"schema": {"$ref": f"#/components/schemas/{shape}"}}
    return {"requestBody": {"required": True, "content": content}, "responses": answer}


_DONE = {"200": {"description": "It is on disk.", "content": {
    JSON: {"schema": {"type": "object", "maxProperties": 0}},
    PROTOBUF: {"schema": {"type": "string", "format": "binary", "maxLength": 0}},
}}}  # fmt: skip


@OTLP.post("/v1/metrics", summary="Push OTLP metrics", response_class=Response, responses=REFUSED,
           openapi_extra=_described("OtlpMetricsRequest", PROTOBUF, _DONE))  # fmt: skip
async def metrics(
    request: Request, door: AtDoor, _: Sender, stream: Named = None, by_header: ByHeader = None
) -> Response:
    """An ExportMetricsServiceRequest in protobuf or JSON, perhaps in gzip. What is answered with 200 is on disk."""
    return await _export(request, door, "telemetry", stream or by_header)


@OTLP.post("/v1/logs", summary="Push OTLP logs", response_class=Response, responses=REFUSED,
           openapi_extra=_described("OtlpLogsRequest", PROTOBUF, _DONE))  # fmt: skip
async def logs(request: Request, door: AtDoor, _: Sender, stream: Named = None, by_header: ByHeader = None) -> Response:
    """An ExportLogsServiceRequest in protobuf or JSON, perhaps in gzip. What is answered with 200 is on disk."""
    return await _export(request, door, "logs", stream or by_header)


@WRITE.post("/write", summary="Push Prometheus remote-write", status_code=204, response_class=Response,
            responses=REFUSED, openapi_extra=_described("", f"{PROTOBUF};{V1}", {}))  # fmt: skip
async def write(
    request: Request, door: AtDoor, _: Sender, stream: Named = None, by_header: ByHeader = None
) -> Response:
    """A WriteRequest of version 1.0, packed by snappy. What is answered with 204 is on disk."""
    kind, _sep, told = _media(request).partition(";")
    if kind != PROTOBUF or told not in ("", V1):
        raise _not_taken("content-type", f"{PROTOBUF};{V1}", _media(request))
    if (packing := _packing(request)) not in ("snappy", ""):
        raise _not_taken("content-encoding", "snappy", packing)
    await _take(request, door, "telemetry", stream or by_header, "remote-write")
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _export(request: Request, door: Door, topic: Topic, stream: str | None) -> Response:
    """Take an OTLP request; the answer is an empty message of the same encoding."""
    kind, packing = _media(request).partition(";")[0], _packing(request)
    if kind not in (PROTOBUF, JSON):
        raise _not_taken("content-type", f"{PROTOBUF} or {JSON}", kind)
    if packing not in ("gzip", "identity", ""):
        raise _not_taken("content-encoding", "gzip or identity", packing)
    await _take(request, door, topic, stream, "otlp-json" if kind == JSON else "otlp", gzip=packing == "gzip")
    return Response(b"{}" if kind == JSON else b"", media_type=kind)


async def _take(
    request: Request, door: Door, topic: Topic, stream: str | None, format: Pushed, *, gzip: bool = False
) -> None:
    """Have a message on disk; ProblemError says why it is not."""
    try:
        journal = door.pushes.journal(topic, stream)
        with door.holding() as hold:
            body = await door.body(request, hold)
            kept = await door.read(partial(door.pushes.readable, topic, format, body, gzip=gzip))
            if kept is not None:
                await door.write(partial(journal.put, format, kept))
    except NoStreamError as error:
        raise ProblemError(HTTPStatus.NOT_FOUND, str(error)) from None
    except WhichStreamError as error:
        raise ProblemError.of("query.stream", str(error)) from None
    except RecordError as error:
        raise ProblemError(STATUSES.get(error.reason, HTTPStatus.BAD_REQUEST), error.detail) from None
    except JournalFullError:
        said = f"the journal of pushed {topic} is full; the run of the stream is behind, or does not run"
        raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, said, {"Retry-After": FULL}) from None
    except JournalError as error:
        structlog.get_logger().error("what was pushed could not be kept", reason=str(error))
        said = "the journal cannot be written; the log of the server says why"
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, said, {"Retry-After": "5"}) from None


def _media(request: Request) -> str:
    return request.headers.get("content-type", "").lower().replace(" ", "").replace("writerequest", "WriteRequest")


def _packing(request: Request) -> str:
    return request.headers.get("content-encoding", "").strip().lower()


def _not_taken(header: str, allowed: str, given: str) -> ProblemError:
    said = f"{allowed} is taken, got {given!r:.100}"
    return ProblemError.of(f"header.{header}", said, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


def schemas() -> dict[str, Any]:
    """The forms of OTLP's JSON, for the specification. Integers may come as text, as protobuf's JSON has them."""
    _, found = msgspec.json.schema_components(
        (MetricsRequest, LogsRequest), ref_template="#/components/schemas/Otlp{name}"
    )
    return {f"Otlp{name}": _lax(schema) for name, schema in found.items()}


def _lax(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_lax(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "integer":
        text = {"type": "string", "pattern": "^(-?[0-9]{1,18}|[1-8][0-9]{18})$"}
        return {"anyOf": [{key: value for key, value in schema.items() if key != "default"}, text]}
    return {key: _lax(value) for key, value in schema.items() if key != "default"}
