"""Which alerts form one incident, and what is said of it: by the alerts that are stored."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.engine import open_database
from storage.types import Alert
from tests.storage.stored_samples import alert, at
from tests.tsad.related_alerts import BONDS, MINUTE, Desk, evidence, moved
from tsad.triage.describing import described, severity_of, signature_of, state_of
from tsad.triage.digests import Member, incident_of, member_of
from tsad.triage.kinds import Kinds
from tsad.triage.placing import likeness
from tsad.triage.ranking import suspects
from tsad.triage.settings import TriageConfig
from tsad.triage.telling import timeline


@pytest.fixture
def desk(sqlite_url: str) -> Any:
    database = open_database(sqlite_url)
    yield Desk(database)
    database.close()


def member(made: Alert) -> Member:
    return member_of(made, MINUTE)


def unlike(entity: str, slot: int, **changes: Any) -> Alert:
    """One that nothing relates to others but what is said here."""
    return replace(moved(entity, slot, {"cpu": slot}), evidence={}, **changes)


TOGETHER = {
    "the same entity, one after the other": ([unlike("a", 10), unlike("a", 17)], True),
    "the same entity, too late": ([unlike("a", 10), unlike("a", 20)], False),
    "at the same time, and nothing else": ([unlike("a", 10), unlike("b", 10)], False),
    "channels that move together": ([moved("a", 10, {"cpu": 9}), moved("b", 11, {"io": 9})], True),
    "shifted by two slots": ([moved("a", 12, {"cpu": 9}), moved("b", 12, {"io": 9})], True),
    "one rises, the other falls": ([moved("a", 10, {"cpu": 9}), moved("b", 11, {"io": 9}, falls=True)], True),
    "channels that move at other times": ([moved("a", 12, {"cpu": 9}), moved("b", 14, {"io": 13})], False),
    "a log template": (
        [moved("a", 10, {"log.new": 10}, said=["full"]), moved("b", 13, {"log.rare": 13}, said=["full"])], True,
    ),
    "other templates": (
        [moved("a", 10, {"log.new": 10}, said=["full"]), moved("b", 13, {"log.rare": 13}, said=["gone"])], False,
    ),
    "one that goes on in an older one": (
        [unlike("a", 10), unlike("b", 12, state="retracted", merged_into=unlike("a", 10).id)], True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", TOGETHER)
def test_alerts_belong_together_by(desk: Desk, why: str) -> None:
    alerts, together = TOGETHER[why]
    desk.told(*alerts)
    placed = desk.incidents.placed(one.id for one in alerts)
    assert (len({one.incident for one in placed.values()}) == 1) is together
    first = min(alerts, key=lambda one: (one.first_time, one.id))
    assert placed[first.id].incident == incident_of(first.id)


def test_a_chain_of_coincidences_ends_with_the_span(desk: Desk) -> None:
    """Every one meets the next one and is of the same entity; an hour is the span."""
    groups = desk.told(*(unlike("a", slot) for slot in range(0, 160, 8)))
    assert [len(group) for group in groups] == [8, 8, 4]


def test_nothing_is_merged_by_one_that_is_related_to_two(desk: Desk) -> None:
    """It goes to the one it is closest to; a bridge would join all of a fleet in time."""
    bridge = moved("b", 14, {"log.new": 14}, said=["full"])
    first = moved("a", 10, {"log.new": 10}, said=["full"])
    assert desk.told(first, unlike("b", 12), bridge) == [["a"], ["b", "b"]]


def test_an_unrelated_crowd_stays_apart(desk: Desk) -> None:
    assert len(desk.told(*(unlike(f"host-{n}", 10 + n % 3) for n in range(30)))) == 30


def test_a_shared_label_makes_one_of_them(sqlite_url: str) -> None:
    config = TriageConfig.model_validate({"labels": ["rack"], "gap": "5m", "span": "1h"})
    labelled = [member_of(unlike(f"h{n}", 10), MINUTE, {"rack": "r1", "zone": "z"}, config.labels) for n in range(3)]
    assert {one.digest.labels for one in labelled} == {("rack=r1",)}
    assert (config.bonds().gap, config.bonds().span) == (BONDS.gap, BONDS.span)


def test_the_title_says_who_moved_first_and_how_many(desk: Desk) -> None:
    desk.told(
        moved("web-1", 12, {"latency": 11, "errors": 12}),
        moved("db-3", 11, {"cpu": 9, "io": 10, "locks": 10}, score=3.0),
        moved("web-2", 13, {"latency": 11}),
    )
    (row,) = (row for row in desk.rows() if row["entities"] == 3)
    assert row["title"] == "db-3: cpu and 2 more channels rise, 3 entities"
    assert (row["entity"], row["feature"]) == ("db-3", "cpu")
    assert row["suspects"][0]["entity"] == "db-3"
    assert row["suspects"][0]["lag"] == 0
    assert row["severity"] == "critical", "many entities make it worse than its alerts"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (moved("a", 10, {"cpu": 10}), "a: cpu rises"),
        (moved("a", 10, {"cpu": 10}, falls=True), "a: cpu falls"),
        (replace(moved("a", 10, {}), evidence={}, attribution={"cpu": 1.0}), "a: cpu moves"),
        (replace(moved("a", 10, {}), evidence={}, attribution={}), "a: something is unusual"),
        (moved("a\x1b[31m", 10, {"cpu\n": 10}), "a [31m: cpu rises"),
        (moved("a", 10, {"log.new": 10}, said=["disk <*> is full"]), 'a: lines like "disk <*> is full" rises'),
    ],
)
def test_titles(made: Alert, said: str) -> None:
    assert described("i", "live", [member(made)]).title == said


def test_a_channel_that_was_out_of_its_range_long_before_did_not_move_first() -> None:
    """Of a channel that is out at the window's beginning nobody knows since when; others count from 5 slots before."""
    whole = moved("a", 20, {"stuck": 0, "early": 8, "cpu": 19})
    onsets = {one.feature: one.onset for one in member(whole).digest.channels}
    assert onsets == {"stuck": at(20).timestamp(), "early": at(15).timestamp(), "cpu": at(19).timestamp()}


