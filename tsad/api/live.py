"""`/api/v1/events`: alerts as they change, as server-sent events. One poll of the database a second serves everybody.

An event's id is the place in the table's order of writing; who comes back with `Last-Event-ID` gets what has changed
since, or the event `reset` where that is too much: then a page asks for its lists again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

import structlog
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from storage.leases import Clock
from storage.overview import Overview
from storage.read import Listing
from storage.types import StoreError
from tsad.api.alerts import summary
from tsad.api.desk import Viewer
from tsad.api.problems import ProblemError
from tsad.api.resources import AlertSummary

router = APIRouter(include_in_schema=False)
EVERY, HEARTBEAT = 1.0, 15.0
"""Seconds between two polls, and between two signs of life where nothing changes."""
LIFE = 600.0
"""Seconds after which a stream ends: who listened comes back at once, and has to show a token that holds."""
OVERLAP = timedelta(seconds=10)
"""What was written this much before the newest row is looked at again: transactions do not end in their order."""
MOST, CLIENTS, WAITING = 500, 100, 1000
"""Rows of one poll; listeners; events that wait for one of them, who is sent away when there are more."""
RESET = "event: reset\ndata: {}\n\n"

Key = tuple[datetime, str]


@dataclass(slots=True)
class Feed:
    """What changes, for everybody who listens; the poll runs only while somebody does. `clock` is the wall's."""

    overview: Overview
    clock: Clock
    every: float = EVERY
    ending: Callable[[], bool] = lambda: False
    _listeners: set["asyncio.Queue[str | None]"] = field(default_factory=set)
    _seen: dict[str, datetime] = field(default_factory=dict)
    _from: datetime | None = None
    _task: "asyncio.Task[None] | None" = None
    _looked: int = 0

    async def listen(self, since: Key | None) -> AsyncIterator[str]:
        """Events from now on, or behind `since`; ends where the listener is too slow, or the server ends."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(WAITING)
        self._listeners.add(queue)
        if self._task is None:
            self._from, self._seen = self.clock() - OVERLAP, {}
            self._task = asyncio.create_task(self._poll())
        try:
            yield f"retry: {int(self.every * 3000)}\n\n"
            for event in await self._missed(since):
                yield event
            ends = asyncio.get_running_loop().time() + LIFE
            while asyncio.get_running_loop().time() < ends:
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        told = await queue.get()
                except TimeoutError:
                    told = ": still here\n\n"
                if told is None:
                    return
                yield told
        finally:
            self._listeners.discard(queue)
            if not self._listeners and self._task is not None:
                self._task.cancel()
                self._task = None

    @property
    def full(self) -> bool:
        """Whether nobody else may listen."""
        return len(self._listeners) >= CLIENTS

    async def _missed(self, since: Key | None) -> list[str]:
        if since is None:
            return []
        rows = await run_in_threadpool(self.overview.changed, since[0], MOST + 1)
        if len(rows) > MOST:
            return [RESET]
        return [_event(row) for row in rows if _key(row) > since]

    async def _poll(self) -> None:
        first = True
        self._looked = 0
        while True:
            if self.ending():
                self._tell(None)
                return
            try:
                rows = await run_in_threadpool(self._changed)
            except StoreError as error:
                structlog.get_logger().warning("live alerts wait for the database", reason=str(error))
                rows = []
            for row in () if first else rows:
                self._tell(_event(row))
            first = False
            self._looked += 1
            await asyncio.sleep(self.every)

    def _changed(self) -> Listing:
        """What was written since the last look, and not seen then."""
        start = self._from or self.clock() - OVERLAP
        rows = self.overview.changed(start, MOST)
        fresh = [row for row in rows if self._seen.get(row["id"]) != row["saved_at"]]
        self._seen |= {row["id"]: row["saved_at"] for row in fresh}
        if rows:
            newest = rows[-1]["saved_at"]
            # a full look may not have reached its end: go on from there, else a little before it
            self._from = max(start, newest if len(rows) == MOST else newest - OVERLAP)
            self._seen = {name: at for name, at in self._seen.items() if at >= self._from}
        return fresh

    def _tell(self, event: str | None) -> None:
        for queue in list(self._listeners):
            if queue.full():
                # it comes again, and is told then what it missed
                self._listeners.discard(queue)
                while not queue.empty():
                    queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait(event)


@router.get("/events")
async def events(request: Request, _: Viewer) -> StreamingResponse:
    """Alerts as they change."""
    feed: Feed = request.app.state.feed
    if feed.full:
        raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "too many listen already", {"Retry-After": "30"})
    since = _since(request.headers.get("last-event-id", ""))
    return StreamingResponse(feed.listen(since), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def _key(row: dict[str, object]) -> Key:
    return row["saved_at"], row["id"]  # type: ignore[return-value]


def _event(row: dict[str, object]) -> str:
    at, identity = _key(row)
    body = AlertSummary(**summary(row)).model_dump_json()
    return f"id: {at.isoformat()} {identity}\nevent: alert\ndata: {body}\n\n"


def _since(said: str) -> Key | None:
    """The place that an event's id names; None where it is none."""
    at, _, identity = said.rpartition(" ")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    return (moment, identity) if moment.tzinfo is not None else None
