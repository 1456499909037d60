from dataclasses import replace
from datetime import timedelta

import pytest

from tests.tsad.test_report import ALERT, AT
from tsad.outcomes import Event, outcomes

MINUTE = timedelta(minutes=1)


def alert(first: int, last: int, entity: str = "x", state: str = "resolved"):  # type: ignore[no-untyped-def]
    """Its first and last slot, in minutes."""
    times = {"first_time": AT + first * MINUTE, "last_time": AT + last * MINUTE}
    return replace(ALERT, entity=entity, state=state, opened_slot=first, **times)  # type: ignore[arg-type]


def event(start: int, end: int, entity: str | None = None) -> Event:
    return Event(AT + start * MINUTE, AT + end * MINUTE, entity)


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [(10, 19, True), (0, 10, True), (0, 9, False), (19, 40, True), (20, 40, False), (0, 40, True), (12, 12, True)],
)
def test_an_alert_finds_an_event_that_it_overlaps(first: int, last: int, found: bool) -> None:
    outcome = outcomes([alert(first, last)], [event(10, 20)])
    assert (outcome.found, outcome.false) == (int(found), int(not found))


def test_entities_must_agree_where_the_event_names_one() -> None:
    events = [event(10, 20, "x")]
    assert outcomes([alert(12, 13, "y")], events).found == 0
    assert outcomes([alert(12, 13, "x")], events).found == 1
    assert outcomes([alert(12, 13, "y")], [event(10, 20)]).found == 1


def test_delays_are_of_the_first_alert_and_never_negative() -> None:
    events = [event(10, 20), event(30, 40), event(50, 60)]
    outcome = outcomes([alert(15, 16), alert(13, 13), alert(25, 31)], events)
    assert outcome.delays == [180.0, 0.0]
    assert outcome.median_delay == 90.0
    assert (outcome.events, outcome.found, outcome.alerts, outcome.false) == (3, 2, 3, 0)


def test_retracted_alerts_count_only_as_such() -> None:
    outcome = outcomes([alert(12, 13, state="retracted"), alert(80, 81)], [event(10, 20)])
    assert (outcome.found, outcome.alerts, outcome.false, outcome.retracted) == (0, 1, 1, 1)
    assert outcome.median_delay is None
    assert outcome.sentence() == "0 of 1 labelled events found; 1 alert, 1 false; 1 retracted."


def test_one_alert_may_find_two_events_and_two_alerts_one() -> None:
    assert outcomes([alert(15, 35)], [event(10, 20), event(30, 40)]).found == 2
    both = outcomes([alert(11, 12), alert(14, 15)], [event(10, 20)])
    assert (both.found, both.false, both.alerts) == (1, 0, 2)


def test_figures_and_sentence_agree() -> None:
    outcome = outcomes([alert(14, 15)], [event(10, 20)])
    assert outcome.figures() == {
        "events": 1, "events_found": 1, "false_episodes": 0, "alerts": 1, "retracted": 0,
        "median_delay_seconds": 240.0,
    }  # fmt: skip
    assert "1 of 1 labelled events found, median delay 4 min" in outcome.sentence()


def test_nothing_against_nothing() -> None:
    assert outcomes([], []).figures()["median_delay_seconds"] is None
