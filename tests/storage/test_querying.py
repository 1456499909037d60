"""Queries as sources of history, on SQLite and PostgreSQL: what is held, what is pushed down, what is streamed."""

import sqlite3
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import psycopg
import pyarrow as pa
import pytest

from storage.querying import MAX_NAMED, Query
from storage.types import StoreError
from streaming.columns import Columns
from streaming.datasets import open_batches, wanted_columns
from streaming.settings import SECOND, TelemetryFormat

START = 1_700_000_000
NOON = datetime.fromtimestamp(START, UTC)
FORM = TelemetryFormat(layout="wide", entity="Host", time="when")
SELECT = 'SELECT "Host", "when", cpu, "select", note FROM samples'
ROWS = [("a", 0, 1.0), ("b", 1, 2.0), ("a", 2, None), ("b", 3, 4.0), ("a", 4, 5.0), ("c", 9, 6.0)]


def at(seconds):
    return (START + seconds) * SECOND


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request, tmp_path):
    """(kind, URL, a function that runs SQL) of an empty database."""
    if request.param == "sqlite":
        path = tmp_path / "history.db"
        return "sqlite", f"sqlite:///{path}", lambda sql, rows=(): write_sqlite(path, sql, rows)
    url = request.getfixturevalue("postgresql_url")
    return "postgresql", url, lambda sql, rows=(): write_postgresql(url, sql, rows)


def write_sqlite(path, sql, rows):
    with sqlite3.connect(path) as connection:
        connection.executemany(sql, rows) if rows else connection.execute(sql)
    connection.close()


def write_postgresql(url, sql, rows):
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(sql.replace("?", "%s"), rows) if rows else cursor.execute(sql)


def filled(server, kind="bigint", made=lambda s: START + s, rows=ROWS, host="text"):
    _, url, run = server
    run(f'CREATE TABLE samples ("Host" {host}, "when" {kind}, cpu double precision, "select" integer, note text)')
    run(
        "INSERT INTO samples VALUES (?, ?, ?, ?, ?)",
        [(h, None if s is None else made(s), v, n, "10% :x") for n, (h, s, v) in enumerate(rows)],
    )
    return url


def query(url, statement=SELECT, **more):
    return Query(url, statement, "Host", "when", **more)


def read(url, entities=None, since=None, until=None, columns=None, statement=SELECT, form=FORM, rows=3, **more):
    made = Query(url, statement, form.entity, form.time, **more)
    columns = Columns() if columns is None else columns
    names = wanted_columns(made.name, made.columns, form, columns)
    source = open_batches(
        "history",
        lambda: made.batches(names, entities, since, until, rows),
        form,
        columns,
        entities,
        since,
        until,
        ingested_ns=at(10**6),
    )
    records, dead = [], []
    while (batch := source.poll(2)) is not None:
        dead += [letter.reason for letter in batch.dead]
        for code, time, values in zip(batch.codes, batch.times, batch.values, strict=True):
            present = {n: float(v) for n, v in zip(batch.features, values, strict=True) if not np.isnan(v)}
            records.append((batch.names[code], (int(time) - at(0)) / SECOND, present))
    source.close()
    made.close()
    return records, dead


def test_rows_come_as_records_in_the_order_of_time(server):
    records, dead = read(filled(server))
    assert [(h, s, v.get("cpu"), v["select"]) for h, s, v in records] == [
        (h, s, v, float(n)) for n, (h, s, v) in enumerate(ROWS)
    ]
    assert dead == []


@pytest.mark.parametrize(
    ("entities", "since", "until"),
    [(["a"], None, None), (None, 1, 4), (["b", "c"], 2, 9), (["x"], None, None), ([], 0, 1)],
)
def test_entities_and_range_are_pushed_down(server, entities, since, until):
    url = filled(server)
    ends = [None if end is None else at(end) for end in (since, until)]
    expected = [
        (h, s)
        for h, s, _ in ROWS
        if (entities is None or h in entities) and (since is None or since <= s) and (until is None or s < until)
    ]
    given = [
        (h, s - START)
        for batch in query(url).batches(["Host", "when"], entities, *ends)
        for h, s in zip(*batch.to_pydict().values(), strict=True)
    ]
    assert given == expected
    assert [(h, s) for h, s, _ in read(url, entities, *ends)[0]] == expected


