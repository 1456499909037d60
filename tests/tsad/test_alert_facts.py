"""What rules ask of an alert, and when two alerts are alike."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from triaged import episode

from storage.types import Alert
from tsad.triage.facts import Facts
from tsad.triage.likeness import alike, cosine, likeness

Moved = dict[str, list[float | None]]


def facts(**parts: Any) -> Facts:
    return Facts.of(episode(**parts))


@pytest.mark.parametrize(
    ("values", "direction", "absolute"),
    [
        ([10.0] * 12 + [14.0, 20.0, 12.0, 11.0], "up", 10.0),
        ([10.0] * 12 + [14.0, 2.0, 12.0, 11.0], "down", 8.0),
        ([99.0] * 12 + [11.0, 11.5, 11.0, 11.0], "up", 1.5),  # what was before it is not its own
        ([10.0] * 12 + [None, None, None, 13.0], "up", 3.0),
        ([10.0] * 12 + [None] * 4, None, None),
        ([10.0] * 16, "up", 0.0),
    ],
)
def test_where_a_feature_went(values: list[float | None], direction: str | None, absolute: float | None) -> None:
    [movement] = facts(moved={"cpu": values}).movements
    assert (movement.direction, movement.absolute) == (direction, absolute)
    assert movement.relative == (None if absolute is None else absolute / 10)


def test_a_window_that_ended_before_the_alert_tells_of_its_newest_slot() -> None:
    one = episode(slot=100, slots=4)
    moved = replace(one, first_slot=120, last_slot=123)
    assert Facts.of(moved).movements[0].absolute == 10.0


def test_a_middle_of_nothing_has_no_parts() -> None:
    one = episode()
    flat = replace(one, evidence=one.evidence | {"lower": [-1.0], "upper": [1.0]})
    assert Facts.of(flat).movements[0].relative is None
    assert Facts.of(flat).movements[0].absolute == 20.0


@pytest.mark.parametrize("missing", [{"lower": [None]}, {"upper": [None]}, {"features": ["disk"]}])
def test_without_an_expectation_nothing_is_known(missing: dict[str, Any]) -> None:
    one = episode()
    [movement] = Facts.of(replace(one, evidence=one.evidence | missing)).movements
    assert (movement.feature, movement.direction, movement.absolute, movement.relative) == ("cpu", None, None, None)


def test_evidence_of_sessions_and_of_alerts_that_wait_has_no_curves() -> None:
    for evidence in ({}, {"said": {"cpu": ["a"]}, "slot": 3, "features": ["cpu"]}):
        assert Facts.of(episode(evidence=evidence)).movements[0].direction is None


def test_features_with_half_of_the_strongest_share_lead() -> None:
    shares = {"a": 0.4, "b": 0.2, "c": 0.19, "d": 0.21}
    assert [one.feature for one in facts(shares=shares).movements] == ["a", "d", "b"]
    assert facts(shares={"a": 0.0}, moved={}).movements[0].feature == "a"
    assert Facts.of(replace(episode(), attribution={})).movements == ()


SAME: Moved = {"cpu": [10.0, 11.0, 9.0, 10.0] * 3 + [20.0, 19.0, 18.0, 17.0]}


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"moved": SAME}, True),
        ({"moved": SAME, "entity": "web-9", "slot": 900}, True),
        ({"moved": SAME, "stream": "other"}, False),
        ({"moved": SAME, "score": 1.5 * 1.5}, True),
        ({"moved": SAME, "score": 1.5 * 1.5 + 0.01}, False),
        ({"moved": {"cpu": [10.0] * 12 + [20.0] * 4}}, True),
        ({"moved": {"cpu": [10.0] * 6 + [20.0] * 6 + [20.0, 10.0, 20.0, 10.0]}}, False),  # another course
        ({"moved": {"cpu": [20.0 - value if value else None for value in SAME["cpu"]]}}, False),  # the other way
        ({"moved": {"disk": SAME["cpu"]}}, False),
        ({"moved": SAME | {"disk": SAME["cpu"]}, "shares": {"cpu": 0.5, "disk": 0.5}}, False),
        ({"moved": SAME | {"disk": SAME["cpu"]}, "shares": {"cpu": 0.8, "disk": 0.1}}, True),
    ],
)
def test_what_is_alike(other: dict[str, Any], same: bool) -> None:
    known = likeness(facts(moved=SAME))
    assert alike(known, likeness(facts(**other))) == same


@pytest.mark.parametrize(("slots", "same"), [(1, True), (4, True), (9, True), (10, False), (16, False)])
def test_what_goes_on_for_longer_is_worse(slots: int, same: bool) -> None:
    moved: Moved = {"cpu": [10.0] * (16 - slots) + [20.0] * slots}
    one = episode(slots=4, moved={"cpu": [10.0] * 12 + [20.0] * 4})
    other = replace(episode(slots=slots, moved=moved), evidence=one.evidence)
    assert alike(likeness(Facts.of(one)), likeness(Facts.of(other))) == same


def test_before_it_is_explained_a_course_is_unknown_and_a_direction_too() -> None:
    waiting = likeness(facts(explanation="pending", evidence={}))
    assert waiting.course == ()
    assert waiting.features == {"cpu ?": 1.0}
    assert not alike(likeness(facts()), waiting)


alerts = st.builds(
    lambda values, slots, score: episode(moved={"cpu": values}, slots=slots, score=score),
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=16, max_size=16),
    st.integers(1, 16),
    st.floats(1, 1e6),
)


@given(alerts)
def test_everything_is_like_itself_and_keeps_its_likeness_as_json(one: Alert) -> None:
    mine = likeness(Facts.of(one))
    assert alike(mine, mine)
    assert type(mine).model_validate_json(mine.model_dump_json()) == mine


@given(
    st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1e3)),
    st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1e3)),
)
def test_a_cosine_is_one_of_itself_and_the_same_both_ways(one: dict[str, float], other: dict[str, float]) -> None:
    assert cosine(one, other) == pytest.approx(cosine(other, one))
    assert -1e-9 <= cosine(one, other) <= 1 + 1e-9
    if any(value > 1e-100 for value in one.values()):
        assert cosine(one, one) == pytest.approx(1.0)
