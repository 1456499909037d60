"""Rules, as a table: the alert, the rules, what they say and by which of them."""

from typing import Any

import pytest
from pydantic import ValidationError
from triaged import STEP, episode

from storage.types import Alert
from tsad.triage.facts import Facts
from tsad.triage.likeness import likeness
from tsad.triage.rules import Rulebook, judge

FALLS: dict[str, list[float | None]] = {"cpu": [10.0] * 12 + [4.0] * 4}
BOTH: dict[str, list[float | None]] = {"cpu": [10.0] * 12 + [20.0] * 4, "disk": [10.0] * 12 + [2.0] * 4}
WAITING: dict[str, Any] = {"explanation": "pending", "evidence": {}}


def ruled(alert: Alert, *rules: dict[str, Any], flagged: tuple[int, ...] | None = None, **book: Any) -> Any:
    named = [{"name": f"r{number}"} | rule for number, rule in enumerate(rules)]
    return judge(Facts.of(alert, flagged), Rulebook.model_validate({"rules": named, **book}), STEP)


CASES = [
    # alert, rules, reason it fails by, rule, whether it waits
    (episode(), [], None, "", False),
    (episode(), [{"direction": "up"}], None, "", False),
    (episode(), [{"direction": "down"}], "direction", "r0", False),
    (episode(moved=FALLS), [{"direction": "up"}], "direction", "r0", False),
    (episode(moved=FALLS), [{"direction": "up", "features": ["disk*"]}], None, "", False),
    (episode(moved=FALLS), [{"direction": "up", "features": ["disk*", "c?u"]}], "direction", "r0", False),
    (episode(moved=FALLS), [{"direction": "up", "stream": "other"}], None, "", False),
    (episode(moved=FALLS), [{"direction": "up", "entity": "db-*"}], None, "", False),
    (episode(moved=FALLS), [{"direction": "up", "entity": "web-*"}], "direction", "r0", False),
    # a rule for one feature never hides another
    (episode(moved=BOTH), [{"direction": "up"}], None, "", False),
    (episode(moved=BOTH), [{"mute": True, "features": ["cpu"]}], None, "", False),
    (episode(moved=BOTH), [{"mute": True, "features": ["cpu"]}, {"direction": "up"}], "muted", "r0", False),
    (episode(moved=BOTH), [{"mute": True}], "muted", "r0", False),
    # one that hardly has a share does not lead
    (
        episode(moved=BOTH, shares={"cpu": 0.8, "disk": 0.2}),
        [{"mute": True, "features": ["cpu"]}], "muted", "r0", False,
    ),
    # deviations are taken from the middle of what was expected: 10 here
    (episode(), [{"min_deviation": 10.0}], None, "", False),
    (episode(), [{"min_deviation": 10.5}], "deviation", "r0", False),
    (episode(), [{"min_relative_deviation": 1.0}], None, "", False),
    (episode(), [{"min_relative_deviation": 1.1}], "deviation", "r0", False),
    (episode(moved={"cpu": [None] * 16}), [{"min_deviation": 99.0, "direction": "down"}], None, "", False),
    # before it is explained nobody knows
    (episode(**WAITING), [{"min_deviation": 1.0}], "unexplained", "r0", True),
    (episode(**WAITING), [{"min_duration": "1m"}], None, "", False),
    (episode(moved=BOTH), [{"min_features": 2}], None, "", False),
    (episode(moved=BOTH), [{"min_features": 3}], "features", "r0", True),
    (episode(moved=BOTH, state="resolved"), [{"min_features": 3}], "features", "r0", False),
    (episode(moved=BOTH), [{"min_features": 2}, {"direction": "up"}], "features", "r0", True),
    (episode(slots=4), [{"min_duration": "4m"}], None, "", False),
    (episode(slots=4), [{"min_duration": "241s"}], "duration", "r0", True),
    (episode(slots=4, state="resolved"), [{"min_duration": "1h"}], "duration", "r0", False),
    (episode(score=1.5), [{"min_score": 1.5}], None, "", False),
    (episode(score=1.5), [{"min_score": 1.6}], "score", "r0", True),
    (episode(state="open"), [{"notify_on": "confirmed"}], "unconfirmed", "r0", True),
    (episode(state="confirmed"), [{"notify_on": "confirmed"}], None, "", False),
    (episode(state="open"), [{"notify_on": "confirmed"}, {"notify_on": "open"}], None, "", False),
]  # fmt: skip