TIMES = {
    "timestamptz": lambda s: NOON + timedelta(seconds=s),
    "timestamp": lambda s: (NOON + timedelta(seconds=s)).replace(tzinfo=None),
    "double precision": lambda s: START + s + 0.0,
    "numeric": lambda s: (START + s) * 1000,
    "text": lambda s: (NOON + timedelta(seconds=s)).astimezone(timezone(timedelta(hours=9))).isoformat(),
}


@pytest.mark.parametrize("kind", list(TIMES))
def test_times_of_every_kind(server, kind):
    made = TIMES[kind]
    if server[0] == "sqlite" and kind.startswith("timestamp"):  # kept as text there
        kind, made = "text", lambda s, stamp=made: stamp(s).isoformat(" ")
    url = filled(server, kind, made)
    assert [s for _, s, _ in read(url, None, at(1), at(4))[0]] == [1, 2, 3]
    assert query(url).held() == [("a", 3, at(0), at(4)), ("b", 2, at(1), at(3)), ("c", 1, at(9), at(9))]
    within = query(url).held(at(1), at(4))
    assert within == [("a", 1, at(2), at(2)), ("b", 2, at(1), at(3))] or kind == "text"


def test_dates(server):
    days = [(h, s * 86_400, v) for h, s, v in ROWS]
    made = lambda s: (NOON + timedelta(seconds=s)).date()  # noqa: E731
    url = filled(server, "date", (lambda s: made(s).isoformat()) if server[0] == "sqlite" else made, days)
    midnight = START - START % 86_400
    since, until = ((midnight + day * 86_400) * SECOND for day in (1, 4))
    assert [(s + START - midnight) / 86_400 for _, s, _ in read(url, None, since, until)[0]] == [1, 2, 3]
    assert query(url).held()[2] == ("c", 1, (midnight + 9 * 86_400) * SECOND, (midnight + 9 * 86_400) * SECOND)


def test_a_stated_unit(server):
    url = filled(server, made=lambda s: START + s, rows=[("a", 0, 1.0)])
    assert query(url, unit="ms").held() == [("a", 1, START * 10**6, START * 10**6)]
    form = TelemetryFormat(layout="wide", entity="Host", time="when", unit="ms")
    assert len(read(url, None, START * 10**6, START * 10**6 + 1, form=form, unit="ms")[0]) == 1


def test_rows_that_nobody_owns(server):
    url = filled(server, rows=[("a", 0, 1.0), (None, 1, 2.0), ("", 2, 3.0), ("x" * 300, 3, 4.0), ("a", None, 5.0)])
    assert query(url).held() == [("", 3, at(0), at(0)), ("a", 2, at(0), at(0))]
    records, dead = read(url)
    assert (len(records), sorted(dead)) == (1, ["bad_entity", "missing_entity", "missing_entity", "missing_time"])
    assert read(url, ["a"])[1] == ["missing_time"]
    assert sorted(read(url, [""])[1]) == ["bad_entity", "missing_entity", "missing_entity"]
    assert len(read(url, ["a", ""])[1]) == 4


def test_entities_that_are_numbers(server):
    url = filled(server, rows=[(1, 0, 1.0), (2, 1, 2.0), (10, 2, 3.0)], host="integer")
    assert [row[0] for row in query(url).held()] == ["1", "10", "2"]
    assert [h for h, _, _ in read(url, ["10", "1", "01", "x"])[0]] == ["1", "10"]


def test_more_entities_than_a_statement_names(server):
    url = filled(server)
    assert [h for h, _, _ in read(url, ["b", *(f"x{i}" for i in range(MAX_NAMED))])[0]] == ["b", "b"]


def test_without_an_entity_column(server):
    url = filled(server)
    form = TelemetryFormat(layout="wide", entity=None, time="when", default_entity="plant")
    made = Query(url, SELECT, None, "when", default_entity="plant")
    assert made.held() == [("plant", 6, at(0), at(9))]
    assert {h for h, _, _ in read(url, ["plant"], form=form)[0]} == {"plant"}
    assert read(url, ["other"], form=form)[0] == []


def test_only_the_columns_of_the_model_are_asked_for(server):
    url = filled(server)
    columns = Columns(["cpu", "gone"], open=False)
    assert wanted_columns("q", query(url).columns, FORM, columns) == ["Host", "when", "cpu"]
    assert {name for _, _, values in read(url, columns=columns)[0] for name in values} == {"cpu"}
    with pytest.raises(ValueError, match=r"has none of the features \['gone'\]"):
        wanted_columns("q", query(url).columns, FORM, Columns(["gone"], open=False))


