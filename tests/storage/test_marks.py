"""What people say is kept, can be undone, and leaves a row in the chain."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from stored_samples import START, Clock

from storage.acts import Acts
from storage.engine import Database
from storage.marks import Mark, Marks
from storage.types import StoreError


def mark(kind: str = "acknowledge", target: str = "a1", **more: Any) -> Mark:
    return Mark(**{"kind": kind, "about": "alert", "target": target, "by": "anna", "at": START, **more})


def test_marks_come_back_as_they_were_said(database: Database) -> None:
    marks, later = Marks(database, Clock()), START + timedelta(hours=1)
    said = [
        mark(note="on it <b>"),
        mark("snooze", until=later, at=later),
        mark("feedback", answer="false", detail={"slots": 3}, at=later + timedelta(hours=1)),
        mark("close", target="a2"),
        mark("close", about="incident"),
    ]
    for one in reversed(said):
        marks.add(one)
    assert marks.of("alert", ["a1"]) == said[:3]
    assert marks.of("alert", ["a1", "a2", "a3"])[1:2] == [said[3]] or marks.of("alert", ["a2"]) == [said[3]]
    assert marks.of("incident", ["a1"]) == [said[4]]
    assert marks.answers() == [said[2]]
    assert marks.of("alert", []) == []


def test_a_mark_is_undone_once(database: Database) -> None:
    clock = Clock()
    marks, said = Marks(database, clock), mark("feedback", answer="expected")
    marks.add(said)
    clock.now += timedelta(minutes=5)
    undone = marks.undo(said.id, "bert")
    assert (undone.undone_by, undone.undone_at, undone.stands) == ("bert", clock.now, False)
    assert marks.answers() == []
    assert marks.of("alert", ["a1"]) == [undone]
    for identity in (said.id, "nothing"):
        with pytest.raises(StoreError, match="there is no mark"):
            marks.undo(identity, "bert")
    acts = Acts(database)
    assert [(one.by, one.action, one.target) for one in acts.listing(10)] == [
        ("bert", "undo mark", "alert:a1"),
        ("anna", "mark feedback", "alert:a1"),
    ]
    assert acts.verify().fault is None


def test_a_mark_on_an_incident_is_one_on_its_alerts(database: Database) -> None:
    marks, said = Marks(database, Clock()), mark("feedback", answer="true", about="incident", target="i1")
    marks.add(said, {"a1": {"slots": 3}, "a2": {}})
    marks.add(own := mark("note", target="a2", at=START + timedelta(minutes=1)))
    each = [replace(said, about="alert", target=alert, detail={"incident": "i1"}) for alert in ("a1", "a2")]
    each[0].detail["slots"] = 3
    assert marks.on(["a2", "a1", "a1", "a3"]) == [*each, own]
    assert marks.on([]) == []
    assert marks.answers() == each
    assert (marks.feedback(), marks.of("incident", ["i1"]), marks.of("alert", ["a1"])) == ([said], [said], [])
    assert (marks.bearing(said), marks.bearing(own)) == (["a1", "a2"], ["a2"])
    marks.undo(said.id, "bert")
    assert marks.answers() == marks.feedback() == []
    assert [one.undone_by for one in marks.on(["a1"])] == ["bert"]


def test_what_goes_on_to_be_said_of_an_incident_bears_on_what_joins_it(database: Database) -> None:
    marks, until = Marks(database, Clock()), START + timedelta(hours=1)
    snooze, gone, closed, over = (
        mark("snooze", about="incident", target="i1", until=until),
        mark("acknowledge", about="incident", target="i1"),
        mark("close", about="incident", target="i1"),
        mark("snooze", about="incident", target="i2", until=START),
    )
    for one in (snooze, gone, closed, over):
        marks.add(one, {"a1": {}})
    marks.undo(gone.id, "bert")
    places = {"a1": "i1", "a2": "i1", "a3": "i2", "a4": "i3"}
    assert marks.join(places, START) == {"a2"}
    assert [one.id for one in marks.on(["a2", "a3"])] == [snooze.id]
    assert marks.join(places, START) == set(), "it bears on it already"
    assert marks.join({"a5": "i1"}, until) == set(), "it is over"
    assert marks.join({}, START) == set()
    assert marks.bearing(snooze) == ["a1", "a2"]


@pytest.mark.parametrize(
    "parts",
    [
        {"kind": "feedback"},
        {"kind": "close", "answer": "true"},
        {"kind": "snooze"},
        {"kind": "note", "until": START},
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="belongs to"):
        mark(**parts)
