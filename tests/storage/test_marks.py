"""What people say is kept, can be undone, and leaves a row in the chain."""

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
