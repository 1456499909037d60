"""Decisions do not depend on how they came about: any cut of the same changes into passes ends with the same rows."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from triaged import STEP, at, episode

from storage.engine import Database, open_database
from storage.leases import Leases
from storage.read import AlertFilter
from storage.rulings import DecisionRow
from storage.store import Store
from storage.types import LIVE, Alert, Changes, StreamRow
from tests.storage.stored_samples import Clock
from tsad.triage.answers import Answers
from tsad.triage.calendars import Calendar
from tsad.triage.rules import Rulebook

FALLS: dict[str, list[float | None]] = {"cpu": [10.0] * 12 + [4.0] * 4}
BOOK = {
    "reopen": "15m",
    "rules": [
        {"name": "hysteresis", "min_score": 1.5, "clear_score": 1.2},
        {"name": "no blips", "entity": "web-2", "min_duration": "3m"},
        {"name": "up", "entity": "web-1", "direction": "up", "severity": "critical"},
        {"name": "late", "entity": "web-3", "notify_on": "confirmed"},
    ],
}
WINDOW = {"name": "w", "start": "2026-03-01T01:00:00", "end": "2026-03-01T02:00:00", "entity": "web-[12]"}
EVERY = AlertFilter(limit=None)
few = settings(
    max_examples=5, phases=(Phase.explicit, Phase.generate), deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def database(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path = tmp_path_factory.mktemp("passes") / "tsad.db"
    shutil.copy(sqlite_template, path)
    opened = open_database(f"sqlite:///{path}")
    Store(opened).put_stream(StreamRow(LIVE, "fleet", STEP, {}))
    yield opened
    opened.close()


class World:
    """The database, made empty of alerts and of what was said of them."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, Clock(at(5000))
        for table in ("alerts", "decisions", "marks", "rulebooks", "calendars"):
            database.write(lambda c, table=table: c.execute(sa.text(f"DELETE FROM {table}")))  # type: ignore[misc]
        self.answers = Answers.of(database, self.clock)

    def keep(self, *alerts: Alert) -> None:
        epoch = Leases(self.database).acquire("fleet", [0], "host")[0]
        Store(self.database).save([Changes(LIVE, "fleet", 0, epoch, alerts=list(alerts))])

    def settle(self, *alerts: Alert) -> None:
        """As the loop does: they are stored, then decided of."""
        self.keep(*alerts)
        self.answers.standings.settle(alerts)

    def rows(self) -> dict[str, DecisionRow]:
        ids = [row.id for row in self.answers.standings.reader.alerts(EVERY)]
        return self.answers.standings.rulings.decisions(ids)

    def anew(self) -> dict[str, DecisionRow]:
        """What all at once makes of it, with nothing decided before."""
        self.database.write(lambda c: c.execute(sa.text("DELETE FROM decisions")))
        self.answers.standings.again()
        return self.rows()


