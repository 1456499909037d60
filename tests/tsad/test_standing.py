"""Decisions that are kept: what is looked at again, in which runs, and what is tried without being kept."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from triaged import STEP, at, episode

from storage.engine import Database
from storage.leases import Leases
from storage.read import AlertFilter
from storage.store import Store
from storage.types import LIVE, Alert, Changes, ScoreRow, StreamRow
from tests.storage.stored_samples import Clock
from tsad.triage.answers import Answers
from tsad.triage.feedback import replay
from tsad.triage.rules import Rule, Rulebook
from tsad.triage.standing import Standings

FALLS: dict[str, list[float | None]] = {"cpu": [10.0] * 12 + [4.0] * 4}


def keep(database: Database, *alerts: Alert, run: str = LIVE, scores: list[ScoreRow] | None = None) -> None:
    store = Store(database)
    store.put_stream(StreamRow(run, "fleet", STEP, {}))
    epoch = Leases(database).acquire("fleet", [0], "host", run)[0]
    store.save([Changes(run, "fleet", 0, epoch, alerts=list(alerts), scores=scores or [])])


@pytest.fixture
def clock() -> Clock:
    return Clock(at(5000))


@pytest.fixture
def answers(database: Database, clock: Clock) -> Iterator[Answers]:
    yield Answers.of(database, clock)


def book(*rules: dict[str, object], **more: object) -> Rulebook:
    named = [{"name": f"r{number}"} | rule for number, rule in enumerate(rules)]
    return Rulebook.model_validate({"rules": named, **more})


def reasons(standings: Standings, *alerts: Alert) -> list[str | None]:
    found = standings.rulings.decisions([one.id for one in alerts])
    return [found[one.id].reason if one.id in found else None for one in alerts]


def test_only_what_is_news_is_told(database: Database, answers: Answers) -> None:
    one, other = episode(slot=100, state="open"), episode(slot=200, entity="web-2")
    keep(database, one, other)
    standings = answers.standings
    assert [row.alert_id for row in standings.settle([one])] == [one.id]
    assert reasons(standings, one, other) == ["opened", None]
    assert standings.settle([one]) == []
    later = episode(slot=100, state="resolved")
    keep(database, later)
    assert [row.reason for row in standings.settle([later])] == ["resolved"]
    assert [row.alert_id for row in standings.again()] == [other.id]


def test_of_several_alerts_of_an_entity_the_later_ones_are_looked_at_too(database: Database, answers: Answers) -> None:
    """An alert that is retracted no longer has others go on it."""
    answers.rule(book(reopen="10m"), "anna", "", since=at(0))
    first, second = episode(slot=100), episode(slot=108)
    keep(database, first, second)
    answers.standings.settle([first])
    assert reasons(answers.standings, first, second) == ["confirmed", "reopened"]
    gone = episode(slot=100, state="retracted")
    keep(database, gone)
    told = answers.standings.settle([gone])
    assert [(row.standing, row.reason) for row in told] == [("withdraw", "retracted"), ("notify", "confirmed")]


def test_rules_reach_as_far_back_as_they_say(database: Database, answers: Answers) -> None:
    old, new = episode(slot=100, state="resolved", moved=FALLS), episode(slot=900, moved=FALLS)
    keep(database, old, new)
    answers.standings.again()
    up = book({"direction": "up"})
    answers.rule(up, "anna", "")
    assert reasons(answers.standings, old, new) == ["resolved", "direction"]
    answers.rule(up, "anna", "", since=at(0))
    assert reasons(answers.standings, old, new) == ["direction", "direction"]
    answers.take_back(2, "anna")
    assert reasons(answers.standings, old, new) == ["direction", "direction"], "the version before said so too"


def test_k_of_n_counts_the_slots_that_were_beyond(database: Database, answers: Answers) -> None:
    one, other = episode(slot=100, slots=6), episode(slot=200, slots=6, entity="web-2")
    scores = [
        ScoreRow(entity, slot, at(slot), score, 1e-4, {}, "m1")
        for entity, first, flags in (("web-1", 100, (1, 1, 1, 0, 0, 1)), ("web-2", 200, (1, 0, 1, 0, 1, 1)))
        for slot, score in ((first + place, 1.5 if flag else 0.7) for place, flag in enumerate(flags))
    ]
    keep(database, one, other, scores=scores)
    answers.rule(book({"k": 3, "n": 3}), "anna", "", since=at(0))
    assert reasons(answers.standings, one, other) == ["confirmed", "k_of_n"]
    answers.rule(book({"k": 4, "n": 6}), "anna", "", since=at(0))
    assert reasons(answers.standings, one, other) == ["confirmed", "confirmed"]


def test_runs_are_apart(database: Database, answers: Answers) -> None:
    live, past = episode(slot=100), episode(slot=100, run="past")
    keep(database, live)
    keep(database, past, run="past")
    answers.standings.settle([past])
    assert reasons(answers.standings, live, past) == [None, "confirmed"]
    answers.say(past, "feedback", "anna", answer="false")
    assert reasons(answers.standings, live, past) == [None, "answered"]


def test_a_snooze_that_is_over_is_noticed(database: Database, answers: Answers, clock: Clock) -> None:
    one, other = episode(slot=100), episode(slot=300, entity="web-2")
    keep(database, one, other)
    answers.say(one, "snooze", "anna", until=clock.now + timedelta(hours=1))
    answers.say(other, "snooze", "anna", until=clock.now + timedelta(hours=3))
    assert reasons(answers.standings, one, other) == ["snoozed", "snoozed"]
    assert answers.standings.due() == []
    clock.now += timedelta(hours=2)
    assert [row.alert_id for row in answers.standings.due()] == [one.id]
    assert reasons(answers.standings, one, other) == ["confirmed", "snoozed"]
    assert answers.standings.due() == []


def test_rules_are_tried_on_some_alerts_and_nothing_is_kept(database: Database, answers: Answers) -> None:
    alerts = [episode(slot=100 * number, moved=FALLS if number % 2 else None) for number in range(1, 5)]
    keep(database, *alerts)
    standings = answers.standings
    standings.again()
    told = replay(standings, book({"direction": "up"}), AlertFilter(since=at(250), limit=None))
    assert (told.looked_at, [one.alert.id for one in told.vanish], told.appear) == (2, [alerts[2].id], [])
    assert reasons(standings, *alerts) == ["confirmed"] * 4
    answers.rule(book({"direction": "up"}), "anna", "", since=at(0))
    told = replay(standings, Rulebook(), AlertFilter(limit=None))
    assert [one.alert.id for one in told.appear] == [alerts[0].id, alerts[2].id]
    assert [one.before.reason for one in told.appear] == ["direction", "direction"]
    same = replay(standings, standings.book(), AlertFilter(limit=None))
    assert (same.vanish, same.appear) == ([], [])


def test_a_rule_replaces_one_of_its_name(answers: Answers) -> None:
    answers.rule(book({"mute": True}, {"direction": "up"}), "anna", "")
    rule = Rule(name="r0", direction="down")
    assert [one.name for one in answers.standings.with_rule(rule).rules] == ["r1", "r0"]
    assert answers.standings.with_rule(rule).rules[-1] == rule
    assert len(answers.standings.with_rule(Rule(name="new", mute=True)).rules) == 3


def test_a_decision_goes_with_its_alert(database: Database, answers: Answers) -> None:
    import sqlalchemy as sa

    one = episode(slot=100)
    keep(database, one)
    answers.standings.again()
    database.write(lambda connection: connection.execute(sa.text("DELETE FROM alerts")))
    assert answers.standings.rulings.decisions([one.id]) == {}
    assert answers.standings.again() == []
