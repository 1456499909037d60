"""Ownership of partitions: epochs rise with every owner, by stream and run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from stored_samples import Clock, empty

from storage.connect import create_engine, parse_url
from storage.engine import Database, open_database
from storage.leases import Leases, held
from storage.store import Store
from storage.types import Checkpoint, StoreError


def test_each_taking_raises_the_epoch(database: Database) -> None:
    leases = Leases(database)
    assert leases.epochs("fleet") == {}
    assert leases.acquire("fleet", [2, 0, 2], "a") == {0: 1, 2: 1}
    assert leases.acquire("fleet", [2], "b") == {2: 2}
    assert leases.acquire("fleet", [2], "b") == {2: 3}, "even the same owner's"
    assert leases.epochs("fleet") == {0: 1, 2: 3}
    assert leases.acquire("fleet", [], "c") == {}


def test_streams_and_runs_do_not_meet(database: Database) -> None:
    leases = Leases(database)
    leases.acquire("fleet", [0], "a")
    assert leases.acquire("fleet", [0], "b", run="backfill-1") == {0: 1}
    assert leases.acquire("other", [0], "c") == {0: 1}
    assert leases.epochs("fleet") == leases.epochs("other") == leases.epochs("fleet", "backfill-1") == {0: 1}


def test_takers_at_the_same_time_get_different_epochs(database: Database) -> None:
    got: list[int] = []

    def take(owner: str) -> None:
        got.extend(epoch for _ in range(10) for epoch in Leases(database).acquire("fleet", [0], owner).values())

    threads = [threading.Thread(target=take, args=(f"host-{n}",)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(1, 31))


def test_saves_that_race_with_a_taker_end_at_the_taking(database: Database) -> None:
    """Whatever the older owner saves after the taking is refused, so its last checkpoint is from before."""
    leases, store = Leases(database), Store(database, Clock())
    mine = leases.acquire("fleet", [0], "a")[0]
    saved: list[int] = []
    under_way = threading.Event()

    def save() -> None:
        for turn in range(10_000):
            if store.save([empty(epoch=mine, checkpoint=Checkpoint({"telemetry": turn}, turn))]).lost:
                return
            saved.append(turn)
            under_way.set()

    thread = threading.Thread(target=save)
    thread.start()
    assert under_way.wait(30)
    theirs = leases.acquire("fleet", [0], "b")[0]
    at_taking = store.restore("live", "fleet", 0).checkpoint
    thread.join()
    assert theirs == mine + 1
    assert store.restore("live", "fleet", 0).checkpoint == at_taking
    assert at_taking is not None and at_taking.next_slot == saved[-1]


def test_an_owner_that_stands_still_in_a_save_does_not_hold_its_partition_for_good(postgresql_url: str) -> None:
    """SIGSTOP between two statements: its transaction holds the row of the lease until the server ends it."""
    engine = create_engine(parse_url(postgresql_url), idle_ms=200)
    hung = Database(engine)
    other = open_database(postgresql_url)
    mine = Leases(hung).acquire("fleet", [0], "hung")[0]
    with engine.connect() as connection:
        assert held(connection, "live", "fleet", 0, mine)
        assert Leases(other).acquire("fleet", [0], "other") == {0: mine + 1}
        with pytest.raises(sa.exc.DBAPIError, match="idle-in-transaction"):
            connection.execute(sa.text("SELECT 1"))
        connection.invalidate()
    assert Store(hung, Clock()).save([empty(epoch=mine)]).lost
    hung.close()
    other.close()


@pytest.mark.parametrize("sending", ["rows", "copy"])
def test_an_owner_that_stands_still_while_it_sends_is_sent_away_by_its_successor(
    postgresql_url: str, sending: str
) -> None:
    """To the server a session in the middle of a pipeline or a COPY is not idle: no time-out of its own ends it."""
    engine = create_engine(parse_url(postgresql_url), idle_ms=50)
    hung = Database(engine)
    other = open_database(postgresql_url)
    mine = Leases(hung).acquire("fleet", [0, 1], "hung")[0]
    connection = engine.raw_connection()
    with standing_still(connection.driver_connection, sending):
        taken = Leases(other, hung=0.4).acquire("fleet", [0, 1], "other")
    connection.invalidate()
    assert taken == {0: mine + 1, 1: mine + 1}
    assert Store(hung, Clock()).save([empty(epoch=mine)]).lost, "it has woken, and its save is refused"
    hung.close()
    other.close()


def test_nobody_is_sent_away_who_has_just_begun(postgresql_url: str) -> None:
    engine = create_engine(parse_url(postgresql_url))
    saving = Database(engine)
    other = open_database(postgresql_url, attempts=1)
    mine = Leases(saving).acquire("fleet", [0], "a")[0]
    with engine.begin() as connection:
        assert held(connection, "live", "fleet", 0, mine)
        with pytest.raises(StoreError, match="lock timeout"):
            Leases(other, hung=6).acquire("fleet", [0], "b")
    assert Leases(saving).epochs("fleet") == {0: mine}
    saving.close()
    other.close()


@contextmanager
def standing_still(session: Any, sending: str) -> Iterator[None]:
    """A session that has changed a lease's row and stands still in the middle of what it sends."""
    change = "UPDATE leases SET epoch = epoch WHERE partition = 0"
    if sending == "copy":
        session.execute(change)
        with suppress(psycopg.OperationalError), session.cursor().copy("COPY audit FROM STDIN"):
            yield
    else:
        with suppress(psycopg.OperationalError), session.pipeline():
            session.execute(change)
            session.pgconn.send_flush_request()
            session.pgconn.flush()
            yield
