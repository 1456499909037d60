"""Who changed what: rows follow one another, and whatever is done to them afterwards is found."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from stored_samples import Clock

from storage.acts import Acts, record
from storage.engine import Database

ROWS = 5


def filled(database: Database, rows: int = ROWS) -> Acts:
    clock = Clock()
    for number in range(rows):
        detail = {"zahl": number, "text": "\0 ü \ud800 'x'"}
        database.write(lambda c, n=number, d=detail: record(c, clock(), "anna", f"act {n}", "alert:a", d))
    return Acts(database)


def test_a_chain_that_nobody_touched_fits(database: Database) -> None:
    acts = filled(database)
    verdict = acts.verify()
    assert (verdict.rows, verdict.fault) == (ROWS, None)
    newest = acts.listing(2)
    assert [one.sequence for one in newest] == [5, 4]
    assert newest[0].hash == verdict.head.hash
    assert newest[0].previous == newest[1].hash
    assert newest[0].told == {"zahl": 4, "text": "\0 ü \ud800 'x'"}
    assert [one.sequence for one in acts.listing(10, before=3)] == [2, 1]
    assert acts.listing(10, target="alert:b") == []


def test_an_empty_chain_fits(database: Database) -> None:
    assert Acts(database).verify().fault is None


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        ("UPDATE acts SET by = 'eve' WHERE sequence = 2", "row 2 was changed"),
        ("UPDATE acts SET detail = '{}' WHERE sequence = 5", "row 5 was changed"),
        ("UPDATE acts SET previous = '' WHERE sequence = 3", "row 3 does not follow row 2"),
        ("DELETE FROM acts WHERE sequence = 3", "row 3 is missing"),
        ("DELETE FROM acts WHERE sequence = 1", "row 1 is missing"),
        ("DELETE FROM acts WHERE sequence >= 4", "rows 4 to 5 are missing"),
        ("DELETE FROM acts", "rows 1 to 5 are missing"),
        ("UPDATE acts SET sequence = 6 WHERE sequence = 5", "rows 5 to 5 are missing"),
        ("UPDATE act_heads SET sequence = 4", "row 4 is not the one that the chain ended with"),
        ("UPDATE act_heads SET hash = 'x'", "row 5 is not the one that the chain ended with"),
        (
            "INSERT INTO acts SELECT 6, at, by, action, target, detail, hash, hash FROM acts WHERE sequence = 5",
            "row 6 is behind the end of the chain",
        ),
    ],
)
def test_what_is_done_to_it_is_found(database: Database, harm: str, fault: str) -> None:
    acts = filled(database)
    database.write(lambda connection: connection.execute(sa.text(harm)))
    found = acts.verify().fault
    assert found is not None
    assert found.startswith(fault)


def test_a_row_goes_with_what_it_tells_of(database: Database) -> None:
    acts = filled(database)

    def work(connection: sa.Connection) -> None:
        record(connection, Clock()(), "anna", "never", "alert:a")
        raise KeyError("stop")

    with pytest.raises(KeyError):
        database.write(work)
    assert acts.verify().head.sequence == ROWS
    assert acts.verify().fault is None


def test_many_at_once_make_one_chain(database: Database) -> None:
    def some(name: str) -> Callable[[], None]:
        def work() -> None:
            for number in range(10):
                database.write(lambda c, n=number: record(c, Clock()(), name, f"act {n}", "x"))

        return work

    threads = [threading.Thread(target=some(f"anna {n}")) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    verdict = Acts(database).verify()
    assert (verdict.rows, verdict.fault) == (40, None)


def test_a_long_chain_is_read_in_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.acts.PAGE", 2)
    acts = filled(database)
    assert (acts.verify().rows, acts.verify().fault) == (ROWS, None)
    database.write(lambda c: c.execute(sa.text("DELETE FROM acts WHERE sequence = 4")))
    assert acts.verify().fault == "row 4 is missing"
