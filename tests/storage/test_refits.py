"""Who fits a stream again and when: one at a time, once a period, and only the newest attempt says how it ended."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.engine import Database
from storage.models import Models
from storage.read import Reader
from storage.refits import RefitRow, Refits
from storage.types import Audit, ModelRow

WEEK, DAY, SECOND = timedelta(days=7), timedelta(days=1), timedelta(seconds=1)
START = datetime(2026, 1, 5, tzinfo=UTC)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refits(database: Database, clock: Clock) -> Refits:
    """A stream with an active version, whose first period has passed."""
    models = Models(database, clock)
    for version in ("first", "other"):
        models.add(model(version))
    models.promote("s", "first")
    made = Refits(database, clock)
    assert made.take("s", "me", WEEK, DAY) is None
    clock.now += WEEK
    return made


def model(version: str) -> ModelRow:
    return ModelRow("s", version, f"{version}.zip", "0" * 64, START)


def taken(refits: Refits, owner: str = "me") -> RefitRow:
    row = refits.take("s", owner, WEEK, DAY)
    assert row is not None
    return row


def fitted(refits: Refits, clock: Clock) -> RefitRow:
    """A candidate whose shadow is over and taken up."""
    row = taken(refits)
    detail = {"beside": "first"}
    following = replace(row, step="shadow", next_at=clock.now + DAY, version="new", detail=detail)
    assert refits.ended(row, following, Audit("refit", clock.now, detail={"attempt": row.epoch}), model("new"))
    clock.now += DAY
    return taken(refits)


def states(database: Database) -> dict[str, str]:
    return {row.version: row.state for row in Models(database).listing("s")}


def audit(database: Database) -> list[dict[str, Any]]:
    rows = Reader(database).audit("s")
    assert all(row["partition"] == -1 for row in rows)
    return [{"kind": row["kind"], **row["detail"]} for row in rows]


@pytest.mark.parametrize("soon", [True, False])
def test_the_first_fit_may_be_due_as_soon_as_somebody_looks_again(database: Database, clock: Clock, soon: bool) -> None:
    refits, asked = Refits(database, clock), list[bool]()

    def answered() -> bool:
        asked.append(soon)
        return soon

    assert refits.take("s", "me", WEEK, DAY, answered) is None
    row = refits.take("s", "me", WEEK, DAY, answered)
    assert (row is not None) == soon
    assert len(asked) == 1, "that is looked up once"
    assert refits.take("s", "me", WEEK, DAY, answered) is None
    assert refits.row("s").next_at == START + WEEK  # type: ignore[union-attr]


def test_nothing_is_due_before_the_first_period_has_passed(database: Database, clock: Clock) -> None:
    refits = Refits(database, clock)
    assert refits.row("s") is None
    for _ in range(2):
        assert refits.take("s", "me", WEEK, DAY) is None
    clock.now += WEEK - SECOND
    assert refits.take("s", "me", WEEK, DAY) is None
    clock.now += SECOND
    assert taken(refits).step == "fit"
    assert refits.take("another stream", "me", WEEK, DAY) is None


def test_only_one_takes_it_and_it_is_due_again_a_period_later(refits: Refits, clock: Clock) -> None:
    row = taken(refits)
    assert (row.epoch, row.owner, row.next_at) == (1, "me", clock.now + WEEK)
    assert refits.take("s", "another", WEEK, DAY) is None
    clock.now += WEEK
    assert taken(refits, "another").epoch == 2


def test_a_shorter_period_counts_at_once(refits: Refits, clock: Clock) -> None:
    taken(refits)
    assert refits.take("s", "me", DAY, DAY) is None
    clock.now += DAY
    assert refits.take("s", "me", DAY, DAY) is not None


def test_what_was_broken_off_is_due_at_once(refits: Refits) -> None:
    refits.release(taken(refits))
    assert taken(refits, "another").epoch == 2


def test_what_was_taken_over_says_nothing_any_more(refits: Refits, database: Database, clock: Clock) -> None:
    old = taken(refits)
    clock.now += WEEK
    new = taken(refits, "another")
    assert not refits.ended(old, replace(old, version="new"), Audit("refit", clock.now), model("new"))
    assert refits.judged(old, old, {}, "") is None
    refits.release(old)
    assert refits.row("s") == new
    assert states(database) == {"first": "active", "other": "candidate"}
    assert audit(database) == []


def test_a_candidate_is_promoted(refits: Refits, database: Database, clock: Clock) -> None:
    row = fitted(refits, clock)
    assert (row.step, row.version, row.next_at) == ("shadow", "new", clock.now + DAY)
    assert states(database)["new"] == "candidate"
    following = replace(row, step="fit", version=None, next_at=clock.now + WEEK)
    assert refits.judged(row, following, {"episodes": 2}, "") == "promoted: its alert rate keeps the budget"
    assert states(database) == {"first": "retired", "other": "candidate", "new": "active"}
    (new,) = [row for row in Models(database).listing("s") if row.version == "new"]
    said = {"episodes": 2, "decision": "promoted", "reason": "its alert rate keeps the budget"}
    assert (new.meta, new.activated_at) == ({"shadow": said}, clock.now)
    assert sorted(audit(database), key=str) == [
        {"kind": "refit", "attempt": 1}, {"kind": "shadow", "version": "new", "attempt": 2, **said}
    ]  # fmt: skip
    assert refits.row("s") == following
    assert Models(database).rollback("s").version == "first"


def test_a_candidate_is_retired_with_the_reason(refits: Refits, database: Database, clock: Clock) -> None:
    row = fitted(refits, clock)
    assert refits.judged(row, row, {"episodes": 9}, "too many") == "retired: too many"
    assert states(database) == {"first": "active", "other": "candidate", "new": "retired"}
    assert [row["reason"] for row in audit(database) if row["kind"] == "shadow"] == ["too many"]


@pytest.mark.parametrize(("chosen", "reason"), [("other", "other was made active"), ("new", "no candidate any more")])
def test_what_somebody_chose_meanwhile_stays(
    refits: Refits, database: Database, clock: Clock, chosen: str, reason: str
) -> None:
    row = fitted(refits, clock)
    Models(database, clock).promote("s", chosen)
    said = refits.judged(row, row, {}, "")
    assert said is not None
    assert said.startswith("left: " if chosen == "new" else "retired: ")
    assert reason in said
    assert states(database)[chosen] == "active"
