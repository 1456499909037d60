"""What a run read, for people, and whether two runs read the same."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from storage.backfills import Backfills, UnitRow
from storage.engine import Database, open_database
from streaming.datasets import DataFile
from tsad.backfill.spec import Part, Reading, Rows, Series, Tables, Unit, Wanted
from tsad.runs.inputs import read_by, same_input, told

FIRST, SECOND = DataFile("a.parquet", 10, "s1"), DataFile("b.parquet", 20, "s2")


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


def unit(number: int, reading: Reading, topic: Any = "telemetry") -> UnitRow:
    """As a plan has it."""
    return UnitRow("", number, msgspec.to_builtins(Unit({topic: reading}, since=5)))


def test_what_was_asked_for_is_told_in_the_words_of_the_command_line() -> None:
    wanted = Wanted("s3://x/y", since=1_700_000_000_000_000_000, until=1_800_000_000_000_000_000, unit_rows=7)
    assert told(msgspec.to_builtins(wanted)) == {
        "input": "s3://x/y", "from": "2023-11-14 22:13:20", "to": "2027-01-15 08:00:00",
    }  # fmt: skip
    assert told({"input": ["a", "b"], "since": "2026"}) == {"input": "a, b", "from": "2026"}


def test_units_that_share_files_read_the_same() -> None:
    """How a run is cut into units, by entities and files, does not matter."""
    whole = [unit(0, Tables("x", [FIRST, SECOND]))]
    cut = [unit(0, Tables("x", [FIRST], ["a"])), unit(1, Tables("x", [FIRST, SECOND], ["b"]))]
    assert read_by(whole) == read_by(cut)
    assert read_by(whole) != read_by(cut[:1])
    queries = [unit(0, Rows("sqlite:///a.db", "SELECT 1", planned, ["a"])) for planned in (1, 2)]
    assert read_by(queries[:1]) == read_by(queries[1:])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Tables("x", [FIRST]), Tables("x", [FIRST._replace(stamp="later")])),
        (Tables("x", [FIRST]), Tables("x", [FIRST._replace(size=11)])),
        (Part("t", 0, 0, 100), Part("t", 0, 0, 101)),
        (Rows("sqlite:///a.db", "SELECT 1", 5), Rows("sqlite:///a.db", "SELECT 2", 5)),
        (Rows("sqlite:///a.db", "SELECT 1", 5), Series()),
    ],
)
def test_what_differs_is_another_input(one: Reading, other: Reading) -> None:
    assert read_by([unit(0, one)]) == read_by([unit(3, one)])
    assert read_by([unit(0, one)]) != read_by([unit(0, other)])
    assert read_by([unit(0, one)]) != read_by([unit(0, one, "logs")])


def test_two_runs_of_one_stream_and_range_read_the_same(sqlite: Database) -> None:
    backfills = Backfills(sqlite)
    spec = msgspec.to_builtins(Wanted("x", since=5))
    units = [unit(0, Tables("x", [FIRST, SECOND]))]
    june = backfills.add("june", "fleet", "v1", spec, units)
    again = backfills.add(
        "again", "fleet", "v2", spec | {"unit_rows": 9, "bands": True}, [replace(units[0], entities=5)]
    )
    assert same_input(backfills, june, again)
    others = [
        backfills.add("stream", "other", "v2", spec, units),
        backfills.add("range", "fleet", "v2", spec | {"since": 6}, units),
        backfills.add("files", "fleet", "v2", spec, [unit(0, Tables("x", [FIRST]))]),
    ]
    assert not any(same_input(backfills, june, other) for other in others)
