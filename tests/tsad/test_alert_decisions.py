"""What becomes of an entity's alerts: the stages in their order, threads, and what people said."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from triaged import STEP, at, episode

from storage.marks import Mark
from storage.rulings import DecisionRow
from storage.types import Alert
from tsad.triage.calendars import Calendar
from tsad.triage.decisions import Answered, Rulings, Version, decide
from tsad.triage.facts import Facts
from tsad.triage.likeness import likeness
from tsad.triage.rules import Rulebook

NOW = at(10_000)
FALLS: dict[str, list[float | None]] = {"cpu": [10.0] * 12 + [4.0] * 4}
DISK: dict[str, list[float | None]] = {"disk": [10.0] * 12 + [20.0] * 4}


def mark(kind: str, hours: float = 0.0, **more: Any) -> Mark:
    said = {"kind": kind, "about": "alert", "target": "", "by": "anna", "at": NOW + timedelta(hours=hours)}
    return Mark(**(said | {"id": f"{kind}{hours:g}"} | more))


def rules(*said: dict[str, Any], **book: Any) -> Version:
    named = [{"name": f"r{number}"} | rule for number, rule in enumerate(said)]
    return Version(1, at(0), Rulebook.model_validate({"rules": named, **book}))


def decided(*alerts: Alert, now: Any = NOW, marks: Any = (), **rulings: Any) -> list[tuple[str, str, str]]:
    held = Rulings(marks={alerts[0].id: marks}, **rulings)
    return [(row.standing, row.reason, row.rule) for row in decide(alerts, held, STEP, now)]


def answered(alert: Alert) -> Answered:
    return Answered("m1", alert.id, likeness(Facts.of(alert)), alert.first_time)


ONCE = Calendar.model_validate({"name": "upgrade", "start": at(90), "end": at(200)})
EVENT = {"id": "e1", "kind": "deploy"}
MUTE = rules({"mute": True})


@pytest.mark.parametrize(
    ("alert", "held", "found"),
    [
        (episode(), {}, ("notify", "confirmed", "")),
        (episode(state="open"), {}, ("notify", "opened", "")),
        (episode(state="resolved"), {}, ("notify", "resolved", "")),
        (episode(state="retracted"), {}, ("withdraw", "retracted", "")),
        (episode(state="retracted", merged_into="a0"), {}, ("withdraw", "merged", "a0")),
        (episode(explained_by_event=EVENT), {}, ("suppress", "explained", "e1")),
        (episode(), {"versions": [MUTE]}, ("suppress", "muted", "r0")),
        (episode(state="open"), {"versions": [rules(notify_on="confirmed")]}, ("hold", "unconfirmed", "")),
        (episode(), {"calendars": [ONCE]}, ("suppress", "maintenance", "upgrade")),
        (episode(slot=80), {"calendars": [ONCE]}, ("notify", "confirmed", "")),
        (episode(slot=190, slots=20), {"calendars": [ONCE]}, ("notify", "confirmed", "")),
        (episode(), {"marks": [mark("acknowledge")]}, ("notify", "acknowledged", "")),
        (episode(), {"marks": [mark("close")]}, ("suppress", "closed", "close0")),
        (episode(), {"marks": [mark("close"), mark("reopen", 1)]}, ("notify", "confirmed", "")),
        (episode(), {"marks": [mark("close", undone_at=NOW)]}, ("notify", "confirmed", "")),
        (episode(), {"marks": [mark("snooze", until=NOW + timedelta(hours=1))]}, ("hold", "snoozed", "snooze0")),
        (episode(), {"marks": [mark("snooze", until=NOW)]}, ("notify", "confirmed", "")),
        (episode(), {"marks": [mark("feedback", answer="false")]}, ("suppress", "answered", "feedback0")),
        (episode(), {"marks": [mark("feedback", answer="expected")]}, ("suppress", "answered", "feedback0")),
        (episode(), {"marks": [mark("feedback", answer="true")]}, ("notify", "confirmed", "")),
        (
            episode(),
            {"marks": [mark("feedback", answer="false"), mark("feedback", 1, answer="true")]},
            ("notify", "confirmed", ""),
        ),
        (episode(), {"marks": [mark("note", note="hm")]}, ("notify", "confirmed", "")),
        # the first stage that holds it says why
        (episode(state="retracted"), {"versions": [MUTE], "calendars": [ONCE]}, ("withdraw", "retracted", "")),
        (episode(), {"versions": [MUTE], "calendars": [ONCE]}, ("suppress", "maintenance", "upgrade")),
        (
            episode(),
            {"versions": [MUTE], "marks": [mark("snooze", until=at(20_000))]},
            ("suppress", "muted", "r0"),
        ),
    ],
)
def test_the_stages(alert: Alert, held: dict[str, Any], found: tuple[str, str, str]) -> None:
    assert decided(alert, **held) == [found]


def test_what_is_like_an_answered_alert_is_suppressed_and_nothing_else() -> None:
    said = answered(episode(slot=10))
    assert decided(episode(), answered=[said]) == [("suppress", "alike", "m1")]
    others = [
        episode(moved=FALLS), episode(moved=DISK), episode(score=9.0), episode(slots=12), episode(stream="other"),
    ]  # fmt: skip
    for other in others:
        assert decided(other, answered=[said]) == [("notify", "confirmed", "")]
    # what came before it stays as it was
    assert decided(episode(slot=5), answered=[said]) == [("notify", "confirmed", "")]
    # a person's own word on an alert goes before that
    assert decided(episode(), answered=[said], marks=[mark("feedback", answer="true")])[0][0] == "notify"
    # and the answered one itself is its own mark's
    assert decided(episode(slot=10), answered=[said]) == [("notify", "confirmed", "")]


def test_an_alert_soon_after_another_goes_on_that_one() -> None:
    first, second, third = episode(slot=100), episode(slot=110), episode(slot=200)
    book = rules(reopen="10m")
    rows = decide([third, second, first], Rulings(versions=[book]), STEP, NOW)
    assert [(row.alert_id, row.reason, row.thread) for row in rows] == [
        (first.id, "confirmed", first.id),
        (second.id, "reopened", first.id),
        (third.id, "confirmed", third.id),
    ]
    # of other features it is news
    assert decided(first, episode(slot=110, moved=DISK), versions=[book])[1][1] == "confirmed"
    # a thread goes on as long as its alerts follow each other
    chain = [episode(slot=100 + 12 * number) for number in range(5)]
    assert {row.thread for row in decide(chain, Rulings(versions=[book]), STEP, NOW)} == {chain[0].id}
    # nobody was told of what was suppressed
    muted = rules({"mute": True, "entity": "nobody"}, reopen="10m")
    closed = [mark("close")]
    assert [reason for _, reason, _ in decided(first, second, versions=[muted], marks=closed)] == [
        "closed",
        "confirmed",
    ]


def test_hysteresis_a_weaker_alert_goes_on_but_does_not_begin() -> None:
    book = rules({"min_score": 2.0, "clear_score": 1.2}, reopen="10m")
    weak, strong, after, fading = (
        episode(slot=50, score=1.5), episode(slot=100, score=2.5), episode(slot=110, score=1.5),
        episode(slot=120, score=1.1),
    )  # fmt: skip
    assert decided(weak, strong, after, fading, versions=[book]) == [
        ("hold", "score", "r0"),
        ("notify", "confirmed", ""),
        ("notify", "reopened", ""),
        ("hold", "score", "r0"),
    ]


def test_the_newest_rules_that_an_alert_lasted_until_are_in_force() -> None:
    versions = [rules(), replace(MUTE, number=2, since=at(150)), replace(rules(), number=3, since=at(300))]
    rows = decide([episode(slot=slot) for slot in (100, 148, 200, 400)], Rulings(versions=versions), STEP, NOW)
    assert [(row.version, row.standing) for row in rows] == [
        (1, "notify"), (2, "suppress"), (2, "suppress"), (3, "notify"),
    ]  # fmt: skip
    assert decide([episode()], Rulings(), STEP, NOW)[0].version == 0


def test_a_severity_that_a_rule_says() -> None:
    version = rules({"severity": "critical"})
    rows = decide([episode(), episode(slot=300, severity="info", explained_by_event=EVENT)],
                  Rulings(versions=[version]), STEP, NOW)  # fmt: skip
    assert [row.severity for row in rows] == ["critical", "info"]


@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([1.1, 1.6, 2.4])), max_size=8), st.randoms())
def test_the_order_in_which_alerts_come_does_not_matter(told: list[tuple[int, float]], chance: random.Random) -> None:
    alerts = list({one.id: one for one in (episode(slot=6 * slot, score=score) for slot, score in told)}.values())
    held = Rulings(versions=[rules({"min_score": 1.5, "clear_score": 1.2}, reopen="12m")], calendars=[ONCE])
    expected: list[DecisionRow] = decide(alerts, held, STEP, NOW)
    chance.shuffle(alerts)
    assert decide(alerts, held, STEP, NOW) == expected
    # what came later changes nothing of what was before
    for count in range(len(expected)):
        ordered = sorted(alerts, key=lambda one: (one.first_time, one.id))
        assert decide(ordered[:count], held, STEP, NOW) == expected[:count]
