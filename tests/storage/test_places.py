"""Numbers of places: the same for everybody, and for good."""

import threading

import pytest
from stored_samples import Clock

from storage.engine import Database
from storage.places import Places
from storage.store import Store
from storage.types import StoreError, StreamRow

MINUTE = 60_000_000_000


@pytest.fixture
def places(database: Database) -> Places:
    """Of streams that are known."""
    for name in ("fleet", "other"):
        Store(database, Clock()).put_stream(StreamRow("live", name, MINUTE))
    return Places(database, Clock())


def test_places_are_numbered_by_name_and_keep_their_number(places: Places) -> None:
    first = places.numbers("fleet", [("m.b", 0), ("m.a", 1), ("m.a", 0)])
    assert first == {("m.a", 0): 0, ("m.a", 1): 1, ("m.b", 0): 2}
    later = places.numbers("fleet", [("m.0", 0), ("m.b", 0), ("m.a", 2)])
    assert later == {("m.b", 0): 2, ("m.0", 0): 3, ("m.a", 2): 4}
    assert places.numbers("fleet", []) == {}


def test_streams_do_not_meet(places: Places) -> None:
    assert places.numbers("fleet", [("m", 0)]) == places.numbers("other", [("m", 0)]) == {("m", 0): 0}


def test_a_stream_that_nobody_knows_is_refused(places: Places) -> None:
    with pytest.raises(StoreError, match="there is no stream 'nobody'"):
        places.numbers("nobody", [("m", 0)])


def test_those_who_number_at_the_same_time_agree(database: Database, places: Places) -> None:
    said: list[dict[tuple[str, int], int]] = []

    def number(first: int) -> None:
        mine = [(f"m.{topic}", part) for topic in range(first, first + 6) for part in range(2)]
        said.append(Places(database).numbers("fleet", mine))

    threads = [threading.Thread(target=number, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    known = {place: number for each in said for place, number in each.items()}
    assert all(known[place] == number for each in said for place, number in each.items())
    assert sorted(known.values()) == list(range(18))