def test_a_value_that_is_no_number_is_a_dead_letter(server):
    url = filled(server)
    columns = Columns(["cpu", "note"], open=False)
    assert read(url, columns=columns)[1] == ["wrong_type"] * 6
    if server[0] == "sqlite":  # a column holds what it likes there
        server[2](
            "INSERT INTO samples VALUES (?, ?, ?, ?, ?)", [("a", START + 20, "x", 1, "y"), ("a", START + 21, 7, 1, "")]
        )
        records, dead = read(url, columns=Columns(["cpu"], open=False))
        assert (dead, records[-1]) == (["wrong_type"], ("a", 21, {"cpu": 7.0}))


def test_colons_percents_quotes_and_comments_in_a_statement(server):
    statement = f"""{SELECT} WHERE note LIKE '10\\% :%' AND ':x' <> '12:30' -- and so on;"""
    statement = statement.replace("\\", "")
    assert len(read(filled(server), statement=statement)[0]) == 6
    assert len(read(server[1], statement=f"WITH x AS ({SELECT}) SELECT * FROM x;")[0]) == 6
    if server[0] == "postgresql":
        cast = SELECT.replace("cpu", "cpu::float8 AS cpu")
        assert len(read(server[1], statement=cast)[0]) == 6


def test_a_column_that_comes_twice(server):
    url, twice = filled(server), 'SELECT "Host", "when", cpu, cpu FROM samples'
    if server[0] == "sqlite":  # which calls it something else
        assert query(url, twice).columns == ["Host", "when", "cpu", "cpu:1"]
        return
    with pytest.raises(StoreError, match=r"gives \['cpu'\] more than once"):
        query(url, twice)


def test_entities_cannot_break_out_of_the_statement(server):
    url = filled(server, rows=[("it's; DROP TABLE samples --", 0, 1.0), ("b", 1, 2.0)])
    assert [v["cpu"] for _, _, v in read(url, ["it's; DROP TABLE samples --"])[0]] == [1.0]
    assert read(url, ["' OR '1'='1"])[0] == []
    assert len(read(url)[0]) == 2


def test_the_connection_only_reads(server):
    url = filled(server)
    if server[0] == "postgresql":
        server[2]("CREATE FUNCTION wipe() RETURNS integer AS 'DELETE FROM samples; SELECT 1' LANGUAGE SQL")
        with pytest.raises(StoreError, match="read-only transaction"):
            read(url, statement=f"{SELECT} WHERE wipe() = 1")
    for statement in ("DELETE FROM samples", 'INSERT INTO samples ("Host") VALUES (1) RETURNING *'):
        with pytest.raises(StoreError):
            query(url, statement)
    assert len(read(url)[0]) == 6


def test_no_more_rows_than_a_batch_are_fetched(server):
    """The first batches of an endless query come: the rest is never made."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
    statement = f"""{endless} SELECT 'a' AS "Host", {START} + i AS "when", 1.0 * i AS cpu FROM n"""
    batches = query(filled(server), statement).batches(rows=100)
    first = next(batches)
    assert (len(first), first.column("cpu").type) == (100, pa.float64())
    batches.close()


def test_an_empty_result(server):
    url = filled(server)
    nothing = f"{SELECT} WHERE cpu > 100"
    assert query(url, nothing).held() == []
    assert query(url, nothing).held(at(0), at(1)) == []
    assert read(url, statement=nothing) == ([], [])


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("SELECT 1 AS x", r"the query has no column \['Host', 'when'\]; its columns are \['x'\]"),
        ("SELECT * FROM nowhere", "nowhere"),
        ('SELECT "Host", note AS "when" FROM samples', "column 'when' holds '10% :x', which is no time"),
    ],
)
def test_statements_that_cannot_be_used(server, statement, said):
    with pytest.raises(StoreError, match=said):
        query(filled(server), statement)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////nowhere/x.db", "there is no such file"),
        ("nonsense", "cannot be used as a database"),
        ("nosuch://user:secret@host/x", r"nosuch://user:\*\*\*@host/x.*cannot be used"),
        ("postgresql://u:secret@127.0.0.1:1/x", r"u:\*\*\*@127.0.0.1:1/x: .*refused"),
    ],
)
def test_databases_that_cannot_be_reached(url, said):
    with pytest.raises(StoreError, match=said) as raised:
        query(url)
    assert "secret" not in str(raised.value)
