"""Learning on from lines: when, from which, and the same in any cut of the polls and after a restart."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.columns import Columns
from streaming.lessons import Lessons
from streaming.linescores import MinedLines
from streaming.logintake import LogIntake
from streaming.related import Related
from streaming.types import Codes, Ints, Lines, State
from tests.streaming.test_logintake import lines, scores, timing

USERS = ("anna", "ben", "cleo", "dora")


class Pupil:
    """A line model that knows users by their lessons, and says how often it learnt where it does not."""

    texts = ("in",)
    features = ("log.relation",)
    fields = np.zeros(0, np.int64)

    def __init__(self) -> None:
        self.known: list[int] = []
        self.lessons: list[int] = []

    def own(self) -> "Pupil":
        return Pupil()

    def learn(self, related: Related) -> None:
        self.known = sorted({*self.known, *related.keys.ravel().tolist()})
        self.lessons.append(len(related))

    def learnt(self) -> State:
        return State({"known": np.array(self.known, np.int64)}, {"lessons": self.lessons})

    def relearn(self, state: State) -> None:
        self.known, self.lessons = state.arrays["known"].tolist(), list(state.meta["lessons"])

    def score(self, mined: MinedLines) -> Codes:
        assert mined.related is not None
        strange = ~np.isin(mined.related.keys[:, 0], self.known)
        return (strange * (len(self.lessons) + 1)).astype(np.int32)[:, None]

    def reasons(self, mined: MinedLines, places: Ints, number: int) -> list[str]:
        return [""] * len(places)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lessons are of three lines and more, each two slots or four lines."""
    monkeypatch.setattr("streaming.lessons.LEAST", 3)
    monkeypatch.setattr("streaming.lessons.SLOTS", 2)
    monkeypatch.setattr("streaming.lessons.ENOUGH", 4)
    monkeypatch.setattr("streaming.lessons.MOST", 5)


def said(told: Sequence[tuple[int, str]], first: int = 0) -> Lines:
    """(minute, user) each."""
    bare = lines([(minute, "in") for minute, _ in told], first)
    return replace(bare, related=Related.of(("user",), [(user,) for _, user in told]))


def school() -> LogIntake:
    found = LogIntake(timing(), Columns(), None, 5000, 100, lambda _: Pupil())
    found.score_by("any")
    return found


def surprises(desk: LogIntake, told: Sequence[tuple[int, str]], first: int = 0) -> list[int]:
    return [line.get("log.relation", 0) for line in scores(desk.take(said(told, first)))]


def test_a_lesson_is_behind_a_slot_once_there_are_lines_enough() -> None:
    desk = school()
    found = surprises(desk, [(0, "anna"), (0, "anna"), (1, "anna"), (1, "anna"), (2, "anna"), (2, "ben"), (9, "ben")])
    assert found == [1, 1, 1, 1, 0, 2, 2], "two lines are too few; the next slot brings the lesson"
    assert surprises(desk, [(9, "ben"), (10, "ben")], 7) == [2, 0]


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [([1, 3], [2, 2]), ([1, 1, 2], [2, 2, 2]), ([1, 1, 3], [2, 2, 0]), ([1, 1, 1, 2], [2, 2, 2, 0])],
    ids=["too few lines", "too few slots", "slots enough", "lines enough"],
)
def test_between_two_lessons_lie_slots_or_many_lines(minutes: list[int], expected: list[int]) -> None:
    desk = school()
    assert surprises(desk, [(0, "anna")] * 3 + [(1, "anna")]) == [1, 1, 1, 0], "the first one asks for lines alone"
    assert surprises(desk, [(minute, "ben") for minute in minutes], 4) == expected


def test_by_a_snapshot_of_an_older_version_a_lesson_is_due_as_if_it_were_the_first() -> None:
    desk, part = school(), school()
    surprises(desk, [(0, "anna")] * 3 + [(1, "anna")] * 3)
    state = desk.state()
    meta = json.loads(json.dumps(state.meta))
    assert '"last": 1' in json.dumps(meta)
    part.restore(State(state.arrays, json.loads(json.dumps(meta).replace('"last": 1', '"other": 1')), state.blobs))
    for intake, expected in ((desk, [2, 0, 2]), (part, [3, 0, 3])):
        assert surprises(intake, [(2, "ben"), (2, "anna"), (2, "ben")], 6) == expected


def test_a_late_line_teaches_nothing_and_of_many_the_first_do() -> None:
    desk = school()
    told = [(5, "anna"), (2, "ben"), *[(5, "anna")] * 4, (5, "cleo"), (6, "anna"), (6, "ben"), (6, "cleo")]
    assert surprises(desk, told)[-3:] == [0, 2, 2]


def test_what_waits_belongs_to_the_version() -> None:
    desk = school()
    surprises(desk, [(0, "anna")] * 4)
    desk.score_by("next")
    assert surprises(desk, [(1, "anna"), (2, "anna")], 4) == [1, 1]


@settings(max_examples=80, deadline=None)
@given(
    told=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(USERS)), max_size=40),
    cuts=st.sets(st.integers(0, 40)),
    revive=st.booleans(),
)
def test_lessons_are_the_same_in_any_cut_and_after_a_restart(
    told: list[tuple[int, str]], cuts: set[int], revive: bool
) -> None:
    expected, found, part = surprises(school(), told), list[int](), school()
    for start, stop in pairwise(sorted({0, len(told), *(cut for cut in cuts if cut < len(told))})):
        found += surprises(part, told[start:stop], start)
        if revive:
            state, part = part.state(), school()
            part.restore(State(state.arrays, json.loads(json.dumps(state.meta)), state.blobs))
    assert found == expected


def test_a_poll_without_lines_is_no_lesson() -> None:
    lessons = Lessons(Pupil())
    lessons.hear(None, np.zeros(0, np.bool_), np.zeros(0, np.int64))
    assert lessons.until(np.zeros(0, np.int64)) == 0
    assert lessons.until(np.arange(9)) == 3
