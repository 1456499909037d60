"""`ScoreTable`: scores as columns are stored as rows are, on either database, few and many."""

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from stored_samples import Clock, at, empty, stored

from storage import schema
from storage.engine import Database
from storage.leases import Leases
from storage.noted import NotedScores
from storage.scoretable import ScoreTable
from storage.store import Store
from storage.upsert import copied, encode

NUMBERS = [0.1 + 0.2, 1e-300, 5e-324, 1.7e308, -0.0, 3.0, 1e16, 1e-5]
SHARED: dict[str, Any] = {"run": "live", "stream": "pods\t1", "partition": 3, "saved_at": at(9)}
DIALECT = postgresql.psycopg.dialect()  # type: ignore[no-untyped-call]


def noted(
    count: int, score: float = 1.0, name: str = "host-{}", detectors: tuple[str, ...] = ("vote", "back\\slash\t\n")
) -> NotedScores:
    """Windows of `count` entities, some with no opinion of a detector."""
    places = range(count)
    tails = np.array([[NUMBERS[n % 8], np.nan if n % 3 else 0.5] for n in places], float).reshape(-1, 2)
    return NotedScores(
        [name.format(n) for n in places], [10 + n // 7 for n in places], [score + NUMBERS[n % 8] for n in places],
        [NUMBERS[-n % 8] for n in places], tails, tails < 0.4, detectors, "m\\1",
    )  # fmt: skip


def saved(database: Database, scores: Any, count: int | None = None) -> list[Any]:
    """What the table holds after a save of its own."""
    epoch = Leases(database, Clock()).acquire("fleet", [0], "host-a")[0]
    changes = empty(epoch=epoch, scores=scores)
    answer = Store(database, Clock()).save([changes])
    assert answer.rows == {"scores": count or len({(row.entity, row.slot) for row in scores})}
    rows: list[Any] = stored(database)["scores"]
    database.write(lambda connection: connection.execute(sa.delete(schema.scores)))
    return rows


@pytest.mark.parametrize("count", [1, 49, 300], ids=["one", "few", "many"])
def test_columns_are_stored_as_rows_are(database: Database, count: int) -> None:
    table = ScoreTable([noted(count), noted(count, 2.0, name="b\\{}\t")], at)
    rows = saved(database, list(table))
    assert len(rows) == 2 * count
    assert saved(database, table) == rows


def test_of_a_window_judged_twice_the_later_counts(database: Database) -> None:
    table = ScoreTable([noted(200, 1.0), noted(60, 5.0), noted(0)], at)
    assert len(table) == 260
    rows = saved(database, table)
    assert len(rows) == 200 and rows == saved(database, list(table))


def test_names_that_become_one_in_the_database_are_one_row(database: Database) -> None:
    part = noted(100)
    part.entities[:2], part.slots[:2] = ["nul\0", "nul\u2400"], [10, 10]
    rows = saved(database, list(ScoreTable([part], at)), 99)
    assert saved(database, ScoreTable([part], at), 99) == rows


@pytest.mark.parametrize("odd", [float("inf"), 1e-320, -0.0])
def test_odd_numbers_are_stored_as_those_of_rows(database: Database, odd: float) -> None:
    part = noted(100)
    part.p[3] = part.scores[5] = odd
    part.tails[3:9] = odd
    table = ScoreTable([part], at)
    assert saved(database, table) == saved(database, list(table))


def test_a_table_is_renewed_by_the_next_save(database: Database) -> None:
    Leases(database, Clock()).acquire("fleet", [0], "host-a")
    store = Store(database, Clock())
    for score in (1.0, 2.0):
        assert store.save([empty(scores=ScoreTable([noted(100, score)], at))]).rows == {"scores": 100}
    twice = stored(database)["scores"]
    assert twice == saved(database, ScoreTable([noted(100, 2.0)], at))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    names=st.lists(st.text(max_size=6), min_size=1, max_size=20),
    detectors=st.lists(st.text(max_size=4), min_size=2, max_size=2, unique=True),
    numbers=st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=8),
)
def test_the_text_of_a_copy_is_that_of_its_rows(names: list[str], detectors: list[str], numbers: list[float]) -> None:
    """Whatever entities and detectors are called; of names that no database holds two may become one."""
    count = len(names)
    several = [numbers[n % len(numbers)] for n in range(count)]
    tails = np.array([several, several[::-1]]).T
    part = NotedScores(names, list(range(count)), several, several, tails, tails < 0.5, (*detectors,), names[0])
    table = ScoreTable([part, noted(3)], at)
    rows = encode(schema.scores, DIALECT, list(table), SHARED)
    found = table.copied(schema.scores, DIALECT, SHARED)
    assert found == (copied(rows) if len(rows) == len(table) else None)
