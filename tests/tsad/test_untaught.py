"""What models must not learn, by alerts, by what people said of them, and by calendars."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from triaged import START, STEP, episode

from storage.engine import Database
from storage.leases import Leases
from storage.store import Store
from storage.types import LIVE, Alert, Changes, StreamRow
from tests.storage.stored_samples import Clock
from tsad.app import App
from tsad.background import stretches_of
from tsad.config import parse_config
from tsad.triage.answers import Answers
from tsad.triage.calendars import Calendar
from tsad.triage.untaught import Untaught

FIRST = int(START.timestamp()) // 60
"""The slot of 2026-03-01 00:00."""
KNOWN = episode(slot=FIRST + 100, slots=10)
GONE = episode(slot=FIRST + 300, slots=10, state="retracted")


def keep(database: Database, *alerts: Alert) -> None:
    store = Store(database)
    store.put_stream(StreamRow(LIVE, "fleet", STEP, {}))
    epoch = Leases(database).acquire("fleet", [0], "host")[0]
    store.save([Changes(LIVE, "fleet", 0, epoch, alerts=list(alerts))])


@pytest.fixture
def answers(database: Database) -> Iterator[Answers]:
    keep(database, KNOWN, GONE)
    clock = Clock()

    def later() -> datetime:
        clock.now += timedelta(seconds=1)
        return clock.now

    yield Answers.of(database, later)


def spans(database: Database, first: int = 0, last: int = 1440) -> list[tuple[str, int, int]]:
    found = Untaught.of(database).stretches("fleet", STEP, FIRST + first, FIRST + last)
    return [(one.entity, one.first_slot - FIRST, one.last_slot - FIRST) for one in found]


def test_alerts_are_not_learnt_unless_they_were_retracted(answers: Answers, database: Database) -> None:
    assert spans(database) == [("web-1", 100, 109)]
    assert spans(database, 105, 106) == [("web-1", 100, 109)]
    assert spans(database, 110, 200) == []


def test_what_somebody_called_none_is_learnt_and_what_he_took_for_true_is_not(
    answers: Answers, database: Database
) -> None:
    mark = answers.say(KNOWN, "feedback", "anna", answer="expected")
    answers.say(GONE, "feedback", "anna", answer="true")
    assert spans(database) == [("web-1", 300, 309)]
    assert spans(database, 0, 299) == []
    answers.unsay(mark.id, "anna")
    assert spans(database) == [("web-1", 100, 109), ("web-1", 300, 309)]
    answers.say(KNOWN, "feedback", "anna", answer="false")
    answers.say(KNOWN, "feedback", "bert", answer="true")
    assert spans(database)[0] == ("web-1", 100, 109)


AGAIN = [episode(slot=FIRST + 500 + 50 * number, slots=4, score=1.5 + number / 100) for number in range(5)]
"""Alike, of one entity, whatever the order."""


def starts(database: Database, learn_after: int = 3) -> list[int]:
    found = Untaught.of(database, learn_after).stretches("fleet", STEP, FIRST + 450, FIRST + 1440)
    return sorted(one.first_slot - FIRST for one in found)


def test_what_is_called_normal_again_and_again_is_the_new_normal(answers: Answers, database: Database) -> None:
    elsewhere = episode(slot=FIRST + 900, entity="web-2")
    worse = episode(slot=FIRST + 1000, score=9.0)
    other = episode(slot=FIRST + 1100, moved={"disk": [10.0] * 12 + [2.0] * 4})
    keep(database, *AGAIN, elsewhere, worse, other)
    stays = [900, 1000, 1100]
    marks = [answers.say(AGAIN[number], "feedback", "anna", answer="false") for number in (0, 1)]
    assert starts(database) == [600, 650, 700, *stays], "two answers: two alerts"
    assert starts(database, 2) == stays
    marks.append(answers.say(AGAIN[2], "feedback", "bert", answer="expected"))
    assert starts(database) == stays, "of another entity, worse, or led by another feature"
    assert starts(database, 4) == [650, 700, *stays]
    # one that is alike was taken for true: then it is not what people call normal
    marks.append(answers.say(AGAIN[3], "feedback", "bert", answer="true"))
    assert starts(database) == [650, 700, *stays]
    answers.unsay(marks.pop().id, "bert")
    assert starts(database) == stays
    answers.unsay(marks.pop().id, "bert")
    assert starts(database) == [600, 650, 700, *stays]


def test_a_refit_goes_by_what_is_configured(answers: Answers, database: Database, database_url: str) -> None:
    keep(database, *AGAIN)
    answers.say(AGAIN[0], "feedback", "anna", answer="false")
    for learn_after, left in ((1, []), (2, [550, 600, 650, 700])):
        told = {"database": database_url, "stream": {"fleet": {"step": "1m"}}, "triage": {"learn_after": learn_after}}
        app = App.open(parse_config(told))
        found = stretches_of(app, "fleet")(FIRST + 450, FIRST + 1440)
        app.close()
        assert sorted(one.first_slot - FIRST for one in found) == left


def test_answers_of_alerts_that_are_kept_no_longer_go_on_to_count(answers: Answers, database: Database) -> None:
    import sqlalchemy as sa

    keep(database, *AGAIN)
    for one in AGAIN[:3]:
        answers.say(one, "feedback", "anna", answer="expected")
    gone = sa.text("DELETE FROM alerts WHERE id = :id")
    database.write(lambda connection: connection.execute(gone, {"id": AGAIN[0].id}))
    assert starts(database) == []


def test_maintenance_is_not_learnt(answers: Answers, database: Database) -> None:
    once = {"start": "2026-03-01T10:00:00", "end": "2026-03-01T10:30:30", "entity": "db-*"}
    daily = {"start": "2026-03-01T20:00:00", "rrule": "FREQ=DAILY", "duration": "1h", "stream": "fleet"}
    for name, parts in (("once", once), ("daily", daily), ("other", daily | {"stream": "elsewhere"})):
        answers.put(Calendar.model_validate({"name": name, **parts}), "anna")
    assert spans(database, 0, 3000)[1:] == [
        ("*", 1200, 1259),
        ("*", 2640, 2699),
        ("db-*", 600, 630),
    ]
    assert spans(database, 600, 600) == [("db-*", 600, 630)]
    assert all(not one.id for one in Untaught.of(database).stretches("fleet", STEP, FIRST + 600, FIRST + 600))
    answers.drop("daily", "anna")
    assert spans(database, 700, 3000) == []


def test_an_answer_on_an_alert_that_is_kept_no_longer_says_nothing(answers: Answers, database: Database) -> None:
    import sqlalchemy as sa

    answers.say(GONE, "feedback", "anna", answer="true")
    database.write(lambda connection: connection.execute(sa.text("DELETE FROM alerts")))
    assert spans(database) == []
