"""What is to be told: only what is news, once each, in order, and again until it is taken."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from stored_samples import Clock

from storage.deliveries import FIRST, GIVEN_UP, LONGEST, Deliveries, Delivery, Telling, enqueue
from storage.engine import Database


def telling(status: Any = "firing", alert: str = "a", **more: Any) -> Telling:
    said = {"route": "ops", "key": alert, "alert_id": alert, "status": status, "severity": "warning", "body": {}}
    return Telling(**(said | more))


def told(database: Database, clock: Clock, *some: Telling) -> int:
    return database.write(lambda connection: enqueue(connection, some, clock()))


def kept(deliveries: Deliveries) -> list[tuple[str, str, str]]:
    rows = reversed(deliveries.listing(100))
    return [(row["alert_id"], row["status"], row["state"]) for row in rows]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (["firing"], ["firing"]),
        (["firing", "firing"], ["firing"]),
        (["firing", "resolved"], ["firing", "resolved"]),
        (["firing", "resolved", "resolved"], ["firing", "resolved"]),
        (["firing", "withdrawn", "resolved"], ["firing", "withdrawn"]),
        (["firing", "withdrawn", "firing"], ["firing", "withdrawn", "firing"]),
        (["withdrawn"], []),  # nobody was told of it
        (["withdrawn", "firing"], ["firing"]),
        (["resolved"], ["firing", "resolved"]),  # it came and went between two looks
    ],
)
def test_what_says_nothing_new_is_not_told(database: Database, said: Sequence[str], found: Sequence[str]) -> None:
    clock = Clock()
    for status in said:
        told(database, clock, telling(status))
    assert [status for _, status, _ in kept(Deliveries(database, clock))] == list(found)


def test_another_severity_is_news(database: Database) -> None:
    clock = Clock()
    assert told(database, clock, telling(), telling(severity="critical"), telling(severity="critical")) == 2


def test_routes_do_not_know_of_each_other(database: Database) -> None:
    clock = Clock()
    assert told(database, clock, telling(), telling(route="other"), telling("resolved")) == 3


def test_of_a_group_the_first_what_is_worse_and_the_end_of_the_last_are_told(database: Database) -> None:
    clock = Clock()
    steps = [
        telling(alert="a", key="g"),
        telling(alert="b", key="g"),
        telling(alert="c", key="g", severity="critical"),
        telling("resolved", "a", key="g"),
        telling("resolved", "c", key="g", severity="critical"),
        telling("withdrawn", "b", key="g"),
        telling(alert="d", key="g"),
    ]
    told(database, clock, *steps)
    assert kept(Deliveries(database, clock)) == [
        ("a", "firing", "pending"),
        ("b", "firing", "grouped"),
        ("c", "firing", "pending"),
        ("a", "resolved", "grouped"),
        ("c", "resolved", "grouped"),
        ("b", "withdrawn", "pending"),
        ("d", "firing", "pending"),
    ]


def test_an_alert_keeps_the_key_that_its_receiver_knows(database: Database) -> None:
    clock = Clock()
    told(database, clock, telling(key="old"))
    told(database, clock, telling("resolved", key="new"))
    deliveries = Deliveries(database, clock)
    assert {row["key"] for row in deliveries.listing(10)} == {"old"}


def taken(deliveries: Deliveries, limit: int = 10) -> list[Delivery]:
    return deliveries.claim(limit, ["ops", "other"])


def test_messages_of_a_key_go_one_after_the_other(database: Database) -> None:
    clock = Clock()
    deliveries = Deliveries(database, clock)
    told(database, clock, telling(), telling("resolved"), telling(alert="b"), telling(route="gone"))
    first, second = taken(deliveries)
    assert [(first.alert_id, first.status), (second.alert_id, second.status)] == [("a", "firing"), ("b", "firing")]
    assert taken(deliveries) == [], "they are claimed"
    deliveries.sent(first)
    assert [(one.alert_id, one.status) for one in taken(deliveries)] == [("a", "resolved")]


def test_who_dies_leaves_its_messages_to_the_next(database: Database) -> None:
    clock = Clock()
    deliveries = Deliveries(database, clock)
    told(database, clock, telling())
    assert len(taken(deliveries)) == 1
    clock.now += timedelta(seconds=59)
    assert taken(deliveries) == []
    clock.now += timedelta(seconds=1)
    assert len(taken(deliveries)) == 1


def test_what_is_not_taken_is_tried_again_later_and_later_and_given_up_in_the_end(database: Database) -> None:
    clock = Clock()
    deliveries, pauses = Deliveries(database, clock), []
    told(database, clock, telling(), telling("resolved"))
    for _ in range(12):
        [one] = taken(deliveries)
        assert not deliveries.failed(one, "no")
        due = deliveries.listing(10)[1]["next_at"]
        pauses.append(due - clock.now)
        clock.now = due - timedelta(seconds=1)
        assert taken(deliveries) == []
        clock.now = due
    assert (pauses[0], pauses[-1]) == (FIRST, LONGEST)
    assert pauses == sorted(pauses)
    clock.now += GIVEN_UP
    assert deliveries.failed(taken(deliveries)[0], "no")
    assert [row["state"] for row in deliveries.listing(10)] == ["pending", "failed"]
    assert [one.status for one in taken(deliveries)] == ["resolved"], "what comes behind it goes on"
    assert deliveries.listing(10, "failed")[0]["error"] == "no"


def test_what_will_never_be_taken_is_given_up_at_once(database: Database) -> None:
    clock = Clock()
    deliveries = Deliveries(database, clock)
    told(database, clock, telling())
    assert deliveries.failed(taken(deliveries)[0], "x" * 9000, final=True)
    [row] = deliveries.listing(10)
    assert (row["state"], len(row["error"]), row["attempts"]) == ("failed", 2000, 1)
    assert "body" not in row


def test_those_who_add_messages_at_once_take_turns(database: Database) -> None:
    """Each message has a number of its own, whoever adds it."""
    with ThreadPoolExecutor(4) as pool:
        made = [pool.submit(told, database, Clock(), *(telling(alert=f"{n}-{m}") for m in range(5))) for n in range(12)]
        assert sum(one.result() for one in made) == 60
    rows = Deliveries(database).listing(100)
    assert sorted(row["sequence"] for row in rows) == list(range(1, 61))
