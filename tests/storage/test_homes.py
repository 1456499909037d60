"""Homes of entities: the first partition that had a record of one, for good."""

import threading

import pytest
from stored_samples import START, Clock

from storage.engine import Database
from storage.homes import Home, Homes
from storage.types import StoreError


def test_the_first_partition_keeps_an_entity(database: Database) -> None:
    homes = Homes(database, Clock())
    assert homes.claim("fleet", 2, ["web-1", "web-2"]) == {"web-1": 2, "web-2": 2}
    assert homes.claim("fleet", 0, ["web-2", "web-3"]) == {"web-2": 2, "web-3": 0}
    assert homes.claim("fleet", 2, ["web-3", "web-2", "web-1"]) == {"web-3": 0, "web-2": 2, "web-1": 2}
    assert homes.claim("fleet", 2, []) == {}


def test_strays_are_named_with_both_partitions_and_when_they_were_found(database: Database) -> None:
    clock = Clock()
    homes = Homes(database, clock)
    homes.claim("fleet", 2, ["web-1", "web-2"])
    assert homes.strays("fleet") == []
    homes.claim("fleet", 0, ["web-2"])
    clock.now = clock.now.replace(year=2027)
    homes.claim("fleet", 1, ["web-2"])  # the first one stays
    assert homes.strays("fleet") == [Home("web-2", 2, 0, START)]


def test_streams_and_runs_do_not_meet(database: Database) -> None:
    homes = Homes(database)
    homes.claim("fleet", 2, ["web-1"])
    assert homes.claim("other", 0, ["web-1"]) == {"web-1": 0}
    assert homes.claim("fleet", 1, ["web-1"], run="backfill") == {"web-1": 1}
    assert homes.strays("fleet") == homes.strays("other") == homes.strays("fleet", "backfill") == []


def test_names_that_no_database_could_hold(database: Database) -> None:
    homes = Homes(database)
    assert homes.claim("fleet", 3, ["a\ud800", "a?", "b"]) == {"a\ud800": 3, "a?": 3, "b": 3}
    assert homes.claim("fleet", 4, ["a\ud800"]) == {"a\ud800": 3}


def test_many_at_once(database: Database) -> None:
    """More than a question holds, and enough for the bulk way of PostgreSQL."""
    homes, names = Homes(database), [f"host-{number}" for number in range(1300)]
    assert set(homes.claim("fleet", 1, names).values()) == {1}
    assert homes.claim("fleet", 2, [*names, "new"]) == dict.fromkeys(names, 1) | {"new": 2}
    assert len(homes.strays("fleet")) == 1300


def test_those_who_claim_at_the_same_time_agree(database: Database) -> None:
    names = [f"host-{number}" for number in range(40)]
    said: dict[int, dict[str, int]] = {}

    def claim(partition: int) -> None:
        order = names[partition:] + names[:partition]
        said[partition] = Homes(database).claim("fleet", partition, order)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said[0] == said[1] == said[2] == said[3]
    assert set(said[0]) == set(names)


def test_who_asks_gives_no_home(database: Database) -> None:
    homes = Homes(database)
    homes.claim("fleet", 2, ["web-1", "a\ud800"])
    assert homes.of("fleet", ["web-1", "web-2", "a\ud800"]) == {"web-1": 2, "a\ud800": 2}
    assert homes.of("fleet", ["web-1"], run="backfill") == homes.of("other", ["web-1"]) == {}
    assert homes.claim("fleet", 0, ["web-2"]) == {"web-2": 0}


def test_an_entity_is_moved_to_where_it_came_too_or_where_one_says(database: Database) -> None:
    homes = Homes(database)
    homes.claim("fleet", 2, ["web-1", "web-2"])
    homes.claim("fleet", 0, ["web-1"])
    assert homes.move("fleet", "web-1") == (2, 0)
    assert homes.strays("fleet") == []
    assert homes.claim("fleet", 0, ["web-1"]) == {"web-1": 0}
    assert homes.move("fleet", "web-1", 5) == (0, 5)
    with pytest.raises(StoreError, match="has come on partition 2 alone; say --partition N"):
        homes.move("fleet", "web-2")
    with pytest.raises(StoreError, match="no entity 'web-3' that belongs to a partition"):
        homes.move("fleet", "web-3", 1)
    assert homes.of("fleet", ["web-1", "web-2", "web-3"]) == {"web-1": 5, "web-2": 2}
