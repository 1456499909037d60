"""Transactions under pressure: several writers, readers beside them, locks, lost connections, one run a SQLite file."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from stored_samples import Clock, alert, at, bundle, empty

from storage.connect import CONNECTIONS
from storage.engine import Database, open_database
from storage.leases import Leases
from storage.read import Reader
from storage.store import Store
from storage.types import Checkpoint, ScoreRow, StoreError


def test_two_writer_threads_lose_nothing(database: Database) -> None:
    Leases(database).acquire("fleet", [0, 1], "host")
    store = Store(database, Clock())

    def work(partition: int) -> None:
        for turn in range(25):
            name = f"host-{partition}-{turn}"
            rows = [ScoreRow(name, slot, at(slot), 1.0, 0.1, {}, "m1") for slot in range(20)]
            point = Checkpoint({"telemetry": turn}, turn)
            store.save([empty(partition, scores=rows, checkpoint=point, alerts=[alert(name, partition=partition)])])

    threads = [threading.Thread(target=work, args=(partition,)) for partition in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = Reader(database).counts()
    assert (counts["scores"], counts["alerts"]) == (2 * 25 * 20, 50)
    assert [store.restore("live", "fleet", p).checkpoint for p in (0, 1)] == [Checkpoint({"telemetry": 24}, 24)] * 2


def test_a_reader_sees_whole_saves_and_never_waits(database: Database) -> None:
    """Within another's open write transaction, reading answers at once, with the state before it."""
    Leases(database).acquire("fleet", [0], "host")
    store, reader = Store(database, Clock()), Reader(database)
    store.save([bundle()])
    began, go_on = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        connection.exec_driver_sql("DELETE FROM scores")
        began.set()
        assert go_on.wait(30)

    writer = threading.Thread(target=database.write, args=(slow,))
    writer.start()
    assert began.wait(30)
    during = reader.counts()["scores"], len(reader.alerts()), reader.health("fleet")["pending"]
    go_on.set()
    writer.join()
    assert during == (1, 1, 1)
    assert reader.counts()["scores"] == 0


def test_a_locked_sqlite_file_is_tried_again_and_then_named(sqlite_url: str) -> None:
    blocker = open_database(sqlite_url)
    pauses: list[float] = []
    impatient = open_database(sqlite_url, busy_ms=1, attempts=3, sleep=pauses.append)

    def block(_: sa.Connection) -> None:
        with pytest.raises(StoreError, match=r"tsad\.db: database is locked \(3 attempts\)"):
            Leases(impatient).acquire("fleet", [0], "host")

    blocker.write(block)
    assert len(pauses) == 2 and 0 < pauses[0] <= pauses[1] + 0.05 < 2.2
    assert Leases(impatient).acquire("fleet", [0], "host") == {0: 1}
    blocker.close()
    impatient.close()


def test_a_lock_that_goes_away_is_outlasted(sqlite_url: str) -> None:
    engine = sa.create_engine(sqlite_url)
    blocker = engine.connect()
    blocker.exec_driver_sql("BEGIN IMMEDIATE")
    patient = open_database(sqlite_url, busy_ms=1, attempts=3, sleep=lambda _: blocker.rollback())
    assert Leases(patient).acquire("fleet", [0], "host") == {0: 1}
    engine.dispose()
    patient.close()


def test_a_lost_connection_is_made_anew(postgresql_url: str) -> None:
    """The server ends our session amid a save; the whole transaction is tried again, once."""
    database = open_database(postgresql_url, sleep=lambda _: None)
    tried = []

    def work(connection: sa.Connection) -> int:
        connection.exec_driver_sql("INSERT INTO leases VALUES ('live', 'fleet', 0, 1, 'host', now())")
        tried.append(len(tried))
        if len(tried) == 1:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        return len(tried)

    assert database.write(work) == 2
    assert Leases(database).epochs("fleet") == {0: 1}
    database.close()


def test_a_fault_that_stays_is_not_tried_again(database: Database) -> None:
    tried = []

    def work(connection: sa.Connection) -> None:
        tried.append(1)
        connection.exec_driver_sql("SELECT nonsense")

    with pytest.raises(StoreError, match="nonsense"):
        database.write(work)
    assert len(tried) == 1


def test_an_error_of_the_caller_passes_and_rolls_back(database: Database) -> None:
    def work(connection: sa.Connection) -> None:
        connection.exec_driver_sql(
            "INSERT INTO leases VALUES ('live', 'fleet', 0, 1, 'host', '2026-01-01 00:00:00', 0)"
        )
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        database.write(work)
    assert Leases(database).epochs("fleet") == {}


def test_a_second_run_on_a_sqlite_file_is_refused_and_told_of_postgresql(sqlite_url: str) -> None:
    first, second = open_database(sqlite_url), open_database(sqlite_url)
    with first.claim():
        with pytest.raises(StoreError, match=rf"process {os.getpid()}.*use PostgreSQL"), second.claim():
            pytest.fail("claimed twice")
        assert Reader(second).counts()["alerts"] == 0, "commands and pages still read"
    with second.claim():
        pass
    first.close()
    second.close()


def test_a_run_that_died_leaves_no_claim(sqlite_url: str) -> None:
    script = """
import os, sys
from storage.engine import open_database
database = open_database(sys.argv[1])
with database.claim():
    os._exit(9)
"""
    root = Path(__file__).parents[2]
    died = subprocess.run([sys.executable, "-c", script, sqlite_url], env={"PYTHONPATH": str(root)}, check=False)
    assert died.returncode == 9
    database = open_database(sqlite_url)
    with database.claim():
        assert Path(f"{sqlite_url.removeprefix('sqlite:///')}.lock").read_text() == str(os.getpid())
    database.close()


def test_on_postgresql_many_may_run(postgresql_url: str) -> None:
    first, second = open_database(postgresql_url), open_database(postgresql_url)
    with first.claim(), second.claim():
        assert Leases(second).acquire("fleet", [0], "host") == {0: 1}
    first.close()
    second.close()


def test_a_read_of_postgresql_is_one_trip_and_a_write_a_transaction(postgresql_url: str) -> None:
    database = open_database(postgresql_url)

    def stays(connection: sa.Connection) -> bool:
        """Whether what one statement sets is still there for the next: not where each is a transaction."""
        connection.exec_driver_sql("SET LOCAL search_path TO elsewhere")
        return str(connection.exec_driver_sql("SHOW search_path").scalar()) == "elsewhere"

    assert [database.read(stays), database.write(stays), database.read(stays)] == [False, True, False]
    database.close()


def test_more_threads_than_connections_take_turns(postgresql_url: str) -> None:
    database, answers = open_database(postgresql_url), list[int]()

    def ask() -> None:
        sleep = sa.text("SELECT pg_backend_pid() FROM pg_sleep(0.02)")
        answers.append(database.read(lambda connection: connection.execute(sleep).scalar_one()))

    threads = [threading.Thread(target=ask) for _ in range(3 * CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 3 * CONNECTIONS
    assert len(set(answers)) <= CONNECTIONS
    database.close()
