"""Two runs side by side: what appears, vanishes and changes."""

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from storage.runalerts import RunAlert
from tsad.runs.comparing import KINDS, Case, Comparison, cases_of

START = datetime(2026, 3, 1, tzinfo=UTC)
RUNS = ("old", "new")


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def said(run: str, first: int, last: int, entity: str = "a", score: float = 2.0, **more: Any) -> RunAlert:
    fields = {"severity": "warning", "channel": "cpu", "id": f"{run}-{entity}-{first}"} | more
    return RunAlert(run, fields["id"], entity, at(first), at(last), fields["severity"], score, fields["channel"])


def cases(*alerts: RunAlert) -> list[Case]:
    return list(cases_of(sorted(alerts, key=lambda one: (one.entity, one.first_time, one.id)), RUNS, "s"))


def only(*alerts: RunAlert) -> Case:
    (found,) = cases(*alerts)
    return found


def test_what_only_one_run_says_appears_or_vanishes() -> None:
    gone, new = cases(said("old", 0, 5), said("new", 10, 15, score=7.0))
    assert (gone.kind, gone.before and gone.before.id, gone.after) == ("vanishes", "old-a-0", None)
    assert (new.kind, new.score, new.changes, new.before) == ("appears", 7.0, (), None)
    assert (new.first, new.last, new.entity, new.stream) == (at(10), at(15), "a", "s")


def test_alerts_that_meet_in_one_slot_are_the_same_thing() -> None:
    assert only(said("old", 0, 5), said("new", 5, 9)).kind == "same"
    assert [one.kind for one in cases(said("old", 0, 5), said("new", 6, 9))] == ["vanishes", "appears"]


def test_entities_are_apart() -> None:
    assert [one.kind for one in cases(said("old", 0, 5), said("new", 0, 5, "b"))] == ["vanishes", "appears"]


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        ({}, ()),
        ({"score": 2.1}, ()),
        ({"score": 2.3}, ("score",)),
        ({"severity": "critical"}, ("severity",)),
        ({"channel": "disk"}, ("channel",)),
        ({"score": 1.2, "severity": "info", "channel": ""}, ("severity", "score", "channel")),
    ],
)
def test_what_both_say_may_change(after: dict[str, Any], changes: tuple[str, ...]) -> None:
    case = only(said("old", 0, 5), said("new", 1, 6, **after))
    assert (case.changes, case.kind) == (changes, "changed" if changes else "same")


def test_one_long_alert_may_be_several_in_the_other_run() -> None:
    """The strongest of them speaks for them, and the most severe."""
    parts = said("new", 0, 3, score=5.0, channel="disk"), said("new", 8, 9, severity="critical"), said("new", 20, 30)
    case = only(said("old", 0, 40, score=5.0, channel="disk", severity="critical"), *parts)
    assert case.changes == ("number",)
    assert case.after is not None
    assert (case.after.alerts, case.after.severity, case.after.channel, case.last) == (3, "critical", "disk", at(40))


def random_alerts(seed: int) -> list[RunAlert]:
    """Of each run and entity some that do not touch, as episodes are."""
    draw, found = Random(seed), []
    for run in RUNS:
        for entity in "abc":
            place = draw.randrange(6)
            for _ in range(draw.randrange(6)):
                length = draw.randrange(7)
                found.append(said(run, place, place + length, entity, draw.choice((2.0, 3.0))))
                place += length + draw.randrange(1, 9)
    return found


def plain(alerts: list[RunAlert]) -> list[frozenset[str]]:
    """Sets (ids) of what hangs together, by asking of each pair."""
    groups = [{one.id} for one in alerts]
    for one in alerts:
        for other in alerts:
            meet = one.first_time <= other.last_time and other.first_time <= one.last_time
            if one.entity == other.entity and meet:
                joined = [group for group in groups if group & {one.id, other.id}]
                groups = [group for group in groups if group not in joined] + [set().union(*joined)]
    return sorted((frozenset(group) for group in groups), key=sorted)


@pytest.mark.parametrize("seed", range(40))
def test_cases_are_what_hangs_together(seed: int) -> None:
    alerts = random_alerts(seed)
    known = {one.id: one for one in alerts}
    expected = Counter()
    for group in plain(alerts):
        runs = Counter(known[name].run for name in group)
        expected[min(known[name].first_time for name in group), known[min(group)].entity, runs["old"], runs["new"]] += 1
    found = Counter(
        (one.first, one.entity, one.before.alerts if one.before else 0, one.after.alerts if one.after else 0)
        for one in cases(*alerts)
    )
    assert found == expected


def test_a_comparison_counts_and_keeps_the_strongest() -> None:
    found = Comparison(*RUNS, keep=2).take(
        cases(
            *(said("new", 10 * n, 10 * n + 1, score=float(n), severity="critical") for n in (2, 5, 3, 4)),
            said("old", 100, 101), said("new", 100, 101), said("old", 200, 201), said("new", 200, 202, channel="x"),
        )
    )  # fmt: skip
    assert [found.kinds[kind] for kind in KINDS] == [4, 0, 1, 1]
    assert [case.score for case in found.strongest("appears")] == [5.0, 4.0]
    assert found.alerts == [2, 6]
    figures = found.figures()
    assert figures["counts"] == {"appears": 4, "vanishes": 0, "changed": 1, "same": 1}
    assert figures["severities"]["appears"] == {"critical": 4, "warning": 0, "info": 0}
    assert figures["changes"] == {"severity": 0, "score": 0, "channel": 1, "number": 0}
    assert [(row["kind"], row["changes"]) for row in figures["cases"]] == [
        ("appears", []), ("appears", []), ("changed", ["channel"]),
    ]  # fmt: skip
    assert figures["cases"][-1]["after"] == {
        "alerts": 1, "severity": "warning", "id": "new-a-200", "score": 2.0, "channel": "x",
    }  # fmt: skip


def test_memory_does_not_grow_with_alerts() -> None:
    """Not even where all of an entity's alerts hang together."""

    def chain(length: int) -> Iterator[RunAlert]:
        return (said(RUNS[n % 2], n, n + 1) for n in range(length))

    def peak(length: int) -> int:
        tracemalloc.start()
        Comparison(*RUNS, keep=3).take(cases_of(chain(length), RUNS, "s"))
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(100)
    assert peak(20_000) < peak(500) + 20_000