LIFE = st.builds(
    lambda slot, slots, entity, score, falls, states: [
        episode(
            slot=slot, slots=max(1, slots * (number + 1) // len(states)), entity=f"web-{entity}", score=score,
            state=state, moved=FALLS if falls else None,
        )
        for number, state in enumerate(states)
    ],
    st.integers(0, 30).map(lambda n: 40 + 6 * n), st.integers(1, 5), st.integers(1, 3),
    st.sampled_from([1.1, 1.3, 2.0]), st.booleans(),
    st.sampled_from([
        ("open",), ("open", "confirmed"), ("open", "confirmed", "resolved"), ("open", "retracted"), ("resolved",),
        ("open", "confirmed", "retracted"),
    ]),
)  # fmt: skip
"""One alert, as it is saved from time to time."""
LIVES = st.lists(LIFE, min_size=2, max_size=6, unique_by=lambda life: life[0].id)


def shuffled(lives: list[list[Alert]], order: list[int]) -> list[Alert]:
    """All changes in some order that keeps each alert's own."""
    left, found = [list(life) for life in lives], []
    for number in [*order, *range(1000)]:
        waiting = [life for life in left if life]
        if not waiting:
            return found
        found.append(waiting[number % len(waiting)].pop(0))
    return found


def cut(changes: list[Alert], sizes: list[int]) -> list[list[Alert]]:
    found, place = [], 0
    for size in [*sizes, *[3] * len(changes)]:
        found.append(changes[place : place + size])
        place += size
    return [part for part in found if part]


ORDER = st.lists(st.integers(0, 6), max_size=20)
SIZES = st.lists(st.integers(1, 5), max_size=8)


@few
@given(LIVES, ORDER, SIZES)
def test_passes_end_where_one_look_at_all_ends(
    database: Database, lives: list[list[Alert]], order: list[int], sizes: list[int]
) -> None:
    """With re-opening, hysteresis, rules and a calendar, whatever comes late or goes again."""
    world = World(database)
    world.answers.rule(Rulebook.model_validate(BOOK), "anna", "", since=at(0))
    world.answers.put(Calendar.model_validate(WINDOW), "anna")
    for part in cut(shuffled(lives, order), sizes):
        world.settle(*{one.id: one for one in part}.values())
    found = world.rows()
    assert len(found) == len(lives)
    assert found == world.anew()
    assert world.answers.standings.again() == [], "and nothing of it is news"


@few
@given(LIVES, st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["false", "expected", "true"])), max_size=4))
def test_an_answer_and_its_undoing_leave_what_was(
    database: Database, lives: list[list[Alert]], said: list[tuple[int, Any]]
) -> None:
    """Last said, first taken back: at each step what was before it."""
    world = World(database)
    world.answers.rule(Rulebook.model_validate(BOOK), "anna", "", since=at(0))
    last = [life[-1] for life in lives]
    world.settle(*last)
    before = [world.rows()]
    marks = []
    for number, answer in said if last else ():
        world.clock.now = at(5000 + len(marks))
        marks.append(world.answers.say(last[number % len(last)], "feedback", "anna", answer=answer))
        before.append(world.rows())
    for mark in reversed(marks):
        assert world.rows() == before.pop()
        world.answers.unsay(mark.id, "anna")
    assert world.rows() == before.pop()


@few
@given(LIVES, st.sampled_from(["acknowledge", "close", "reopen", "note"]), st.integers(0, 6))
def test_a_mark_and_its_undoing_leave_what_was(
    database: Database, lives: list[list[Alert]], kind: Any, number: int
) -> None:
    world = World(database)
    world.answers.rule(Rulebook.model_validate(BOOK), "anna", "", since=at(0))
    last = [life[-1] for life in lives]
    world.settle(*last)
    before = world.rows()
    if last:
        mark = world.answers.say(last[number % len(last)], kind, "anna", note="looked at" if kind == "note" else "")
        world.answers.unsay(mark.id, "bert")
    assert world.rows() == before
    assert world.rows() == world.anew()


@few
@given(LIVES, st.sampled_from([{"rules": [{"name": "m", "mute": True}]}, BOOK, {"notify_on": "confirmed"}, {}]))
def test_rules_that_are_taken_back_leave_what_was_but_for_their_number(
    database: Database, lives: list[list[Alert]], book: dict[str, Any]
) -> None:
    world = World(database)
    world.settle(*(life[-1] for life in lives))
    before = world.rows()
    row = world.answers.rule(Rulebook.model_validate(book), "anna", "", since=at(0))
    assert {one.version for one in world.rows().values()} <= {row.version}
    world.answers.take_back(row.version, "anna")
    assert {key: replace(one, version=0) for key, one in world.rows().items()} == before
    assert world.rows() == world.anew()


@few
@given(LIVES)
def test_a_calendar_that_is_dropped_leaves_what_was(database: Database, lives: list[list[Alert]]) -> None:
    world = World(database)
    world.settle(*(life[-1] for life in lives))
    before = world.rows()
    world.answers.put(Calendar.model_validate(WINDOW), "anna")
    standing = [life[-1] for life in lives if life[-1].state != "retracted" and life[-1].entity != "web-3"]
    inside = {one.id for one in standing if one.first_slot >= 60 and one.last_slot < 120}
    assert {key for key, one in world.rows().items() if one.reason == "maintenance"} == inside
    assert {key: one for key, one in world.rows().items() if key not in inside} == {
        key: one for key, one in before.items() if key not in inside
    }
    world.answers.drop("w", "anna")
    assert world.rows() == before
