"""Live alerts: what changes reaches all who listen, once, in its order; what was missed is told on coming back."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any

import pytest

from storage.engine import Database, open_database
from storage.leases import Leases
from storage.overview import Overview
from storage.store import Store
from tests.storage.stored_samples import START, Clock, alert, empty
from tests.tsad.asking import Asking
from tsad.api import live
from tsad.api.live import Feed


class Stage:
    """A feed, and who writes what it tells; both by one clock."""

    def __init__(self, database: Database) -> None:
        self.clock = Clock()
        Leases(database, self.clock).acquire("fleet", [0], "host-a")
        self.store = Store(database, self.clock)
        self.feed = Feed(Overview(database), self.clock, every=0.005)

    def write(self, entity: str, slot: int = 10, **changes: Any) -> str:
        """An alert, a second after the last; its id."""
        self.clock.now += timedelta(seconds=1)
        made = alert(entity, slot, **changes)
        self.store.save([empty(alerts=[made])])
        return made.id


@pytest.fixture
def stage(sqlite_url: str) -> Iterator[Stage]:
    database = open_database(sqlite_url)
    yield Stage(database)
    database.close()


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))


async def begun(feed: Feed, since: Any = None) -> AsyncIterator[str]:
    """A listener from whose beginning on everything is told."""
    events = feed.listen(since)
    assert (await anext(events)).startswith("retry: ")
    return events


async def awake(feed: Feed, events: AsyncIterator[str]) -> "asyncio.Task[str]":
    """Its next event, waited for; the first look of the poll is behind."""
    waits = asyncio.ensure_future(anext(events))  # type: ignore[arg-type]
    while feed._task is not None and feed._looked == 0:
        await asyncio.sleep(0.001)
    return waits


def told(event: str) -> dict[str, Any]:
    """What an event says, with its kind."""
    fields = dict(line.split(": ", 1) for line in event.strip().split("\n"))
    return {"event": fields["event"], "id": fields.get("id"), **json.loads(fields["data"])}


def test_an_alert_is_told_to_all_who_listen_each_time_it_changes(stage: Stage) -> None:
    async def work() -> None:
        first, second = await begun(stage.feed), await begun(stage.feed)
        waits = [await awake(stage.feed, one) for one in (first, second)]
        name = stage.write("a")
        for event in [told(await one) for one in waits]:
            assert (event["event"], event["entity"], event["state"]) == ("alert", "a", "open")
            assert event["id"] == name, "the body's id"
        stage.write("a", state="confirmed")
        assert [told(await anext(one))["state"] for one in (first, second)] == ["confirmed"] * 2

    run(work)


def test_what_was_there_before_is_not_told(stage: Stage) -> None:
    stage.write("old")

    async def work() -> None:
        events = await begun(stage.feed)
        waits = await awake(stage.feed, events)
        stage.write("new")
        assert told(await waits)["entity"] == "new"

    run(work)


def test_who_comes_back_hears_what_was_missed(stage: Stage) -> None:
    async def work() -> None:
        events = await begun(stage.feed)
        waits = await awake(stage.feed, events)
        stage.write("a")
        seen = live._since((await waits).split("\n")[0].removeprefix("id: "))
        stage.write("b")
        stage.write("c")
        again = await begun(stage.feed, seen)
        assert [told(await anext(again))["entity"] for _ in range(2)] == ["b", "c"]
        assert live._since("nonsense") is live._since("") is live._since("2026-01-01T00:00:00 x") is None

    run(work)


def test_who_missed_too_much_is_told_to_look_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST", 3)
    for number in range(5):
        stage.write(f"web-{number}", 10 + number)

    async def work() -> None:
        events = await begun(stage.feed, (START, ""))
        assert await anext(events) == live.RESET

    run(work)


def test_a_transaction_that_ends_late_is_told_too(stage: Stage) -> None:
    async def work() -> None:
        events = await begun(stage.feed)
        waits = await awake(stage.feed, events)
        stage.write("a")
        assert told(await waits)["entity"] == "a"
        stage.clock.now -= timedelta(seconds=5)
        stage.write("late")
        assert told(await anext(events))["entity"] == "late"

    run(work)


def test_many_at_once_are_told_in_parts(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST", 4)

    async def work() -> None:
        events = await begun(stage.feed)
        waits = await awake(stage.feed, events)
        names = [stage.write(f"web-{number}", 10 + number) for number in range(11)]
        found = [told(await waits)["id"], *[told(await anext(events))["id"] for _ in range(10)]]
        assert found == names

    run(work)


def test_nothing_is_asked_while_nobody_listens(stage: Stage) -> None:
    async def work() -> None:
        events = await begun(stage.feed)
        assert stage.feed._task is not None
        await events.aclose()  # type: ignore[attr-defined]
        assert stage.feed._task is None

    run(work)


def test_a_listener_that_is_too_slow_is_sent_away(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "WAITING", 2)

    async def work() -> None:
        slow, quick = await begun(stage.feed), await begun(stage.feed)
        waits = await awake(stage.feed, quick)
        for number in range(4):
            stage.write("a", 10 + number)
            await waits
            waits = asyncio.ensure_future(anext(quick))  # type: ignore[arg-type]
        assert [event async for event in slow] == [], "it comes again, and is told what it missed"
        waits.cancel()

    run(work)


def test_a_stream_ends_after_a_while_so_that_a_token_is_shown_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LIFE", 0.0)

    async def work() -> None:
        assert [event async for event in await begun(stage.feed)] == []
        assert stage.feed._task is None

    run(work)


def test_a_silent_stream_shows_that_it_lives(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT", 0.001)

    async def work() -> None:
        assert (await anext(await begun(stage.feed))).startswith(": ")

    run(work)


def test_when_the_server_ends_so_do_the_streams(stage: Stage) -> None:
    async def work() -> None:
        events = await begun(stage.feed)
        stage.feed.ending = lambda: True
        assert [event async for event in events] == []

    run(work)


def test_a_fault_of_the_database_is_waited_out(stage: Stage) -> None:
    database = stage.store._database

    def rename(old: str, new: str) -> None:
        database.write(lambda connection: connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}"))

    async def work() -> None:
        events = await begun(stage.feed)
        waits = await awake(stage.feed, events)
        rename("alerts", "hidden")
        looks = stage.feed._looked
        while stage.feed._looked < looks + 2:
            await asyncio.sleep(0.001)
        rename("hidden", "alerts")
        stage.write("a")
        assert told(await waits)["entity"] == "a"

    run(work)


def test_only_so_many_may_listen(stage: Stage, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "CLIENTS", 0)
    asking = Asking(stage.store._database)
    answer = asking.get("/events")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert asking.client.get("/api/v1/events").status_code == 401
    assert asking.get("/events", "ingest").status_code == 403
