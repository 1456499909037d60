"""Lists by pages: together they are the list, whatever comes meanwhile, and a key of another list is refused."""

import json
from datetime import timedelta
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_samples import Clock, alert, at, empty

from storage.engine import Database, open_database
from storage.leases import Leases
from storage.pages import AlertSort, Page, Pages
from storage.read import AlertFilter, Reader
from storage.store import Store
from storage.types import Alert, DeadLetter, EntityRow

SORTS = get_args(AlertSort)


@pytest.fixture
def store(database: Database) -> Store:
    Leases(database, Clock()).acquire("fleet", [0, 1], "host-a")
    return Store(database, Clock())


def many(count: int, first: int = 0) -> list[Alert]:
    """Many of them with one time and one score."""
    return [
        alert(f"web-{number:03}", 10 + number % 4, score=1.5 + number % 3, state="open" if number % 5 else "resolved")
        for number in range(first, first + count)
    ]


def turned(page: Any, limit: int) -> list[Any]:
    """All rows, turning page by page; keys go through JSON, as cursors do."""
    rows, found = list[Any](), page(None, limit)
    while True:
        assert len(found.rows) <= limit
        rows += found.rows
        if found.last is None:
            return rows
        found = page(json.loads(json.dumps(found.last)), limit)


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("limit", [1, 7, 40, 41, 500])
def test_pages_together_are_the_list(database: Database, store: Store, sort: AlertSort, limit: int) -> None:
    alerts = many(40)
    store.save([empty(alerts=alerts)])
    rows = turned(lambda after, most: Pages(database).alerts(AlertFilter(), sort, after, most), limit)
    name, falling = sort.removeprefix("-"), sort[0] == "-"
    expected = sorted(alerts, key=lambda one: (getattr(one, name), one.id), reverse=falling)
    assert [row["id"] for row in rows] == [one.id for one in expected]
    assert "evidence" not in rows[0]


def test_pages_keep_to_the_filter(database: Database, store: Store) -> None:
    store.save([empty(alerts=many(40))])
    which = AlertFilter(states=["resolved"], since=at(14), until=at(13), stream="fleet")
    rows = turned(lambda after, most: Pages(database).alerts(which, "first_time", after, most), 2)
    known = Reader(database).alerts(AlertFilter(states=["resolved"], since=at(14), until=at(13), limit=None))
    assert {row["id"] for row in rows} == {one.id for one in known}
    assert {row["first_time"] for row in rows} == {at(11), at(12)}
    assert turned(lambda after, most: Pages(database).alerts(AlertFilter(run="past"), "score", after, most), 2) == []


def test_what_comes_meanwhile_shifts_nothing(database: Database, store: Store) -> None:
    store.save([empty(alerts=many(20))])
    pages = Pages(database)
    first = pages.alerts(AlertFilter(), "-first_time", None, 10)
    newer = [alert(f"new-{number}", 50 + number) for number in range(5)]
    store.save([empty(alerts=newer)])
    second = pages.alerts(AlertFilter(), "-first_time", first.last, 100)
    ids = [row["id"] for row in [*first.rows, *second.rows]]
    assert sorted(ids) == sorted(one.id for one in many(20))
    assert second.last is None


def test_entities_and_dead_letters_have_pages_too(database: Database, store: Store) -> None:
    names = ["a_b", "a%b", "A", "web-1", "web-10", "web-2", "ä"]
    rows = [EntityRow(name, {"zone": "a"}, 0, 13) for name in names]
    letters = [
        DeadLetter("logs" if n % 2 else "telemetry", n, "wrong" if n % 3 else "late", "", b"x") for n in range(9)
    ]
    store.save([empty(entities=rows, dead_letters=letters)])
    pages = Pages(database)
    found = turned(lambda after, most: pages.entities("fleet", None, after, most), 2)
    assert sorted(row["entity"] for row in found) == sorted(names)
    assert len({row["entity"] for row in turned(lambda a, m: pages.entities("fleet", "web", a, m), 1)}) == 3
    store.save([empty(1, entities=[EntityRow(name, {"zone": "b"}, -4 - n, 9 + n) for n, name in enumerate(names)])])
    again = turned(lambda after, most: pages.entities("fleet", None, after, most), 2)
    assert [row["entity"] for row in again] == [row["entity"] for row in found]  # of two partitions one row
    newest = {row["entity"]: (row["partition"], row["labels"]["zone"]) for row in again}
    assert newest == {name: (1, "b") if 9 + n >= 13 else (0, "a") for n, name in enumerate(names)}
    assert {row["entity"]: (row["first_slot"], row["last_slot"]) for row in again} == {
        name: (-4 - n, max(13, 9 + n)) for n, name in enumerate(names)
    }
    assert again == Reader(database).entities("fleet")
    assert [row["entity"] for row in turned(lambda a, m: pages.entities("fleet", "%", a, m), 5)] == ["a%b"]
    assert [row["entity"] for row in turned(lambda a, m: pages.entities("fleet", "_", a, m), 5)] == ["a_b"]
    dead = turned(lambda after, most: pages.dead_letters("fleet", None, after, most), 4)
    assert [(row["topic"], row["position"]) for row in dead] == [
        *(("logs", n) for n in (1, 3, 5, 7)), *(("telemetry", n) for n in (0, 2, 4, 6, 8)),
    ]  # fmt: skip
    assert len(turned(lambda after, most: pages.dead_letters("fleet", "late", after, most), 1)) == 3
    assert pages.dead_letters("other", None, None, 5) == Page([], None)


KEYS: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("2026-03-01T00:00:00"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.lists(KEYS, max_size=3), sort=st.sampled_from(SORTS))
def test_a_key_of_another_list_is_refused_or_harmless(database: Database, key: list[Any], sort: AlertSort) -> None:
    try:
        found = Pages(database).alerts(AlertFilter(), sort, key, 5)
    except ValueError:
        return
    assert found.rows == []


def test_an_index_serves_each_order(sqlite_url: str) -> None:
    """The first page does not sort the table. (SQLite says so in one word; PostgreSQL plans by size.)"""
    database = open_database(sqlite_url)
    for column in ("first_time", "score"):
        query = f"explain query plan select id from alerts where run = 'live' order by {column} desc, id desc limit 50"
        plan = database.read(lambda c, query=query: [row[3] for row in c.exec_driver_sql(query)])  # type: ignore[misc]
        assert all("TEMP B-TREE" not in step for step in plan), plan
        assert any(f"ix_alerts_run_{column}_id" in step for step in plan), plan
    database.close()


def test_a_time_is_compared_as_such(database: Database, store: Store) -> None:
    store.save([empty(alerts=many(8))])
    zone = (at(11) + timedelta(hours=2)).isoformat().replace("+00:00", "+02:00")
    rows = Pages(database).alerts(AlertFilter(), "first_time", [zone, "g"], 50).rows
    assert {row["first_time"] for row in rows} == {at(12), at(13)}