def test_short_pauses_belong_to_an_excursion() -> None:
    made = moved("a", 20, {"cpu": 14})
    series = made.evidence["observed"][0]
    series[11] = series[12] = 0.5
    made = replace(made, first_slot=19, first_time=at(19))
    assert member(made).digest.channels[0].onset == at(14).timestamp()
    series[10] = 0.5
    assert member(made).digest.channels[0].onset == at(18).timestamp()


def test_missing_values_move_nothing() -> None:
    made = moved("a", 20, {"cpu": 19})
    made.evidence["observed"][0] = [None] * 16
    assert member(made).digest.channels[0].direction == 0
    made = moved("a", 20, {"cpu": 19})
    made.evidence["lower"], made.evidence["upper"] = [None], [None]
    assert member(made).digest.channels[0].direction == 1, "without a range, what is usual in the window counts"


def test_blame_goes_by_share_and_by_who_was_first() -> None:
    """Five slots later is half as likely: the larger part of what followed does not win."""
    first, second = moved("a", 10, {"cpu": 10}, score=2.0), moved("b", 20, {"io": 20}, score=3.0)
    found = suspects([member(first), member(second)])
    assert [(one.entity, one.lag, one.share) for one in found] == [("a", 0, 0.4), ("b", 600, 0.6)]
    assert sum(one.blame for one in found) == pytest.approx(1, abs=1e-3)
    assert found[0].blame == pytest.approx(0.4 / (0.4 + 0.6 / 4), abs=1e-3)


def test_a_channel_of_several_alerts_counts_once() -> None:
    found = suspects([member(moved("a", 10, {"cpu": 10})), member(moved("a", 15, {"cpu": 15}, score=3.0))])
    assert [(one.feature, one.lag, one.share) for one in found] == [("cpu", 0, 1)]


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (["open", "resolved"], "open"), (["confirmed", "retracted"], "open"), (["resolved", "retracted"], "resolved"),
        (["retracted", "retracted"], "retracted"),
    ],
)  # fmt: skip
def test_the_state_is_that_of_alerts_that_stand(states: list[Any], said: str) -> None:
    members = [member(moved(f"h{n}", 10, {"cpu": 10}, state=state)) for n, state in enumerate(states)]
    assert state_of(members) == said


def test_severity_is_the_worst_and_more_where_many_are_in_it() -> None:
    members = [member(moved(f"h{n}", 10, {"cpu": 10}, severity="info")) for n in range(3)]
    assert severity_of(members[:2]) == "info"
    assert severity_of(members) == "warning"
    worse = member(moved("x", 10, {"cpu": 10}, severity="critical"))
    assert severity_of([*members, worse]) == "critical"


