"""Work beside its owner: what must go on goes on, what takes too long is given up, other threads are not involved."""

import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from storage.engine import open_database
from storage.leases import Leases
from storage.types import StoreError
from tsad.aside import Aside, GivenUpError, patiently


@pytest.fixture
def latch() -> Iterator[threading.Event]:
    """What work waits for; open at the end, so that no thread is left."""
    made = threading.Event()
    yield made
    made.set()


def test_what_work_gives_and_raises_comes_back() -> None:
    with Aside() as aside:
        assert aside(lambda: threading.current_thread().name) == "aside"
        with pytest.raises(ZeroDivisionError):
            aside(lambda: 1 / 0)
        with pytest.raises(TimeoutError, match="its own"):
            aside(lambda: (_ for _ in ()).throw(TimeoutError("its own")))
        assert aside(lambda: aside(lambda: threading.current_thread().name)) == "aside", "no deadlock within itself"


def test_the_owner_goes_on_with_what_must_not_wait(latch: threading.Event) -> None:
    turns = count(1)

    def meanwhile() -> None:
        if next(turns) == 3:
            latch.set()

    with Aside(every=0.01) as aside:
        aside.meanwhile = meanwhile
        assert aside(latch.wait)
    assert next(turns) > 3


def test_when_asked_to_stop_it_is_given_up_after_the_grace(latch: threading.Event) -> None:
    looks = count()
    seconds = count(100)
    said = r"stopped, \d+ s after it was begun; what was not saved is read again"
    made = Aside(lambda: next(looks) > 5, grace=10, every=0.001, clock=lambda: next(seconds))
    with made as aside, pytest.raises(GivenUpError, match=said):
        aside(latch.wait)
    assert 10 <= next(seconds) - 100 < 30


def test_it_waits_no_longer_than_said(latch: threading.Event) -> None:
    seconds = count()
    made = Aside(every=0.001, clock=lambda: next(seconds))
    with made as aside, pytest.raises(GivenUpError, match="no answer in 20 s"):
        aside.within(20, latch.wait)


def test_a_quick_work_is_done_however_long_ago_it_was_asked_to_stop() -> None:
    with Aside(lambda: True, grace=0) as aside:
        assert [aside(lambda n=n: n) for n in range(100)] == list(range(100))


def test_other_threads_do_their_own_work() -> None:
    found = []
    with Aside() as aside:
        other = threading.Thread(target=lambda: found.append(aside(threading.get_ident)), name="other")
        other.start()
        other.join()
    assert found == [other.ident]


def test_transactions_of_the_block_are_carried_and_given_up_by_name(
    make_app: Callable[..., Any], latch: threading.Event
) -> None:
    app = make_app({"telemetry": []})
    with patiently(app, latch.is_set, grace=0):
        assert app.database.read(lambda _: threading.current_thread().name) == "aside"
        hanging = threading.Event()

        def hang(_: object) -> None:
            latch.set()
            hanging.wait()

        with pytest.raises(StoreError, match=r"tsad\.db: stopped, .* what was not saved is read again by the next run"):
            app.database.write(hang)
        hanging.set()
    assert app.database.read(lambda _: threading.current_thread()) is threading.current_thread()


def test_patience_outlasts_more_faults_than_attempts_alone(sqlite_url: str) -> None:
    blocker = open_database(sqlite_url)
    pauses = count(1)

    class Enough(Exception):
        pass

    def pause(_: float) -> None:
        if next(pauses) == 10:
            raise Enough

    patient = open_database(sqlite_url, busy_ms=1, attempts=2, sleep=pause)
    patient.patience = 3600

    def block(_: object) -> None:
        with pytest.raises(Enough):
            Leases(patient).acquire("fleet", [0], "host")

    blocker.write(block)
    assert (patient.retries, patient.faulty) == (10, True)
    assert Leases(patient).acquire("fleet", [0], "host") == {0: 1}
    assert not patient.faulty
    blocker.close()
    patient.close()
