"""The outbox: written with what it tells of, once; emptied in order, by its owner only."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored_samples import Clock, alert, announcement, at, bundle, empty, explanation, forward, stored

from storage.documents import load_json
from storage.engine import Database
from storage.leases import Leases
from storage.outbox import Outbox
from storage.prune import prune
from storage.store import Store
from storage.types import DeadLetter, Message, StoreError


@pytest.fixture
def store(database: Database) -> Store:
    Leases(database, Clock()).acquire("fleet", [0, 1], "host-a")
    return Store(database, Clock())


@pytest.fixture
def outbox(database: Database, store: Store) -> Iterator[Outbox]:
    yield Outbox(database)


BOTH = {0: 1, 1: 1}


def waiting(outbox: Outbox, epochs: dict[int, int] | None = None) -> list[Message]:
    return outbox.take("fleet", BOTH if epochs is None else epochs, 100)


def revisions(messages: list[Message]) -> list[tuple[int, str]]:
    return [(body["revision"], body["said"]) for body in (load_json(m.payload) for m in messages)]


def letters(*positions: int, topic: str = "telemetry") -> list[DeadLetter]:
    return [DeadLetter(topic, n, "broken_json", f"line {n}", f"payload {n}".encode()) for n in positions]


def test_a_save_puts_out_what_it_tells_of(store: Store, outbox: Outbox) -> None:
    assert store.save([bundle()]).rows["outbox"] == 2
    said, dead = waiting(outbox)
    assert (said.partition, said.sequence, said.topic, said.key, said.headers) == (0, 1, "alerts", alert().id, {})
    assert load_json(said.payload) == {"id": alert().id, "said": "opened", "revision": 1}
    assert dead == Message(0, 2, "dead", "telemetry:3", b'{"cpu": "\xff"}', {"reason": "wrong_type"})


def test_the_same_again_says_nothing(store: Store, outbox: Outbox, database: Database) -> None:
    store.save([bundle()])
    before = stored(database)
    store.save([bundle()])
    assert stored(database) == before
    assert outbox.delivered("fleet", 0, 1, 2)
    again = store.save([bundle()])
    assert "outbox" not in again.rows
    assert waiting(outbox) == [], "what was delivered is not said again either"


def test_revisions_rise_with_what_is_new_and_may_come_back_to_what_was(store: Store, outbox: Outbox) -> None:
    one = alert()
    for content in ("opened", "confirmed", "confirmed", "retracted", "confirmed"):
        store.save([empty(alerts=[one], announcements=[announcement(one, content)])])
    found = waiting(outbox)
    assert revisions(found) == [(1, "opened"), (2, "confirmed"), (3, "retracted"), (4, "confirmed")]
    assert [message.sequence for message in found] == [1, 2, 3, 4]


def test_of_two_announcements_of_an_alert_in_a_save_the_last_counts(store: Store, outbox: Outbox) -> None:
    one = alert()
    store.save([empty(alerts=[one], announcements=[announcement(one, "opened"), announcement(one, "confirmed")])])
    assert revisions(waiting(outbox)) == [(1, "confirmed")]


def test_numbers_rise_though_the_table_was_emptied(store: Store, outbox: Outbox) -> None:
    for turn in range(3):
        store.save([empty(dead_letters=letters(turn), forwards=[forward(one) for one in letters(turn)])])
        (message,) = waiting(outbox)
        assert message.sequence == turn + 1
        assert outbox.delivered("fleet", 0, 1, message.sequence)


def test_partitions_count_alone_and_come_in_order(store: Store, outbox: Outbox) -> None:
    for positions in ((5, 3), (9,)):
        dead = letters(*positions)
        for partition in (1, 0):
            store.save([empty(partition, dead_letters=dead, forwards=[forward(one) for one in dead])])
    found = [(message.partition, message.sequence, message.key) for message in waiting(outbox)]
    assert found == [(p, n, f"telemetry:{at}") for p in (0, 1) for n, at in ((1, 5), (2, 3), (3, 9))]
    assert [m.sequence for m in outbox.take("fleet", {1: 1}, 2)] == [1, 2]
    assert outbox.take("other", BOTH, 10) == outbox.take("fleet", BOTH, 10, run="backfill") == []


def test_a_dead_letter_goes_out_when_its_row_is_new(store: Store, outbox: Outbox) -> None:
    """Before forwarding was configured it was stored only, and stays unsaid."""
    store.save([empty(dead_letters=letters(1, 2))])
    dead = letters(1, 2, 3) + letters(2, topic="logs")
    store.save([empty(dead_letters=dead, forwards=[forward(one) for one in dead])])
    assert [message.key for message in waiting(outbox)] == ["telemetry:3", "logs:2"]


def test_a_letter_without_payload_has_an_empty_one(store: Store, outbox: Outbox) -> None:
    late = DeadLetter("telemetry", 8, "too_late", "", None)
    store.save([empty(dead_letters=[late], forwards=[forward(late)])])
    assert waiting(outbox)[0].payload == b""


def test_thousands_of_letters_in_a_save(store: Store, outbox: Outbox) -> None:
    dead = letters(*range(1300))
    store.save([empty(dead_letters=dead[:700], forwards=[forward(one) for one in dead[:700]])])
    store.save([empty(dead_letters=dead, forwards=[forward(one) for one in dead])])
    found = outbox.take("fleet", BOTH, 5000)
    assert [message.key for message in found] == [f"telemetry:{n}" for n in range(1300)]


def test_only_what_is_behind_stays(store: Store, outbox: Outbox) -> None:
    dead = letters(*range(5))
    store.save([empty(p, dead_letters=dead, forwards=[forward(one) for one in dead]) for p in (0, 1)])
    assert outbox.delivered("fleet", 0, 1, 3)
    assert [(m.partition, m.sequence) for m in waiting(outbox)] == [(0, 4), (0, 5), *((1, n) for n in range(1, 6))]


def test_who_lost_the_lease_neither_takes_nor_deletes(store: Store, outbox: Outbox, database: Database) -> None:
    store.save([bundle()])
    assert Leases(database).acquire("fleet", [0], "host-b") == {0: 2}
    assert waiting(outbox) == []
    assert not outbox.delivered("fleet", 0, 1, 99)
    assert len(waiting(outbox, {0: 2})) == 2
    dead = letters(77)
    store.save([empty(epoch=2, dead_letters=dead, forwards=[forward(one) for one in dead])])
    assert [message.sequence for message in waiting(outbox, {0: 2})] == [1, 2, 3], "a new owner counts on"


def test_a_lost_partition_says_nothing(store: Store, outbox: Outbox, database: Database) -> None:
    Leases(database).acquire("fleet", [0], "host-b")
    assert store.save([bundle(0), empty(1)]).rows == {}
    assert waiting(outbox, {0: 2}) == []


def test_what_is_explained_later_is_said_too(store: Store, outbox: Outbox) -> None:
    one = alert()
    store.save([empty(alerts=[one], announcements=[announcement(one)])])
    for _ in range(2):
        store.explained(one, [explanation(one)], [announcement(one, "explained")])
    assert revisions(waiting(outbox)) == [(1, "opened"), (2, "explained")]
    store.explained(one, [explanation(one)])
    assert len(waiting(outbox)) == 2


def test_nothing_is_said_of_an_alert_that_is_not_there(store: Store, outbox: Outbox, database: Database) -> None:
    before = stored(database)
    with pytest.raises(StoreError, match="no alert"):
        store.explained(alert("nobody"), [], [announcement(alert("nobody"))])
    with pytest.raises(StoreError, match=r"(?i)foreign key"):
        store.save([empty(announcements=[announcement(alert("nobody"))])])
    assert stored(database) == before


def test_what_was_said_of_an_alert_goes_with_it(store: Store, outbox: Outbox, database: Database) -> None:
    old = alert(state="resolved")
    store.save([empty(alerts=[old], announcements=[announcement(old)])])
    prune(database, {"alerts": 1, "dead_letters": 0}, at(60 * 24 * 9))
    assert stored(database)["announced"] == []
    assert len(waiting(outbox)) == 1, "retention takes no message that was not delivered"


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turns=st.lists(
        st.one_of(
            st.tuples(st.just("say"), st.sampled_from("abc")),
            st.tuples(st.just("deliver"), st.integers(0, 3)),
            st.tuples(st.just("move"), st.none()),
        ),
        max_size=25,
    )
)
def test_whatever_happens_a_reader_ends_with_the_last_word(database: Database, turns: list[tuple[str, object]]) -> None:
    """Sends are repeated after a kill and overtaken by a new owner: numbers and revisions rise, nothing is missed."""
    epoch = Leases(database).acquire("fleet", [0], "host")[0]
    store, outbox, one = Store(database), Outbox(database), alert()
    database.write(lambda connection: connection.exec_driver_sql("DELETE FROM outbox"))
    database.write(lambda connection: connection.exec_driver_sql("DELETE FROM announced"))
    said, read = "", []
    for kind, what in turns:
        if kind == "say":
            said = str(what)
            store.save([empty(epoch=epoch, alerts=[one], announcements=[announcement(one, said)])])
        elif kind == "deliver":
            batch = outbox.take("fleet", {0: epoch}, 2)
            read += batch  # sent, and perhaps killed before it is known
            if what and batch:
                assert outbox.delivered("fleet", 0, epoch, batch[-1].sequence)
        else:
            epoch = Leases(database).acquire("fleet", [0], "other")[0]
    while batch := outbox.take("fleet", {0: epoch}, 2):
        read += batch
        assert outbox.delivered("fleet", 0, epoch, batch[-1].sequence)
    bodies = [load_json(message.payload) for message in read]
    assert (max(bodies, key=lambda body: body["revision"])["said"] if bodies else "") == said
    assert {body["revision"] for body in bodies} == set(range(1, max([b["revision"] for b in bodies], default=0) + 1))
    numbers = {message.sequence: body["revision"] for message, body in zip(read, bodies, strict=True)}
    assert [numbers[n] for n in sorted(numbers)] == sorted(numbers.values()), "the order of the table is that of time"