def test_a_signature_names_no_entity_and_tells_ways_and_templates_apart() -> None:
    one = signature_of([member(moved("a", 10, {"cpu": 10, "io": 10}))])
    assert one == signature_of([member(moved("somebody else", 50, {"cpu": 50, "io": 50}))])
    assert sum(one.values()) == pytest.approx(1, abs=1e-3)
    assert set(one) == {"fleet|cpu|up", "fleet|io|up"}
    assert set(signature_of([member(moved("a", 10, {"cpu": 10}, falls=True))])) == {"fleet|cpu|down"}
    said = signature_of([member(moved("a", 10, {"log.new": 10}, said=["full"]))])
    assert any("|template|" in key for key in said)


def test_like_the_first_of_its_type_or_a_new_one(desk: Desk) -> None:
    month = 30 * 24 * 60
    for slot, channels in (
        (0, {"cpu": 0, "io": 0}), (200, {"net": 200}), (400, {"cpu": 400, "io": 400}), (month, {"net": month}),
        (month + 300, {"net": month + 300}),
    ):  # fmt: skip
        desk.told(moved("a", slot, channels, state="resolved"))
    rows = desk.rows()
    numbers = {row["id"]: row["number"] for row in rows}
    assert [numbers[row["type"]] for row in rows] == [1, 2, 1, 2, 2]
    assert [one.number for one in desk.incidents.types("live")] == [1, 2]
    last = desk.incidents.find("5")
    assert [one.number for one in desk.incidents.alike(last)] == [4, 2]
    assert last.type is not None
    assert desk.incidents.times(last.type, last.first_time - timedelta(days=30), last.first_time) == 2


def test_types_hold_where_what_came_first_is_taken_back(desk: Desk) -> None:
    first, second = (moved("a", slot, {"cpu": slot}, state="resolved") for slot in (0, 200))
    desk.told(first, second)
    assert [row["type"] == row["id"] for row in desk.rows()] == [True, False]
    desk.told(replace(first, state="retracted"))
    rows = desk.rows()
    assert rows[0]["type"] is None
    assert rows[1]["type"] == rows[1]["id"]
    assert [one.number for one in desk.incidents.types("live")] == [2]


def test_the_most_alike_type_counts_and_of_two_the_older_one() -> None:
    kinds = Kinds(0.8)
    kinds.add("first", {"cpu": 1.0})
    kinds.add("second", {"cpu": 0.7, "io": 0.3})
    kinds.add("third", {"cpu": 1.0})
    assert kinds.of({"cpu": 0.9, "io": 0.1}) == ("first", 0.9939)
    assert kinds.of({"cpu": 0.7, "io": 0.3}) == ("second", 1.0)
    assert kinds.of({"net": 1.0}) is None
    assert kinds.of({}) is None


def test_curves_are_compared_where_they_meet() -> None:
    wave = [0.0, 0.2, 0.9, 0.4, 0.1, 0.7, 1.0, 0.3, 0.6, 0.2, 0.8, 0.5]
    assert likeness((0, wave), (0, wave)) == pytest.approx(1)
    assert likeness((0, wave), (100, wave)) == 0, "they never meet"
    assert likeness((100, wave), (0, wave)) == 0, "nor the other way round"
    assert likeness((0, wave), (2, wave)) == pytest.approx(1), "two slots behind"
    assert likeness((0, wave[:7]), (0, wave[:7])) == 0, "too short"
    assert likeness((0, [0.5] * 12), (0, wave)) == 0, "what stands still is like nothing"
    assert likeness((0, [None] * 4 + wave[4:]), (0, wave)) == pytest.approx(1)


def test_the_timeline_goes_by_event_time() -> None:
    one, other = moved("a", 10, {"cpu": 9}, state="resolved"), moved("b", 11, {"io": 11})
    gone = moved("c", 11, {"io": 11}, state="retracted")
    told = [(part.what, part.entity, part.feature) for part in timeline([member(m) for m in (other, gone, one)])]
    assert told == [
        ("moved", "a", "cpu"), ("opened", "a", None), ("moved", "b", "io"), ("opened", "b", None), ("ended", "a", None),
    ]  # fmt: skip


def test_what_is_not_explained_counts_by_the_votes_shares() -> None:
    made = alert("a", 10, attribution={"cpu": 0.6, "io": 0.2}, evidence={})
    digest = member(made).digest
    assert [(one.feature, one.share) for one in digest.channels] == [("cpu", 0.75), ("io", 0.25)]
    assert digest.curves == {}
    assert datetime.fromtimestamp(digest.channels[0].onset, UTC) == at(10)


def test_only_the_strongest_channels_have_curves() -> None:
    digest = member(moved("a", 10, dict.fromkeys("pqrst", 9))).digest
    assert list(digest.curves) == ["p", "q"]
    assert all(len(values) <= 32 for _, values in digest.curves.values())
    assert evidence(10, {"p": 9})["slot"] == 10