@pytest.mark.parametrize(("alert", "rules", "reason", "rule", "waits"), CASES)
def test_rules(alert: Alert, rules: list[dict[str, Any]], reason: str | None, rule: str, waits: bool) -> None:
    found = ruled(alert, *rules)
    assert (found.passes, found.reason, found.rule, found.waits) == (reason is None, reason, rule, waits)


@pytest.mark.parametrize(
    ("flagged", "k", "n", "passes"),
    [
        ((100, 101, 102), 3, 3, True),
        ((100, 102, 104), 3, 4, False),
        ((100, 102, 104), 3, 5, True),
        ((100, 110, 120, 121, 122), 3, 3, True),
        ((100,), 2, 9, False),
        (None, 2, 4, True),
        (None, 3, 4, False),
    ],
)
def test_k_of_n(flagged: tuple[int, ...] | None, k: int, n: int, passes: bool) -> None:
    found = ruled(episode(slots=4), {"k": k, "n": n}, flagged=flagged)
    assert (found.passes, found.reason) == (passes, None if passes else "k_of_n")


def test_the_last_rule_that_says_a_severity_counts() -> None:
    rules: list[dict[str, Any]] = [{"severity": "critical"}, {"severity": "info", "entity": "web-*"}, {"mute": False}]
    assert ruled(episode(), *rules).severity == "info"
    assert ruled(episode(entity="db"), *rules).severity == "critical"
    assert ruled(episode(entity="db")).severity == "warning"


def test_confirmed_may_be_asked_of_all() -> None:
    found = ruled(episode(state="open"), notify_on="confirmed")
    assert (found.reason, found.rule, found.waits) == ("unconfirmed", "", True)
    assert ruled(episode(state="open"), {"notify_on": "open"}, notify_on="confirmed").passes


def test_an_alert_between_the_two_scores_may_only_go_on_another() -> None:
    rule = {"min_score": 2.0, "clear_score": 1.4}
    assert [ruled(episode(score=score), rule).clears for score in (1.2, 1.4, 1.9, 2.0)] == [False, True, True, False]


def test_a_rule_for_what_is_alike_concerns_nothing_else() -> None:
    like = likeness(Facts.of(episode())).model_dump()
    rule = {"mute": True, "like": like}
    assert ruled(episode(slot=500), rule).reason == "alike"
    assert ruled(episode(slot=500, moved=FALLS), rule).passes
    assert ruled(episode(slot=500, score=9.0), rule).passes
    assert ruled(episode(slot=500, slots=12), rule).passes


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"k": 2}, "k and n belong together"),
        ({"k": 4, "n": 2}, "must be at most n"),
        ({"clear_score": 1.5}, "clear_score needs a min_score"),
        ({"min_score": 1.2, "clear_score": 1.5}, "clear_score needs a min_score that is not below it"),
        ({"min_score": 0.5}, "greater than or equal to 1"),
        ({"min_deviation": float("nan")}, "min_deviation"),
        ({"min_duration": "soon"}, "a duration such as"),
        ({"severity": "bad"}, "'info', 'warning' or 'critical'"),
        ({"directions": "up"}, "Extra inputs are not permitted"),
        ({"name": ""}, "at least 1 character"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ruled(episode(), rule)


def test_two_rules_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two rules are called 'a'"):
        ruled(episode(), {"name": "a"}, {"name": "a"})
