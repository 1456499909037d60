"""Which rules answers speak for, and what they would change."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from triaged import STEP, at, episode

from storage.marks import Answer, Mark
from storage.types import Alert
from tsad.triage.answers import seen
from tsad.triage.decisions import Rulings, Version, decide
from tsad.triage.facts import Facts
from tsad.triage.feedback import Proposal, proposals
from tsad.triage.rules import Rulebook, judge

NOW = at(10_000)


def spike(slot: int, off: float, feature: str = "cpu", **more: Any) -> Alert:
    """An alert of a feature that went `off` from the 10 that was expected."""
    return episode(slot=slot, moved={feature: [10.0] * 12 + [10.0 + off] * 4}, **more)


def answer(alert: Alert, said: Answer, hour: int = 0, **more: Any) -> Mark:
    given_ = {"kind": "feedback", "about": "alert", "target": alert.id, "by": "anna", "at": at(hour), "answer": said}
    return Mark(**(given_ | {"detail": seen(alert)} | more))


def proposed(*pairs: tuple[Alert, Answer]) -> list[Proposal]:
    return proposals([answer(alert, said) for alert, said in pairs], [alert for alert, _ in pairs])


def told(proposal: Proposal, alert: Alert) -> bool:
    """Whether people would be told of an alert under the proposed rule."""
    return judge(Facts.of(alert), Rulebook(rules=(proposal.rule,)), STEP).passes


def test_one_false_alert_speaks_for_what_is_alike_only() -> None:
    one = spike(100, 5.0)
    [found] = proposed((one, "false"))
    assert (found.rule.mute, found.rule.like is not None, found.alerts) == (True, True, (one.id,))
    assert found.why == f"anna said false of alert {one.id[:12]}"
    assert not told(found, spike(900, 5.0))
    assert told(found, spike(900, 20.0))
    assert told(found, spike(900, 5.0, "disk"))


def test_several_false_ones_of_a_feature_speak_for_a_least_deviation() -> None:
    small = [spike(100 * number, off) for number, off in enumerate((2.0, -3.0, 2.5), 1)]
    [found] = proposed(*((one, "false") for one in small))
    assert (found.rule.features, found.rule.min_deviation) == (("cpu",), 3.15)
    assert found.why == "3 alerts led by cpu were none, and went at most 3 off"
    assert [told(found, spike(900, off)) for off in (3.0, -3.1, 3.2, -4.0)] == [False, False, True, True]


def test_a_true_alert_that_went_less_far_speaks_against_it() -> None:
    small = [(spike(100, 2.0), "false"), (spike(200, 3.0), "expected")]
    true = (spike(300, 2.5), "true")
    found = proposed(*small, true)  # type: ignore[arg-type]
    assert all(one.rule.mute for one in found)
    assert len(found) == 2
    [wide] = proposed(*small, (spike(300, 9.0), "true"))  # type: ignore[arg-type]
    assert wide.why.endswith("; the 1 true ones went 9 and more")
    assert told(wide, spike(400, 9.0))


def test_features_and_streams_are_apart() -> None:
    alerts = [
        spike(100, 2.0), spike(200, 2.0), spike(300, 2.0, "disk"), spike(400, 2.0, "disk", stream="other"),
        spike(500, 2.0, "disk", stream="other"),
    ]  # fmt: skip
    found = proposed(*((one, "false") for one in alerts))
    assert [(one.rule.stream, one.rule.features, one.rule.mute) for one in found] == [
        ("fleet", ("cpu",), False),
        ("other", ("disk",), False),
        ("fleet", (), True),
    ]


def test_the_last_answer_counts_of_what_is_looked_at() -> None:
    one = spike(100, 5.0)
    changed = [answer(one, "false"), answer(one, "true", hour=1)]
    assert proposals(changed, [one]) == []
    assert proposals([answer(one, "false")], []) == [], "it lies beyond the days that are looked at"


def test_an_alert_that_was_not_explained_when_it_was_answered() -> None:
    one = episode(slot=100, explanation="pending", evidence={})
    [found] = proposed((one, "false"))
    assert found.rule.like is not None
    assert found.rule.like.course == ()


@pytest.mark.parametrize("name", ["cpu[0]", "a*b", "what?", "[", "]", "disk /var"])
def test_names_are_taken_as_they_are(name: str) -> None:
    alerts = [spike(100 * number, 2.0, name) for number in (1, 2)]
    [found] = proposed(*((one, "false") for one in alerts))
    assert not told(found, alerts[0])
    assert told(found, spike(900, 1.0, "another"))
    [pattern] = found.rule.features
    assert found.rule.names(name)
    assert not found.rule.names(name + "x"), pattern


offs = st.lists(
    st.tuples(st.sampled_from([2.0, 3.0, 5.0, 8.0, -2.0, -6.0]), st.sampled_from(["true", "false", "expected"])),
    min_size=1, max_size=6,
)  # fmt: skip


@given(offs)
def test_no_proposal_hides_what_somebody_took_for_true(told_: list[tuple[float, Answer]]) -> None:
    """But where a false one is just such a one: then the two are alike, and replay names it."""
    pairs = [(spike(100 * number, off), said) for number, (off, said) in enumerate(told_, 1)]
    false = {off for off, said in told_ if said != "true"}
    for proposal in proposed(*pairs):
        for (alert, said), (off, _) in zip(pairs, told_, strict=True):
            if said == "true" and not any(abs(off - other) <= 0.5 * max(abs(off), abs(other)) for other in false):
                assert told(proposal, alert)


@given(offs)
def test_each_answered_alert_is_hidden_by_a_proposal(told_: list[tuple[float, Answer]]) -> None:
    pairs = [(spike(100 * number, off), said) for number, (off, said) in enumerate(told_, 1)]
    found = proposed(*pairs)
    covered = {identity for proposal in found for identity in proposal.alerts}
    assert covered == {alert.id for alert, said in pairs if said != "true"}
    by_id = {alert.id: alert for alert, _ in pairs}
    for proposal in found:
        assert not any(told(proposal, by_id[identity]) for identity in proposal.alerts)


def test_a_proposed_rule_can_be_kept_and_read_again() -> None:
    [like] = proposed((spike(100, 5.0), "false"))
    book = Rulebook(rules=(like.rule,))
    kept = Rulebook.model_validate(book.model_dump(mode="json", exclude_defaults=True))
    assert kept == book
    [row] = decide([spike(900, 5.0)], Rulings(versions=[Version(1, at(0), kept)]), STEP, NOW)
    assert (row.standing, row.reason, row.rule) == ("suppress", "alike", like.rule.name)
