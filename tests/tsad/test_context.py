"""When an event explains an alert: rules, precedents, and what outgrows both."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.events import ContextEvent
from streaming.settings import SECOND
from tsad.context import (
    A_KIND,
    KINDS,
    Allowance,
    Bounds,
    Happening,
    Precedent,
    Precedents,
    Size,
    beyond,
    by_rule,
    coverage,
    covered,
    excess,
    grouped,
    outgrown,
    sentence_of,
    unprecedented,
)
from tsad.happenings import event_of, happening_of, order_of, read_events

DEPLOY = Happening("d9", "deploy", "web-*", 1000, 1000, "shop 9", "2026-01-05 10:00:00 UTC")
CPU = {"cpu": 0.9, "disk": 0.05, "net": 0.05}
NOW = 1_767_607_200 * SECOND
SHARES = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1), min_size=1)


def before(began: int, **changes: object) -> Precedent:
    """An alert of cpu that followed a deploy in the slot `began`."""
    one = Precedent("deploy", "web-1", began + 1, began, began + 20, 3.0, 10, 2, {"cpu": 2.0, "net": 0.4})
    return replace(one, **changes)  # type: ignore[arg-type]


def size(**changes: object) -> Size:
    """An alert like those."""
    return replace(Size(3.0, 10, 2, {"cpu": 2.0}), **changes)  # type: ignore[arg-type]


def missing(*precedents: Precedent, **changes: object) -> str | None:
    return unprecedented(DEPLOY, size(**changes), precedents, 15)


@pytest.mark.parametrize(
    ("entity", "opened", "concerned"),
    [
        ("web-1", 1000, True), ("web-1", 1015, True), ("web-1", 999, False), ("web-1", 1016, False),
        ("db-1", 1005, False),
    ],
)  # fmt: skip
def test_an_event_concerns_what_opens_soon_after_it(entity: str, opened: int, concerned: bool) -> None:
    assert DEPLOY.concerns(entity, opened, 15) is concerned
    assert replace(DEPLOY, entity=None).concerns("anything", 1000, 0)
    assert replace(DEPLOY, last=1100).concerns("web-1", 1110, 15)  # it took a hundred slots


@pytest.mark.parametrize(
    ("rule", "explains"),
    [
        (Allowance("deploy"), True),
        (Allowance("deploy", "web-*", ("cpu*",), 3.0, 30), True),
        (Allowance("backup"), False),
        (Allowance("deploy", "db-*"), False),
        (Allowance("deploy", features=("mem*", "disk")), False),
        (Allowance("deploy", max_score=2.9), False),
    ],
)
def test_a_rule_names_kind_entity_features_and_score(rule: Allowance, explains: bool) -> None:
    bounds = by_rule(DEPLOY, "web-1", CPU, 3.0, [rule])
    assert (bounds is not None) is explains
    if bounds is not None:
        assert (bounds.why, bounds.score, bounds.slots) == ("rule", rule.max_score, rule.max_slots)


def test_the_first_rule_that_fits_counts() -> None:
    rules = [Allowance("deploy", max_score=1.0), Allowance("deploy", max_score=5.0), Allowance("deploy")]
    bounds = by_rule(DEPLOY, "web-1", CPU, 3.0, rules)
    assert bounds is not None
    assert bounds.score == 5.0


def test_two_occasions_make_a_precedent_and_one_does_not() -> None:
    assert missing() == "nothing"
    assert missing(before(100)) == "nothing"
    assert missing(before(100), before(110), before(105, entity="web-2")) == "nothing"  # one deploy of three alerts
    assert missing(before(100), before(300)) is None


@pytest.mark.parametrize(
    ("second", "lacking"),
    [
        (before(300, kind="backup"), "nothing"),
        (before(990, closed=1000), "nothing"),  # not over when this deploy began
        (before(300, peaks={"disk": 2.0}), "other channels"),
        (before(300, score=1.9), "stronger"),  # ours is more than half as high again
    ],
)
def test_what_was_otherwise_is_no_precedent(second: Precedent, lacking: str) -> None:
    assert missing(before(100), second) == lacking
    assert missing(before(100), second, before(500)) is None


@pytest.mark.parametrize(
    ("changes", "growth"),
    [
        ({}, None),
        ({"score": 4.5, "slots": 18, "delay": 3, "peaks": {"cpu": 3.5, "disk": 0.5}}, None),
        ({"score": 4.6}, "stronger"),
        ({"slots": 20}, "longer"),
        ({"slots": 1, "delay": 12}, None),  # a part of what came then
        ({"slots": 9, "delay": 12}, None),
        ({"slots": 10, "delay": 12}, "longer"),
        ({"slots": 1, "delay": 13}, "later"),
        ({"peaks": {"cpu": 3.6}}, "stronger"),
        ({"peaks": {"net": 1.2}}, "stronger"),
        ({"peaks": {"cpu": 2.0, "disk": 0.6}}, "other channels"),
        ({"errors": True}, "errors"),
    ],
)
def test_what_goes_beyond_one_that_was_before(changes: dict[str, object], growth: str | None) -> None:
    assert beyond(size(**changes), before(100)) == growth
    assert missing(before(100), before(300), **changes) == growth


def test_what_opens_late_by_a_little_after_one_that_opened_at_once_is_judged_by_its_end() -> None:
    """How late an alert opens says how weak it is; one of a slot that opened late allows no more than that."""
    short = before(300, delay=0, slots=1)
    assert beyond(size(delay=3, slots=1), short) is None
    assert beyond(size(delay=4, slots=1), short) == "later"
    assert beyond(size(delay=3, slots=2), short) == "longer"
    assert missing(before(100), short, delay=9, slots=1) == "later"
    assert missing(before(100), before(200, delay=5, slots=4), short, delay=9, slots=1) is None


def test_errors_that_came_with_deploys_before_are_theirs() -> None:
    assert missing(before(100, errors=True), before(300, errors=True), errors=True) is None
    assert missing(before(100, errors=True), before(300), errors=True) == "errors"


@pytest.mark.parametrize(
    ("firsts", "part"),
    [
        ([], 0.0),
        ([1000], 1 / 24),  # the last slot of the least stretch
        ([990], 6 / 24),
        ([940, 970, 1000], 13 / 61),
        (list(range(600, 1001, 5)), 1.0),
        (list(range(600, 1001, 12)), 0.5),
        ([990, 990, 991], 7 / 24),
        ([1001, 5], 0.0),
    ],
)
def test_how_much_of_the_time_follows_events(firsts: list[int], part: float) -> None:
    events = [replace(DEPLOY, id=str(place), first=slot, last=slot) for place, slot in enumerate(firsts)]
    assert coverage(events, 1000, 5) == pytest.approx(part, abs=0.02)
    if firsts:
        assert coverage([replace(DEPLOY, first=0, last=2000), *events], 1000, 5) == 1


def test_what_half_of_the_deploys_did_is_the_rule_and_what_two_did_is_not() -> None:
    faults = before(500, slots=90), before(700, slots=90)
    assert missing(before(100), before(300), *faults, slots=90) is None
    assert missing(before(100), before(300), before(400), *faults, slots=90) == "longer"
    assert missing(before(100), before(300), before(400), *faults) is None


def test_faults_inside_deploys_allow_nothing_together() -> None:
    """One was longer, another stronger: none was both, and each was once."""
    deploys = before(100), before(300)
    longer, stronger = before(500, slots=400), before(700, score=50.0, peaks={"cpu": 9.0})
    assert missing(*deploys, longer, stronger, slots=100) == "longer"
    assert missing(*deploys, longer, stronger, score=20.0) == "stronger"
    assert missing(*deploys, longer, stronger, slots=100, score=20.0) is not None
    assert missing(*deploys, longer, stronger) is None


def test_what_outgrows_a_rule() -> None:
    bounds = Bounds(4.5, 15.0, ("cpu",), "rule")
    assert outgrown(bounds, 4.5, 15, CPU) is None
    assert outgrown(bounds, 4.6, 15, CPU) == "stronger"
    assert outgrown(bounds, 4.5, 16, CPU) == "longer"
    assert outgrown(bounds, 2.0, 3, {"cpu": 0.6, "disk": 0.4}) == "other channels"
    assert outgrown(bounds, 4.5, 15, None) is None
    assert outgrown(Bounds(None, None, None, "rule"), 99.0, 999, {"disk": 1.0}) is None
    assert covered({"disk": 1.0}, ("d*",)) == 1
    assert covered({"disk": 0.0}, ()) == 1


@settings(max_examples=200, deadline=None)
@given(SHARES)
def test_shares_beyond_the_least(one: dict[str, float]) -> None:
    above = excess(one)
    assert set(above) == set(one)
    assert sum(above.values()) == pytest.approx(1) or above == one
    assert sorted(above, key=lambda name: (above[name], name)) == sorted(one, key=lambda name: (above[name], name))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.floats(1, 9), st.integers(1, 40)), max_size=12), st.randoms())
def test_the_order_of_precedents_does_not_matter(rows: list[tuple[int, float, int]], rng: random.Random) -> None:
    kept = [before(began, identity=place, score=score, slots=n) for place, (began, score, n) in enumerate(rows)]
    shuffled = rng.sample(kept, len(kept))
    assert missing(*kept) == missing(*shuffled)
    assert grouped(kept, 15) == grouped(shuffled, 15)
    if missing(*kept) is None:
        as_far = [one for one in kept if one.score * 1.5 >= 3.0 and (2 + one.slots) * 1.5 + 3 >= 12]
        assert len(grouped(as_far, 15)) >= 2


def test_the_memory_is_bounded_and_keeps_the_newest() -> None:
    memory = Precedents()
    for number in range(A_KIND + 50):
        memory.put(before(number, identity=number))
    assert [one.began for one in memory.all()] == list(range(50, A_KIND + 50))
    for number in range(KINDS + 10):
        memory.put(before(1000 + number, kind=f"kind{number}", identity=0))
    kinds = {one.kind for one in memory.all()}
    assert len(kinds) == KINDS
    assert "deploy" not in kinds
    assert f"kind{KINDS + 9}" in kinds


def test_an_alert_has_one_precedent_a_kind_and_may_lose_it() -> None:
    memory = Precedents()
    assert memory.of("deploy") == []
    memory.put(before(100))
    memory.put(before(100, score=5.0))
    memory.put(before(100, kind="backup"))
    assert sorted((one.kind, one.score) for one in memory.all()) == [("backup", 3.0), ("deploy", 5.0)]
    memory.remove("web-1", 7)
    assert len(memory) == 2
    assert [one.score for one in memory.of("deploy")] == [5.0]
    memory.remove("web-1", 101)
    assert len(memory) == 0


def test_an_event_is_itself_wherever_it_was_read() -> None:
    start = datetime(2026, 1, 5, 10, tzinfo=UTC)
    one = ContextEvent("deploy", start, "web-*", start + timedelta(minutes=3), "shop 9", {"by": "ci"}, "a.jsonl")
    same = ContextEvent("deploy", start.astimezone(timezone(timedelta(hours=2))), "web-*", one.end, "shop 9")
    assert one.id == same.id
    others = [{"kind": "backup"}, {"entity": None}, {"entity": ""}, {"end": None}, {"title": ""}, {"start": one.end}]
    assert len({one.id, *(replace(one, **changes).id for changes in others)}) == 7  # type: ignore[arg-type]


def test_an_order_holds_the_whole_event() -> None:
    start = datetime(2026, 1, 5, 10, 0, 30, tzinfo=UTC)
    for end in (None, start + timedelta(minutes=3)):
        one = ContextEvent("deploy", start, "web-*", end, "shop 9", {"by": "ci"}, "a.jsonl")
        order = order_of(one, 77)
        assert (order.kind, order.version, order.first_slot) == ("event", one.id, 77)
        assert event_of(order).id == one.id
        known = happening_of(event_of(order), 60 * SECOND, order.first_slot)
        first = NOW // (60 * SECOND)
        assert (known.first, known.last, known.known) == (first, first if end is None else first + 3, 77)


def test_a_file_of_events_is_read_line_by_line() -> None:
    lines = [
        '{"time": "2026-01-05T10:00:00Z", "kind": "deploy", "entity": "web-*", "title": "shop 9", "more": 1}',
        "",
        '{"time": 1767607200, "kind": "backup", "end": 1767607260, "detail": {"by": "cron"}}',
        '{"time": "yesterday", "kind": "deploy"}',
        '{"time": 1767607200}',
        '{"time": 1767607200, "kind": ""}',
        '{"time": 1767607200, "kind": "deploy", "end": 1767607100}',
        "nonsense",
        '{"time": 17676',
    ]
    events, faults = read_events("\n".join(lines), "a.jsonl", NOW)
    assert [(one.kind, one.entity, one.title, one.source) for one in events] == [
        ("deploy", "web-*", "shop 9", "a.jsonl"), ("backup", None, "", "a.jsonl"),
    ]  # fmt: skip
    assert events[0].start == events[1].start == datetime(2026, 1, 5, 10, tzinfo=UTC)
    assert events[1].end == datetime(2026, 1, 5, 10, 1, tzinfo=UTC)
    assert [number for number, _ in faults] == [4, 5, 6, 7, 8]  # the last line is still being written
    said = dict(faults)
    assert "kind" in said[5]
    assert "lies before" in said[7]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_no_file_of_events_raises(text: str) -> None:
    events, faults = read_events(text, "a.jsonl", NOW)
    assert len(events) + len(faults) <= text.count("\n") + 1


def test_the_sentence_names_the_event() -> None:
    told = {"id": "d9", "kind": "deploy", "title": "shop 9", "time": "2026-01-05 10:00:00 UTC", "why": "learnt"}
    said = "Deploy 'shop 9' at 2026-01-05 10:00:00 UTC explains it (learnt)."
    assert sentence_of("cpu rose.", told) == f"cpu rose. {said}"
    assert sentence_of("", told) == said
    assert sentence_of("cpu rose.", {}) == "cpu rose."
